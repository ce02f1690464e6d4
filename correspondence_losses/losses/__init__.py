"""Criteria as modules: what should hold of corresponding features."""

from correspondence_losses.losses.segments import SegmentRegularizationLoss, SegmentRegularizationTerms

__all__ = ["SegmentRegularizationLoss", "SegmentRegularizationTerms"]

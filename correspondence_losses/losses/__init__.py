"""Criteria as modules: what should hold of corresponding features."""

from correspondence_losses.losses.contrastive import PatchNCELoss, SegmentContrastiveLoss
from correspondence_losses.losses.matched_vicreg import MatchedVICRegLoss
from correspondence_losses.losses.segments import SegmentRegularizationLoss, SegmentRegularizationTerms
from correspondence_losses.losses.vicreg import VICRegLoss
from correspondence_losses.losses.vicregl import VICRegLLoss, VICRegLTerms

__all__ = [
    "MatchedVICRegLoss",
    "PatchNCELoss",
    "SegmentContrastiveLoss",
    "SegmentRegularizationLoss",
    "SegmentRegularizationTerms",
    "VICRegLLoss",
    "VICRegLTerms",
    "VICRegLoss",
]

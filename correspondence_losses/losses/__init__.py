"""Criteria as modules: what should hold of corresponding features."""

from correspondence_losses.losses.adversarial import AdversarialTerms, LSGANLoss, MinimaxLoss
from correspondence_losses.losses.contrastive import PatchNCELoss, SegmentContrastiveLoss
from correspondence_losses.losses.masked_l2 import MaskedL2Loss, MaskedL2Terms
from correspondence_losses.losses.matched_vicreg import MatchedVICRegLoss
from correspondence_losses.losses.segments import SegmentRegularizationLoss, SegmentRegularizationTerms
from correspondence_losses.losses.vicreg import VICRegLoss
from correspondence_losses.losses.vicregl import VICRegLLoss, VICRegLTerms

__all__ = [
    "AdversarialTerms",
    "LSGANLoss",
    "MaskedL2Loss",
    "MaskedL2Terms",
    "MatchedVICRegLoss",
    "MinimaxLoss",
    "PatchNCELoss",
    "SegmentContrastiveLoss",
    "SegmentRegularizationLoss",
    "SegmentRegularizationTerms",
    "VICRegLLoss",
    "VICRegLTerms",
    "VICRegLoss",
]

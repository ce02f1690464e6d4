"""Losses as modules, and the functions of those that take matches, views or a discriminator."""

from correspondence_losses.losses.adversarial import (
    AdversarialTerms,
    LSGANDiscriminatorLoss,
    LSGANGeneratorLoss,
    LSGANLoss,
    MinimaxDiscriminatorLoss,
    MinimaxGeneratorLoss,
    MinimaxLoss,
    lsgan_loss,
    minimax_loss,
)
from correspondence_losses.losses.contrastive import (
    DetConLoss,
    InfoNCELoss,
    PatchNCELoss,
    SegmentContrastiveLoss,
    patch_nce_loss,
)
from correspondence_losses.losses.distributions import CORALLoss, MMDLoss, PrototypeAlignmentLoss
from correspondence_losses.losses.masked_l2 import MaskedL2Loss, MaskedL2Terms
from correspondence_losses.losses.matched_vicreg import MatchedVICRegLoss, MatchStatistics, matched_vicreg_loss
from correspondence_losses.losses.on_matches import VectorCriterion, on_matches, on_segments
from correspondence_losses.losses.segments import SegmentRegularizationLoss
from correspondence_losses.losses.self_training import EntropyLoss, MaskedConsistencyLoss
from correspondence_losses.losses.sigreg import LeJEPALoss, SIGRegLoss
from correspondence_losses.losses.similarity import FeatureDistanceLoss, GramLoss, KernelAlignmentLoss
from correspondence_losses.losses.vicreg import VICRegLoss
from correspondence_losses.losses.vicregl import VICRegLLoss, VICRegLTerms, vicregl_loss

__all__ = [
    "AdversarialTerms",
    "CORALLoss",
    "DetConLoss",
    "EntropyLoss",
    "FeatureDistanceLoss",
    "GramLoss",
    "InfoNCELoss",
    "KernelAlignmentLoss",
    "LSGANDiscriminatorLoss",
    "LSGANGeneratorLoss",
    "LSGANLoss",
    "LeJEPALoss",
    "MMDLoss",
    "MaskedConsistencyLoss",
    "MaskedL2Loss",
    "MaskedL2Terms",
    "MatchStatistics",
    "MatchedVICRegLoss",
    "MinimaxDiscriminatorLoss",
    "MinimaxGeneratorLoss",
    "MinimaxLoss",
    "PatchNCELoss",
    "PrototypeAlignmentLoss",
    "SIGRegLoss",
    "SegmentContrastiveLoss",
    "SegmentRegularizationLoss",
    "VICRegLLoss",
    "VICRegLTerms",
    "VICRegLoss",
    "VectorCriterion",
    "lsgan_loss",
    "matched_vicreg_loss",
    "minimax_loss",
    "on_matches",
    "on_segments",
    "patch_nce_loss",
    "vicregl_loss",
]

"""Pure functions of tensors: the equations, and the fast ways to compute them."""

from correspondence_losses.functional.adversarial import (
    lsgan_discriminator_loss,
    lsgan_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
)
from correspondence_losses.functional.alignment import masked_l2_loss
from correspondence_losses.functional.contrastive import patch_nce_loss, segment_contrastive_loss
from correspondence_losses.functional.segments import (
    SegmentStatistics,
    segment_invariance_loss,
    segment_separation_loss,
    segment_statistics,
)
from correspondence_losses.functional.vicreg import (
    CollapseDiagnostics,
    VICRegTerms,
    collapse_diagnostics,
    covariance_loss,
    invariance_loss,
    variance_loss,
    vicreg_terms,
)

__all__ = [
    "CollapseDiagnostics",
    "SegmentStatistics",
    "VICRegTerms",
    "collapse_diagnostics",
    "covariance_loss",
    "invariance_loss",
    "lsgan_discriminator_loss",
    "lsgan_generator_loss",
    "masked_l2_loss",
    "minimax_discriminator_loss",
    "minimax_generator_loss",
    "patch_nce_loss",
    "segment_contrastive_loss",
    "segment_invariance_loss",
    "segment_separation_loss",
    "segment_statistics",
    "variance_loss",
    "vicreg_terms",
]

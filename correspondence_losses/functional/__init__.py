"""Pure functions of tensors: the equations, and the fast ways to compute them."""

from correspondence_losses._reduction import Reduction
from correspondence_losses.functional.adversarial import (
    lsgan_discriminator_loss,
    lsgan_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
)
from correspondence_losses.functional.alignment import ElementReduction, masked_l2_loss
from correspondence_losses.functional.contrastive import detcon_loss, info_nce_loss, segment_contrastive_loss
from correspondence_losses.functional.distributions import coral_loss, mmd_loss
from correspondence_losses.functional.masks import MaskSet, SupportsArray, paint_masks, segments_to_masks
from correspondence_losses.functional.mixing import MaskedImages, MixedImages, class_mix, mask_blocks
from correspondence_losses.functional.prototypes import ClassPrototypes, class_prototypes, prototype_alignment_loss
from correspondence_losses.functional.segment_regularization import (
    ChannelReduction,
    SegmentRegularizationTerms,
    segment_invariance_loss,
    segment_regularization_loss,
    segment_separation_loss,
)
from correspondence_losses.functional.segment_votes import SegmentVotes, segment_vote
from correspondence_losses.functional.segments import SegmentStatistics, segment_statistics
from correspondence_losses.functional.self_training import entropy_loss, masked_consistency_loss
from correspondence_losses.functional.sigreg import LeJEPATerms, lejepa_loss, sigreg_loss
from correspondence_losses.functional.similarity import (
    Distance,
    feature_distance_loss,
    gram_loss,
    kernel_alignment_loss,
)
from correspondence_losses.functional.vicreg import (
    CollapseDiagnostics,
    Convention,
    VICRegTerms,
    collapse_diagnostics,
    covariance_loss,
    invariance_loss,
    variance_loss,
    vicreg_loss,
    vicreg_terms,
)

__all__ = [
    "ChannelReduction",
    "ClassPrototypes",
    "CollapseDiagnostics",
    "Convention",
    "Distance",
    "ElementReduction",
    "LeJEPATerms",
    "MaskSet",
    "MaskedImages",
    "MixedImages",
    "Reduction",
    "SegmentRegularizationTerms",
    "SegmentStatistics",
    "SegmentVotes",
    "SupportsArray",
    "VICRegTerms",
    "class_mix",
    "class_prototypes",
    "collapse_diagnostics",
    "coral_loss",
    "covariance_loss",
    "detcon_loss",
    "entropy_loss",
    "feature_distance_loss",
    "gram_loss",
    "info_nce_loss",
    "invariance_loss",
    "kernel_alignment_loss",
    "lejepa_loss",
    "lsgan_discriminator_loss",
    "lsgan_generator_loss",
    "mask_blocks",
    "masked_consistency_loss",
    "masked_l2_loss",
    "minimax_discriminator_loss",
    "minimax_generator_loss",
    "mmd_loss",
    "paint_masks",
    "prototype_alignment_loss",
    "segment_contrastive_loss",
    "segment_invariance_loss",
    "segment_regularization_loss",
    "segment_separation_loss",
    "segment_statistics",
    "segment_vote",
    "segments_to_masks",
    "sigreg_loss",
    "variance_loss",
    "vicreg_loss",
    "vicreg_terms",
]

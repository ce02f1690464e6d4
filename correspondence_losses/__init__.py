"""Losses and blocks that align dense features by correspondence.

Producers (:mod:`correspondence_losses.correspond`) say who matches whom, criteria
(:mod:`correspondence_losses.losses`, over the functions of :mod:`correspondence_losses.functional`) say what should
hold of matched features, and blocks (:mod:`correspondence_losses.blocks`) drop into a model. The trainer in
``correspondence_losses.reference`` is an extra, and is not imported here.
"""

from correspondence_losses import blocks, correspond, functional, losses
from correspondence_losses.blocks import (
    FeatureDiscriminator,
    FPNFusionHead,
    GlobalExpander,
    LinearHead,
    LocalProjector,
    MultiLevelDiscriminator,
    RefineNet,
    SAMPoolingBlock,
)
from correspondence_losses.correspond import (
    Matches,
    PosedFrames,
    ViewGrid,
    feature_matches,
    gather_matches,
    location_matches,
    pose_grid,
    pose_matches,
    segment_matches,
)
from correspondence_losses.losses import (
    LSGANLoss,
    MaskedL2Loss,
    MatchedVICRegLoss,
    MinimaxLoss,
    PatchNCELoss,
    SegmentContrastiveLoss,
    SegmentRegularizationLoss,
    VICRegLLoss,
    VICRegLoss,
)

__version__ = "0.1.0"

__all__ = [
    "FPNFusionHead",
    "FeatureDiscriminator",
    "GlobalExpander",
    "LSGANLoss",
    "LinearHead",
    "LocalProjector",
    "MaskedL2Loss",
    "MatchedVICRegLoss",
    "Matches",
    "MinimaxLoss",
    "MultiLevelDiscriminator",
    "PatchNCELoss",
    "PosedFrames",
    "RefineNet",
    "SAMPoolingBlock",
    "SegmentContrastiveLoss",
    "SegmentRegularizationLoss",
    "VICRegLLoss",
    "VICRegLoss",
    "ViewGrid",
    "__version__",
    "blocks",
    "correspond",
    "feature_matches",
    "functional",
    "gather_matches",
    "location_matches",
    "losses",
    "pose_grid",
    "pose_matches",
    "segment_matches",
]

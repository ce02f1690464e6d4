"""Modules to drop into an existing segmentation model."""

from correspondence_losses.blocks.discriminators import FeatureDiscriminator, MultiLevelDiscriminator
from correspondence_losses.blocks.fpn_fusion_head import FPNFusionHead, FPNFusionOutput
from correspondence_losses.blocks.linear_head import LinearHead
from correspondence_losses.blocks.projectors import GlobalExpander, LocalProjector
from correspondence_losses.blocks.refinenet import RefineNet, RefineNetOutput
from correspondence_losses.blocks.sam_pooling import SAMPoolingBlock, SAMPoolingOutput

__all__ = [
    "FPNFusionHead",
    "FPNFusionOutput",
    "FeatureDiscriminator",
    "GlobalExpander",
    "LinearHead",
    "LocalProjector",
    "MultiLevelDiscriminator",
    "RefineNet",
    "RefineNetOutput",
    "SAMPoolingBlock",
    "SAMPoolingOutput",
]

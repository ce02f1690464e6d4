"""Modules to drop into an existing segmentation model."""

from correspondence_losses.blocks.adaptive_batch_norm import adapt_batch_norm
from correspondence_losses.blocks.discriminators import FeatureDiscriminator, MultiLevelDiscriminator
from correspondence_losses.blocks.ema_teacher import EMATeacher
from correspondence_losses.blocks.fpn_fusion_head import FPNFusionHead
from correspondence_losses.blocks.head_output import HeadOutput
from correspondence_losses.blocks.linear_head import LinearHead
from correspondence_losses.blocks.projectors import GlobalExpander, LocalProjector, Norm
from correspondence_losses.blocks.refinenet import RefineNet
from correspondence_losses.blocks.sam_pooling import SAMPoolingBlock, SAMPoolingOutput
from correspondence_losses.blocks.simple_feature_pyramid import SimpleFeaturePyramid

__all__ = [
    "EMATeacher",
    "FPNFusionHead",
    "FeatureDiscriminator",
    "GlobalExpander",
    "HeadOutput",
    "LinearHead",
    "LocalProjector",
    "MultiLevelDiscriminator",
    "Norm",
    "RefineNet",
    "SAMPoolingBlock",
    "SAMPoolingOutput",
    "SimpleFeaturePyramid",
    "adapt_batch_norm",
]

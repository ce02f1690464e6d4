"""Modules to drop into an existing segmentation model."""

from correspondence_losses.blocks.fpn_fusion_head import FPNFusionHead, FPNFusionOutput
from correspondence_losses.blocks.linear_head import LinearHead
from correspondence_losses.blocks.projectors import GlobalExpander, LocalProjector

__all__ = ["FPNFusionHead", "FPNFusionOutput", "GlobalExpander", "LinearHead", "LocalProjector"]

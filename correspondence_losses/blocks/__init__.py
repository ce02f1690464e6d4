"""Modules to drop into an existing segmentation model."""

from correspondence_losses.blocks.fpn_fusion_head import FPNFusionHead, FPNFusionOutput

__all__ = ["FPNFusionHead", "FPNFusionOutput"]

"""Backbone, head and pooling block as one module that computes its own training loss (eq. 4.8)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from correspondence_losses.blocks import FPNFusionHead, HeadOutput, LinearHead, SAMPoolingBlock

__all__ = ["SegmentationModel"]


class SegmentationModel(nn.Module):
    """A segmentation model with the losses of the thesis's table 4.4.

    Args:
        backbone: Returns a list of feature maps, finest first.
        channels: Their channels.
        num_classes: Classes, background included.
        head: ``"fpn"`` for :class:`~correspondence_losses.blocks.FPNFusionHead`, ``"linear"`` for
            :class:`~correspondence_losses.blocks.LinearHead` on the coarsest map.
        fpn_channels: Width of the pyramid.
        frozen_backbone: Train the head alone, on features that stay as they are.
        sam_weight: Weight of the pooling loss in eq. 4.8; with 0 there is no pooling block.
        proj_channels: Channels of the pooling block's projection.
        beta: Distance that segments' means should keep in it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: list[int],
        *,
        num_classes: int,
        head: Literal["fpn", "linear"],
        fpn_channels: int,
        frozen_backbone: bool,
        sam_weight: float,
        proj_channels: int,
        beta: float,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.frozen_backbone = frozen_backbone
        backbone.requires_grad_(not frozen_backbone)
        self.head: FPNFusionHead | LinearHead
        if head == "fpn":
            self.head = FPNFusionHead(channels, num_classes, fpn_channels)
        else:
            self.head = LinearHead(channels, num_classes)
        self.sam_weight = sam_weight
        self.pooling = None
        if sam_weight > 0:
            self.pooling = SAMPoolingBlock(self.head.out_channels, proj_channels, beta)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss terms of a batch by name; ``"loss"``, eq. 4.8, is to be minimised."""
        images, label = batch["image"], batch["label"]
        size = (label.shape[-2], label.shape[-1])
        segmentation = F.cross_entropy(self._logits_and_features(images, size)[0].float(), label)
        if self.pooling is None:
            return {"loss": segmentation, "segmentation": segmentation}
        segments = batch["segments"]
        with _running_statistics(self):
            features = self._logits_and_features(batch["unlabelled_image"], size)[1]
        projection = self.pooling.project(features, segments.shape[-2:])
        invariance, separation = self.pooling.criterion.terms(projection, segments)
        return {
            "loss": segmentation + self.sam_weight * (invariance + separation),
            "segmentation": segmentation,
            "sam_invariance": invariance,
            "sam_separation": separation,
        }

    def train(self, mode: bool = True) -> "SegmentationModel":
        """Set the mode; a frozen backbone keeps its statistics."""
        super().train(mode)
        if self.frozen_backbone:
            self.backbone.eval()
        return self

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits (b, num_classes, H, W) of images (b, 3, H, W)."""
        return self._logits_and_features(images, (images.shape[-2], images.shape[-1]))[0]

    def project(self, images: Tensor) -> Tensor:
        """Return the pooling block's projection (b, proj_channels, H, W) of images (b, 3, H, W).

        Raises:
            RuntimeError: The model has no pooling block.
        """
        if self.pooling is None:
            raise RuntimeError("the model has no pooling block: its sam_weight is 0")
        size = (images.shape[-2], images.shape[-1])
        return self.pooling.project(self._logits_and_features(images, size)[1], size)

    def _logits_and_features(self, images: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_backbone):
            maps: list[Tensor] = self.backbone(images)
        output: HeadOutput = self.head(maps, size)
        return output.logits, output.features


@contextmanager
def _running_statistics(model: nn.Module) -> Iterator[None]:
    """Let batch normalisation take the statistics that prediction will take, and leave them as they are.

    Those of a batch of both domains would be of neither, and cost more than the pooling loss brings.
    """
    training = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    for module in training:
        module.eval()
    try:
        yield
    finally:
        for module in training:
            module.train()

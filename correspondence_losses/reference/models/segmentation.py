"""Backbone, head and pooling block as one module that computes its own training loss (eq. 4.8)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from correspondence_losses.blocks import FPNFusionHead, HeadOutput, LinearHead, SAMPoolingBlock
from correspondence_losses.reference.models.backbone import Backbone
from correspondence_losses.reference.models.heads import PyramidHead

__all__ = ["SegmentationModel"]


class SegmentationModel(nn.Module):
    """A segmentation model with the losses of the thesis's table 4.4.

    Args:
        backbone: Returns the feature maps.
        head: Makes logits and features of them.
        pooling: Pools the head's features of unlabelled images; ``None`` for labelled images alone.
        sam_weight: Weight of the pooling loss in eq. 4.8.
        head_stride: Logits are computed at this part of the image's height and width: 1 as in the thesis, 4 at a
            fraction of the cost. Image sizes are multiples of it. Losses are taken at twice that resolution, and
            predictions are upsampled.
        frozen_backbone: Train the head alone, on features that stay as they are.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: FPNFusionHead | LinearHead | PyramidHead,
        pooling: SAMPoolingBlock | None,
        *,
        sam_weight: float,
        head_stride: int,
        frozen_backbone: bool,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.frozen_backbone = frozen_backbone
        if frozen_backbone:
            backbone.requires_grad_(False)
        self.head = head
        self.pooling = pooling
        self.sam_weight = sam_weight
        self.head_stride = head_stride

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the loss terms of a batch by name; ``"loss"``, eq. 4.8, is to be minimised.

        Labelled and unlabelled images go through the network as one batch, so that it is one function of both.
        """
        return self.losses(batch, *self._logits_and_features(torch.cat([batch[name] for name in self.seen_images])))

    @property
    def seen_images(self) -> tuple[str, ...]:
        """The names of a batch's images that the losses are of, labelled ones first."""
        return ("image",) if self.pooling is None else ("image", "unlabelled_image")

    def losses(self, batch: Mapping[str, Any], logits: Tensor, features: Tensor) -> dict[str, Tensor]:
        """Return the loss terms of a batch, given logits and features of its :attr:`seen_images`, and of any others."""
        label = self._at_loss_stride(batch["label"])
        upsampled = _resized(logits[: len(label)].float(), label.shape[-2:])
        segmentation = F.cross_entropy(upsampled, label)
        if self.pooling is None:
            return {"loss": segmentation, "segmentation": segmentation}
        segments = self._at_loss_stride(batch["segments"])
        # Of all images: the gradient of a part of the features would be written anew, whole and in another layout.
        projection = self.pooling.project(features, segments.shape[-2:])[len(label) : 2 * len(label)]
        invariance, separation = self.pooling.criterion.terms(projection, segments, batch["num_segments"])
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
        return _resized(self._logits_and_features(images)[0], images.shape[-2:])

    def project(self, images: Tensor) -> Tensor:
        """Return the pooling block's projection (b, proj_channels, H, W) of images (b, 3, H, W).

        Raises:
            RuntimeError: The model has no pooling block.
        """
        if self.pooling is None:
            raise RuntimeError("the model has no pooling block")
        return self.pooling.project(self._logits_and_features(images)[1], images.shape[-2:])

    def _logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        size = (images.shape[-2] // self.head_stride, images.shape[-1] // self.head_stride)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_backbone):
            maps: list[Tensor] = self.backbone(images)
        output: HeadOutput = self.head(maps, size)
        return output.logits, output.features

    def _at_loss_stride(self, labels: Tensor) -> Tensor:
        """Return labels (b, H, W) at the centres of cells, four for each that the head's logits stand for."""
        stride = max(self.head_stride // 2, 1)
        return labels[:, stride // 2 :: stride, stride // 2 :: stride]


def _resized(logits: Tensor, size: torch.Size) -> Tensor:
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)

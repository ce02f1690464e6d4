"""Backbone, head and pooling block as one module that computes its own training loss."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from correspondence_losses.blocks import FPNFusionHead, LinearHead, SAMPoolingBlock
from correspondence_losses.reference.checkpoint import CheckpointError, read_checkpoint

__all__ = ["SegmentationModel", "WeightsError", "create_backbone", "has_batch_norm", "load_backbone"]

_LAST_STAGES = (-4, -3, -2, -1)
_PROBE_SIZE = (64, 96)


class WeightsError(RuntimeError):
    """The pretrained weights of a backbone cannot be had."""


def create_backbone(
    name: str, *, pretrained: bool, weights: Path | None = None, activation_checkpointing: bool = False
) -> tuple[nn.Module, list[int]]:
    """Create a timm backbone that returns the maps of its last four stages, finest first, and say their channels.

    These are at 1/4, 1/8, 1/16 and 1/32 of the image (fig. 4.1); what some backbones have at 1/2 is left out.

    Args:
        name: A model of timm that supports ``features_only``, such as ``"convnext_xlarge"``.
        pretrained: Load the weights that timm has for it.
        weights: Load them from this file instead of downloading them.
        activation_checkpointing: Compute activations again in the backward pass instead of keeping them.

    Raises:
        ValueError: timm has no such backbone, it has no feature maps or others than (b, channels, h, w), or it takes
            images of one size only.
        WeightsError: The weights could not be had.
    """
    if name.split(".")[0] not in timm.list_models():
        similar = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:8]
        raise ValueError(f"backbone must be a model of timm {timm.__version__}, got {name!r}; similar: {similar}")
    if weights is not None and not weights.is_file():
        raise ValueError(f"backbone weights must be a file, got {weights}")
    overlay = None if weights is None else {"file": str(weights)}
    try:
        backbone: Any = timm.create_model(
            name,
            features_only=True,
            out_indices=_LAST_STAGES,
            pretrained=pretrained,
            pretrained_cfg_overlay=overlay,
        )
    except Exception as error:  # timm, its hub client and safetensors each raise errors of their own
        if not pretrained:
            raise ValueError(f"backbone {name!r} has no feature maps: {error}") from error
        raise WeightsError(
            f"the pretrained weights of {name!r} could not be had ({type(error).__name__}: {error}). Download them "
            "elsewhere and give the file as --backbone_weights; or train from random weights with --pretrained false"
        ) from error
    channels = list(backbone.feature_info.channels())
    _check_maps(name, backbone, channels)
    backbone.set_grad_checkpointing(activation_checkpointing)
    return backbone, channels


@torch.no_grad()
def _check_maps(name: str, backbone: nn.Module, channels: list[int]) -> None:
    try:
        maps = backbone.eval()(torch.zeros(1, 3, *_PROBE_SIZE))
    except Exception as error:  # what a backbone raises for a size that it was not made for is its own
        raise ValueError(f"backbone must take images of any size, {name!r} does not: {error}") from error
    finally:
        backbone.train()
    if [feature_map.shape[1] for feature_map in maps] != channels:
        shapes = [tuple(feature_map.shape) for feature_map in maps]
        raise ValueError(f"backbone must return maps (b, channels, h, w), {name!r} returns {shapes}")


def load_backbone(backbone: nn.Module, checkpoint: Path) -> None:
    """Load the backbone of a run's checkpoint.

    Raises:
        CheckpointError: The file is missing or damaged, or holds another backbone.
    """
    state = read_checkpoint(checkpoint).get("model", {})
    prefix = "backbone."
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    try:
        backbone.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint}: does not hold the backbone that is wanted: {error}") from error


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
            self.head = LinearHead(channels[-1], num_classes)
        self.sam_weight = sam_weight
        self.pooling = None
        if sam_weight > 0:
            width = fpn_channels if head == "fpn" else channels[-1]
            self.pooling = SAMPoolingBlock(width, proj_channels, beta)

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
        if isinstance(self.head, FPNFusionHead):
            logits, features = self.head(maps, size)
            return logits, features
        return self.head(maps[-1], size), maps[-1]


def has_batch_norm(model: nn.Module) -> bool:
    """Return whether a part of the model normalises by the statistics of a batch."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


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

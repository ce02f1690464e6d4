"""RefineNet: a backbone's maps refined from coarse to fine (figure 3.2)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from correspondence_losses._checks import check_channels, check_count, check_feature_maps, check_size
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.blocks._upsample import upsample
from correspondence_losses.blocks.head_output import HeadOutput

__all__ = ["RefineNet"]


class RefineNet(ModuleWithSettings):
    """The decoder of RefineNet over the maps of any backbone.

    At each level, from the coarsest: a 3 x 3 convolution of the backbone's map to the decoder's width, two residual
    convolution units for each input, fusion with the refined coarser map, chained residual pooling, and an output
    unit. Two more units and the classifier follow. The coarsest level has twice the width of the others. Maps are
    upsampled to the size of the map that they are fused with, so images may have any size.

    It has the contract of all heads: see :class:`~correspondence_losses.blocks.HeadOutput`. ``pyramid`` are the refined
    maps, finest first, and ``features`` is the finest of them.

    Over a backbone of timm: ``timm.create_model(name, features_only=True, out_indices=(...))``, with
    ``in_channels=backbone.feature_info.channels()``.

    Args:
        in_channels: Channels of the backbone's maps, finest first: at 1/4, 1/8, 1/16 and 1/32 of the image, or
            another number of levels.
        num_classes: Number of classes.
        channels: Width of the decoder.

    Shape:
        features: one map (b, in_channels[i], h_i, w_i) for each level, finest first, of any sizes. size: (H, W).
        Returns :class:`~correspondence_losses.blocks.HeadOutput`.

    Raises:
        TypeError, ValueError: If the settings, the maps or the size do not fit this.

    Source:
        Figure 3.2; Lin et al., "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic Segmentation",
        2017.

    Example:
        >>> import torch
        >>> features = [torch.randn(1, c, 96 // s, 128 // s) for c, s in ((8, 4), (16, 8), (32, 16), (64, 32))]
        >>> output = RefineNet([8, 16, 32, 64], num_classes=22, channels=16)(features, size=(96, 128))
        >>> output.logits.shape, [tuple(level.shape[1:]) for level in output.pyramid]
        (torch.Size([1, 22, 96, 128]), [(16, 24, 32), (16, 12, 16), (16, 6, 8), (32, 3, 4)])
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, channels: int = 256) -> None:
        super().__init__()
        check_channels("in_channels", in_channels)
        check_count("num_classes", num_classes)
        check_count("channels", channels)
        self.in_channels = tuple(in_channels)
        self.num_classes = num_classes
        self.channels = channels
        coarse_first = list(reversed(self.in_channels))
        widths = [2 * channels] + [channels] * (len(coarse_first) - 1)
        self.pyramid_channels = tuple(reversed(widths))
        self.out_channels = self.pyramid_channels[0]
        self.laterals = nn.ModuleList(_conv(inputs, width) for inputs, width in zip(coarse_first, widths, strict=True))
        self.refinements = nn.ModuleList(
            _Refinement(width, coarser) for width, coarser in zip(widths, [None, *widths], strict=False)
        )
        self.classifier = nn.Sequential(
            _ResidualConvUnit(widths[-1]), _ResidualConvUnit(widths[-1]), _conv(widths[-1], num_classes)
        )

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> HeadOutput:
        """Return the logits, upsampled bilinearly to ``size``, the finest refined map, and all of them."""
        check_feature_maps("features", features, self.in_channels)
        check_size("size", size)
        refined: list[Tensor] = []
        coarser = None
        for lateral, refinement, level in zip(self.laterals, self.refinements, reversed(features), strict=True):
            coarser = refinement(lateral(level), coarser)
            refined.append(coarser)
        logits = upsample(self.classifier(refined[-1]), size)
        return HeadOutput(logits, refined[-1], tuple(reversed(refined)))


class _ResidualConvUnit(nn.Module):
    """ReLU and 3 x 3 convolution, twice, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        residual: Tensor = self.second(F.relu(self.first(F.relu(features))))
        return features + residual


class _ChainedResidualPooling(nn.Module):
    """A chain of 5 x 5 max pooling and 3 x 3 convolution, the result of each link added to the rectified input."""

    def __init__(self, channels: int, links: int = 2) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(_conv(channels, channels) for _ in range(links))

    def forward(self, features: Tensor) -> Tensor:
        link = total = F.relu(features)
        for convolution in self.convolutions:
            link = convolution(F.max_pool2d(link, kernel_size=5, stride=1, padding=2))
            total = total + link
        return total


class _Refinement(nn.Module):
    """One RefineNet block: a lateral map, fused with the refined coarser one where there is one."""

    def __init__(self, channels: int, coarser_channels: int | None) -> None:
        super().__init__()
        self.lateral = nn.Sequential(_ResidualConvUnit(channels), _ResidualConvUnit(channels))
        if coarser_channels is not None:
            self.coarser = nn.Sequential(_ResidualConvUnit(coarser_channels), _ResidualConvUnit(coarser_channels))
            self.fuse_lateral = _conv(channels, channels)
            self.fuse_coarser = _conv(coarser_channels, channels)
        self.pooling = _ChainedResidualPooling(channels)
        self.output = _ResidualConvUnit(channels)

    def forward(self, lateral: Tensor, coarser: Tensor | None) -> Tensor:
        fused = self.lateral(lateral)
        if coarser is not None:
            size = (lateral.shape[2], lateral.shape[3])
            upsampled = upsample(self.fuse_coarser(self.coarser(coarser)), size)
            fused = self.fuse_lateral(fused) + upsampled
        refined: Tensor = self.output(self.pooling(fused))
        return refined


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)

"""A feature pyramid whose levels are fused at image size (thesis, sec. 4.6)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from correspondence_losses._checks import check_channels, check_count, check_feature_maps, check_size
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.blocks._upsample import sum_upsampled, upsample
from correspondence_losses.blocks.head_output import HeadOutput

__all__ = ["FPNFusionHead"]


class FPNFusionHead(ModuleWithSettings):
    r"""Segmentation head: a feature pyramid whose levels are upsampled to the image, concatenated and fused.

    Each map goes through a 1 x 1 lateral convolution, is added to the coarser level (upsampled to its size, whatever
    that is) and smoothed by a 3 x 3 convolution. The fusion block is
    :math:`\operatorname{ReLU}(W [\text{up}(P_1), \dots, \text{up}(P_L)] + b)` with a 1 x 1 convolution W. A 1 x 1
    convolution commutes with bilinear upsampling. So each level is convolved with its own columns of W at its own
    size, upsampled and added: the same values without the concatenation.

    It has the contract of all heads: see :class:`~correspondence_losses.blocks.HeadOutput`. ``features`` are the fused
    features, at the size of the logits, and ``pyramid`` the levels of the pyramid.

    Args:
        in_channels: Channels of the backbone's maps, finest first, as timm's ``feature_info.channels()`` gives them.
        num_classes: Number of classes.
        fpn_channels: Channels of each level of the pyramid.
        fused_channels: Channels of the fused features. Default: ``fpn_channels``.

    Shape:
        features: one map (b, in_channels[i], h_i, w_i) for each level, finest first, of any sizes. size: (H, W).
        Returns :class:`~correspondence_losses.blocks.HeadOutput`.

    Raises:
        TypeError, ValueError: If the settings, the maps or the size do not fit this.

    Source:
        Thesis, sec. 4.6 and fig. 4.8; Lin et al. 2017, "Feature Pyramid Networks for Object Detection". The thesis
        leaves the width and the layers of the fusion block open: 256 channels and one fused convolution are the
        defaults here.

    Example:
        >>> import torch
        >>> head = FPNFusionHead([16, 32], num_classes=22, fpn_channels=8)
        >>> features = [torch.randn(1, 16, 15, 20), torch.randn(1, 32, 8, 10)]
        >>> output = head(features, size=(60, 80))
        >>> output.logits.shape, output.features.shape, [tuple(level.shape) for level in output.pyramid]
        (torch.Size([1, 22, 60, 80]), torch.Size([1, 8, 60, 80]), [(1, 8, 15, 20), (1, 8, 8, 10)])
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
        check_channels("in_channels", in_channels)
        check_count("num_classes", num_classes)
        check_count("fpn_channels", fpn_channels)
        fused_channels = fpn_channels if fused_channels is None else fused_channels
        check_count("fused_channels", fused_channels)
        self.in_channels = tuple(in_channels)
        self.num_classes = num_classes
        self.fpn_channels = fpn_channels
        self.fused_channels = fused_channels
        self.out_channels = fused_channels
        self.pyramid_channels = (fpn_channels,) * len(self.in_channels)
        self.laterals = nn.ModuleList(nn.Conv2d(channels, fpn_channels, 1) for channels in in_channels)
        self.smooths = nn.ModuleList(nn.Conv2d(fpn_channels, fpn_channels, 3, padding=1) for _ in in_channels)
        self.fusion = nn.Conv2d(len(in_channels) * fpn_channels, fused_channels, 1)
        self.classifier = _PointwiseConvolution(fused_channels, num_classes)

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> HeadOutput:
        """Return the logits and the fused features at ``size``, and the levels of the pyramid."""
        check_size("size", size)
        pyramid = self.pyramid(features)
        fused = self._fuse(pyramid, size)
        fused = fused.relu_() if fused.device.type == "cpu" else fused.relu()  # see sum_upsampled
        return HeadOutput(self.classifier(fused), fused, tuple(pyramid))

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the levels of the pyramid, (b, fpn_channels, h_i, w_i), finest first."""
        check_feature_maps("features", features, self.in_channels)
        pathway: list[Tensor] = []
        for lateral, feature_map in zip(reversed(self.laterals), reversed(features), strict=True):
            level = lateral(feature_map)
            if pathway:
                level = level + upsample(pathway[-1], level.shape[-2:])
            pathway.append(level)
        return [smooth(level) for smooth, level in zip(self.smooths, reversed(pathway), strict=True)]

    def _fuse(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        weights = self.fusion.weight.chunk(len(levels), dim=1)
        # The bias, added once and at the coarsest level, is upsampled with it unchanged.
        fused = [F.conv2d(levels[-1], weights[-1], self.fusion.bias)]
        fused += [F.conv2d(level, weight) for level, weight in zip(levels[:-1], weights[:-1], strict=True)]
        return sum_upsampled(fused, size)


class _PointwiseConvolution(nn.Conv2d):
    """A 1 x 1 convolution; a matrix product on a CPU, twice as fast for few output channels at image size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if input.device.type != "cpu" or self.bias is None:
            return super().forward(input)
        weight = self.weight.flatten(1).expand(input.shape[0], -1, -1)
        output = torch.baddbmm(self.bias[:, None], weight, input.flatten(2))
        return output.view(*output.shape[:2], *input.shape[2:])

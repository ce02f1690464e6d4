"""Heads over the maps of any backbone: a plain ViT's one map becomes a pyramid first."""

import math
from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn

from correspondence_losses.blocks import FPNFusionHead, HeadOutput, RefineNet, SimpleFeaturePyramid
from correspondence_losses.reference.models.backbone import Backbone

__all__ = ["PyramidHead", "create_head"]

_STRIDES = (4, 8, 16, 32)
Head = TypeVar("Head", FPNFusionHead, RefineNet)


class PyramidHead(nn.Module):
    """A head of several maps over the pyramid of a plain ViT's map; both are trained as one head.

    It has the contract of all heads: see :class:`~correspondence_losses.blocks.HeadOutput`.

    Args:
        pyramid: Makes the maps.
        head: Takes them.
    """

    def __init__(self, pyramid: SimpleFeaturePyramid, head: FPNFusionHead | RefineNet) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.head = head
        self.out_channels = head.out_channels
        self.pyramid_channels = head.pyramid_channels

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> HeadOutput:
        """Return what the head makes of the pyramid of the last map."""
        output: HeadOutput = self.head(self.pyramid(features[-1]), size)
        return output


def create_head(head: type[Head], backbone: Backbone, num_classes: int, channels: int) -> Head | PyramidHead:
    """Create a head of maps at 1/4, 1/8, 1/16 and 1/32 of the image over a backbone.

    Args:
        head: Which.
        backbone: With these maps, or with one map: then the head comes with a pyramid, whose scales are the powers of
            two next to these.
        num_classes: Number of classes.
        channels: Width of the head, and of the pyramid.
    """
    if len(backbone.channels) > 1:
        return head(backbone.channels, num_classes, channels)
    scales = [2.0 ** round(math.log2(backbone.reduction[-1] / stride)) for stride in _STRIDES]
    pyramid = SimpleFeaturePyramid(backbone.channels[-1], channels, scale_factors=scales)
    return PyramidHead(pyramid, head(pyramid.pyramid_channels, num_classes, channels))

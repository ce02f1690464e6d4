"""What every segmentation head returns."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["HeadOutput"]


class HeadOutput(NamedTuple):
    """What every segmentation head of the library returns.

    All heads have one contract. ``Head(in_channels, num_classes)`` takes the channels of the backbone's maps, finest
    first, as timm's ``feature_info.channels()`` gives them. ``head(features, size)`` takes the maps in that order and
    the size (H, W) of the logits. ``head.out_channels`` is the number of channels of :attr:`features`, and
    ``head.pyramid_channels`` that of each map of :attr:`pyramid`.
    """

    logits: Tensor
    """Class scores, (b, num_classes, H, W), at the size that was asked for."""
    features: Tensor
    """The features that the logits are computed from, (b, out_channels, h, w). Feed them to a
    :class:`~correspondence_losses.blocks.SAMPoolingBlock`."""
    pyramid: tuple[Tensor, ...]
    """One map (b, pyramid_channels[i], h_i, w_i) for each map of the backbone, finest first, as the head refined it. A
    loss that aligns two domains at several levels takes these."""

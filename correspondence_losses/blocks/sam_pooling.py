"""The SAM pooling block: a projection to few channels, regularised by segments (thesis, sec. 4.5.2)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from correspondence_losses._checks import check_tensor
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.blocks._upsample import upsample
from correspondence_losses.blocks.projectors import LocalProjector
from correspondence_losses.losses.segments import SegmentRegularizationLoss

__all__ = ["SAMPoolingBlock", "SAMPoolingOutput"]


class SAMPoolingOutput(NamedTuple):
    """What :class:`SAMPoolingBlock` returns."""

    loss: Tensor
    """A scalar, to be weighted and added to the loss of the task."""
    projection: Tensor
    """(b, proj_channels, H, W), at the size of the segments; with 3 channels, an image to look at."""


class SAMPoolingBlock(ModuleWithSettings):
    r"""Regularises dense features by the segments of an unlabelled image.

    A local projector maps the features to few channels.
    :class:`~correspondence_losses.losses.SegmentRegularizationLoss` then makes the projection equal inside each
    segment and different between segments. Segments are any pseudo labels of the image: masks of Segment Anything
    (see :func:`~correspondence_losses.functional.paint_masks`), superpixels, or a stack of binary masks. The block is
    used in training only.

    Args:
        in_channels: Channels of the features.
        proj_channels: Channels D of the projection.
        beta: The distance that the means of two segments should keep, in each channel of the projection.
        hidden_channels: Widths of the projector's hidden layers. Default: none, a single 1 x 1 convolution.
        ignore_index: The label that means "no segment", or ``None``.
        num_segments: A bound on the labels, which lie in [0, num_segments). By default it is the largest label of each
            call plus one, which synchronises with the device; ``torch.compile`` needs the bound.

    Shape:
        features (b, in_channels, h, w), floating point; segments (b, H, W) integers, or (b, s, H, W) bool. Where the
        sizes differ, the projection is upsampled bilinearly to that of the segments, so thin segments keep their
        pixels. Returns a scalar loss and the projection (b, proj_channels, H, W).

    Raises:
        TypeError, ValueError: If the features or segments do not fit this.

    Source:
        Thesis, sec. 4.5.2, fig. 4.7, eq. 4.2 to 4.7; its weight in the total loss is 0.05 (eq. 4.8).

    Example:
        >>> import torch
        >>> block = SAMPoolingBlock(in_channels=16)
        >>> features = torch.randn(2, 16, 30, 40)  # any layer of any model
        >>> segments = torch.randint(0, 12, (2, 120, 160))  # 0 where there is no segment
        >>> loss, projection = block(features, segments)
        >>> (0.05 * loss).backward()
        >>> projection.shape
        torch.Size([2, 3, 120, 160])
    """

    def __init__(
        self,
        in_channels: int,
        proj_channels: int = 3,
        beta: float = 0.5,
        *,
        hidden_channels: Sequence[int] = (),
        ignore_index: int | None = 0,
        num_segments: int | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.proj_channels = proj_channels
        self.beta = beta
        self.hidden_channels = tuple(hidden_channels)
        self.ignore_index = ignore_index
        self.num_segments = num_segments
        self.projector = LocalProjector(in_channels, hidden_channels, proj_channels)
        self.criterion = SegmentRegularizationLoss(beta, ignore_index=ignore_index, num_segments=num_segments)

    def forward(self, features: Tensor, segments: Tensor) -> SAMPoolingOutput:
        """Return the loss and the projection."""
        check_tensor("segments", segments)
        if segments.ndim not in (3, 4):
            raise ValueError(f"segments must have shape (b, H, W), or (b, s, H, W) bool, got {tuple(segments.shape)}")
        projection = self.project(features, segments.shape[-2:])
        return SAMPoolingOutput(self.criterion(projection, segments), projection)

    def project(self, features: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
        """Return the projection (b, proj_channels, H, W) at ``size``; it needs no segments."""
        projection: Tensor = self.projector(features)
        if projection.shape[-2:] == size:
            return projection
        return upsample(projection, size)

"""SAM regularisation: invariance inside segments, separation between them (thesis, eq. 4.4 to 4.7)."""

from typing import Literal, NamedTuple

from torch import Tensor, nn

from correspondence_losses._checks import check_positive, check_rank, check_tensor
from correspondence_losses.functional.segments import (
    segment_invariance_loss,
    segment_separation_loss,
    segment_statistics,
)

__all__ = ["SegmentRegularizationLoss", "SegmentRegularizationTerms"]


class SegmentRegularizationTerms(NamedTuple):
    """The parts of :class:`SegmentRegularizationLoss`, which is their sum; each a scalar."""

    invariance: Tensor
    separation: Tensor


class SegmentRegularizationLoss(nn.Module):
    r"""Features alike inside each segment of an image, and different between segments.

    .. math::

        \mathcal{L}_\text{SAM Reg} = \mathcal{L}_\text{Inv} + \mathcal{L}_V, \qquad
        \bar{\mathcal{L}}_\text{SAM Reg} = \operatorname{mean}_D \mathcal{L}_\text{SAM Reg}

    for each image, with :math:`\mathcal{L}_\text{Inv}` of
    :func:`~correspondence_losses.functional.segment_invariance_loss` and :math:`\mathcal{L}_V` of
    :func:`~correspondence_losses.functional.segment_separation_loss`; then the mean over the images. An image without
    segments adds 0, and one with a single segment has no separation term.

    Args:
        beta: The distance that the means of two segments should keep, in each channel; above 0.
        ignore_index: The label that means "no segment", or ``None``. Stacks of masks have no such label.
        num_segments: A bound on the labels, which must lie in [0, num_segments). Default: the largest label of each
            call plus one, which waits for the device; give it to avoid that, or under ``torch.compile``.
        channel_reduction: ``"mean"`` over the channels, or ``"sum"``, as eq. 4.7 is printed (its text says mean).

    Shape:
        features (b, d, H, W), floating point; segments (b, H, W) integers, or (b, s, H, W) bool. Returns a scalar.

    Raises:
        TypeError, ValueError: If the features or segments do not fit this.

    Source:
        Thesis, eq. 4.4 to 4.7, with beta 0.5.

    Example:
        >>> import torch
        >>> features = torch.randn(2, 3, 8, 8, requires_grad=True)
        >>> segments = torch.arange(64).reshape(1, 8, 8).expand(2, -1, -1) // 16  # 0, no segment, to 3
        >>> loss = SegmentRegularizationLoss(beta=0.5)
        >>> invariance, separation = loss.terms(features, segments)
        >>> bool(loss(features, segments) == invariance + separation)
        True
    """

    def __init__(
        self,
        beta: float = 0.5,
        *,
        ignore_index: int | None = 0,
        num_segments: int | None = None,
        channel_reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        check_positive("beta", beta)
        if channel_reduction not in ("mean", "sum"):
            raise ValueError(f'channel_reduction must be "mean" or "sum", got {channel_reduction!r}')
        self.beta = beta
        self.ignore_index = ignore_index
        self.num_segments = num_segments
        self.channel_reduction = channel_reduction

    def forward(self, features: Tensor, segments: Tensor) -> Tensor:
        """Return the loss, the sum of :meth:`terms`."""
        invariance, separation = self.terms(features, segments)
        return invariance + separation

    def terms(self, features: Tensor, segments: Tensor) -> SegmentRegularizationTerms:
        """Return the invariance and the separation term, each reduced to a scalar."""
        check_rank("features", features, 4, "(b, d, H, W)")
        check_tensor("segments", segments)
        ignore_index, num_segments = self.ignore_index, self.num_segments
        if segments.ndim == 4:  # a stack of masks says itself how many there are, and has nothing to ignore
            ignore_index, num_segments = None, None
        statistics = segment_statistics(features, segments, num_segments, ignore_index=ignore_index)
        return SegmentRegularizationTerms(
            self._reduce(segment_invariance_loss(statistics)),
            self._reduce(segment_separation_loss(statistics, self.beta)),
        )

    def extra_repr(self) -> str:
        """Show the settings in the module's repr."""
        return f"beta={self.beta}, ignore_index={self.ignore_index}, num_segments={self.num_segments}"

    def _reduce(self, losses: Tensor) -> Tensor:
        return (losses.mean(-1) if self.channel_reduction == "mean" else losses.sum(-1)).mean()

"""Segment regularisation: invariance inside segments and separation between them (thesis, eq. 4.4 to 4.7)."""

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_floating,
    check_not_empty,
    check_positive,
    check_rank,
    check_same_device,
    check_shape,
    check_tensor,
)
from correspondence_losses._reduction import Reduction, check_choice, check_reduction, reduce
from correspondence_losses._triton import use_triton
from correspondence_losses.functional._vmap import fold_batch
from correspondence_losses.functional.segments import SegmentStatistics, segment_statistics

__all__ = [
    "ChannelReduction",
    "SegmentRegularizationTerms",
    "segment_invariance_loss",
    "segment_regularization_loss",
    "segment_separation_loss",
]

ChannelReduction = Literal["mean", "sum"]
"""How the losses of the channels become the loss of an image."""
CHANNEL_REDUCTIONS = get_args(ChannelReduction)
# A kernel compares all pairs of up to so many segments. More are sorted, as its work grows with their square.
_MOST_COMPARED = 1024


class SegmentRegularizationTerms(NamedTuple):
    """The parts of a segment regularisation loss, which is their sum."""

    invariance: Tensor
    separation: Tensor


def segment_regularization_loss(
    features: Tensor,
    segments: Tensor,
    *,
    beta: float = 0.5,
    ignore_index: int | None = 0,
    num_segments: int | None = None,
    channel_reduction: ChannelReduction = "mean",
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Makes features equal inside each segment of an image and different between segments.

    .. math::

        \mathcal{L}_\text{SAM Reg} = \mathcal{L}_\text{Inv} + \mathcal{L}_V, \qquad
        \bar{\mathcal{L}}_\text{SAM Reg} = \operatorname{mean}_D \mathcal{L}_\text{SAM Reg}

    for each image, with :math:`\mathcal{L}_\text{Inv}` of :func:`segment_invariance_loss` and :math:`\mathcal{L}_V` of
    :func:`segment_separation_loss`. It belongs to the family of discriminative losses.

    Args:
        features: (..., d, H, W), floating point.
        segments: A label map (..., H, W) of integers, or a stack of binary masks (..., s, H, W), bool, which may
            overlap.
        beta: The distance that the means of two segments should keep in each channel; above 0.
        ignore_index: The label that means "no segment", or ``None``. Stacks of masks have no such label.
        num_segments: A bound on the labels, which lie in [0, num_segments). By default it is the largest label of the
            call plus one, which synchronises with the device; ``torch.compile`` needs the bound.
        channel_reduction: ``"mean"`` over the channels, or their ``"sum"``, as eq. 4.7 is printed (its text says
            mean).
        reduction: ``"none"`` returns one value for each image, ``(...)``; ``"mean"`` their mean, ``"sum"`` their sum.
            An image without segments has the value 0 and counts.

    Returns:
        The loss in float32, or float64 for float64 features.

    Raises:
        TypeError, ValueError: If the settings, the features or the segments do not fit this.

    Source:
        Thesis, eq. 4.4 to 4.7, with beta 0.5; De Brabandere, Neven and Van Gool, "Semantic Instance Segmentation with
        a Discriminative Loss Function", 2017.

    Example:
        >>> features = torch.tensor([[[[0.0, 0.2, 0.5, 0.5]]]])  # one image, one channel, one row
        >>> segments = torch.tensor([[[1, 1, 2, 2]]])
        >>> loss = segment_regularization_loss(features, segments)  # deviations 0.1; means 0.1 and 0.5
        >>> round(loss.item(), 4)
        0.105
    """
    invariance, separation = segment_regularization_terms(
        features,
        segments,
        beta=beta,
        ignore_index=ignore_index,
        num_segments=num_segments,
        channel_reduction=channel_reduction,
        reduction=reduction,
    )
    return invariance + separation


def segment_regularization_terms(
    features: Tensor,
    segments: Tensor,
    *,
    beta: float,
    ignore_index: int | None,
    num_segments: int | None,
    channel_reduction: ChannelReduction,
    reduction: Reduction,
) -> SegmentRegularizationTerms:
    """Return the parts of :func:`segment_regularization_loss`, whose arguments it takes."""
    check_choice("channel_reduction", channel_reduction, CHANNEL_REDUCTIONS)
    check_reduction(reduction)
    check_tensor("segments", segments)
    if segments.dtype == torch.bool:  # a stack of masks says how many there are, and has nothing to ignore
        ignore_index, num_segments = None, None
    statistics = segment_statistics(features, segments, num_segments, ignore_index=ignore_index)
    of_channels = (segment_invariance_loss(statistics), segment_separation_loss(statistics, beta))
    of_images = [term.mean(-1) if channel_reduction == "mean" else term.sum(-1) for term in of_channels]
    return SegmentRegularizationTerms(*(reduce(term, reduction) for term in of_images))


def segment_invariance_loss(statistics: SegmentStatistics) -> Tensor:
    r"""Mean squared deviation of the pixels from the mean of their segment, for each channel.

    .. math:: \mathcal{L}_\text{Inv} = \frac{\sum_{S_i \in S} v_{S_i}}{\sum_{S_i \in S} n_{S_i}}

    It is the variance ("pull") term of the discriminative loss, without its margin and for each channel.

    Args:
        statistics: From :func:`segment_statistics`.

    Returns:
        (..., d): one value for each image and channel. An image without segments has the value 0 and no gradient.

    Raises:
        ValueError: If the shapes of the statistics do not fit each other.

    Source:
        Thesis, eq. 4.4; De Brabandere, Neven and Van Gool, "Semantic Instance Segmentation with a Discriminative Loss
        Function", 2017.

    Example:
        >>> from correspondence_losses.functional import segment_statistics
        >>> features = torch.tensor([[[1.0, 3.0, 5.0, 9.0]]])
        >>> segment_invariance_loss(segment_statistics(features, torch.tensor([[0, 0, 1, 1]]))).tolist()
        [2.5]
    """
    _check_statistics(statistics)
    pixels = statistics.counts.sum(-1, keepdim=True)
    return statistics.squared_deviations.sum(-2) / pixels.clamp(min=1)


def segment_separation_loss(statistics: SegmentStatistics, beta: float = 0.5) -> Tensor:
    r"""Hinge loss that keeps the means of any two segments at least ``beta`` apart, for each channel.

    .. math:: \mathcal{L}_V = \frac{\sum_{i < j} \max(0, \beta - |\mu_{S_i} - \mu_{S_j}|)}{S (S - 1) / 2}

    over the S segments that have pixels. Sorted means make it O(S log S) for each channel, instead of all S²
    differences. It is the distance ("push") term of the discriminative loss, for each channel.

    Args:
        statistics: From :func:`segment_statistics`.
        beta: The distance to keep, in the units of the features; above 0.

    Returns:
        (..., d): one value for each image and channel. With fewer than two segments it is 0, without gradient.

    Raises:
        ValueError: If the shapes of the statistics do not fit each other, or ``beta`` is not above 0.

    Source:
        Thesis, eq. 4.5, over unordered pairs, as its denominator counts them; De Brabandere, Neven and Van Gool,
        "Semantic Instance Segmentation with a Discriminative Loss Function", 2017.

    Example:
        >>> from correspondence_losses.functional import segment_statistics
        >>> features = torch.tensor([[[0.0, 0.0, 0.2, 3.0]]])
        >>> segment_separation_loss(segment_statistics(features, torch.tensor([[0, 0, 1, 2]]))).tolist()
        [0.1...]
    """
    _check_statistics(statistics)
    check_positive("beta", beta)
    present = statistics.counts > 0
    num_present = present.sum(-1, keepdim=True)
    means = statistics.means - _mean_of_present(statistics.means.detach(), present)
    means = means.mT.masked_fill(~present.unsqueeze(-2), 0)
    in_a_kernel = use_triton(means) and means.dtype == torch.float32 and means.shape[-1] <= _MOST_COMPARED
    close_pairs = _close_pairs_in_a_kernel if in_a_kernel else _close_pairs
    num_close, weights = close_pairs(means.detach(), present, beta)
    # Over the close pairs i < j in order of their means, the sum of beta - (mean_j - mean_i) is linear in the means.
    hinges = beta * num_close + (weights * means).sum(-1)
    return hinges / (num_present * (num_present - 1) / 2).clamp(min=1)


def _mean_of_present(means: Tensor, present: Tensor) -> Tensor:
    """(..., s, d) -> (..., 1, d): a shift that leaves the hinges as they are and avoids cancellation."""
    weights = present / present.sum(-1, keepdim=True).clamp(min=1)
    return (means * weights.unsqueeze(-1)).sum(-2, keepdim=True)


def _close_pairs(means: Tensor, present: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Pairs closer than beta (...), and each mean's number of close means above it less those below it (..., s)."""
    # Absent segments sort to the end, beyond the window of any that is present.
    means = means.masked_fill(~present.unsqueeze(-2), torch.inf)
    ordered = means.sort(-1).values
    window_start = torch.searchsorted(ordered, means - beta, right=True)
    window_end = torch.searchsorted(ordered, means + beta)
    above = window_end - torch.searchsorted(ordered, means, right=True)
    below = torch.searchsorted(ordered, means) - window_start
    inside = present.unsqueeze(-2)
    num_close = ((window_end - window_start - 1) * inside).sum(-1) / 2
    return num_close.to(means.dtype), ((above - below) * inside).to(means.dtype)


def _close_pairs_in_a_kernel(means: Tensor, present: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The same, with fewer launches."""
    d, s = means.shape[-2:]
    num_close, weights = _ClosePairs.apply(means.reshape(-1, d, s), present.reshape(-1, s), beta)
    return num_close.reshape(means.shape[:-1]), weights.reshape(means.shape)


class _ClosePairs(torch.autograd.Function):
    """Of means (b, d, s) and present segments (b, s); a function that is given plain tensors under ``torch.func``."""

    @staticmethod
    def forward(means: Tensor, present: Tensor, beta: float) -> tuple[Tensor, Tensor]:
        from correspondence_losses.functional import _triton_pairs

        return _triton_pairs.close_pairs(means, present, beta)

    @staticmethod
    def setup_context(ctx: Any, _inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], means: Tensor, present: Tensor, beta: float
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        outputs = _ClosePairs.apply(fold_batch(info, means, in_dims[0]), fold_batch(info, present, in_dims[1]), beta)
        return tuple(output.unflatten(0, (info.batch_size, -1)) for output in outputs), (0, 0)


def _check_statistics(statistics: SegmentStatistics) -> None:
    counts, means, squares = statistics
    for name, tensor in zip(SegmentStatistics._fields, statistics, strict=True):
        check_floating(f"statistics.{name}", tensor)
        check_same_device(f"statistics.{name}", tensor, "statistics.counts", counts)
    check_rank("statistics.means", means, 2, "(..., s, d)", exact=False)
    check_not_empty("statistics.means", means)
    check_shape("statistics.counts", counts, means.shape[:-1], "statistics.means without channels")
    check_shape("statistics.squared_deviations", squares, means.shape, "as statistics.means")

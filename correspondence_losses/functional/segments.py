"""Statistics of dense features over image segments (thesis, eq. 4.2 and 4.3)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_count,
    check_floating,
    check_labels,
    check_not_empty,
    check_rank,
    check_segments,
)
from correspondence_losses._precision import matmul
from correspondence_losses._triton import use_triton
from correspondence_losses.functional import _cpu_segments
from correspondence_losses.functional._vmap import fold_batch

__all__ = ["SegmentStatistics", "segment_statistics"]


class SegmentStatistics(NamedTuple):
    """What :func:`segment_statistics` returns. An empty segment has count, mean and squared deviation 0."""

    counts: Tensor
    """(..., s): number of pixels, in the dtype of the means; not differentiable."""
    means: Tensor
    """(..., s, d): eq. 4.2."""
    squared_deviations: Tensor
    """(..., s, d): eq. 4.3."""


def segment_statistics(
    features: Tensor, segments: Tensor, num_segments: int | None = None, *, ignore_index: int | None = None
) -> SegmentStatistics:
    r"""Pixel count, mean and summed squared deviation of the features of each segment.

    For each segment :math:`S_i` with :math:`n_{S_i}` pixels, and each channel on its own,

    .. math::

        \mu_{S_i} = \frac{1}{n_{S_i}} \sum_{p \in S_i} z_p, \qquad
        v_{S_i} = \sum_{p \in S_i} (z_p - \mu_{S_i})^2 .

    Deviations are shifted to avoid cancellation: on an accelerator by the mean of the segment, in float32; on a CPU by
    one pixel of the segment, in float64, so that the features are read only once. The backward pass is in closed form
    and keeps nothing of the features' size except the features themselves.

    Args:
        features: (..., d, H, W), floating point.
        segments: A label map (..., H, W) of integers, or a stack of binary masks (..., s, H, W), bool, which may
            overlap. Leading dimensions are those of ``features``.
        num_segments: Number of segments s; the labels of a map lie in [0, s). By default it is the largest label plus
            one, which synchronises with the device; ``torch.compile`` needs the number. A label outside the range is
            an error on a CPU. On an accelerator, where a check would synchronise, its pixels belong to no segment.
        ignore_index: A label whose pixels belong to no segment: its count is 0. Stacks of masks have no such label.

    Returns:
        Counts (..., s), means (..., s, d) and squared deviations (..., s, d), in float32, or float64 for float64
        features.

    Raises:
        TypeError: If ``features`` is not floating point, or ``segments`` neither integer nor bool.
        ValueError: If shapes or devices do not fit, ``features`` is empty, or a label is out of range.

    Source:
        Thesis, eq. 4.2 and 4.3.

    Example:
        >>> features = torch.tensor([[[1.0, 3.0, 5.0, 9.0]]])  # one channel, one row
        >>> segments = torch.tensor([[0, 0, 1, 1]])
        >>> counts, means, squared_deviations = segment_statistics(features, segments)
        >>> counts.tolist(), means.tolist(), squared_deviations.tolist()
        ([2.0, 2.0], [[2.0], [7.0]], [[2.0], [8.0]])
    """
    check_floating("features", features)
    check_rank("features", features, 3, "(..., d, H, W)", exact=False)
    check_not_empty("features", features)
    check_segments("segments", segments, "features", features)
    leading, channels, image = features.shape[:-3], features.shape[-3], features.shape[-2:]
    if segments.dtype == torch.bool:
        membership, num_segments = _check_masks(segments, num_segments, ignore_index)
    else:
        membership, num_segments = _check_label_map(segments, num_segments, ignore_index)
    counts, means, deviations = _SegmentStatistics.apply(
        features.reshape(-1, channels, image.numel()), membership, num_segments
    )
    return SegmentStatistics(
        counts.reshape(*leading, num_segments),
        means.reshape(*leading, channels, num_segments).mT,
        deviations.reshape(*leading, channels, num_segments).mT,
    )


def _check_masks(masks: Tensor, num_segments: int | None, ignore_index: int | None) -> tuple[Tensor, int]:
    """Masks as (b, s, n), and s."""
    count = masks.shape[-3]
    if num_segments is not None and num_segments != count:
        raise ValueError(f"num_segments must be the number of masks, {count}, or None, got {num_segments}")
    if ignore_index is not None:
        raise ValueError("ignore_index must be None with a stack of masks: leave out the mask to be ignored")
    return masks.reshape(masks.shape[:-3].numel(), count, masks.shape[-2:].numel()), count  # there may be none


def _check_label_map(labels: Tensor, num_segments: int | None, ignore_index: int | None) -> tuple[Tensor, int]:
    """Labels as (b, n) in [0, s], where s stands for no segment, and s."""
    labels = labels.long()  # PyTorch has no reductions of uint16, in which masks are kept, nor of its like
    if num_segments is None:
        if torch.compiler.is_compiling():
            raise ValueError("num_segments must be given under torch.compile")
        num_segments = max(int(labels.max()) + 1, 1)
    check_count("num_segments", num_segments)
    in_range = check_labels("segments", labels, num_segments)
    labels = labels.reshape(-1, labels.shape[-2] * labels.shape[-1])
    if not in_range:
        labels = labels.masked_fill((labels < 0) | (labels >= num_segments), num_segments)
    if ignore_index is not None:
        labels = labels.masked_fill(labels == ignore_index, num_segments)
    return labels, num_segments


class _SegmentStatistics(torch.autograd.Function):
    """features (b, d, n) and labels (b, n) or masks (b, s, n) -> counts (b, s), means, squared deviations (b, d, s)."""

    @staticmethod
    def forward(features: Tensor, membership: Tensor, num_segments: int) -> tuple[Tensor, Tensor, Tensor]:
        if membership.dtype == torch.bool:
            return _mask_statistics(features, membership)
        return _label_statistics(features, membership, num_segments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        features, membership, _ = inputs
        counts, means, _ = output
        ctx.mark_non_differentiable(counts)
        ctx.save_for_backward(features, membership, counts, means)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        # The residuals of a segment sum to 0, so the deviation's gradient does not flow through the mean:
        # dz_p = g_mean / n + 2 g_square (z_p - mean), an offset and a slope that are constant on a segment.
        features, membership, counts, means = ctx.saved_tensors
        _, grad_means, grad_squares = grads
        slopes = 2 * grad_squares
        offsets = grad_means / counts.clamp(min=1).unsqueeze(1) - slopes * means

        wants_second_derivative = torch.is_grad_enabled()
        if use_triton(features) and membership.dtype != torch.bool and not wants_second_derivative:
            from correspondence_losses.functional import _triton_segments

            return _triton_segments.gradient(features, membership, offsets, slopes), None, None
        if wants_second_derivative or _in_one_piece(features):
            values = features.to(means.dtype)
            gradient = torch.addcmul(_of_segment(offsets, membership), _of_segment(slopes, membership), values)
            return gradient.to(features.dtype), None, None
        gradient_of = _mask_gradient if membership.dtype == torch.bool else _cpu_segments.gradient
        return gradient_of(features, membership, offsets, slopes), None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], features: Tensor, membership: Tensor, num_segments: int
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        outputs = _SegmentStatistics.apply(
            fold_batch(info, features, in_dims[0]), fold_batch(info, membership, in_dims[1]), num_segments
        )
        return tuple(output.unflatten(0, (info.batch_size, -1)) for output in outputs), (0, 0, 0)


def _label_statistics(features: Tensor, labels: Tensor, num_segments: int) -> tuple[Tensor, Tensor, Tensor]:
    dtype = torch.promote_types(features.dtype, torch.float32)
    if use_triton(features):
        from correspondence_losses.functional import _triton_segments

        counts, means, squares = _triton_segments.label_statistics(features, labels, num_segments)
    elif _in_one_piece(features):
        counts, means, squares = _dense_statistics(features.to(dtype), labels, num_segments)
    else:
        counts, means, squares = _cpu_segments.label_statistics(features, labels, num_segments)
    return _converted(counts.squeeze(1), dtype), _converted(means, dtype), _converted(squares, dtype)


def _converted(table: Tensor, dtype: torch.dtype) -> Tensor:
    # PyTorch 2.11 compiles a function that ends with a conversion to the dtype that is there to a gradient of 0.
    return table if table.dtype == dtype else table.to(dtype)


def _dense_statistics(features: Tensor, labels: Tensor, num_segments: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (b, 1, s), means and squared deviations (b, d, s), by products with the one-hot labels.

    Scattered additions would be atomic on an accelerator, and so in no fixed order, and compiled they are so on a CPU
    too.
    """
    one_hot = labels.unsqueeze(-1) == torch.arange(num_segments, device=labels.device)
    members = one_hot.to(features.dtype)
    counts = members.sum(1).unsqueeze(1)
    means = matmul(features, members) / counts.clamp(min=1)
    squares = matmul((features - _of_segment(means, labels)).square(), members)
    return counts, means, squares


def _mask_statistics(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Masks may overlap, so a pixel has no one residual: sums and sums of squares, centred, in float64, instead.
    dtype = torch.promote_types(features.dtype, torch.float32)
    accumulator = dtype if features.device.type == "mps" else torch.float64
    (b, d, _), s = features.shape, masks.shape[1]
    centre = features.mean(-1, keepdim=True, dtype=accumulator)
    sums = features.new_zeros(b, d, s, dtype=accumulator)
    squares = torch.zeros_like(sums)
    for images, pixels in [(slice(b), slice(None))] if _in_one_piece(features) else _cpu_segments.blocks(features):
        members = masks[images, :, pixels].to(accumulator).mT
        values = features[images, :, pixels].to(accumulator) - centre[images]
        sums[images] += matmul(values, members)
        squares[images] += matmul(values.square(), members)
    counts = masks.sum(-1, dtype=accumulator)
    offsets = sums / counts.clamp(min=1).unsqueeze(1)
    means = (centre + offsets) * (counts > 0).unsqueeze(1)
    squares = (squares - sums * offsets).clamp(min=0)
    return _converted(counts, dtype), _converted(means, dtype), _converted(squares, dtype)


def _mask_gradient(features: Tensor, masks: Tensor, offsets: Tensor, slopes: Tensor) -> Tensor:
    """Sums of offset and of slope times feature, both (b, d, s), over the masks that each pixel is in."""
    gradient = torch.empty_like(features)
    for images, pixels in _cpu_segments.blocks(features):
        members = masks[images, :, pixels]
        offset, slope = _of_segment(offsets[images], members), _of_segment(slopes[images], members)
        torch.addcmul(offset, slope, features[images, :, pixels], out=gradient[images, :, pixels])
    return gradient


def _in_one_piece(features: Tensor) -> bool:
    return features.device.type != "cpu" or torch.compiler.is_compiling()


def _of_segment(table: Tensor, membership: Tensor) -> Tensor:
    """Each pixel's sum of the table's (b, d, s) entries over the segments that it belongs to: (b, d, n)."""
    if membership.dtype == torch.bool:
        return matmul(table, membership.to(table.dtype))
    return _gather(torch.nn.functional.pad(table, (0, 1)), membership)


def _gather(table: Tensor, labels: Tensor) -> Tensor:
    """Table (b, d, s + 1) at labels (b, n): (b, d, n)."""
    return table.gather(-1, labels.unsqueeze(1).expand(-1, table.shape[1], -1))

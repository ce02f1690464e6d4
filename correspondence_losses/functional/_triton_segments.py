"""Segment statistics of a label map and their gradient as Triton kernels: the features are read as they lie."""
# Triton has no types, and its constants are written as such.
# ruff: noqa: N803
# mypy: disable-error-code="import-untyped,import-not-found,untyped-decorator,no-untyped-def,misc"

import torch
import triton
import triton.language as tl
from torch import Tensor

# Sums of a range of pixels are written out and then added in a fixed order, where atomic additions would have none.
_PIXELS = 4096
_BLOCK_PIXELS = 64
_BLOCK_CHANNELS = 32
_MOST_SEGMENTS = 128


def label_statistics(features: Tensor, labels: Tensor, num_segments: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (b, 1, s), means and squared deviations (b, d, s), float32, of features (b, d, n) and labels (b, n).

    Labels lie in [0, s], where s stands for no segment.
    """
    counts, sums = _sums(features, labels, None, num_segments)
    means = sums / counts.clamp(min=1)
    return counts, means, _sums(features, labels, means, num_segments)[1]


def gradient(features: Tensor, labels: Tensor, offsets: Tensor, slopes: Tensor) -> Tensor:
    """Offset + slope * feature, with the tables (b, d, s) at each pixel's label: 0 where it is s."""
    b, d, n = features.shape
    result = torch.empty_like(features)
    grid = triton.cdiv(n, _BLOCK_PIXELS), triton.cdiv(d, _BLOCK_CHANNELS), b
    _gradient_kernel[grid](
        features,
        labels.contiguous(),
        offsets.contiguous(),
        slopes.contiguous(),
        result,
        d,
        n,
        offsets.shape[-1],
        *features.stride(),
        *result.stride(),
        BLOCK_CHANNELS=_BLOCK_CHANNELS,
        BLOCK_PIXELS=_BLOCK_PIXELS,
    )
    return result


def _sums(features: Tensor, labels: Tensor, means: Tensor | None, num_segments: int) -> tuple[Tensor, Tensor]:
    """Counts (b, 1, s), and sums (b, d, s) of the features, or of their squared distances from the means (b, d, s)."""
    b, d, n = features.shape
    ranges = triton.cdiv(n, _PIXELS)
    block_segments = min(max(triton.next_power_of_2(num_segments), 16), _MOST_SEGMENTS)
    counts = features.new_empty(b, ranges, 1, num_segments, dtype=torch.float32)
    sums = features.new_empty(b, ranges, d, num_segments, dtype=torch.float32)
    grid = b * ranges, triton.cdiv(d, _BLOCK_CHANNELS), triton.cdiv(num_segments, block_segments)
    _sums_kernel[grid](
        features,
        labels.contiguous(),
        sums if means is None else means.contiguous(),
        counts,
        sums,
        d,
        n,
        num_segments,
        ranges,
        *features.stride(),
        DEVIATIONS=means is not None,
        PIXELS=_PIXELS,
        BLOCK_CHANNELS=_BLOCK_CHANNELS,
        BLOCK_PIXELS=_BLOCK_PIXELS,
        BLOCK_SEGMENTS=block_segments,
    )
    return counts.sum(1), sums.sum(1)


@triton.jit
def _sums_kernel(
    features,
    labels,
    means,
    counts,
    sums,
    num_channels,
    num_pixels,
    num_segments,
    ranges,
    image_stride,
    channel_stride,
    pixel_stride,
    DEVIATIONS: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_SEGMENTS: tl.constexpr,
):
    part = tl.program_id(0).to(tl.int64)
    image, first = part // ranges, part % ranges * PIXELS
    channels = tl.program_id(1).to(tl.int64) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    segments = tl.program_id(2) * BLOCK_SEGMENTS + tl.arange(0, BLOCK_SEGMENTS)
    is_channel, is_segment = channels < num_channels, segments < num_segments
    total = tl.zeros((BLOCK_CHANNELS, BLOCK_SEGMENTS), tl.float32)
    count = tl.zeros((BLOCK_SEGMENTS,), tl.float32)
    for start in range(first, tl.minimum(first + PIXELS, num_pixels), BLOCK_PIXELS):
        pixels = start + tl.arange(0, BLOCK_PIXELS)
        is_pixel = pixels < num_pixels
        label = tl.load(labels + image * num_pixels + pixels, mask=is_pixel, other=num_segments)
        inside = is_channel[:, None] & is_pixel[None, :]
        places = image * image_stride + channels[:, None] * channel_stride + pixels[None, :] * pixel_stride
        values = tl.load(features + places, mask=inside, other=0).to(tl.float32)
        if DEVIATIONS:
            rows = (image * num_channels + channels[:, None]) * num_segments
            values -= tl.load(means + rows + label[None, :], mask=inside & (label < num_segments)[None, :], other=0)
            values *= values
        # No segment has the number that stands for none: it is not below num_segments, and is never written.
        members = (label[:, None] == segments[None, :]).to(tl.float32)
        total += tl.dot(values, members, input_precision="ieee")
        count += tl.sum(members, axis=0)
    rows = (part * num_channels + channels[:, None]) * num_segments
    tl.store(sums + rows + segments[None, :], total, mask=is_channel[:, None] & is_segment[None, :])
    if tl.program_id(1) == 0:
        tl.store(counts + part * num_segments + segments, count, mask=is_segment)


@triton.jit
def _gradient_kernel(
    features,
    labels,
    offsets,
    slopes,
    result,
    num_channels,
    num_pixels,
    num_segments,
    image_stride,
    channel_stride,
    pixel_stride,
    result_image_stride,
    result_channel_stride,
    result_pixel_stride,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
):
    pixels = tl.program_id(0).to(tl.int64) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    channels = tl.program_id(1).to(tl.int64) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    image = tl.program_id(2).to(tl.int64)
    is_pixel = pixels < num_pixels
    inside = (channels < num_channels)[:, None] & is_pixel[None, :]
    label = tl.load(labels + image * num_pixels + pixels, mask=is_pixel, other=num_segments)
    entries = (image * num_channels + channels[:, None]) * num_segments + label[None, :]
    has_segment = inside & (label < num_segments)[None, :]
    places = image * image_stride + channels[:, None] * channel_stride + pixels[None, :] * pixel_stride
    values = tl.load(features + places, mask=inside, other=0).to(tl.float32)
    offset = tl.load(offsets + entries, mask=has_segment, other=0)
    slope = tl.load(slopes + entries, mask=has_segment, other=0)
    places = (
        image * result_image_stride + channels[:, None] * result_channel_stride + pixels[None, :] * result_pixel_stride
    )
    tl.store(result + places, offset + slope * values, mask=inside)

"""Segment statistics of a label map and their gradient as Triton kernels: the features are read as they lie."""
# Triton has no types, and its constants are written as such.
# ruff: noqa: N803
# mypy: disable-error-code="import-untyped,import-not-found,untyped-decorator,no-untyped-def,no-untyped-call,misc"

import torch
import triton
import triton.language as tl
from torch import Tensor

# A segment is read in chunks of so many pixels, whose sums are added in a fixed order: atomic additions have none.
_CHUNK = 1024
# Of so many channels at a time. Where channels are innermost, a pixel's are read together.
_PIXELS_INNERMOST = {"BLOCK_CHANNELS": 2, "num_warps": 4}
_CHANNELS_INNERMOST = {"BLOCK_CHANNELS": 16, "num_warps": 8}
_BLOCK_PIXELS = 128
_MOST_BLOCK_CHANNELS = 8
_LABEL_DTYPES = (torch.uint8, torch.int16, torch.int32)  # the smaller the labels, the faster they are sorted


def label_statistics(features: Tensor, labels: Tensor, num_segments: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (b, 1, s), means and squared deviations (b, d, s), float32, of features (b, d, n) and labels (b, n).

    Labels lie in [0, s], where s stands for no segment. Pixels are sorted by their segment. The difference of each
    from the first one of its segment, and its square, are added in one pass over the features, as on a CPU: in float32
    for a chunk, in float64 over the chunks.
    """
    (b, d, n), device = features.shape, features.device
    small = next(dtype for dtype in _LABEL_DTYPES if num_segments <= torch.iinfo(dtype).max)
    keys, order = labels.to(small).sort(dim=1, stable=True)
    order = order.to(torch.int32)
    segments = torch.arange(num_segments + 1, dtype=small, device=device).expand(b, -1).contiguous()
    bounds = torch.searchsorted(keys, segments)  # where in the order each segment begins

    num_chunks = n // _CHUNK + num_segments
    layout = _PIXELS_INNERMOST if features.stride(2) <= features.stride(1) else _CHANNELS_INNERMOST
    of_bounds = {"SEGMENTS": triton.next_power_of_2(num_segments), "CHUNK": _CHUNK}
    sums, squares = features.new_empty(2, b, num_chunks, d, dtype=torch.float32)
    counts = features.new_empty(b, 1, num_segments, dtype=torch.float32)
    means, deviations = features.new_empty(2, b, d, num_segments, dtype=torch.float32)
    chunks = order.new_empty(b, num_chunks, 3)
    block_channels = min(triton.next_power_of_2(d), _MOST_BLOCK_CHANNELS)
    with torch.cuda.device_of(features):
        _chunks_kernel[num_chunks, b](order, bounds, chunks, n, num_segments, num_chunks, **of_bounds)
        _sums_kernel[num_chunks, triton.cdiv(d, layout["BLOCK_CHANNELS"]), b](
            features, order, chunks, sums, squares, d, n, num_chunks, *features.stride(),
            CHUNK=_CHUNK, **layout,
        )  # fmt: skip
        _statistics_kernel[num_segments, triton.cdiv(d, block_channels), b](
            features, order, bounds, sums, squares, counts, means, deviations,
            d, n, num_segments, num_chunks, *features.stride(),
            BLOCK_CHANNELS=block_channels, **of_bounds,
        )  # fmt: skip
    return counts, means, deviations


def gradient(features: Tensor, labels: Tensor, offsets: Tensor, slopes: Tensor) -> Tensor:
    """Offset + slope * feature, with the tables (b, d, s) at each pixel's label: 0 where it is s."""
    b, d, n = features.shape
    result = torch.empty_like(features)
    block_channels = min(triton.next_power_of_2(d), _MOST_BLOCK_CHANNELS)
    grid = triton.cdiv(n, _BLOCK_PIXELS), triton.cdiv(d, block_channels), b
    with torch.cuda.device_of(features):
        _gradient_kernel[grid](
            features, labels.contiguous(), offsets.contiguous(), slopes.contiguous(), result,
            d, n, offsets.shape[-1], *features.stride(), *result.stride(),
            BLOCK_CHANNELS=block_channels, BLOCK_PIXELS=_BLOCK_PIXELS,
        )  # fmt: skip
    return result


@triton.jit
def _chunks_kernel(
    order, bounds, chunks, num_pixels, num_segments, num_chunks, SEGMENTS: tl.constexpr, CHUNK: tl.constexpr
):
    """Where in the order a chunk begins and its segment ends, and the first pixel of the segment."""
    chunk = tl.program_id(0)
    image = tl.program_id(1).to(tl.int64)
    of_image = bounds + image * (num_segments + 1)
    counts = _chunks_of_segments(of_image, num_segments, SEGMENTS, CHUNK)
    segment = tl.sum((tl.cumsum(counts) <= chunk).to(tl.int32))
    is_chunk = segment < num_segments  # the others are empty
    before = tl.sum(tl.where(tl.arange(0, SEGMENTS) < segment, counts, 0))
    start = tl.load(of_image + segment, mask=is_chunk, other=0)
    stop = tl.load(of_image + segment + 1, mask=is_chunk, other=0)
    reference = tl.load(order + image * num_pixels + start, mask=is_chunk, other=0)
    entry = chunks + (image * num_chunks + chunk) * 3
    tl.store(entry, (start + (chunk - before) * CHUNK).to(tl.int32))
    tl.store(entry + 1, stop.to(tl.int32))
    tl.store(entry + 2, reference)


@triton.jit
def _sums_kernel(
    features,
    order,
    chunks,
    sums,
    squares,
    num_channels,
    num_pixels,
    num_chunks,
    image_stride,
    channel_stride,
    pixel_stride,
    CHUNK: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """The sums of a chunk of a segment's pixels."""
    chunk = tl.program_id(0)
    channels = tl.program_id(1).to(tl.int64) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    image = tl.program_id(2).to(tl.int64)
    is_channel = channels < num_channels
    entry = chunks + (image * num_chunks + chunk) * 3
    first, stop, pixel = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2).to(tl.int64)
    if first < stop:
        of_channels = features + image * image_stride + channels[:, None] * channel_stride
        reference = tl.load(of_channels + pixel * pixel_stride, mask=is_channel[:, None], other=0).to(tl.float32)
        places = first + tl.arange(0, CHUNK)
        is_pixel = places < stop
        pixels = tl.load(order + image * num_pixels + places, mask=is_pixel, other=0).to(tl.int64)
        inside = is_channel[:, None] & is_pixel[None, :]
        values = tl.load(of_channels + pixels[None, :] * pixel_stride, mask=inside, other=0).to(tl.float32)
        difference = tl.where(inside, values - reference, 0)
        places = (image * num_chunks + chunk) * num_channels + channels
        tl.store(sums + places, tl.sum(difference, axis=1), mask=is_channel)
        tl.store(squares + places, tl.sum(difference * difference, axis=1), mask=is_channel)


@triton.jit
def _chunks_of_segments(bounds, num_segments, SEGMENTS: tl.constexpr, CHUNK: tl.constexpr):
    """How many chunks each segment has."""
    segments = tl.arange(0, SEGMENTS)
    is_segment = segments < num_segments
    starts = tl.load(bounds + segments, mask=is_segment, other=0)
    stops = tl.load(bounds + segments + 1, mask=is_segment, other=0)
    return tl.cdiv(stops - starts, CHUNK)


@triton.jit
def _statistics_kernel(
    features,
    order,
    bounds,
    sums,
    squares,
    counts,
    means,
    deviations,
    num_channels,
    num_pixels,
    num_segments,
    num_chunks,
    image_stride,
    channel_stride,
    pixel_stride,
    SEGMENTS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """The statistics of a segment, of the sums of its chunks."""
    segment = tl.program_id(0)
    channels = tl.program_id(1).to(tl.int64) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    image = tl.program_id(2).to(tl.int64)
    is_channel = channels < num_channels
    of_image = bounds + image * (num_segments + 1)
    start, stop = tl.load(of_image + segment), tl.load(of_image + segment + 1)
    chunks = _chunks_of_segments(of_image, num_segments, SEGMENTS, CHUNK)
    before = tl.sum(tl.where(tl.arange(0, SEGMENTS) < segment, chunks, 0))
    total = tl.zeros((BLOCK_CHANNELS,), tl.float64)
    total_squares = tl.zeros((BLOCK_CHANNELS,), tl.float64)
    for chunk in range(before, before + tl.cdiv(stop - start, CHUNK)):
        places = (image * num_chunks + chunk) * num_channels + channels
        total += tl.load(sums + places, mask=is_channel, other=0).to(tl.float64)
        total_squares += tl.load(squares + places, mask=is_channel, other=0).to(tl.float64)
    count = (stop - start).to(tl.float64)
    difference = total / tl.maximum(count, 1)
    has_pixels = is_channel & (stop > start)
    reference = tl.load(order + image * num_pixels + start, mask=stop > start, other=0).to(tl.int64)
    of_channels = features + image * image_stride + channels * channel_stride
    reference = tl.load(of_channels + reference * pixel_stride, mask=has_pixels, other=0).to(tl.float64)
    deviation = total_squares - total * difference
    deviation = tl.where(deviation < 0, 0, deviation)  # and not the maximum, which would hide a NaN
    places = (image * num_channels + channels) * num_segments + segment
    tl.store(means + places, (reference + difference).to(tl.float32), mask=is_channel)
    tl.store(deviations + places, deviation.to(tl.float32), mask=is_channel)
    if tl.program_id(1) == 0:
        tl.store(counts + image * num_segments + segment, count.to(tl.float32))


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

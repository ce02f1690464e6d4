"""Segment statistics on a CPU: scattered additions in one pass, in blocks that stay in the cache."""

import torch
from torch import Tensor

# Pixels are visited in blocks, so that what is computed of a block is used while it is still in the cache and no
# intermediate of the features' size is ever held.
_BLOCK_ELEMENTS = 2**19
# From so many channels on, the vectors of the pixels are added as rows; of fewer, each channel by itself.
_ROW_CHANNELS = 16
# Columns a power of 2 apart would evict each other from the cache, so that many elements are left between them.
_PADDING = 16
# Neighbouring pixels, mostly of one segment, are added to so many sums in turn, a power of 2: none waits for the last.
_INTERLEAVED_SUMS = 8


def label_statistics(features: Tensor, labels: Tensor, num_segments: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (b, 1, s), means and squared deviations (b, d, s), of features (b, d, n) and labels (b, n).

    Labels lie in [0, s], where s stands for no segment. The difference of each pixel from one of its segment, and
    its square, are added in float64, in one pass over the features. Of a constant segment both are exactly 0, and of
    any other that one pixel is at most sqrt(n) standard deviations from the mean, so that little cancels.
    """
    (b, d, _), s = features.shape, num_segments + 1
    segments = _number_segments(labels, s)
    counts = torch.bincount(segments.flatten(), minlength=b * s)
    references = _some_pixel(features, segments, b * s)
    add = _add_rows if d >= _ROW_CHANNELS else _add_columns
    sums, squares = add(features, segments, references)
    offsets = sums / counts.clamp(min=1).unsqueeze(1)
    squares = (squares - sums * offsets).clamp(min=0)
    means = (references + offsets).masked_fill(counts.unsqueeze(1) == 0, 0)

    counts, means, squares = (table.view(b, s, -1)[:, :num_segments].mT for table in (counts, means, squares))
    return counts, means, squares


def _some_pixel(features: Tensor, segments: Tensor, count: int) -> Tensor:
    """(count, d): the vector of one pixel of each segment, in float64; of an empty one, of any pixel."""
    b, _, n = features.shape
    index = segments.new_zeros(count).scatter_(0, segments.flatten(), torch.arange(b * n, device=segments.device))
    return features[index // n, :, index % n].double()


def _add_rows(features: Tensor, segments: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Sums (s, d) of differences from the references and of their squares, for segments (b, n) of one numbering."""
    sums, squares = torch.zeros_like(references), torch.zeros_like(references)
    parts = blocks(features)
    d, size = features.shape[1], max(segments[part].numel() for part in parts)
    columns = features.new_empty(d, size + _PADDING)
    rows, own = references.new_empty(size, d), references.new_empty(size, d)
    for images, pixels in parts:
        targets = segments[images, pixels]
        values = features[images, :, pixels].transpose(0, 1)
        targets, (b, n) = targets.flatten(), targets.shape
        if features.stride(1) == 1:
            rows[: b * n].view(b, n, d).copy_(values.movedim(0, -1))
        else:
            columns[:, : b * n].view(d, b, n).copy_(values)
            rows[: b * n] = columns[:, : b * n].mT
        differences = rows[: b * n].sub_(torch.index_select(references, 0, targets, out=own[: b * n]))
        sums.index_add_(0, targets, differences)
        squares.index_add_(0, targets, differences.square_())
    return sums, squares


def _add_columns(features: Tensor, segments: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """The same, channel by channel."""
    count, d = references.shape
    references = references.mT.contiguous()
    sums, squares = references.new_zeros(2, d, count * _INTERLEAVED_SUMS)
    parts = blocks(features)
    size = max(segments[part].numel() for part in parts)
    columns, own = references.new_empty(2, d, size)
    lanes = torch.arange(size, device=segments.device).bitwise_and_(_INTERLEAVED_SUMS - 1)
    for images, pixels in parts:
        targets = segments[images, pixels]
        (b, n), targets = targets.shape, targets.flatten()
        columns[:, : b * n].view(d, b, n).copy_(features[images, :, pixels].transpose(0, 1))
        torch.gather(references, 1, targets.expand(d, -1), out=own[:, : b * n])
        differences = columns[:, : b * n].sub_(own[:, : b * n])
        places = torch.add(lanes[: b * n], targets, alpha=_INTERLEAVED_SUMS).expand(d, -1)
        sums.scatter_add_(1, places, differences)
        squares.scatter_add_(1, places, differences.square_())
    sums, squares = (table.view(d, count, -1).sum(-1).mT for table in (sums, squares))
    return sums, squares


def gradient(features: Tensor, labels: Tensor, offsets: Tensor, slopes: Tensor) -> Tensor:
    """Offset plus slope times feature, both (b, d, s), of each pixel's segment; 0 outside; in the features' layout."""
    (b, d, _), s = features.shape, offsets.shape[-1] + 1
    segments = _number_segments(labels, s)
    as_rows = features.stride(1) == 1

    def table(values: Tensor) -> Tensor:
        columns = torch.nn.functional.pad(values, (0, 1)).transpose(0, 1).reshape(d, b * s)
        return columns.mT.contiguous() if as_rows else columns

    def look_up(table: Tensor, targets: Tensor) -> Tensor:
        if as_rows:
            return table.index_select(0, targets.flatten()).view(*targets.shape, d).mT
        return table.gather(1, targets.flatten().expand(d, -1)).view(d, *targets.shape).transpose(0, 1)

    # Equation 4.4 weighs all pixels alike: then a channel has one slope, and looking it up would be wasted.
    alike = bool((slopes == slopes[..., :1]).all())
    offset_table, slope_table = table(offsets), None if alike else table(slopes)
    some_outside = alike and bool(labels.amax() == s - 1)
    result = torch.empty_like(features)
    for images, pixels in blocks(features):
        targets, block = segments[images, pixels], result[images, :, pixels]
        slope = slopes[images, :, :1] if slope_table is None else look_up(slope_table, targets)
        torch.addcmul(look_up(offset_table, targets), slope, features[images, :, pixels], out=block)
        if some_outside and (outside := labels[images, pixels] == s - 1).any():
            block.masked_fill_(outside.unsqueeze(1), 0)
    return result


def _number_segments(labels: Tensor, num_labels: int) -> Tensor:
    """Give the segments of all images one numbering: labels (b, n), so many in each image."""
    if len(labels) == 1:
        return labels
    return labels + num_labels * torch.arange(len(labels), device=labels.device)[:, None]


def blocks(features: Tensor) -> list[tuple[slice, slice]]:
    """Ranges of images and of pixels that cover all: of whole images, or of pixels of one."""
    b, d, n = features.shape
    size = max(_BLOCK_ELEMENTS // d, 1)
    images = max(size // n, 1)
    return [
        (slice(image, image + images), slice(pixel, pixel + size))
        for image in range(0, b, images)
        for pixel in range(0, n, size)
    ]

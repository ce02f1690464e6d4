"""COCO's run-length encoding of masks, uncompressed and compressed."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def decode_rle(name: str, rle: Mapping[str, Any]) -> Tensor:
    """Return the bool mask (H, W) of a run-length encoding, on the CPU.

    ``rle["size"]`` is (H, W). ``rle["counts"]`` holds the lengths of the runs of 0 and 1 in turn, down the columns:
    as numbers, or compressed into a string.

    Raises:
        ValueError: The encoding has no size or no counts, or the runs do not fill the mask.
    """
    if "size" not in rle or "counts" not in rle:
        raise ValueError(f"{name} must have 'size' and 'counts' as COCO's RLE, got keys {sorted(rle)}")
    height, width = (int(length) for length in rle["size"])
    counts = rle["counts"]
    runs = torch.tensor(_decompress(counts) if isinstance(counts, str | bytes) else list(counts), dtype=torch.int64)
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(
            f"{name} must have counts that fill its size, {height} x {width} = {height * width} pixels, "
            f"got {int(runs.sum())}"
        )
    odd = torch.arange(len(runs)) % 2 == 1
    return odd.repeat_interleave(runs).view(width, height).mT


def _decompress(counts: str | bytes) -> Sequence[int]:
    """Return the lengths of the runs.

    Each number is written in groups of 5 bits, lowest first, one character of code 48 and up for each group: bit 5 says
    that another group follows, bit 4 of the last group is the sign. From the fourth run on, the number is the
    difference to the run before the last.
    """
    characters = counts.encode() if isinstance(counts, str) else counts
    runs: list[int] = []
    value = shift = 0
    for character in characters:
        group = character - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs

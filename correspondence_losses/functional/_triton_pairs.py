"""The pairs of segments with close means as one Triton kernel, in place of a sort and four searches."""
# Triton has no types, and its constants are written as such.
# ruff: noqa: N803
# mypy: disable-error-code="import-untyped,import-not-found,untyped-decorator,no-untyped-def,no-untyped-call,misc"

import torch
import triton
import triton.language as tl
from torch import Tensor


def close_pairs(means: Tensor, present: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Pairs closer than beta (b, d), and each mean's number of close means above it less those below it (b, d, s).

    Means are float32 (b, d, s), and ``present`` says which segments of an image have pixels (b, s).
    """
    b, d, s = means.shape
    num_close = means.new_empty(b, d)
    weights = torch.empty_like(means, memory_format=torch.contiguous_format)
    with torch.cuda.device_of(means):
        _close_pairs_kernel[b * d,](
            means.contiguous(), present.contiguous(), num_close, weights, beta, d, s,
            SEGMENTS=triton.next_power_of_2(s),
        )  # fmt: skip
    return num_close, weights


@triton.jit
def _close_pairs_kernel(means, present, num_close, weights, beta, num_channels, num_segments, SEGMENTS: tl.constexpr):
    """All pairs of segments in one channel of an image."""
    row = tl.program_id(0).to(tl.int64)
    image = row // num_channels
    segments = tl.arange(0, SEGMENTS)
    is_segment = segments < num_segments
    mean = tl.load(means + row * num_segments + segments, mask=is_segment, other=0)
    is_present = tl.load(present + image * num_segments + segments, mask=is_segment, other=0) != 0
    above = tl.zeros((SEGMENTS,), tl.int32)
    below = tl.zeros((SEGMENTS,), tl.int32)
    same = tl.zeros((SEGMENTS,), tl.int32)
    for other in range(num_segments):
        if tl.load(present + image * num_segments + other) != 0:
            other_mean = tl.load(means + row * num_segments + other)
            is_close = is_present & (other_mean > mean - beta) & (other_mean < mean + beta)
            above += (is_close & (other_mean > mean)).to(tl.int32)
            below += (is_close & (other_mean < mean)).to(tl.int32)
            same += (is_close & (other_mean == mean) & (segments != other)).to(tl.int32)
    tl.store(num_close + row, tl.sum(above + below + same).to(tl.float32) / 2)
    tl.store(weights + row * num_segments + segments, (above - below).to(tl.float32), mask=is_segment)

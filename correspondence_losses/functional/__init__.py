"""Pure functions of tensors: the equations, and the fast ways to compute them."""

from correspondence_losses.functional.segments import (
    SegmentStatistics,
    segment_invariance_loss,
    segment_separation_loss,
    segment_statistics,
)

__all__ = [
    "SegmentStatistics",
    "segment_invariance_loss",
    "segment_separation_loss",
    "segment_statistics",
]

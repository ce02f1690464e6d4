"""Every criterion on every producer's matches and on segments: what the table in the documentation is made of."""

from collections.abc import Callable

import torch
from torch import Tensor

from correspondence_losses import (
    FeatureDistanceLoss,
    GramLoss,
    KernelAlignmentLoss,
    LeJEPALoss,
    MatchedVICRegLoss,
    Matches,
    PatchNCELoss,
    PosedFrames,
    SegmentContrastiveLoss,
    ViewGrid,
    feature_matches,
    invariance_loss,
    location_matches,
    mutual_matches,
    on_matches,
    on_segments,
    pose_matches,
    segment_matches,
    sigreg_loss,
    vicreg_terms,
)

IMAGES, CHANNELS, SIDE, SLOTS = 3, 6, 8, 12


def features(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(IMAGES, CHANNELS, SIDE, SIDE, generator=generator, dtype=torch.float64)


def segments() -> Tensor:
    return (torch.arange(IMAGES * SIDE * SIDE) // 9 % 4).view(IMAGES, SIDE, SIDE)


def _grid() -> ViewGrid:
    boxes = torch.tensor([[0.0, 0, 64, 64]], dtype=torch.float64).expand(IMAGES, -1)
    return ViewGrid.from_boxes(boxes, (SIDE, SIDE))


def _frames() -> PosedFrames:
    size = (IMAGES, 64, 64)
    return PosedFrames(
        labels=torch.ones(size, dtype=torch.int64),
        object_ids=torch.ones(IMAGES, 1, dtype=torch.int64),
        poses=torch.eye(3, 4, dtype=torch.float64).expand(IMAGES, 1, -1, -1),
        intrinsics=torch.eye(3, dtype=torch.float64).expand(IMAGES, -1, -1),
        depth=torch.ones(size, dtype=torch.float64),
    )


PRODUCERS: dict[str, Callable[[Tensor, Tensor], Matches]] = {
    "location_matches": lambda a, b: location_matches(_grid(), _grid(), SLOTS),
    "feature_matches": lambda a, b: feature_matches(a, b, SLOTS),
    "segment_matches": lambda a, b: segment_matches(segments(), segments(), SLOTS, torch.Generator().manual_seed(0)),
    "pose_matches": lambda a, b: pose_matches(_grid(), _frames(), _grid(), _frames(), SLOTS),
    "mutual_matches": lambda a, b: mutual_matches(feature_matches(a, b, SLOTS), feature_matches(b, a, SLOTS)),
}


def _vicreg(a: Tensor, b: Tensor, /, *, valid: Tensor) -> Tensor:
    return torch.stack(vicreg_terms(a, b, valid=valid)).sum()


def _sigreg(a: Tensor, b: Tensor, /, *, valid: Tensor) -> Tensor:
    return sigreg_loss(a, valid=valid, num_slices=16)


def _invariance(a: Tensor, b: Tensor, /, *, valid: Tensor) -> Tensor:
    return invariance_loss(a, b, valid=valid).mean()


OnMatches = Callable[[Tensor, Tensor, Matches], Tensor]
OnSegments = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _of_vectors(criterion) -> tuple[OnMatches, OnSegments]:
    return (
        lambda a, b, matches: on_matches(criterion, a, b, matches),
        lambda a, sa, b, sb: on_segments(criterion, a, sa, b, sb),
    )


CRITERIA: dict[str, tuple[OnMatches, OnSegments]] = {
    "VICReg": (MatchedVICRegLoss(), _of_vectors(_vicreg)[1]),
    "InfoNCE": (PatchNCELoss(), SegmentContrastiveLoss()),
    "invariance": _of_vectors(_invariance),
    "LeJEPA": _of_vectors(LeJEPALoss(num_slices=16)),
    "SIGReg": _of_vectors(_sigreg),
    "Gram anchoring": _of_vectors(GramLoss()),
    "kernel alignment": _of_vectors(KernelAlignmentLoss()),
    "feature distance": _of_vectors(FeatureDistanceLoss()),
}
CALLS = {
    "VICReg": ("`MatchedVICRegLoss()`", "`vicreg_terms`"),
    "InfoNCE": ("`PatchNCELoss()`", "`SegmentContrastiveLoss()`"),
    "invariance": ("`invariance_loss`",) * 2,
    "LeJEPA": ("`LeJEPALoss()`",) * 2,
    "SIGReg": ("`sigreg_loss` of one side",) * 2,
    "Gram anchoring": ("`GramLoss()`",) * 2,
    "kernel alignment": ("`KernelAlignmentLoss()`",) * 2,
    "feature distance": ("`FeatureDistanceLoss()`",) * 2,
}


def trains(criterion: str, producer: str) -> bool:
    """Whether a criterion on a producer's matches, or on segments, has a finite value and a gradient that is not 0."""
    torch.manual_seed(0)
    on_pairs, on_means = CRITERIA[criterion]
    a, b = features(0).requires_grad_(), features(1)
    if producer == "segments":
        loss = on_means(a, segments(), b, segments())
    else:
        loss = on_pairs(a, b, PRODUCERS[producer](a.detach(), b))
    (gradient,) = torch.autograd.grad(loss, a)
    return bool(loss.ndim == 0 and loss.isfinite() and gradient.isfinite().all() and gradient.abs().max() > 0)


HEADER = """\
# Every criterion on every match

Any producer of matches works with any criterion. `python tests/api_pages.py` wrote this page by running each pair,
forward and backward; the tests run them again. A criterion of vectors goes on the matched vectors of two maps by
{py:func}`on_matches <correspondence_losses.losses.on_matches>`, and on their segments' means by
{py:func}`on_segments <correspondence_losses.losses.on_segments>`:

```python
matches = location_matches(grid_a, grid_b, num_matches=20)  # or any other
loss = on_matches(GramLoss(), student, teacher, matches)
loss = on_segments(GramLoss(), student, segments, teacher, segments)
```
"""


def page() -> str:
    """The page of the table."""
    columns = [*PRODUCERS, "segments"]
    lines = [
        f"| criterion | on matches | {' | '.join(columns)} | on segments |",
        f"|{' --- |' * (len(columns) + 3)}",
    ]
    for criterion, (on_pairs, on_means) in CALLS.items():
        cells = ["yes" if trains(criterion, producer) else "no" for producer in columns]
        lines.append(f"| {criterion} | {on_pairs} | {' | '.join(cells)} | {on_means} |")
    return f"{HEADER}\n" + "\n".join(lines) + "\n"

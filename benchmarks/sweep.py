"""How cost and memory grow with one size, beside the same peers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypedDict

import torch

from benchmarks import fusion, matches, segments, vicreg
from benchmarks.measure import Measurement, measure
from benchmarks.workload import Case

_SECONDS = 0.4


@dataclass(frozen=True)
class Sweep:
    """One curve: a case at growing values of one or more of its sizes."""

    name: str
    title: str
    peer: str
    axis: str
    build: Callable[..., Case]
    points: Mapping[int, Mapping[str, int]]
    """Sizes, by the value to draw them at."""


class SweepResult(TypedDict):
    """A sweep, measured."""

    name: str
    title: str
    peer: str
    axis: str
    values: list[int]
    points: list[Measurement]


def run_sweep(sweep: Sweep, *, quick: bool, device: torch.device) -> SweepResult:
    """Measure a sweep; a quick one its two smallest points."""
    values = list(sweep.points)[: 2 if quick else None]
    smallest = sweep.points[values[0]]
    return SweepResult(
        name=sweep.name,
        title=sweep.title,
        peer=sweep.peer,
        axis=sweep.axis,
        values=values,
        points=[
            measure(sweep.build, sweep.points[value], smallest, seconds=_SECONDS, device=device) for value in values
        ],
    )


def _images(*scales: int, **fixed: int) -> dict[int, dict[str, int]]:
    return {12 * scale * 16 * scale: {"height": 12 * scale, "width": 16 * scale, **fixed} for scale in scales}


SWEEPS = [
    Sweep(
        "sweep-vicreg-n",
        "VICReg, d = 2048",
        "lightly",
        "n",
        vicreg.vicreg,
        {n: {"n": n, "d": 2048} for n in (16, 64, 256, 1024, 2048)},
    ),
    Sweep(
        "sweep-vicreg-d",
        "VICReg, n = 64",
        "lightly",
        "d",
        vicreg.vicreg,
        {d: {"n": 64, "d": d} for d in (128, 512, 2048, 4096)},
    ),
    Sweep(
        "sweep-vicregl-views",
        "VICRegL, batch 8, d = 512 and 128",
        "lightly",
        "views",
        vicreg.vicregl,
        {
            2 + small: {"batch": 8, "large": 2, "small": small, "d_global": 512, "d_local": 128}
            for small in (0, 1, 3, 6)
        },
    ),
    Sweep(
        "sweep-segments",
        "segment terms, 64 channels, 240 x 320",
        "index_add",
        "segments",
        segments.against_index_add,
        {s: {"channels": 64, "height": 240, "width": 320, "segments": s} for s in (4, 16, 64, 256)},
    ),
    Sweep(
        "sweep-segments-pixels",
        "segment terms, 64 channels, 60 segments",
        "index_add",
        "h w",
        segments.against_index_add,
        {
            h * w: {"channels": 64, "height": h, "width": w, "segments": 60}
            for h, w in ((120, 160), (240, 320), (480, 640))
        },
    ),
    Sweep(
        "sweep-location-matches",
        "location matches",
        "cdist + topk",
        "h w",
        matches.location,
        _images(1, 2, 4, 7),
    ),
    Sweep(
        "sweep-feature-matches",
        "feature matches, 128 channels",
        "cdist + topk",
        "h w",
        matches.features,
        _images(1, 2, 4, 7, channels=128),
    ),
    Sweep(
        "sweep-fusion",
        "fusion, 64 channels",
        "upsample, concatenate, convolve",
        "H W",
        fusion.fusion,
        {h * w: {"channels": 64, "height": h, "width": w} for h, w in ((64, 96), (128, 160), (256, 320), (480, 640))},
    ),
]

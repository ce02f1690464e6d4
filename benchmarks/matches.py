"""Location and feature matches beside ``torch.cdist`` and ``topk``, and feature matches beside the compiled path."""

import torch
from torch import Tensor

from benchmarks.workload import Case, Floor, Workload, copying, counted, seeded
from correspondence_losses import Matches, ViewGrid, feature_matches, location_matches

_NUM_MATCHES = 20
_PRODUCT_ROWS = 1024


def location(height: int, width: int) -> Case:
    """Two overlapping crops."""
    boxes = torch.tensor([[[31.2, 44.9, 493.7, 391.3]], [[101.7, 12.3, 617.1, 461.9]]])
    a, b = (ViewGrid.from_boxes(box, (height, width)) for box in boxes)
    points_a, points_b = a.points.flatten(1, 2), b.points.flatten(1, 2)
    return Case(
        lambda: _found(location_matches(a, b, _NUM_MATCHES)),
        lambda: _closest(torch.cdist(points_a, points_b, compute_mode="donot_use_mm_for_euclid_dist")),
        lambda: copying([points_a, points_b]),
    )


def features(height: int, width: int, channels: int) -> Case:
    """Two dense maps."""
    a, b = _maps(height, width, channels)
    return Case(
        lambda: _found(feature_matches(a, b, _NUM_MATCHES)),
        lambda: _closest(torch.cdist(a.flatten(2).mT, b.flatten(2).mT)),
        lambda: _products(a, b),
    )


def triton_against_compiled(height: int, width: int, channels: int) -> Case:
    """The Triton kernel beside the plain path under ``torch.compile``."""
    a, b = _maps(height, width, channels)
    compiled = torch.compile(feature_matches)
    return Case(
        lambda: (feature_matches(a, b, _NUM_MATCHES).distance,),
        lambda: (compiled(a, b, _NUM_MATCHES).distance,),
        lambda: _products(a, b),
    )


def _products(a: Tensor, b: Tensor) -> Floor:
    """The inner products of all vectors, in blocks of rows over one piece of memory."""
    vectors_a, vectors_b = a[0].flatten(1), b[0].flatten(1)
    block_of_products = vectors_a.new_empty(_PRODUCT_ROWS, vectors_b.shape[1])

    def step() -> None:
        for block in vectors_a.split(_PRODUCT_ROWS, dim=1):
            torch.mm(block.mT, vectors_b, out=block_of_products[: block.shape[1]])

    return counted(step)


def _maps(height: int, width: int, channels: int) -> tuple[Tensor, Tensor]:
    a, b = torch.randn(2, 1, channels, height, width, generator=seeded()).unbind()
    return a, b


def _found(matches: Matches) -> tuple[Tensor, Tensor, Tensor]:
    return matches.index_a, matches.index_b, matches.distance


def _closest(distances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The closest pairs of a cell and its nearest: both cells and their distance, in row-major order of the first."""
    nearest = distances.topk(1, dim=2, largest=False)
    closest = nearest.values.squeeze(2).topk(_NUM_MATCHES, dim=1, largest=False)
    index_a, order = closest.indices.sort(dim=1)
    return index_a, nearest.indices.squeeze(2).gather(1, index_a), closest.values.gather(1, order)


_QUICK_MAP = {"height": 12, "width": 16}
_FULL_MAP = {"height": 120, "width": 160}
_LOCATION_TITLE = "location matches, two {height} x {width} crop grids"
_FEATURES_TITLE = "feature matches, two {height} x {width} maps, {channels} channels, no gradient"

WORKLOADS = [
    Workload(
        name="location-matches",
        title=_LOCATION_TITLE,
        peer="cdist + topk",
        build=location,
        sizes=_FULL_MAP,
        quick=_QUICK_MAP,
        floor="one copy of the cell centres",
        note="cdist by subtraction (compute_mode), since its default is off by up to 0.1 px near distance 0",
        ratio_target=1000,
    ),
    Workload(
        name="feature-matches",
        title=_FEATURES_TITLE,
        peer="cdist + topk",
        build=features,
        sizes={**_FULL_MAP, "channels": 128},
        quick={**_QUICK_MAP, "channels": 8},
        floor="the matrix products",
        floor_target=1.25,
        memory_limit_mib=200,
    ),
    *(
        Workload(
            name=f"small-{name}",
            title=title,
            peer="cdist + topk",
            build=build,
            sizes={**_QUICK_MAP, **channels},
            quick={**_QUICK_MAP, **channels},
            floor=floor,
            ratio_target=1,
        )
        for name, title, build, channels, floor in (
            ("location-matches", _LOCATION_TITLE, location, {}, "one copy of the cell centres"),
            ("feature-matches", _FEATURES_TITLE, features, {"channels": 128}, "the matrix products"),
        )
    ),
    Workload(
        name="feature-matches-triton",
        title=_FEATURES_TITLE,
        peer="the plain path, compiled",
        build=triton_against_compiled,
        sizes={**_FULL_MAP, "channels": 128},
        quick={**_QUICK_MAP, "channels": 8},
        floor="the matrix products",
        cuda_only=True,
    ),
]

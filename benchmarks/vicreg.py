"""VICReg and VICRegL beside lightly's, and VICReg beside pytorch-metric-learning's."""

from collections.abc import Callable
from itertools import permutations
from unittest.mock import patch

import torch
from lightly.loss import VICRegLLoss as PeerVICRegLLoss
from lightly.loss import VICRegLoss as PeerVICRegLoss
from torch import Tensor

from benchmarks.workload import Case, Floor, Workload, copying, gradient_step, products, seeded
from correspondence_losses import VICRegLLoss, VICRegLoss, ViewGrid

_NUM_MATCHES = (20, 4)
# Some times the rounding of distances of 512 channels in float32.
_CLEAR_GAP = 2e-5


def vicreg(n: int, d: int) -> Case:
    """Two sets of n vectors of dimension d."""
    z, peer = _vectors(n, d), PeerVICRegLoss()
    return _vicreg_case(z, lambda: peer(*z))


def vicreg_metric_learning(n: int, d: int) -> Case:
    """The same beside pytorch-metric-learning, which takes the second set as a reference."""
    from pytorch_metric_learning.losses import VICRegLoss as OtherVICRegLoss

    z, peer = _vectors(n, d), OtherVICRegLoss()
    return _vicreg_case(z, lambda: peer(z[0], ref_emb=z[1]))


def _vectors(n: int, d: int) -> list[Tensor]:
    generator = seeded()
    return [torch.randn(n, d, generator=generator, requires_grad=True) for _ in range(2)]


def _vicreg_case(z: list[Tensor], peer: Callable[[], Tensor]) -> Case:
    ours = VICRegLoss()

    def floor() -> Floor:
        # Forward the products of all vectors, or of all dimensions if they are fewer; backward as many again.
        if z[0].shape[0] < z[0].shape[1]:
            return products(*(pair for one in z for pair in ((one, one.mT), (one @ one.mT, one))))
        return products(*(pair for one in z for pair in ((one.mT, one), (one, one.mT @ one))))

    return Case(gradient_step(lambda: ours(*z), z), gradient_step(peer, z), floor)


def vicregl(batch: int, large: int, small: int, d_global: int, d_local: int) -> Case:
    """Large views of 7 x 7 cells and small ones of 3 x 3."""
    generator = seeded()
    sizes = [7] * large + [3] * small
    embeddings = [torch.randn(batch, d_global, generator=generator, requires_grad=True) for _ in sizes]
    # The peer wants its channels last, and ours first: one memory serves both without a copy.
    cells: list[Tensor] = []
    while not cells or not _matches_are_clear(cells, large):
        cells = [torch.randn(batch, size, size, d_local, generator=generator) for size in sizes]
    for view in cells:
        view.requires_grad_()
    grids = [_random_crops(batch, size, generator) for size in sizes]
    ours = VICRegLLoss(num_matches=_NUM_MATCHES, num_feature_matches=_NUM_MATCHES)
    peer = PeerVICRegLLoss(num_matches=_NUM_MATCHES)
    views, points = list(zip(embeddings, cells, strict=True)), [grid.points for grid in grids]

    def of_ours() -> Tensor:
        return ours(embeddings, [view.permute(0, 3, 1, 2) for view in cells], grids, num_large=large)

    def of_peer() -> Tensor:
        with patch("lightly.models.utils.nearest_neighbors", _row_major_neighbors):
            return peer(views[:large], points[:large], views[large:] or None, points[large:] or None)

    leaves = embeddings + cells
    return Case(gradient_step(of_ours, leaves), gradient_step(of_peer, leaves), lambda: copying(leaves))


def _matches_are_clear(cells: list[Tensor], large: int) -> bool:
    """Whether no choice of a feature match hangs on how a processor rounds the distances in float32."""
    if cells[0].is_meta:  # without values
        return True
    vectors = [view.flatten(1, 2).double() for view in cells]
    for source, other in permutations(range(len(cells)), 2):
        if min(source, other) >= large:  # small views are not matched with each other
            continue
        nearest = torch.cdist(vectors[source], vectors[other]).topk(2, largest=False).values
        ordered, kept = nearest[..., 0].sort().values, _NUM_MATCHES[source >= large]
        gaps = [nearest.diff(), ordered[:, kept : kept + 1] - ordered[:, kept - 1 : kept]]
        if any((gap < _CLEAR_GAP).any() for gap in gaps):
            return False
    return True


def _random_crops(batch: int, size: int, generator: torch.Generator) -> ViewGrid:
    # In double precision no two cells are nearest by the rounding of cdist.
    corner = 300 * torch.rand(batch, 2, generator=generator, dtype=torch.float64)
    extent = 64 + 160 * torch.rand(batch, 2, generator=generator, dtype=torch.float64)
    return ViewGrid.from_boxes(torch.cat([corner, corner + extent], dim=1), (size, size))


def _row_major_neighbors(
    input_maps: Tensor, candidate_maps: Tensor, distances: Tensor, num_matches: int
) -> tuple[Tensor, Tensor]:
    """Lightly's nearest neighbours in the official code's order of the matches, row-major, not by distance."""
    nearest = distances.min(dim=2)
    kept = nearest.values.topk(min(num_matches, input_maps.shape[1]), dim=1, largest=False).indices.sort(dim=1).values

    def pick(vectors: Tensor, index: Tensor) -> Tensor:
        return vectors.gather(1, index.unsqueeze(-1).expand(-1, -1, vectors.shape[2]))

    return pick(input_maps, kept), pick(candidate_maps, nearest.indices.gather(1, kept))


_VICREGL = {
    "title": "VICRegL, batch {batch}, {large} + {small} views, {d_global} global, {d_local} local",
    "peer": "lightly.loss.VICRegLLoss",
    "build": vicregl,
    "floor": "one copy of the inputs",
    "quick": {"batch": 2, "large": 2, "small": 1, "d_global": 64, "d_local": 32},
    "note": "ours with num_feature_matches=(20, 4); lightly's matches in the official code's order, row-major "
    "(a patch that costs it nothing); grids in float64; features drawn until no match hangs on rounding",
}
_QUICK_VICREG = {"n": 16, "d": 64}
_VICREG_FLOOR = "two products a branch"

WORKLOADS = [
    *(
        Workload(
            name=f"vicreg-{n}x{d}",
            title="VICReg, n = {n}, d = {d}",
            peer="lightly.loss.VICRegLoss",
            build=vicreg,
            sizes={"n": n, "d": d},
            quick=_QUICK_VICREG,
            floor=_VICREG_FLOOR,
            ratio_target=target,
            floor_target=floor_target,
        )
        for n, d, target, floor_target in ((64, 8192, 250, 2), (256, 8192, 80, 1.4), (2048, 2048, 1.3, 1.2))
    ),
    Workload(
        name="vicreg-256x2048-metric-learning",
        title="VICReg, n = {n}, d = {d}",
        peer="pytorch_metric_learning.losses.VICRegLoss",
        build=vicreg_metric_learning,
        sizes={"n": 256, "d": 2048},
        quick=_QUICK_VICREG,
        floor=_VICREG_FLOOR,
    ),
    Workload(
        name="vicregl-thesis",
        sizes={"batch": 3, "large": 2, "small": 6, "d_global": 8192, "d_local": 512},
        ratio_target=500,
        **_VICREGL,
    ),
    Workload(
        name="vicregl-batch32",
        sizes={"batch": 32, "large": 2, "small": 6, "d_global": 2048, "d_local": 512},
        ratio_target=40,
        **_VICREGL,
    ),
]

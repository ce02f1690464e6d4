"""VICRegLLoss against loops over pairs, directions, slots and images, written from the equations and the rules."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from correspondence_losses.correspond import ViewGrid
from correspondence_losses.losses import VICRegLLoss, VICRegLoss

conventions = ["equations", "vicreg", "vicregl"]


def views(
    seed: int, b: int, num_large: int, num_small: int, large: tuple[int, int] = (4, 3), small: tuple[int, int] = (2, 2)
) -> tuple[list[Tensor], list[Tensor], list[ViewGrid]]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [large] * num_large + [small] * num_small
    draw = {"generator": generator, "dtype": torch.float64}
    embeddings = [torch.randn(b, 5, **draw) for _ in sizes]
    maps = [torch.randn(b, 3, *size, **draw) for size in sizes]
    grids = []
    for size in sizes:
        corner = 100 * torch.rand(b, 2, **draw)
        boxes = torch.cat((corner, corner + 20 + 100 * torch.rand(b, 2, **draw)), dim=1)
        flip = torch.rand(b, generator=generator) < 0.5
        grids.append(ViewGrid.from_boxes(boxes, size, horizontal_flip=flip))
    return embeddings, maps, grids


def literal_matches(points_a: Tensor, points_b: Tensor, count: int) -> list[tuple[int, int]]:
    """Nearest point of b for each of a, the closest pairs kept, in the order of a."""
    distances = (points_a[:, None] - points_b[None]).square().sum(-1)
    pairs = [(float(row.min()), p, int(row.argmin())) for p, row in enumerate(distances)]
    return sorted((p, q) for _, p, q in sorted(pairs)[:count])


def literal_direction(source, target, count, convention, by_location) -> Tensor:
    """L_s or L_d of one pair of views in one direction."""
    (map_a, grid_a), (map_b, grid_b) = source, target
    cells_a, cells_b = map_a.flatten(2).mT, map_b.flatten(2).mT
    points_a, points_b = (
        (grid_a.points.flatten(1, 2), grid_b.points.flatten(1, 2)) if by_location else (cells_a, cells_b)
    )
    count = min(count, cells_a.shape[1])
    matched = [literal_matches(a, b, count) for a, b in zip(points_a, points_b, strict=True)]
    slots = []
    for slot in range(count):
        z = torch.stack([cells_a[i, pairs[slot][0]] for i, pairs in enumerate(matched)])
        nearest = torch.stack([cells_b[i, pairs[slot][1]] for i, pairs in enumerate(matched)])
        slots.append(torch.stack(VICRegLoss(convention=convention).terms(z, nearest)))
    return sum(slots) if convention == "equations" else sum(slots) / count


def literal_terms(embeddings, maps, grids, num_large, convention, num_matches, num_feature_matches, alpha) -> Tensor:
    count = len(maps)
    pairs = [(i, j) for i in range(num_large) for j in range(count) if i != j]
    of_views = list(zip(maps, grids, strict=True))
    whole, location, feature = torch.zeros(3, 3, dtype=torch.float64)
    for i, j in pairs:
        whole = whole + torch.stack(VICRegLoss(convention=convention).terms(embeddings[i], embeddings[j])) / len(pairs)
        for direction, (source, target) in enumerate(((i, j), (j, i))):
            kind = direction if convention == "vicregl" else int(source >= num_large)
            weight = (1 if convention == "equations" else 0.5) / len(pairs)
            location = location + weight * literal_direction(
                of_views[source], of_views[target], num_matches[kind], convention, by_location=True
            )
            feature = feature + weight * literal_direction(
                of_views[source], of_views[target], num_feature_matches[kind], convention, by_location=False
            )
    if convention == "vicregl":  # variance and covariance once for each view
        own = [torch.stack(VICRegLoss(convention=convention).terms(z, z)) for z in embeddings]
        whole = torch.stack((whole[0], *(sum(own) / count)[1:]))
    return torch.cat((alpha * whole, (1 - alpha) * location, (1 - alpha) * feature))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**16),
    st.integers(2, 4),
    st.integers(1, 3),
    st.integers(0, 3),
    st.sampled_from(conventions),
    st.tuples(st.integers(1, 12), st.integers(1, 4)),
)
def test_equations(seed, b, num_large, num_small, convention, num_matches):
    if num_large + num_small < 2:
        num_small = 1
    inputs = views(seed, b, num_large, num_small)
    loss = VICRegLLoss(alpha=0.6, num_matches=num_matches, convention=convention)
    everything = (12, 12)
    num_feature_matches = everything if convention == "vicregl" else num_matches
    expected = literal_terms(*inputs, num_large, convention, num_matches, num_feature_matches, 0.6)
    torch.testing.assert_close(torch.stack(loss.terms(*inputs, num_large=num_large)), expected)
    torch.testing.assert_close(loss(*inputs, num_large=num_large), expected.sum())


def official_order(features, candidates, distances, num_matches):
    """The official code's order of matches, row-major, in place of lightly's, by distance."""
    nearest = distances.min(-1)
    kept = nearest.values.topk(num_matches, largest=False).indices.sort(-1).values

    def pick(vectors, index):
        return vectors.gather(1, index.unsqueeze(-1).expand(-1, -1, vectors.shape[-1]))

    return pick(features, kept), pick(candidates, nearest.indices.gather(1, kept))


def test_equals_lightly(monkeypatch):
    peer = pytest.importorskip("lightly.loss.vicregl_loss")
    monkeypatch.setattr(peer.utils, "nearest_neighbors", official_order)
    embeddings, maps, grids = views(0, 4, 2, 3)
    leaves = [tensor.requires_grad_() for tensor in embeddings + maps]
    loss = VICRegLLoss(num_matches=(7, 3), num_feature_matches=(7, 3))(embeddings, maps, grids)
    features = [(z, y.permute(0, 2, 3, 1)) for z, y in zip(embeddings, maps, strict=True)]
    points = [grid.points for grid in grids]
    expected = peer.VICRegLLoss(num_matches=(7, 3))(features[:2], points[:2], features[2:], points[2:])
    torch.testing.assert_close(loss, expected.squeeze())
    for ours, theirs in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("convention", conventions)
def test_order_of_views_of_a_kind_does_not_matter(convention):
    embeddings, maps, grids = views(0, 3, 3, 3)
    order = [2, 0, 1, 4, 5, 3]
    loss = VICRegLLoss(convention=convention)
    torch.testing.assert_close(
        loss(*([inputs[view] for view in order] for inputs in (embeddings, maps, grids)), num_large=3),
        loss(embeddings, maps, grids, num_large=3),
    )


@pytest.mark.parametrize("convention", conventions)
def test_large_maps_are_searched_pair_by_pair(monkeypatch, convention):
    inputs = views(0, 3, 2, 3)
    expected = VICRegLLoss(convention=convention).terms(*inputs)
    monkeypatch.setattr("correspondence_losses.losses._view_pairs.fits_in_blocks", lambda maps: False)
    torch.testing.assert_close(VICRegLLoss(convention=convention).terms(*inputs), expected)


def test_alpha_weighs_global_against_local():
    inputs = views(0, 3, 2, 2)
    low, high = VICRegLLoss(alpha=0.25).terms(*inputs), VICRegLLoss(alpha=0.75).terms(*inputs)
    for name, of_low, of_high in zip(low._fields, low, high, strict=True):
        torch.testing.assert_close(of_high, of_low * (3 if name.startswith("global") else 1 / 3))


def test_cells_without_position_take_no_part_in_location_matches():
    embeddings, maps, grids = views(0, 3, 2, 0)
    valid = torch.ones(3, 4, 3, dtype=torch.bool)
    valid[:, 1:] = False
    loss = VICRegLLoss(num_matches=(4, 4))
    free = [ViewGrid.from_points(grid.points, valid) for grid in grids]
    rows = [ViewGrid.from_points(grid.points[:, :1]) for grid in grids]
    terms = loss.terms(embeddings, maps, free)
    of_rows = loss.terms(embeddings, [view[:, :, :1] for view in maps], rows)
    torch.testing.assert_close(terms[3:6], of_rows[3:6])
    nowhere = [ViewGrid.from_points(grid.points, valid & False) for grid in grids]
    assert loss.terms(embeddings, maps, nowhere)[3:6] == (0, 0, 0)


@pytest.mark.parametrize("convention", conventions)
def test_batch_of_one_has_statistics_over_its_matches(convention):
    embeddings, maps, grids = views(0, 1, 2, 2)
    leaves = [tensor.requires_grad_() for tensor in embeddings + maps]
    terms = VICRegLLoss(convention=convention).terms(embeddings, maps, grids)
    assert all(term.isfinite() for term in terms)
    assert terms.global_covariance == 0
    assert terms.location_covariance > 0
    assert terms.feature_covariance > 0
    grads = torch.autograd.grad(sum(terms), leaves)
    assert all(grad.isfinite().all() for grad in grads)
    torch.testing.assert_close(
        VICRegLLoss(convention=convention, statistics="matches").terms(embeddings, maps, grids), terms
    )


def test_gradients():
    embeddings, maps, grids = views(0, 2, 2, 1, large=(2, 2), small=(1, 2))
    leaves = [tensor.requires_grad_() for tensor in embeddings + maps]
    loss = VICRegLLoss(num_matches=(3, 2))
    assert torch.autograd.gradcheck(lambda *leaves: loss(leaves[:3], leaves[3:], grids), leaves)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast(dtype):
    embeddings, maps, grids = views(0, 3, 2, 2)
    embeddings, maps = ([tensor.to(dtype).requires_grad_() for tensor in tensors] for tensors in (embeddings, maps))
    loss = VICRegLLoss()
    expected = loss([z.double() for z in embeddings], [y.double() for y in maps], grids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = loss(embeddings, maps, grids)
        actual.backward()
    torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-4)
    assert all(tensor.grad.isfinite().all() for tensor in embeddings + maps)


def test_compiles_whole():
    embeddings, maps, grids = views(0, 2, 2, 1, large=(2, 2), small=(1, 2))
    loss = VICRegLLoss(num_matches=(3, 2), gather=True)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(embeddings, maps, grids), loss(embeddings, maps, grids))


EMBEDDINGS, MAPS, GRIDS = views(0, 2, 2, 1)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: VICRegLLoss(alpha=1.5), ValueError, r"alpha must lie in \[0, 1\], got 1.5"),
        (lambda: VICRegLLoss(num_matches=(20, 0)), ValueError, r"num_matches\[1\] must be at least 1"),
        (lambda: VICRegLLoss(num_matches=(20,)), ValueError, "num_matches must hold two numbers"),
        (lambda: VICRegLLoss(num_feature_matches=(0, 1)), ValueError, r"num_feature_matches\[0\]"),
        (lambda: VICRegLLoss(statistics="all"), ValueError, "statistics must be"),
        (lambda: VICRegLLoss()(EMBEDDINGS, MAPS[:2], GRIDS), ValueError, "features must hold one entry for each"),
        (lambda: VICRegLLoss()(EMBEDDINGS, MAPS, GRIDS[:2]), ValueError, "grids must hold one entry for each"),
        (lambda: VICRegLLoss()(EMBEDDINGS[:1], MAPS[:1], GRIDS[:1]), ValueError, "at least 2 views, got 1"),
        (lambda: VICRegLLoss()(EMBEDDINGS, MAPS, GRIDS, num_large=4), ValueError, "num_large must lie between"),
        (
            lambda: VICRegLLoss()([EMBEDDINGS[0], EMBEDDINGS[1], EMBEDDINGS[2][:1]], MAPS, GRIDS),
            ValueError,
            r"embeddings\[2\] must have shape \(2, 5\)",
        ),
        (
            lambda: VICRegLLoss()(EMBEDDINGS, [MAPS[0], MAPS[1], MAPS[2][:, :1]], GRIDS),
            ValueError,
            r"features\[2\] must have shape \(2, 3, 2, 2\)",
        ),
        (
            lambda: VICRegLLoss()(EMBEDDINGS, MAPS, [GRIDS[2], *GRIDS[1:]]),
            ValueError,
            r"grids\[0\].valid must have shape \(2, 4, 3\)",
        ),
        (lambda: VICRegLLoss()(EMBEDDINGS, [MAPS[0].long(), *MAPS[1:]], GRIDS), TypeError, r"features\[0\] must"),
        (lambda: VICRegLLoss()(EMBEDDINGS, MAPS, [MAPS[0], *GRIDS[1:]]), TypeError, r"grids\[0\] must be a ViewGrid"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()

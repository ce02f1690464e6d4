import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.correspond import ViewGrid, _blocks, location_matches

# Eighths of a pixel and power-of-two grids: every centre and distance is exact, so that ties are ties.
eighths = st.integers(-400, 800).map(lambda i: i / 8)
exact_sizes = st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4, 8]))
any_sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def crops(draw, sizes, samples=2):
    size = draw(sizes)
    boxes, flips = [], []
    for _ in range(samples):
        left, top = draw(eighths), draw(eighths)
        boxes.append([left, top, left + draw(st.integers(1, 300)) / 8, top + draw(st.integers(1, 300)) / 8])
        flips.append([draw(st.booleans()), draw(st.booleans())])
    horizontal, vertical = torch.tensor(flips).unbind(1)
    return ViewGrid.from_boxes(
        torch.tensor(boxes, dtype=torch.float64), size, horizontal_flip=horizontal, vertical_flip=vertical
    )


@st.composite
def point_grids(draw, samples=2):
    height, width = draw(any_sizes)
    cells = samples * height * width
    positions = draw(st.lists(st.tuples(eighths, eighths), min_size=cells, max_size=cells))
    valid = draw(st.lists(st.booleans(), min_size=cells, max_size=cells))
    return ViewGrid.from_points(
        torch.tensor(positions, dtype=torch.float64).view(samples, height, width, 2),
        torch.tensor(valid).view(samples, height, width),
    )


def literal_matches(grid_a, grid_b, num_matches):
    """Equation 2.8 with its tie-breaks, one pair at a time: [(cell of a, cell of b, squared distance)]."""
    result = []
    for sample in range(len(grid_a.points)):
        a, b = grid_a.points[sample].flatten(0, 1).tolist(), grid_b.points[sample].flatten(0, 1).tolist()
        valid_a, valid_b = grid_a.valid[sample].flatten().tolist(), grid_b.valid[sample].flatten().tolist()
        pairs = []
        for p in range(len(a)):
            candidates = [((a[p][0] - b[q][0]) ** 2 + (a[p][1] - b[q][1]) ** 2, q) for q in range(len(b)) if valid_b[q]]
            if valid_a[p] and candidates:
                distance, q = min(candidates)
                pairs.append((distance, p, q))
        result.append(sorted((p, q, distance) for distance, p, q in sorted(pairs)[:num_matches]))
    return result


def as_lists(matches):
    return [
        [
            (int(matches.index_a[s, k]), int(matches.index_b[s, k]), float(matches.distance[s, k]))
            for k in range(matches.valid.shape[1])
            if matches.valid[s, k]
        ]
        for s in range(len(matches.valid))
    ]


def assert_equal_to_literal(grid_a, grid_b, num_matches):
    got = as_lists(location_matches(grid_a, grid_b, num_matches))
    for mine, literal in zip(got, literal_matches(grid_a, grid_b, num_matches), strict=True):
        assert [pair[:2] for pair in mine] == [pair[:2] for pair in literal]
        assert [pair[2] for pair in mine] == pytest.approx([pair[2] ** 0.5 for pair in literal], rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(crops(exact_sizes), crops(exact_sizes), st.integers(1, 20))
def test_crops_equal_the_equation_with_exact_ties(grid_a, grid_b, num_matches):
    assert_equal_to_literal(grid_a, grid_b, num_matches)


@settings(max_examples=50, deadline=None)
@given(crops(any_sizes), crops(any_sizes))
def test_crops_of_any_size_choose_a_nearest_cell(grid_a, grid_b):
    cells = grid_a.size[0] * grid_a.size[1]
    matches = location_matches(grid_a, grid_b, cells)
    pairwise = torch.cdist(
        grid_a.points.flatten(1, 2), grid_b.points.flatten(1, 2), compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert torch.equal(matches.index_a, torch.arange(cells).expand(2, -1))
    torch.testing.assert_close(matches.distance, pairwise.amin(-1), rtol=1e-12, atol=1e-12)
    chosen = pairwise.gather(2, matches.index_b[..., None]).squeeze(-1)
    torch.testing.assert_close(chosen, matches.distance, rtol=1e-12, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(point_grids(), point_grids(), st.integers(1, 20))
def test_points_equal_the_equation(grid_a, grid_b, num_matches):
    assert_equal_to_literal(grid_a, grid_b, num_matches)


@settings(max_examples=30, deadline=None)
@given(point_grids(), crops(exact_sizes), st.integers(1, 20))
def test_points_and_crops_mix(points, crop, num_matches):
    assert_equal_to_literal(points, crop, num_matches)
    assert_equal_to_literal(crop, points, num_matches)


def test_blocks_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    grids = [
        ViewGrid.from_points(
            torch.randint(0, 9, (3, 5, 7, 2), generator=generator).float(),
            torch.rand(3, 5, 7, generator=generator) < 0.8,
        )
        for _ in range(2)
    ]
    whole = location_matches(*grids, 20)
    for pairs in (1, 35, 100, 2000):
        monkeypatch.setattr(_blocks, "_CPU_PAIRS", pairs)
        for got, expected in zip(location_matches(*grids, 20), whole, strict=True):
            assert torch.equal(got, expected)


@settings(max_examples=30, deadline=None)
@given(crops(any_sizes))
def test_a_view_matched_with_itself_is_the_identity(grid):
    cells = grid.size[0] * grid.size[1]
    for other in (grid, ViewGrid.from_points(grid.points)):
        matches = location_matches(grid, other, cells)
        assert torch.equal(matches.index_a, torch.arange(cells).expand(2, -1))
        assert torch.equal(matches.index_b, matches.index_a)
        assert not matches.distance.any()


@settings(max_examples=20, deadline=None)
@given(crops(any_sizes), crops(any_sizes), st.floats(-1000, 1000))
def test_moving_both_views_moves_no_distance(grid_a, grid_b, shift):
    moved = [grid._replace(points=grid.points + shift) for grid in (grid_a, grid_b)]
    torch.testing.assert_close(
        location_matches(*moved, 5).distance, location_matches(grid_a, grid_b, 5).distance, rtol=0, atol=1e-9
    )


def test_fewer_cells_than_slots_pad():
    grid = ViewGrid.from_boxes(torch.tensor([[0, 0, 30, 30]]), (3, 3))
    matches = location_matches(grid, grid, 20)
    assert matches.index_a.shape == (1, 20)
    assert matches.valid.sum() == 9
    assert torch.isinf(matches.distance[0, 9:]).all()


def test_no_valid_cell_gives_no_match():
    grid = ViewGrid.from_points(torch.full((1, 2, 2, 2), torch.nan), torch.zeros(1, 2, 2, dtype=torch.bool))
    crop = ViewGrid.from_boxes(torch.tensor([[0, 0, 30, 30]]), (3, 3))
    for pair in ((grid, crop), (crop, grid), (grid, grid)):
        assert not location_matches(*pair, 4).valid.any()


def test_half_precision_points_are_compared_in_float32():
    points = torch.rand(1, 4, 4, 2).half() * 600
    assert (
        location_matches(ViewGrid.from_points(points), ViewGrid.from_points(points), 3).distance.dtype == torch.float32
    )


@pytest.mark.parametrize("free", [False, True])
def test_compiles_to_one_graph(free):
    def match(boxes_a, boxes_b, flip):
        grid_a = ViewGrid.from_boxes(boxes_a, (3, 3))
        grid_b = ViewGrid.cat([ViewGrid.from_boxes(boxes_b, (4, 4), horizontal_flip=flip)])
        if free:
            grid_b = ViewGrid.from_points(grid_b.points)
        return location_matches(grid_a, grid_b, 12)

    arguments = (torch.tensor([[0.0, 0, 30, 30]]), torch.tensor([[5.0, 5, 45, 45]]), torch.tensor([True]))
    compiled = torch.compile(match, fullgraph=True, backend="aot_eager")
    for got, expected in zip(compiled(*arguments), match(*arguments), strict=True):
        assert torch.equal(got, expected)

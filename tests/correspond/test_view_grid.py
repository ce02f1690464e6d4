import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.correspond import ViewGrid

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def boxes(draw, samples=2):
    rows = []
    for _ in range(samples):
        left, top = draw(st.integers(-50, 600)), draw(st.integers(-50, 600))
        rows.append([left, top, left + draw(st.integers(1, 500)), top + draw(st.integers(1, 500))])
    return torch.tensor(rows, dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(boxes(), sizes)
def test_centres_divide_the_box(box, size):
    grid = ViewGrid.from_boxes(box, size)
    assert grid.size == size
    for sample in range(len(box)):
        left, top, right, bottom = box[sample].tolist()
        for row in range(size[0]):
            for column in range(size[1]):
                x, y = grid.points[sample, row, column].tolist()
                assert x == pytest.approx(left + (column + 0.5) * (right - left) / size[1], rel=1e-12)
                assert y == pytest.approx(top + (row + 0.5) * (bottom - top) / size[0], rel=1e-12)
                assert left < x < right
                assert top < y < bottom


@settings(max_examples=40, deadline=None)
@given(boxes(), sizes, st.lists(st.booleans(), min_size=4, max_size=4))
def test_flipping_the_view_flips_its_grid(box, size, flips):
    horizontal, vertical = torch.tensor(flips[:2]), torch.tensor(flips[2:])
    plain = ViewGrid.from_boxes(box, size)
    flipped = ViewGrid.from_boxes(box, size, horizontal_flip=horizontal, vertical_flip=vertical)
    for sample in range(len(box)):
        dims = [dim for dim, flip in ((1, horizontal[sample]), (0, vertical[sample])) if flip]
        assert torch.equal(flipped.points[sample].flip(dims), plain.points[sample])


@settings(max_examples=20, deadline=None)
@given(boxes(), st.integers(1, 4), st.integers(1, 4))
def test_a_coarser_grid_holds_the_means_of_a_finer_one(box, rows, columns):
    fine = ViewGrid.from_boxes(box, (2 * rows, 3 * columns)).points
    coarse = ViewGrid.from_boxes(box, (rows, columns)).points
    means = fine.unflatten(1, (rows, 2)).unflatten(3, (columns, 3)).mean(dim=(2, 4))
    torch.testing.assert_close(means, coarse, rtol=0, atol=1e-9)


def test_integer_boxes_give_float32_and_double_stays():
    box = torch.tensor([[0, 0, 10, 10]])
    assert ViewGrid.from_boxes(box, (2, 2)).points.dtype == torch.float32
    assert ViewGrid.from_boxes(box.half(), (2, 2)).points.dtype == torch.float32
    assert ViewGrid.from_boxes(box.double(), (2, 2)).points.dtype == torch.float64


def test_cat_joins_the_batch():
    crop = ViewGrid.from_boxes(torch.tensor([[0, 0, 8, 8], [1, 2, 3, 4]]), (2, 3))
    points = ViewGrid.from_points(torch.rand(1, 2, 3, 2), torch.rand(1, 2, 3) < 0.5)
    both = ViewGrid.cat([crop, points])
    assert both.points.shape == (3, 2, 3, 2)
    assert torch.equal(both.valid[2], points.valid[0])
    assert not both.axis_aligned
    assert ViewGrid.cat([crop, crop]).axis_aligned

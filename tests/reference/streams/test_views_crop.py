"""Crops: what a view shows, and what its grid says it shows."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from correspondence_losses.correspond import ViewGrid
from correspondence_losses.reference.streams import ColorDistortion, Crop, MultiCrop, labels_at

HEIGHT, WIDTH = 90, 120


@st.composite
def crops(draw):
    left, right = sorted(draw(st.lists(st.integers(0, WIDTH), min_size=2, max_size=2)))
    top, bottom = sorted(draw(st.lists(st.integers(0, HEIGHT), min_size=2, max_size=2)))
    assume(right - left >= 4 and bottom - top >= 4)
    return Crop(left, top, right, bottom, draw(st.booleans()))


def coordinate_image():
    """At each pixel, the position (x, y) of its centre."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    return torch.stack([x, y])


@settings(max_examples=50, deadline=None)
@given(crop=crops(), size=st.sampled_from([32, 96]))
def test_pixels_of_a_view_hold_the_positions_of_its_grid(crop, size):
    view = crop.cut(coordinate_image(), size)[:, 1:-1, 1:-1]
    expected = crop.grid(size).points[0, 1:-1, 1:-1].permute(2, 0, 1)
    # Within a pixel of the image, or of the view, from the border, interpolation has no pixel on one side.
    low = torch.tensor(crop[:2]).view(2, 1, 1)
    high = torch.tensor(crop[2:4]).view(2, 1, 1)
    margin = ((high - low) / size).clamp(min=1) + 0.5
    inner = ((expected > low + margin) & (expected < high - margin)).all(0)
    assume(inner.any())
    # The weights of the antialiasing filter are sampled: a line stays one to a few hundredths of a pixel.
    torch.testing.assert_close(view[:, inner], expected[:, inner], rtol=0, atol=0.1)


@settings(max_examples=50, deadline=None)
@given(crop=crops(), cells=st.sampled_from([3, 7]))
def test_cells_of_a_view_hold_the_positions_of_its_grid(crop, cells):
    view = crop.cut(coordinate_image(), cells * 32)
    means = torch.nn.functional.avg_pool2d(view, 32)
    points = crop.grid(cells).points[0].permute(2, 0, 1)
    torch.testing.assert_close(means, points, rtol=0, atol=0.5)  # pixels beside the border are repeated
    torch.testing.assert_close(means[:, 1:-1, 1:-1], points[:, 1:-1, 1:-1], rtol=0, atol=5e-2)


@settings(max_examples=50, deadline=None)
@given(crop=crops(), edge=st.integers(1, WIDTH - 1), transposed=st.booleans())
def test_labels_agree_with_the_image(crop, edge, transposed):
    labels = (torch.arange(WIDTH) >= edge).long().expand(HEIGHT, -1)
    axis = 0
    if transposed:
        labels, axis = (torch.arange(HEIGHT) >= edge).long()[:, None].expand(-1, WIDTH), 1
    view = crop.cut(labels[None].float(), 96)[0]
    grid = crop.grid(96)
    found = labels_at(labels.contiguous(), grid)[0]
    scale = max((crop[2 + axis] - crop[axis]) / 96, 1)
    clear = (grid.points[0, ..., axis] - edge).abs() > scale + 0.5
    assert torch.equal(found[clear].float(), view[clear].round())


@given(crop=crops())
@settings(max_examples=20, deadline=None)
def test_a_flip_mirrors_view_and_grid(crop):
    other = crop._replace(flip=not crop.flip)
    image = coordinate_image()
    assert torch.equal(crop.cut(image, 32).flip(-1), other.cut(image, 32))
    torch.testing.assert_close(crop.grid(5).points.flip(2), other.grid(5).points)


def test_crops_are_drawn_in_their_ranges():
    torch.manual_seed(0)
    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    drawn = [Crop.draw(image, (0.08, 1.0), (3 / 4, 4 / 3), 0.5) for _ in range(300)]
    areas, ratios = [], []
    for left, top, right, bottom, _ in drawn:
        assert 0 <= left < right <= 640
        assert 0 <= top < bottom <= 480
        areas.append((right - left) * (bottom - top) / (640 * 480))
        ratios.append((right - left) / (bottom - top) / (4 / 3))
    assert min(areas) > 0.078
    assert min(areas) < 0.2
    assert max(areas) > 0.8
    assert min(ratios) > 0.74
    assert max(ratios) < 1.35
    assert min(ratios) < 0.8
    assert max(ratios) > 1.25
    assert 0.4 < sum(crop.flip for crop in drawn) / 300 < 0.6


@pytest.mark.parametrize(("flip", "expected"), [(0.0, False), (1.0, True)])
def test_flips_never_or_always(flip, expected):
    image = torch.zeros(3, 20, 20)
    assert all(Crop.draw(image, (0.5, 1), (1, 1), flip).flip is expected for _ in range(20))


def test_labels_are_0_without_a_place():
    grid = ViewGrid.from_points(torch.tensor([[[[-5.0, 2.0], [1.5, 0.5]]]]), torch.tensor([[[False, True]]]))
    assert labels_at(torch.tensor([[3, 4], [5, 6]]), grid).tolist() == [[[0, 4]]]


def test_a_valid_point_outside_the_labels_is_an_error():
    grid = ViewGrid.from_points(torch.tensor([[[[2.0, 0.0]]]]))
    with pytest.raises(ValueError, match="2 x 2"):
        labels_at(torch.ones(2, 2, dtype=torch.int64), grid)


def test_without_distortion_a_view_keeps_its_values():
    plain = ColorDistortion(jitter=0, grayscale=0, blur=0, solarize=0).build()
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(plain(image), image / 255)


@pytest.mark.parametrize("change", ["jitter", "grayscale", "blur", "solarize"])
def test_each_distortion_changes_the_view(change):
    off = dict.fromkeys(["jitter", "grayscale", "blur", "solarize"], 0.0)
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    torch.manual_seed(1)
    changed = ColorDistortion(**{**off, change: 1.0}).build()(image)
    assert changed.dtype == torch.float32
    assert changed.isfinite().all()
    assert not torch.allclose(changed, ColorDistortion(**off).build()(image))


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"num_large": 0}, "num_large"),
        ({"num_large": 1, "num_small": 0}, "num_small"),
        ({"large_size": 225}, "large_size must be a multiple of the stride, 32, got 225"),
        ({"small_size": 0}, "small_size"),
        ({"stride": 0}, "stride"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (0.5, 1.5)}, "scale"),
        ({"ratio": (2.0, 1.0)}, "ratio"),
        ({"flip": 1.5}, "flip"),
    ],
)
def test_bad_settings(settings_, message):
    with pytest.raises(ValueError, match=message):
        MultiCrop(**settings_)


def test_a_bad_probability_of_a_distortion():
    with pytest.raises(ValueError, match="solarize must be a probability"):
        ColorDistortion(solarize=-0.1)

"""The affine map of training images against the definitions of its parts, written out for points."""

import cv2
import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from correspondence_losses.reference.streams.images import Augmentation, as_image, as_mask
from correspondence_losses.reference.streams.placement import Placement

PLAIN = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "zoom": (1.0, 1.0), "rotation": 0.0, "flip": 0.0}


def dot(height: int, width: int, y: int, x: int) -> np.ndarray:
    """A white pixel on black, smoothed so that its place can be told to a part of a pixel."""
    image = np.zeros((height, width, 3), np.uint8)
    image[y, x] = 255
    return cv2.GaussianBlur(image, (0, 0), 3.0) * 20


def centre(image: torch.Tensor) -> tuple[float, float]:
    weight = image[0].double()
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5 for side in weight.shape), indexing="ij")
    return float((weight * x).sum() / weight.sum()), float((weight * y).sum() / weight.sum())


@pytest.mark.parametrize("change", [{}, {"zoom": (0.7, 0.7)}, {"zoom": (1.5, 1.5)}, {"flip": 1.0}, {"rotation": 40.0}])
def test_points_go_where_the_map_says(change: dict) -> None:
    placement = Placement((96, 128), (96, 128), **{**PLAIN, **change})
    torch.manual_seed(3)
    params = placement.make_params([as_image(dot(48, 64, 22, 30))])
    moved = placement.transform(as_image(dot(48, 64, 22, 30)), params)
    expected = params["map"] @ [30.5, 22.5, 1]
    assert np.abs(np.array(centre(moved)) - expected).max() < 0.15


def test_scale_mirror_and_rotation_are_those_of_the_settings() -> None:
    image = as_image(np.zeros((48, 64, 3), np.uint8))
    plain = Placement((96, 128), (96, 128), **PLAIN).make_params([image])["map"]
    np.testing.assert_allclose(plain, [[2, 0, 0], [0, 2, 0]], atol=1e-12)
    mirrored = Placement((96, 128), (96, 128), **{**PLAIN, "flip": 1.0}).make_params([image])["map"]
    np.testing.assert_allclose(mirrored, [[-2, 0, 128], [0, 2, 0]], atol=1e-12)
    turned = Placement((96, 128), (96, 128), **{**PLAIN, "rotation": 30.0})
    drawn = [turned.make_params([image])["map"] for _ in range(200)]
    angles = np.degrees([np.arctan2(m[1, 0], m[0, 0]) for m in drawn])
    assert -30 <= angles.min() < -25
    assert 25 < angles.max() <= 30
    middle = np.array([m @ [32, 24, 1] for m in drawn])
    np.testing.assert_allclose(middle, np.broadcast_to([64, 48], middle.shape), atol=1e-9)
    zoomed = Placement((96, 128), (96, 128), **{**PLAIN, "zoom": (0.5, 2.0)})
    scales = np.array([zoomed.make_params([image])["map"][0, 0] for _ in range(400)])
    assert scales.min() >= 1
    assert scales.max() <= 4
    assert abs(np.log(scales / 2).mean()) < 0.1  # as often larger as smaller


def test_the_window_lies_inside_of_the_image_or_the_image_inside_of_it() -> None:
    image, label = np.full((60, 80, 3), 255, np.uint8), np.zeros((60, 80), np.uint8)
    label[50:, 70:] = 5  # in a corner
    for zoom, window, full in [(1.0, (32, 32), True), (1.5, (60, 80), True), (0.5, (64, 96), False)]:
        placement = Placement((60, 80), window, **{**PLAIN, "zoom": (zoom, zoom)})
        for _ in range(20):
            moved, mask = placement(as_image(image), as_mask(label))
            area = (moved[0] > 127).sum().item()
            assert area == (window[0] * window[1] if full else 30 * 40)
            assert (mask == 5).any()


def test_labels_are_never_interpolated_and_keep_their_type() -> None:
    label = np.random.default_rng(0).choice([0, 3, 70000], (48, 64)).astype(np.int64)
    augmentation = Augmentation(zoom=(0.6, 1.6), rotation=15, flip=0.5, crop_scale=(0.5, 1.0))
    moved = augmentation.geometry((96, 128))(as_mask(label))
    assert isinstance(moved, tv_tensors.Mask)
    assert moved.dtype == torch.int64
    assert set(moved.unique().tolist()) <= {0, 3, 70000}


def test_a_smaller_image_is_smoothed_first() -> None:
    """A chessboard of single pixels becomes grey, not stripes."""
    board = (np.indices((96, 128)).sum(0) % 2 * 255).astype(np.uint8)
    moved = Augmentation().geometry((32, 43))(as_image(np.dstack([board] * 3))).float()
    assert moved[:, 2:-2, 2:-2].std() < 20


def test_images_of_the_wanted_size_are_left_as_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    assert torch.equal(Augmentation().geometry((48, 64))(as_image(image)), as_image(image))


def test_crops_have_the_area_and_the_ratio_that_are_asked_for() -> None:
    image = as_image(np.zeros((100, 200, 3), np.uint8))
    placement = Placement((50, 100), (50, 100), **{**PLAIN, "crop_scale": (0.2, 0.5), "crop_ratio": (0.8, 1.25)})
    for _ in range(100):
        matrix = placement.make_params([image])["map"]
        columns, rows = 100 / matrix[0, 0], 50 / matrix[1, 1]
        assert 0.19 < columns * rows / (100 * 200) < 0.51
        assert 0.78 < columns / rows / 2 < 1.28


def test_hidden_colours_do_not_show_at_the_border_of_a_transparent_image() -> None:
    image = np.zeros((60, 80, 4), np.uint8)
    image[..., :3] = (0, 255, 0)  # hidden
    image[20:40, 30:60] = (255, 0, 0, 255)
    for zoom in (0.6, 1.5):
        moved = Augmentation(zoom=(zoom, zoom), rotation=20).geometry((60, 80))(as_image(image))
        seen = moved[:, moved[3] > 8]
        assert (moved[3] > 0).sum() > 100
        assert seen[1].max() == 0
        assert seen[0].min() > 200


def test_an_enlarged_image_is_not_darker_at_its_border() -> None:
    image = np.full((30, 40, 3), 200, np.uint8)
    assert (Augmentation().geometry((90, 120))(as_image(image)) == 200).all()

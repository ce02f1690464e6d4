"""Feature maps as images."""

import numpy as np
import pytest

from correspondence_losses.reference.figures.colors import component_images, projection_image


def random_map(channels: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(channels, 6, 8)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 16])
def test_a_projection_of_any_width_is_an_image(channels: int) -> None:
    image = projection_image(random_map(channels))
    assert image.shape == (6, 8, 3)
    assert image.dtype == np.uint8
    assert image.min() == 0
    assert image.max() == 255


def test_three_channels_are_red_green_and_blue() -> None:
    ramp = np.linspace(0, 1, 48).reshape(6, 8)
    image = projection_image(np.stack([ramp, 1 - ramp, np.zeros_like(ramp)]))
    assert image[0, 0].tolist() == [0, 255, 0]
    assert image[-1, -1].tolist() == [255, 0, 0]


def test_one_channel_is_grey() -> None:
    image = projection_image(random_map(1))
    assert np.array_equal(image[..., 0], image[..., 1])
    assert np.array_equal(image[..., 0], image[..., 2])


def test_more_channels_are_shown_by_their_principal_components() -> None:
    loud, quiet = random_map(1)[0], random_map(2)[1]
    image = projection_image(np.stack([quiet, 100 * loud, quiet, quiet])).astype(float)
    assert abs(np.corrcoef(image[..., 0].ravel(), loud.ravel())[0, 1]) > 0.95


def test_equal_features_of_two_maps_have_equal_colours() -> None:
    features = random_map(5)
    first, second = component_images(np.stack([features, features]))
    assert np.array_equal(first, second)

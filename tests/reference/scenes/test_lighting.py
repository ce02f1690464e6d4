"""One convention for the light of every renderer, and an environment as a few lamps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from correspondence_losses.reference.scenes import Camera, EmbeddedRenderer, Scene
from correspondence_losses.reference.scenes.lamps import lamps
from correspondence_losses.reference.scenes.lighting import environment_directions, look_up_environment
from correspondence_losses.reference.scenes.sensor import to_srgb


def test_a_panorama_is_seen_from_inside():
    """From y, on the left edge, one turns right: to x, to -y and to -x. The first row is above."""
    directions = environment_directions(5, 4 * 90)
    for quarter, expected in enumerate(([0, 1, 0], [1, 0, 0], [0, -1, 0], [-1, 0, 0])):
        np.testing.assert_allclose(directions[2, 90 * quarter], expected, atol=0.01)
    np.testing.assert_allclose(directions[0, 7], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(directions[4, 7], [0, 0, -1], atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(2, 12), width=st.integers(2, 20))
def test_radiance_is_found_where_its_pixel_looks(seed, height, width):
    rng = np.random.default_rng(seed)
    environment = rng.random((height, width, 3), dtype=np.float32)
    directions = environment_directions(height, width) * rng.uniform(0.1, 9)
    found = look_up_environment(environment, directions)
    np.testing.assert_allclose(found[1:-1], environment[1:-1], atol=1e-5)
    np.testing.assert_allclose(look_up_environment(np.full_like(environment, 0.7), directions), 0.7, atol=1e-6)


def test_the_embedded_renderer_sees_the_environment_by_this_convention():
    """Red grows along x, green along y, blue along z: smooth, so that denoising leaves it as it is."""
    pytest.importorskip("mitsuba", reason="needs the extra scenes")
    environment = (0.5 + 0.4 * environment_directions(32, 64)).astype(np.float32)
    for angles in ([0.0, 0.0, 0.0], [100.0, 20.0, 40.0], [180.0, -70.0, 10.0]):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        camera = Camera(24, 18, np.array([[70.0, 0, 11], [0, 72, 9], [0, 0, 1]]), pose)
        frame = EmbeddedRenderer(64).render(Scene(camera, [], environment), seed=0)
        rays = camera.rays() @ pose[:3, :3].T
        light = 0.5 + 0.4 * rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        difference = np.abs(frame.color - to_srgb(light) * 255)
        assert difference.mean() < 1.5
        assert difference.max() < 8


def test_even_light_has_no_lamps():
    light = lamps(np.full((8, 16, 3), [0.2, 0.4, 0.6], np.float32), 3)
    np.testing.assert_allclose(light.ambient, [0.2, 0.4, 0.6], rtol=1e-6)
    assert light.directions.shape == light.irradiance.shape == (0, 3)


def test_a_bright_spot_is_a_lamp():
    environment = np.full((32, 64, 3), 0.5, np.float32)
    environment[9, 20] = [60, 50, 40]
    light = lamps(environment, 3)
    np.testing.assert_allclose(light.directions, environment_directions(32, 64)[9:10, 20], atol=1e-12)
    # Of a row of pixels at latitude t, each spans sin(t) dt dphi to the second order.
    solid_angle = np.sin(9 / 31 * np.pi) * (np.pi / 31) * (2 * np.pi / 64)
    mean = (0.5 * 4 * np.pi + (np.array([60, 50, 40]) - 0.5) * solid_angle) / (4 * np.pi)
    np.testing.assert_allclose(light.irradiance[0], (np.array([60, 50, 40]) - 2 * mean) * solid_angle, rtol=1e-3)
    np.testing.assert_allclose(light.ambient, mean - light.irradiance[0] / (4 * np.pi), rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 3))
def test_lamps_are_apart_in_order_of_their_brightest_spot_and_light_is_conserved(seed, count):
    rng = np.random.default_rng(seed)
    environment = rng.gamma(0.3, 1, (12, 24, 3)).astype(np.float32)
    light = lamps(environment, count)
    assert 1 <= len(light.directions) <= count
    np.testing.assert_allclose(np.linalg.norm(light.directions, axis=1), 1)
    assert (light.ambient > 0).all()
    # Each lamp's irradiance is its power times a cosine between that of 60 degrees and 1.
    weights = lamps(np.ones_like(environment), 0)
    np.testing.assert_allclose(weights.ambient, 1)
    total, rest = lamps(environment, 0).ambient, light.ambient
    power = (total - rest) * 4 * np.pi
    gathered = light.irradiance.sum(axis=0)
    assert (gathered <= power * (1 + 1e-9)).all()
    assert (gathered >= power / 2).all()


def test_three_spots_are_three_lamps_and_a_fourth_is_spread():
    environment = np.full((32, 64, 3), 0.1, np.float32)
    spots = [(8, 3, 90), (8, 19, 80), (10, 35, 70), (12, 51, 60)]
    for row, column, radiance in spots:
        environment[row, column] = radiance
    light = lamps(environment, 3)
    expected = [environment_directions(32, 64)[row, column] for row, column, _ in spots[:3]]
    np.testing.assert_allclose(light.directions, expected, atol=1e-12)
    assert lamps(environment, 4).ambient[0] < light.ambient[0]
    dark = environment.copy()
    dark[12, 51] = 0.1
    assert lamps(dark, 3).ambient[0] < light.ambient[0]

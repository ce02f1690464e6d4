"""Regions inside of boundaries: closed where these have gaps, and merged where they are weak."""

import numpy as np
import pytest

from correspondence_losses.reference.segments.regions import closed_regions


def disc(gap: float = 0.0, strength: float = 1.0, size: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """The boundary of a disc, with a gap of some radians in it, and where its inside is."""
    y, x = np.mgrid[:size, :size] - size / 2
    ring = np.abs(np.hypot(x, y) - size / 4) < 1.5
    return strength * (ring & (np.abs(np.arctan2(y, x)) > gap / 2)), np.hypot(x, y) < size / 4 - 2


@pytest.mark.parametrize("gap", [0.0, 0.1, 0.2, 0.3])
def test_a_boundary_with_a_gap_closes(gap: float) -> None:
    boundaries, inside = disc(gap)
    regions = closed_regions(boundaries)
    assert len(np.unique(regions)) == 2
    assert len(np.unique(regions[inside])) == 1
    label = regions[60, 60]
    assert abs((regions == label).sum() - np.pi * 30**2) < 0.1 * np.pi * 30**2


def test_a_weak_boundary_is_none() -> None:
    boundaries, _ = disc(strength=0.1)
    assert len(np.unique(closed_regions(boundaries))) == 1
    assert len(np.unique(closed_regions(boundaries, merge=0.01))) == 2


def test_the_weakest_border_goes_first_and_borders_are_averaged() -> None:
    # Three stripes. The border on the right is stronger on the whole, and weaker on one half of its length.
    boundaries = np.zeros((60, 90))
    boundaries[:, 29:31] = 0.3
    boundaries[:30, 59:61], boundaries[30:, 59:61] = 0.6, 0.2

    def count(merge: float) -> int:
        return len(np.unique(closed_regions(boundaries, merge=merge)))

    assert [count(merge) for merge in (0.05, 0.22, 0.5)] == [3, 2, 1]


def test_small_regions_go_to_their_neighbours() -> None:
    boundaries, inside = disc()
    regions = closed_regions(boundaries, min_size=int(inside.sum()) * 2)
    assert len(np.unique(regions)) == 1
    assert regions.min() == 1


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_no_boundary_and_nothing_but_boundary_are_one_region(value: float) -> None:
    assert (closed_regions(np.full((30, 40), value)) == 1).all()


def test_every_pixel_has_a_region() -> None:
    regions = closed_regions(np.random.default_rng(0).random((50, 60)).astype(np.float32))
    assert regions.shape == (50, 60)
    assert regions.min() >= 1

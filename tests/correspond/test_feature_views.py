"""The search between many views, against ``feature_matches`` of each pair."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.correspond import _feature_views, feature_matches
from correspondence_losses.correspond._feature_views import fits_in_blocks, nearest_between_views

SIZES = [(3, 4), (3, 4), (2, 2), (1, 3)]


def maps(seed, num_views=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 5, *size, generator=generator, dtype=dtype) for size in SIZES[:num_views]]


def equal_to_each_pair(views, num_large):
    nearest = nearest_between_views(views, num_large)
    pairs = {
        (source, target)
        for source in range(len(views))
        for target in range(len(views))
        if source != target and min(source, target) < num_large
    }
    assert nearest.keys() == pairs
    for (source, target), found in nearest.items():
        num_cells = views[source][0, 0].numel()
        matches = feature_matches(views[source], views[target], num_cells)
        assert torch.equal(found.index_b, matches.index_b)
        torch.testing.assert_close(found.squared_distance.sqrt(), matches.distance)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(2, 4),
    st.integers(1, 4),
    st.sampled_from([0.0, 1e3]),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_equals_the_matches_of_each_pair(seed, num_views, num_large, offset, layout):
    views = [(view + offset).contiguous(memory_format=layout) for view in maps(seed, num_views)]
    equal_to_each_pair(views, min(num_large, num_views))


def test_blocks_change_nothing(monkeypatch):
    monkeypatch.setattr(_feature_views, "_BLOCK_ELEMENTS", 1)
    equal_to_each_pair(maps(0), 2)


def test_large_means_do_not_cost_the_small_differences():
    torch.manual_seed(0)
    a, b = (1e3 + 1e-2 * torch.randn(1, 8, 12, 12) for _ in range(2))
    exact = torch.cdist(a.double().flatten(2).mT, b.double().flatten(2).mT)
    nearest = nearest_between_views([a, b], 1)
    for pair, dim in (((0, 1), 2), ((1, 0), 1)):
        distance = nearest[pair].squared_distance.sqrt().double()
        torch.testing.assert_close(distance, exact.amin(dim), rtol=1e-4, atol=0)


def test_of_equal_cells_the_first_is_the_nearest():
    view = torch.randn(2, 8, 1, 3).repeat(1, 1, 1, 4)
    nearest = nearest_between_views([view, view], 1)
    first = torch.arange(3).repeat(2, 4)
    assert torch.equal(nearest[0, 1].index_b, first)
    assert torch.equal(nearest[1, 0].index_b, first)


def test_autocast_changes_nothing():
    views = maps(0, dtype=torch.float32)
    expected = nearest_between_views(views, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nearest_between_views(views, 2)
    for pair, (index_b, squared_distance) in expected.items():
        assert torch.equal(found[pair].index_b, index_b)
        assert torch.equal(found[pair].squared_distance, squared_distance)


@pytest.mark.parametrize(("side", "fits"), [(7, True), (38, True), (39, False)])
def test_memory_is_bounded(side, fits):
    assert fits_in_blocks([torch.empty(1, 1, side, side)] * 2) is fits

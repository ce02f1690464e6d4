"""Matches by segment between the views of a set: which views, which cells, and how they are drawn and batched."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plate_world import SIZE, stream, world

from correspondence_losses.correspond import MultiCrop
from correspondence_losses.reference.streams import (
    MatchedViewStream,
    SingleFrame,
    collate_matched_views,
    segment_searches,
)

CROPS = MultiCrop(num_small=3, large_size=64, small_size=48, stride=16)


def matched(seed: int = 0) -> MatchedViewStream:
    source, _, _, _, cache = world()
    views = stream(SingleFrame(), source, cache, seed, CROPS, labelled_size=SIZE)
    return MatchedViewStream(views, segment_searches(CROPS.num_large, CROPS.num_small, (12, 5)))


@given(num_large=st.integers(1, 4), num_small=st.integers(0, 5), large=st.integers(1, 50), small=st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_each_large_view_meets_every_other_in_both_directions(
    num_large: int, num_small: int, large: int, small: int
) -> None:
    assume(num_large + num_small > 1)
    weights: dict[tuple[int, int], float] = {}
    for search in segment_searches(num_large, num_small, (large, small)):
        for source, target in zip(search.sources, search.targets, strict=True):
            assert search.num_matches == (large if source < num_large else small)
            assert (source, target) not in weights
            weights[source, target] = search.weight / len(search.sources)
    # literally: the mean over the pairs (large, other), and over both directions of each
    pairs = [(a, b) for a in range(num_large) for b in range(num_large + num_small) if a != b]
    expected: dict[tuple[int, int], float] = {}
    for a, b in pairs:
        for direction in ((a, b), (b, a)):
            expected[direction] = expected.get(direction, 0.0) + 1 / (2 * len(pairs))
    assert weights.keys() == expected.keys()
    for direction, weight in weights.items():
        assert abs(weight - expected[direction]) < 1e-12


def test_matches_join_cells_of_one_segment_in_the_views_of_the_search() -> None:
    sample = matched()[0]
    views, searches = sample.views, segment_searches(2, 3, (12, 5))
    view_of_cell = torch.cat([torch.full((labels.numel(),), i) for i, labels in enumerate(views.cell_segments)])
    labels = torch.cat([labels.flatten() for labels in views.cell_segments])
    some = 0
    for search, matches in zip(searches, sample.segment_matches, strict=True):
        count = len(search.sources) * search.num_matches
        assert all(part.shape == (1, count) for part in matches)
        for views_of_side, index in ((search.sources, matches.index_a), (search.targets, matches.index_b)):
            expected = torch.tensor(views_of_side).repeat_interleave(search.num_matches)
            assert torch.equal(view_of_cell[index[0]], expected)
        a, b = labels[matches.index_a[matches.valid]], labels[matches.index_b[matches.valid]]
        assert torch.equal(a, b)
        assert (a > 0).all()
        some += len(a)
    assert some > 0


def test_draws_are_a_function_of_seed_and_index_alone() -> None:
    first = [matched()[i] for i in range(4)]
    torch.manual_seed(9)
    state = torch.random.get_rng_state()
    again = matched()
    for i in reversed(range(4)):
        for one, other in zip(first[i].segment_matches, again[i].segment_matches, strict=True):
            assert torch.equal(one.index_a, other.index_a)
            assert torch.equal(one.index_b, other.index_b)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert any(
        not torch.equal(one.index_a, other.index_a)
        for one, other in zip(first[0].segment_matches, matched(seed=1)[0].segment_matches, strict=True)
    )


def test_a_batch_holds_each_samples_own_matches() -> None:
    samples = [matched()[i] for i in range(3)]
    batch = collate_matched_views(samples)
    assert len(batch.views.images[0]) == 3
    for i, sample in enumerate(samples):
        for joined, own in zip(batch.segment_matches, sample.segment_matches, strict=True):
            for one, other in zip(joined, own, strict=True):
                assert torch.equal(one[i], other[0])


def test_without_searches_a_batch_has_no_matches() -> None:
    source, *_ = world()
    views = stream(SingleFrame(), source, None, 0, CROPS, labelled_size=SIZE)
    batch = collate_matched_views([MatchedViewStream(views, [])[i] for i in range(2)])
    assert batch.segment_matches == ()
    assert batch.views.cell_segments == ()

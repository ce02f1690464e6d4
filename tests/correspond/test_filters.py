"""Filters and combinations of matches against sets of pairs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.correspond import (
    Matches,
    close_matches,
    feature_matches,
    mutual_matches,
    same_label_matches,
    segment_matches,
    union_matches,
)

examples = settings(max_examples=40, deadline=None)


@st.composite
def matches(draw, samples=2, cells=5):
    slots = draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    index_a, index_b = torch.randint(cells, (2, samples, slots), generator=generator)
    valid = torch.rand(samples, slots, generator=generator) < 0.7
    distance = torch.randint(4, (samples, slots), generator=generator).float()
    return Matches(
        index_a.where(valid, 0), index_b.where(valid, 0), valid, distance.where(valid, torch.tensor(torch.inf))
    )


def slots(found, sample):
    """The matches of a sample: pair and distance, None where there is none."""
    fields = zip(*(field[sample].tolist() for field in found), strict=True)
    return [(a, b, distance) if valid else None for a, b, valid, distance in fields]


def check_padding(found):
    assert not found.index_a[~found.valid].any()
    assert not found.index_b[~found.valid].any()
    assert found.distance[~found.valid].isinf().all()


@examples
@given(matches(), matches())
def test_mutual_matches(one_way, other_way):
    kept = mutual_matches(one_way, other_way)
    check_padding(kept)
    for sample in range(2):
        back = {(b, a) for a, b, _ in filter(None, slots(other_way, sample))}
        expected = [match if match and match[:2] in back else None for match in slots(one_way, sample)]
        assert slots(kept, sample) == expected


@examples
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 5))
def test_mutual_nearest_neighbours(seed, width_a, width_b):
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 3, 2, width_a, generator=generator), torch.randn(2, 3, 2, width_b, generator=generator)
    kept = mutual_matches(feature_matches(a, b, 2 * width_a), feature_matches(b, a, 2 * width_b))
    distance = torch.cdist(a.flatten(2).mT, b.flatten(2).mT, compute_mode="donot_use_mm_for_euclid_dist")
    for sample in range(2):
        nearest_b, nearest_a = distance[sample].argmin(1), distance[sample].argmin(0)
        expected = {(i, int(j)) for i, j in enumerate(nearest_b) if nearest_a[j] == i}
        assert {match[:2] for match in slots(kept, sample) if match} == expected


@examples
@given(matches(), st.floats(0, 4))
def test_close_matches(found, max_distance):
    kept = close_matches(found, max_distance)
    check_padding(kept)
    for sample in range(2):
        expected = [match if match and match[2] <= max_distance else None for match in slots(found, sample)]
        assert slots(kept, sample) == expected


def test_a_nan_distance_stays_so_that_it_shows():
    found = feature_matches(torch.full((1, 1, 1, 1), torch.nan), torch.zeros(1, 1, 1, 1), 1)
    assert close_matches(found, 1.0).valid.all()
    assert close_matches(found, 1.0).distance.isnan().all()


@examples
@given(matches(), st.integers(0, 2**31), st.sampled_from([0, 2, None]))
def test_same_label_matches(found, seed, ignore_index):
    segments_a, segments_b = torch.randint(3, (2, 2, 1, 5), generator=torch.Generator().manual_seed(seed))
    kept = same_label_matches(found, segments_a, segments_b.to(torch.uint8), ignore_index=ignore_index)
    check_padding(kept)
    for sample in range(2):
        a, b = segments_a[sample, 0].tolist(), segments_b[sample, 0].tolist()
        expected = [
            match if match and a[match[0]] == b[match[1]] and a[match[0]] != ignore_index else None
            for match in slots(found, sample)
        ]
        assert slots(kept, sample) == expected


def test_segment_matches_all_have_the_same_label():
    segments_a, segments_b = torch.randint(4, (2, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    found = segment_matches(segments_a, segments_b, 30)
    for field, expected in zip(same_label_matches(found, segments_a, segments_b), found, strict=True):
        assert torch.equal(field, expected)


@examples
@given(st.lists(matches(), min_size=1, max_size=3))
def test_union(several):
    joined = union_matches(*several)
    check_padding(joined)
    for sample in range(2):
        seen, expected = set(), []
        for match in (match for found in several for match in slots(found, sample)):
            expected.append(match if match and match[:2] not in seen else None)
            seen |= {match[:2]} if match else set()
        assert slots(joined, sample) == expected


@examples
@given(matches(), matches(), matches(), st.floats(0, 4))
def test_laws_of_the_algebra(a, b, c, max_distance):
    def pairs(found):
        return [{match[:2] for match in slots(found, sample) if match} for sample in range(2)]

    assert pairs(union_matches(a, b)) == pairs(union_matches(b, a))
    assert pairs(union_matches(union_matches(a, b), c)) == pairs(union_matches(a, union_matches(b, c)))
    assert pairs(union_matches(a, a)) == pairs(a)
    assert pairs(mutual_matches(union_matches(a, b), c)) == pairs(
        union_matches(mutual_matches(a, c), mutual_matches(b, c))
    )
    assert pairs(close_matches(mutual_matches(a, b), max_distance)) == pairs(
        mutual_matches(close_matches(a, max_distance), b)
    )


def turned(found: Matches) -> Matches:
    return Matches(found.index_b, found.index_a, found.valid, found.distance)


@pytest.mark.parametrize(
    "function",
    [
        lambda found, segments: mutual_matches(found, turned(found)),
        lambda found, segments: close_matches(found, 1.0),
        lambda found, segments: same_label_matches(found, segments, segments),
        lambda found, segments: union_matches(found, found),
    ],
)
def test_compiles_to_one_graph(function):
    features = torch.randn(2, 3, 4, 4)
    found, segments = feature_matches(features, features.flip(-1), 9), torch.randint(3, (2, 4, 4))
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for got, expected in zip(compiled(found, segments), function(found, segments), strict=True):
        assert torch.equal(got, expected)

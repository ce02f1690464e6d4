"""Criteria of vectors on matches and on segments: what they are given, and every pair of both forward and backward."""

import pytest
import torch
from criteria import CRITERIA, PRODUCERS, features, segments, trains

from correspondence_losses import GramLoss, feature_matches, gather_matches, gram_loss, on_matches, on_segments


@pytest.mark.parametrize("producer", [*PRODUCERS, "segments"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_trains_on_every_producer_s_matches(criterion: str, producer: str) -> None:
    assert trains(criterion, producer)


def test_a_criterion_gets_the_matched_vectors_and_which_count() -> None:
    a, b = features(0), features(1)
    matches = feature_matches(a, b, 100)  # more slots than cells
    assert not matches.valid.all()
    given = []
    on_matches(lambda *vectors, valid: given.append((*vectors, valid)), a, b, matches)
    for got, expected in zip(given[0], (*gather_matches(a, b, matches), matches.valid), strict=True):
        assert torch.equal(got, expected)
    valid = matches.valid[0]
    vectors = [side[:1, valid] for side in gather_matches(a, b, matches)]
    alone = matches._replace(**{name: getattr(matches, name)[:1] for name in matches._fields})
    torch.testing.assert_close(on_matches(gram_loss, a[:1], b[:1], alone), gram_loss(*vectors))


def test_segments_are_pooled_where_both_sides_show_them() -> None:
    a, b, other = features(0)[:1], features(1)[:1], segments()[:1].clone()
    other[other == 2] = 0
    means = [torch.stack([side[0][:, labels[0] == i].mean(1) for i in (1, 3)]) for side, labels in
             ((a, segments()[:1]), (b, other))]  # fmt: skip
    expected = GramLoss()(means[0][None], means[1][None])
    torch.testing.assert_close(on_segments(GramLoss(), a, segments()[:1], b, other), expected)


def test_teachers_may_have_other_channels_by_one_grid_of_both() -> None:
    student, teacher = features(0), torch.randn(3, 17, 8, 8, dtype=torch.float64)
    assert GramLoss()(student.flatten(2).mT, teacher.flatten(2).mT).isfinite()
    with pytest.raises(ValueError, match="features_b must have shape"):
        on_matches(GramLoss(), student, teacher, feature_matches(student, student, 3))

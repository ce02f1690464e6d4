"""MatchedVICRegLoss against a loop over match slots, and its masks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from correspondence_losses.correspond import Matches
from correspondence_losses.losses import MatchedVICRegLoss, VICRegLoss

conventions = st.sampled_from(["equations", "vicreg", "vicregl"])
seeds = st.integers(0, 2**16)
examples = settings(max_examples=30, deadline=None)


def random_matches(seed: int, b: int, k: int, cells_a: int, cells_b: int, share: float) -> Matches:
    generator = torch.Generator().manual_seed(seed)
    return Matches(
        torch.randint(cells_a, (b, k), generator=generator),
        torch.randint(cells_b, (b, k), generator=generator),
        torch.rand(b, k, generator=generator) < share,
        torch.rand(b, k, generator=generator),
    )


def maps(seed: int, b: int, d: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": torch.float64}
    return torch.randn(b, d, 3, 4, **draw), torch.randn(b, d, 2, 2, **draw)


def pairs(map_a: Tensor, map_b: Tensor, matches: Matches, image: int, slot: int) -> tuple[Tensor, Tensor]:
    a, b = int(matches.index_a[image, slot]), int(matches.index_b[image, slot])
    return map_a[image, :, a // map_a.shape[3], a % map_a.shape[3]], map_b[
        image, :, b // map_b.shape[3], b % map_b.shape[3]
    ]


@examples
@given(seeds, st.integers(2, 5), st.integers(1, 5), st.sampled_from([0.0, 0.5, 1.0]), conventions)
def test_statistics_for_each_slot_over_the_images(seed, b, k, share, convention):
    map_a, map_b = maps(seed, b)
    matches = random_matches(seed, b, k, 12, 4, share)
    of_slots = []
    for slot in range(k):
        found = [pairs(map_a, map_b, matches, image, slot) for image in range(b) if matches.valid[image, slot]]
        if found:
            z1, z2 = (torch.stack(side) for side in zip(*found, strict=True))
            of_slots.append(torch.stack(VICRegLoss(convention=convention).terms(z1, z2)))
    expected = sum(of_slots, torch.zeros(3, dtype=torch.float64))
    if convention != "equations":
        expected = expected / max(len(of_slots), 1)
    terms = MatchedVICRegLoss(convention=convention).terms(map_a, map_b, matches)
    torch.testing.assert_close(torch.stack(terms), expected)


@examples
@given(seeds, st.integers(1, 4), st.integers(1, 5), conventions)
def test_statistics_over_all_matches(seed, b, k, convention):
    map_a, map_b = maps(seed, b)
    matches = random_matches(seed, b, k, 12, 4, 0.7)
    found = [
        pairs(map_a, map_b, matches, image, slot)
        for image in range(b)
        for slot in range(k)
        if matches.valid[image, slot]
    ]
    expected = torch.zeros((), dtype=torch.float64)
    if found:
        z1, z2 = (torch.stack(side) for side in zip(*found, strict=True))
        expected = VICRegLoss(convention=convention)(z1, z2)
    if convention == "equations":
        expected = expected * matches.valid.any(0).sum()
    actual = MatchedVICRegLoss(convention=convention, statistics="matches")(map_a, map_b, matches)
    torch.testing.assert_close(actual, expected)
    if b == 1:
        assert MatchedVICRegLoss(convention=convention)(map_a, map_b, matches) == actual


@examples
@given(seeds, st.integers(1, 4), st.sampled_from(["slots", "matches"]))
def test_invalid_matches_contribute_nothing(seed, b, statistics):
    map_a, map_b = (feature_map.requires_grad_() for feature_map in maps(seed, b))
    matches = random_matches(seed, b, 6, 11, 4, 0.5)
    loss = MatchedVICRegLoss(statistics=statistics)
    poisoned = map_a.detach().clone()
    poisoned[:, :, 2, 3] = torch.nan  # cell 11, which only what is not valid refers to
    poisoned.requires_grad_()
    elsewhere = matches._replace(index_a=matches.index_a.where(matches.valid, 11))
    loss(map_a, map_b, matches).backward()
    other = loss(poisoned, map_b.detach(), elsewhere)
    other.backward()
    assert other == loss(map_a, map_b, matches)
    torch.testing.assert_close(poisoned.grad, map_a.grad)


@pytest.mark.parametrize("statistics", ["slots", "matches"])
def test_without_valid_matches_all_is_zero(statistics):
    map_a, map_b = (feature_map.requires_grad_() for feature_map in maps(0, 3))
    loss = MatchedVICRegLoss(statistics=statistics)(map_a, map_b, random_matches(0, 3, 5, 12, 4, 0.0))
    assert loss == 0
    loss.backward()
    assert (map_a.grad == 0).all()
    assert (map_b.grad == 0).all()


@pytest.mark.parametrize("statistics", ["slots", "matches"])
def test_gradients(statistics):
    map_a, map_b = (feature_map.requires_grad_() for feature_map in maps(0, 3))
    matches = random_matches(0, 3, 5, 12, 4, 0.7)
    loss = MatchedVICRegLoss(statistics=statistics)
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, matches), (map_a, map_b))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    map_a, map_b = ((100 * feature_map).to(dtype) for feature_map in maps(0, 3))
    matches = random_matches(0, 3, 5, 12, 4, 0.7)
    loss = MatchedVICRegLoss()
    expected = loss(map_a.double(), map_b.double(), matches)
    torch.testing.assert_close(loss(map_a, map_b, matches).double(), expected, rtol=1e-4, atol=1e-4)


def test_compiles_whole():
    map_a, map_b = maps(0, 3)
    matches = random_matches(0, 3, 5, 12, 4, 0.7)
    loss = MatchedVICRegLoss(gather=True)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(map_a, map_b, matches), loss(map_a, map_b, matches))


MAP_A, MAP_B = maps(0, 2)
MATCHES = random_matches(0, 2, 3, 12, 4, 1.0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: MatchedVICRegLoss(statistics="images"), ValueError, "statistics must be"),
        (lambda: MatchedVICRegLoss(eps=0), ValueError, "eps must be above 0"),
        (lambda: MatchedVICRegLoss()(MAP_A[0], MAP_B, MATCHES), ValueError, "features_a must have shape"),
        (lambda: MatchedVICRegLoss()(MAP_A, MAP_B[:1], MATCHES), ValueError, "features_b must have shape"),
        (
            lambda: MatchedVICRegLoss()(MAP_A, MAP_B, MATCHES._replace(valid=MATCHES.valid.float())),
            TypeError,
            "matches.valid must be a bool",
        ),
        (
            lambda: MatchedVICRegLoss()(MAP_A, MAP_B, MATCHES._replace(valid=MATCHES.valid[:1])),
            ValueError,
            r"matches.valid must have shape \(2, 3\)",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()

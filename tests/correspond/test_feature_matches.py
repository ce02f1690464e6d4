import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.correspond import _blocks, feature, feature_matches
from correspondence_losses.correspond.feature import _argmax


def literal_matches(map_a, map_b, num_matches):
    """Equation 2.9 by subtraction in float64, with its tie-breaks."""
    result = []
    for a, b in zip(map_a.double().flatten(2).mT, map_b.double().flatten(2).mT, strict=True):
        pairs = []
        for p in range(len(a)):
            distances = [(float((a[p] - b[q]).square().sum()), q) for q in range(len(b))]
            distance, q = min(distances)
            pairs.append((distance, p, q))
        result.append(sorted((p, q, distance**0.5) for distance, p, q in sorted(pairs)[:num_matches]))
    return result


shapes = st.tuples(
    st.integers(1, 2), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)
)


@settings(max_examples=40, deadline=None)
@given(
    shapes,
    st.integers(0, 2**31),
    st.integers(1, 20),
    st.sampled_from([0.0, 1e3]),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_equals_the_equation(shape, seed, num_matches, offset, layout):
    b, d, ha, wa, hb, wb = shape
    generator = torch.Generator().manual_seed(seed)
    map_a = torch.randn(b, d, ha, wa, generator=generator, dtype=torch.float64) + offset
    map_b = torch.randn(b, d, hb, wb, generator=generator, dtype=torch.float64) + offset
    matches = feature_matches(map_a, map_b.contiguous(memory_format=layout), num_matches)
    for sample, literal in enumerate(literal_matches(map_a, map_b, num_matches)):
        count = len(literal)
        assert matches.valid[sample].tolist() == [True] * count + [False] * (num_matches - count)
        assert matches.index_a[sample, :count].tolist() == [p for p, _, _ in literal]
        assert matches.index_b[sample, :count].tolist() == [q for _, q, _ in literal]
        assert matches.distance[sample, :count].tolist() == pytest.approx([d for _, _, d in literal], rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 300))
def test_argmax_takes_the_first_of_equal_values(seed, columns):
    scores = torch.randint(4, (2, 3, columns), generator=torch.Generator().manual_seed(seed)).float()
    expected = [[row.tolist().index(max(row.tolist())) for row in sample] for sample in scores]
    assert _argmax(scores).indices.tolist() == expected
    assert torch.equal(_argmax(scores).values, scores.amax(dim=-1))


def test_a_map_matched_with_itself_is_the_identity():
    features = torch.randn(2, 16, 5, 6) + 100
    matches = feature_matches(features, features, 30)
    assert torch.equal(matches.index_a, torch.arange(30).expand(2, -1))
    assert torch.equal(matches.index_b, matches.index_a)
    assert not matches.distance.any()


def test_large_means_do_not_cost_the_small_differences():
    torch.manual_seed(0)
    map_a, map_b = (1e3 + 1e-2 * torch.randn(1, 8, 12, 12) for _ in range(2))
    got = feature_matches(map_a, map_b, 144)
    exact = torch.cdist(map_a.double().flatten(2).mT, map_b.double().flatten(2).mT).amin(-1)
    torch.testing.assert_close(got.distance.double(), exact, rtol=1e-4, atol=0)


@pytest.mark.parametrize("columns", [1, 5, 18])
@pytest.mark.parametrize("pairs", [1, 50, 700])
def test_blocks_change_nothing(monkeypatch, pairs, columns):
    torch.manual_seed(0)
    # Whole numbers whose mean is one too have exact products: of equally near cells the first is taken.
    map_a = torch.randint(-2, 3, (3, 4, 5, 7), dtype=torch.float64)
    map_b = torch.randint(-2, 3, (3, 4, 3, 3), dtype=torch.float64)
    map_b = torch.cat([map_b, -map_b], dim=2)
    whole = feature_matches(map_a, map_b, 20)
    monkeypatch.setattr(_blocks, "_CPU_PAIRS", pairs)
    monkeypatch.setattr(feature, "_COLUMNS", columns)
    for got, expected in zip(feature_matches(map_a, map_b, 20), whole, strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_neither_overflows_nor_loses_the_nearest(dtype):
    torch.manual_seed(0)
    map_a, map_b = ((200 * torch.randn(1, 64, 4, 4)).to(dtype) for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = feature_matches(map_a, map_b, 16)
    expected = feature_matches(map_a.double(), map_b.double(), 16)
    assert got.distance.dtype == torch.float32
    assert torch.equal(got.index_b, expected.index_b)


def test_a_nan_shows_in_the_distances():
    map_a = torch.randn(1, 3, 2, 2)
    map_a[0, 1, 1, 0] = torch.nan
    matches = feature_matches(map_a, torch.randn(1, 3, 2, 2), 1)
    assert matches.index_a.tolist() == [[2]]
    assert matches.distance.isnan().all()
    assert matches.valid.all()


def test_no_gradient_is_recorded():
    features = torch.randn(1, 3, 2, 2, requires_grad=True)
    assert not feature_matches(features, features, 2).distance.requires_grad


@pytest.mark.parametrize(("pairs", "columns"), [(2**21, 2048), (50, 2048), (50, 5)])
def test_compiles_to_one_graph(pairs, columns, monkeypatch):
    monkeypatch.setattr(_blocks, "_CPU_PAIRS", pairs)
    monkeypatch.setattr(feature, "_COLUMNS", columns)
    map_a, map_b = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 3, 3)
    compiled = torch.compile(feature_matches, fullgraph=True, backend="aot_eager")
    for got, expected in zip(compiled(map_a, map_b, 20), feature_matches(map_a, map_b, 20), strict=True):
        torch.testing.assert_close(got, expected)

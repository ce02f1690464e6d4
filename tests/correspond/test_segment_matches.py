import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from correspondence_losses.correspond import segment_matches


def labels(draw, high, samples=2):
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    cells = st.lists(st.integers(0, high), min_size=samples * height * width, max_size=samples * height * width)
    return torch.tensor(draw(cells)).view(samples, height, width)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(0, 4), st.integers(1, 30), st.integers(0, 2**31), st.sampled_from([0, 2, None]))
def test_matches_never_cross_labels(data, high, num_matches, seed, ignore_index):
    labels_a, labels_b = labels(data.draw, high), labels(data.draw, high)
    matches = segment_matches(
        labels_a, labels_b, num_matches, torch.Generator().manual_seed(seed), ignore_index=ignore_index
    )
    for sample in range(2):
        a, b = labels_a[sample].flatten(), labels_b[sample].flatten()
        possible = (set(a.tolist()) & set(b.tolist())) - {ignore_index}
        assert matches.valid[sample].tolist() == [bool(possible)] * num_matches
        if possible:
            assert torch.equal(a[matches.index_a[sample]], b[matches.index_b[sample]])
            assert set(a[matches.index_a[sample]].tolist()) <= possible
            assert not matches.distance[sample].any()
        else:
            assert torch.isinf(matches.distance[sample]).all()


@pytest.mark.parametrize("slot", [slice(None), 0, -1])
def test_draws_are_uniform_over_all_pairs(slot):
    labels_a = torch.tensor([[1, 2, 2, 0, 3, 4]]).view(1, 2, 3).expand(2000, -1, -1)
    labels_b = torch.tensor([[2, 1, 0, 3, 2, 2, 5, 1]]).view(1, 4, 2).expand(2000, -1, -1)
    pairs = [
        (p, q)
        for p, a in enumerate(labels_a[0].flatten().tolist())
        for q, b in enumerate(labels_b[0].flatten().tolist())
        if a == b != 0
    ]
    assert len(pairs) == 9
    matches = segment_matches(labels_a, labels_b, 10, torch.Generator().manual_seed(0))
    keys = (matches.index_a * 8 + matches.index_b)[:, slot].flatten()
    counts = [int((keys == p * 8 + q).sum()) for p, q in pairs]
    assert sum(counts) == keys.numel()
    assert chisquare(counts).pvalue > 1e-3


def test_the_generator_decides():
    grid = torch.randint(0, 4, (2, 9, 9))
    draws = [segment_matches(grid, grid, 50, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(draws[0].index_a, draws[1].index_a)
    assert torch.equal(draws[0].index_b, draws[1].index_b)
    assert not torch.equal(draws[0].index_b, draws[2].index_b)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.uint16])
def test_every_integer_type_serves(dtype):
    grid = torch.randint(0, 4, (2, 9, 9))
    draws = [segment_matches(g, g, 50, torch.Generator().manual_seed(0)) for g in (grid, grid.to(dtype))]
    assert torch.equal(draws[0].index_b, draws[1].index_b)


def test_large_maps_take_linear_memory():
    grid = torch.ones(1, 480, 640, dtype=torch.int64)
    matches = segment_matches(grid, grid, 1000, torch.Generator().manual_seed(0))
    assert matches.valid.all()
    assert matches.index_a.max() > 300_000
    assert matches.index_b.min() < 7_000


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_to_one_graph(dynamic):
    grid = torch.randint(0, 4, (2, 4, 4))
    compiled = torch.compile(segment_matches, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    matches = compiled(grid, grid, 20)
    flat = grid.flatten(1)
    assert torch.equal(flat.gather(1, matches.index_a), flat.gather(1, matches.index_b))

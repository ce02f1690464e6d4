import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from correspondence_losses.correspond import Matches, gather_matches
from correspondence_losses.correspond import matches as matches_module
from correspondence_losses.correspond.matches import keep_closest


def kept_by_sorting(index_b, distance, num_matches):
    """The rule as a list: closest first, lowest cell first among equals, then back in row-major order."""
    ranked = sorted((value, cell) for cell, value in enumerate(distance) if value != float("inf"))
    kept = sorted(cell for _, cell in ranked[:num_matches])
    padding = num_matches - len(kept)
    return kept + [0] * padding, [index_b[cell] for cell in kept] + [0] * padding


@pytest.fixture(params=["sorting", "selecting"])
def route(request, monkeypatch):
    """Both ways of finding the closest, whatever the size."""
    monkeypatch.setattr(matches_module, "_SORTED_CELLS", 2**40 if request.param == "sorting" else 0)


@pytest.mark.usefixtures("route")
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([0.0, 1.0, 2.0, 4.0, float("inf")])), min_size=1, max_size=20
    ),
    st.integers(1, 25),
)
def test_keep_closest_follows_the_rule(pairs, num_matches):
    index_b = [index for index, _ in pairs]
    squared = [value for _, value in pairs]
    matches = keep_closest(torch.tensor([index_b]), torch.tensor([squared]), num_matches)
    expected_a, expected_b = kept_by_sorting(index_b, squared, num_matches)
    assert matches.index_a.tolist() == [expected_a]
    assert matches.index_b.tolist() == [expected_b]
    count = int(matches.valid.sum())
    assert count == min(num_matches, sum(value != float("inf") for value in squared))
    assert matches.valid[0].tolist() == [True] * count + [False] * (num_matches - count)
    assert matches.distance[0, :count].tolist() == pytest.approx([squared[cell] ** 0.5 for cell in expected_a[:count]])
    assert torch.isinf(matches.distance[0, count:]).all()


@pytest.mark.usefixtures("route")
def test_nan_distances_are_kept_so_that_they_show():
    matches = keep_closest(torch.tensor([[3, 4, 5]]), torch.tensor([[0.0, torch.nan, 1.0]]), 1)
    assert matches.index_a.tolist() == [[1]]
    assert matches.valid.all()
    assert matches.distance.isnan().all()


def random_matches(samples, slots, cells_a, cells_b):
    return Matches(
        torch.randint(cells_a, (samples, slots)),
        torch.randint(cells_b, (samples, slots)),
        torch.ones(samples, slots, dtype=torch.bool),
        torch.zeros(samples, slots),
    )


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gather_reads_the_cells(memory_format):
    map_a = torch.randn(2, 5, 3, 4).to(memory_format=memory_format)
    map_b = torch.randn(2, 5, 7, 2).to(memory_format=memory_format)
    matches = random_matches(2, 6, 12, 14)
    vectors_a, vectors_b = gather_matches(map_a, map_b, matches)
    for sample in range(2):
        for slot in range(6):
            a, b = int(matches.index_a[sample, slot]), int(matches.index_b[sample, slot])
            assert torch.equal(vectors_a[sample, slot], map_a[sample, :, a // 4, a % 4])
            assert torch.equal(vectors_b[sample, slot], map_b[sample, :, b // 2, b % 2])


def test_gather_gradient_sums_over_repeated_cells():
    map_a = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    map_b = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    matches = random_matches(2, 9, 4, 6)
    assert torch.autograd.gradcheck(lambda a, b: gather_matches(a, b, matches), (map_a, map_b))


def test_gather_compiles_to_one_graph():
    map_a, map_b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 2, 2)
    matches = random_matches(2, 5, 16, 4)
    compiled = torch.compile(gather_matches, fullgraph=True, backend="aot_eager")
    for got, expected in zip(compiled(map_a, map_b, matches), gather_matches(map_a, map_b, matches), strict=True):
        assert torch.equal(got, expected)


def test_gather_keeps_half_precision():
    map_a = torch.randn(1, 3, 2, 2, dtype=torch.bfloat16)
    assert gather_matches(map_a, map_a, random_matches(1, 2, 4, 4))[0].dtype == torch.bfloat16


def test_gather_rejects_cells_outside_the_map():
    feature_map = torch.randn(1, 3, 2, 2)
    matches = random_matches(1, 2, 4, 4)._replace(index_b=torch.tensor([[0, 4]]))
    with pytest.raises(ValueError, match=r"matches\.index_b must lie in \[0, 4\)"):
        gather_matches(feature_map, feature_map, matches)

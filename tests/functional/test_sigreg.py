"""SIGReg against the literal integral, its closed form and what it should find; LeJEPA as the sum of its terms."""

import cmath
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from correspondence_losses.functional import lejepa_loss, sigreg_loss
from correspondence_losses.losses import LeJEPALoss

seeds = st.integers(0, 2**16)
examples = settings(max_examples=25, deadline=None)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def directions(seed: int, d: int, slices: int) -> Tensor:
    drawn = draw(seed, d, slices)
    return drawn / drawn.norm(dim=0)


def literal(values: list[float], num_points: int, max_t: float) -> float:
    """The Epps-Pulley statistic of values, by the trapezoidal rule over all of its points."""
    points = [-max_t + 2 * max_t * i / (num_points - 1) for i in range(num_points)]
    integrand = []
    for t in points:
        empirical = sum(cmath.exp(1j * t * x) for x in values) / len(values)
        normal = math.exp(-(t**2) / 2)
        integrand.append(abs(empirical - normal) ** 2 * normal)
    pieces = [(a + b) / 2 * (2 * max_t / (num_points - 1)) for a, b in itertools.pairwise(integrand)]
    return len(values) * sum(pieces)


def closed_form(values: list[float]) -> float:
    """The integral itself, over the whole line."""
    n = len(values)
    pairs = sum(math.exp(-((x - y) ** 2) / 2) for x in values for y in values) / n**2
    single = sum(math.exp(-(x**2) / 4) for x in values) * 2 / (n * math.sqrt(2))
    return n * math.sqrt(2 * math.pi) * (pairs - single + 1 / math.sqrt(3))


@examples
@given(seeds, st.sampled_from([3, 5, 17]), st.floats(0.5, 6), st.booleans())
def test_sigreg_is_its_equation(seed: int, num_points: int, max_t: float, masked: bool) -> None:
    z, along = draw(seed, 2, 5, 4), directions(seed + 1, 4, 3)
    valid = torch.rand(2, 5, generator=torch.Generator().manual_seed(seed)) < 0.7 if masked else None
    counted = z.flatten(0, 1) if valid is None else z[valid]
    if len(counted) == 0:
        return
    expected = [literal((counted @ along[:, s]).tolist(), num_points, max_t) for s in range(3)]
    given_settings = {"valid": valid, "directions": along, "num_points": num_points, "max_t": max_t}
    got = sigreg_loss(z, reduction="none", **given_settings)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(sigreg_loss(z, **given_settings), got.mean())


def test_more_points_come_to_the_integral() -> None:
    z, along = 1.5 * draw(0, 20, 3) + 0.5, directions(1, 3, 4)
    expected = [closed_form((z @ along[:, s]).tolist()) for s in range(4)]
    got = sigreg_loss(z, directions=along, num_points=161, max_t=8.0, reduction="none")
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)
    default = sigreg_loss(z, directions=along, reduction="none")
    torch.testing.assert_close(default, got, rtol=0.03, atol=0.03)


def test_gradients_to_the_second_order() -> None:
    z, along = draw(0, 6, 4).requires_grad_(), directions(1, 4, 3).requires_grad_()
    valid = torch.tensor([True, True, False, True, True, True])

    def statistic(z: Tensor, along: Tensor) -> Tensor:
        return sigreg_loss(z, valid=valid, directions=along, num_points=7, reduction="none")

    assert torch.autograd.gradcheck(statistic, (z, along))
    assert torch.autograd.gradgradcheck(statistic, (z, along))


def test_it_tells_an_isotropic_gaussian_from_everything_else() -> None:
    """What variance and covariance see as equal too: of whitened data, only the normal ones score as under the test."""
    torch.manual_seed(0)
    n, d = 2000, 16
    normal = torch.randn(n, d)
    uniform = math.sqrt(12) * (torch.rand(n, d) - 0.5)
    two_points = torch.randn(n, 1).sign().expand(-1, d) * torch.nn.functional.normalize(torch.ones(d), dim=0) * 4
    others = {
        "collapsed": torch.zeros(n, d),
        "shifted": normal + 1,
        "narrow": 0.2 * normal,
        "of one dimension": normal[:, :1].expand(-1, d),
        "of two points": two_points,
    }
    under_the_test = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
    assert sigreg_loss(normal).item() == pytest.approx(under_the_test, rel=0.5)
    for name, z in others.items():
        assert sigreg_loss(z).item() > 20 * under_the_test, name
    axes = torch.eye(d)  # random directions of many uniform dimensions are nearly normal, each of them is not
    assert sigreg_loss(uniform, directions=axes).item() > 5 * sigreg_loss(normal, directions=axes).item()
    collapsed = n * math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3))
    assert sigreg_loss(others["collapsed"]).item() == pytest.approx(collapsed, rel=1e-2)


def test_descent_on_it_undoes_a_collapse() -> None:
    """The gradient of exactly equal vectors is equal too; from near there they come apart."""
    torch.manual_seed(0)
    z = (0.01 * torch.randn(128, 4)).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        sigreg_loss(z, num_slices=32).backward()
        optimizer.step()
    covariance = torch.cov(z.detach().T)
    torch.testing.assert_close(covariance, torch.eye(4), rtol=0, atol=0.35)


def test_directions_are_new_in_each_call_of_unit_length_and_reproducible() -> None:
    z = draw(0, 30, 5)
    torch.manual_seed(3)
    first, second = sigreg_loss(z, num_slices=8), sigreg_loss(z, num_slices=8)
    assert first != second
    torch.manual_seed(3)
    drawn = torch.randn(5, 8, dtype=torch.float64)
    torch.testing.assert_close(first, sigreg_loss(z, directions=drawn / drawn.norm(dim=0)))


@pytest.mark.parametrize("loss", [sigreg_loss, lambda z, **options: lejepa_loss(z, z.flip(0).clone(), **options)])
def test_nothing_valid_is_0_and_what_is_not_valid_has_no_effect(loss) -> None:
    z = draw(0, 8, 3).requires_grad_()
    nothing = loss(z, valid=torch.zeros(8, dtype=torch.bool))
    nothing.backward()
    assert nothing.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))
    valid = torch.arange(8) % 4 < 3
    valid = valid & valid.flip(0)
    along = directions(1, 3, 4)
    expected = loss(z, valid=valid, directions=along)
    broken = z.detach().masked_fill(~valid.unsqueeze(-1), torch.nan)
    torch.testing.assert_close(loss(broken, valid=valid, directions=along), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(dtype: torch.dtype) -> None:
    z, along = (3 * draw(0, 60, 8)).to(dtype).requires_grad_(), directions(1, 8, 5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = sigreg_loss(z, directions=along)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), sigreg_loss(z.double(), directions=along.double()), rtol=1e-4, atol=1e-5)
    got.backward()
    assert z.grad.isfinite().all()


@examples
@given(seeds)
def test_lejepa_is_its_terms(seed: int) -> None:
    z1, z2, along = draw(seed, 7, 4), draw(seed + 1, 7, 4), directions(seed + 2, 4, 5)
    valid = torch.arange(7) != 3
    criterion = LeJEPALoss(sigreg_weight=0.2)
    invariance, sigreg = criterion.terms(z1, z2, valid=valid, directions=along)
    centre = (z1 + z2)[valid] / 2
    distances = [(view[valid] - centre).square().mean() for view in (z1, z2)]
    torch.testing.assert_close(invariance, 0.8 * (distances[0] + distances[1]) / 2)
    statistics = [sigreg_loss(view, valid=valid, directions=along) for view in (z1, z2)]
    torch.testing.assert_close(sigreg, 0.2 * (statistics[0] + statistics[1]) / 2)
    torch.testing.assert_close(criterion(z1, z2, valid=valid, directions=along), invariance + sigreg)


def test_vmap_and_functional_gradients() -> None:
    z, along = draw(0, 3, 6, 4), directions(1, 4, 2)

    def statistic(z: Tensor) -> Tensor:
        return sigreg_loss(z, directions=along)

    torch.testing.assert_close(torch.func.vmap(statistic)(z), torch.stack([statistic(one) for one in z]))
    gradients = torch.func.vmap(torch.func.grad(statistic))(z)
    leaf = z.clone().requires_grad_()
    sum(statistic(one) for one in leaf).backward()
    torch.testing.assert_close(gradients, leaf.grad)


def test_it_is_lightly_s_where_the_points_are() -> None:
    lightly = pytest.importorskip("lightly.loss.lejepa_loss")
    z = draw(0, 40, 6)
    peer = lightly.SIGReg(knots=9, t_max=5.0, num_vectors=12)
    torch.manual_seed(0)
    theirs = peer(z)
    torch.manual_seed(0)
    torch.testing.assert_close(sigreg_loss(z, num_slices=12), theirs, rtol=1e-6, atol=1e-6)  # its points are float32

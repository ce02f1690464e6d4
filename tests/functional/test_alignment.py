import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.functional import masked_l2_loss

shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))


@st.composite
def inputs(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = draw(shapes)
    a, b = (10 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.rand((shape[0], *shape[2:]), generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    return a, b, mask


def literal_sums(a, b, mask):
    """Equation 3.1, one number at a time."""
    sums = []
    for sample in range(len(a)):
        total = 0.0
        for row in range(a.shape[2]):
            for column in range(a.shape[3]):
                if mask[sample, row, column]:
                    for channel in range(a.shape[1]):
                        total += float(a[sample, channel, row, column] - b[sample, channel, row, column]) ** 2
        sums.append(total)
    return sums


@settings(max_examples=40, deadline=None)
@given(inputs())
def test_equals_the_equation(arguments):
    a, b, mask = arguments
    sums = literal_sums(a, b, mask)
    counts = [int(area) * a.shape[1] for area in mask.sum(dim=(1, 2))]
    means = [total / count if count else 0.0 for total, count in zip(sums, counts, strict=True)]
    for element_reduction, of_images in (("sum", sums), ("mean", means)):
        expected = {"none": of_images, "mean": sum(of_images) / len(of_images), "sum": sum(of_images)}
        for reduction, value in expected.items():
            loss = masked_l2_loss(a, b, mask, element_reduction=element_reduction, reduction=reduction)
            assert loss.tolist() == pytest.approx(value, rel=1e-12)
    assert masked_l2_loss(a, b, mask).item() == pytest.approx(sum(means) / len(means), rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(inputs(), st.integers(0, 2**16))
def test_levels_add_up_and_label_maps_serve(arguments, seed):
    a, b, mask = arguments
    coarse = torch.randn(2, len(a), 2, 1, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for reduction in ("none", "mean", "sum"):
        both = masked_l2_loss([a, coarse[0]], [b, coarse[1]], mask, reduction=reduction)
        levels = [masked_l2_loss(*level, mask, reduction=reduction) for level in ((a, b), coarse)]
        torch.testing.assert_close(both, levels[0] + levels[1])
        labels = torch.where(mask, 7, 3).to(torch.uint8)
        torch.testing.assert_close(
            masked_l2_loss(a, b, labels, ignore_index=3, reduction=reduction),
            masked_l2_loss(a, b, mask, reduction=reduction),
        )


@settings(max_examples=20, deadline=None)
@given(inputs(), st.floats(0.1, 10))
def test_symmetry_shift_and_scale(arguments, scale):
    a, b, mask = arguments
    loss = masked_l2_loss(a, b, mask)
    torch.testing.assert_close(masked_l2_loss(b, a, mask), loss)
    torch.testing.assert_close(masked_l2_loss(a + scale, b + scale, mask), loss)
    torch.testing.assert_close(masked_l2_loss(scale * a, scale * b, mask), scale**2 * loss)
    assert not masked_l2_loss(a, a, mask).any()


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("element_reduction", ["mean", "sum"])
def test_gradients(element_reduction, reduction):
    a, b = (torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    mask = torch.rand(2, 4, 5) < 0.5
    assert torch.autograd.gradcheck(
        lambda a, b: 0.3 * masked_l2_loss(a, b, mask, element_reduction=element_reduction, reduction=reduction),
        (a, b),
    )


def test_the_background_has_no_effect():
    a = torch.randn(1, 3, 4, 4)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, :2] = True
    b = torch.randn(1, 3, 4, 4)
    broken = b.masked_fill(~mask[:, None], torch.nan).requires_grad_()
    loss = masked_l2_loss(a, broken, mask)
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), masked_l2_loss(a, b, mask))
    assert broken.grad.isfinite().all()
    assert not broken.grad[0, :, 2:].any()


def test_a_nan_on_an_object_shows():
    a = torch.full((1, 1, 1, 1), torch.nan)
    assert masked_l2_loss(a, torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool)).isnan().all()


def test_an_empty_mask_gives_zero_and_a_zero_gradient():
    a = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = masked_l2_loss(a, torch.randn(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool))
    loss.sum().backward()
    assert not loss.any()
    assert not a.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype):
    a = torch.full((1, 64, 32, 32), 200.0, dtype=dtype, requires_grad=True)
    b = torch.full((1, 64, 32, 32), -200.0, dtype=dtype)
    mask = torch.ones(1, 32, 32, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = masked_l2_loss(a, b, mask)
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert loss.item() == 160_000
    assert a.grad.isfinite().all()


def test_vmap_and_leading_dimensions_agree():
    a, b = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 4, 5, 6)
    mask = torch.rand(2, 3, 5, 6) < 0.5
    torch.testing.assert_close(
        torch.vmap(masked_l2_loss)(a, b, mask), masked_l2_loss(a, b, mask, reduction="none").mean(1)
    )


def test_compiles_to_one_graph():
    a, b, mask = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.rand(2, 4, 4) < 0.5
    compiled = torch.compile(masked_l2_loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(a, b, mask), masked_l2_loss(a, b, mask))

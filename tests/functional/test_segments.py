"""Segment statistics and criteria against the equations as printed (thesis, eq. 4.2 to 4.5)."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import correspondence_losses.functional._cpu_segments as module
from correspondence_losses.functional import (
    SegmentStatistics,
    segment_invariance_loss,
    segment_separation_loss,
    segment_statistics,
)

examples = settings(max_examples=40, deadline=None)


def literal_statistics(features: Tensor, masks: list[Tensor]) -> tuple[list[int], list[Tensor], list[Tensor]]:
    """Eq. 4.2 and 4.3 for one image (d, H, W) in float64, a loop over the segments' masks."""
    z = features.double()
    counts, means, squares = [], [], []
    for mask in masks:
        n = int(mask.sum())
        pixels = z[:, mask]
        mean = pixels.sum(1) / n if n else z.new_zeros(z.shape[0])
        counts.append(n)
        means.append(mean)
        squares.append(((pixels - mean[:, None]) ** 2).sum(1))
    return counts, means, squares


def literal_losses(features: Tensor, masks: list[Tensor], beta: float) -> tuple[Tensor, Tensor]:
    """Eq. 4.4 and 4.5 for one image, per channel, over the segments that have pixels."""
    statistics = zip(*literal_statistics(features, masks), strict=True)
    present = [(n, mean, square) for n, mean, square in statistics if n > 0]
    zero = features.double().sum((1, 2)) * 0
    invariance = sum((v for _, _, v in present), zero) / max(sum(n for n, _, _ in present), 1)
    pairs = list(itertools.combinations([mean for _, mean, _ in present], 2))
    hinges = sum((torch.clamp(beta - (a - b).abs(), min=0) for a, b in pairs), zero)
    return invariance, hinges / max(len(pairs), 1)


def one_hot(labels: Tensor, num_segments: int, ignore_index: int | None) -> list[Tensor]:
    return [(labels == s) & (s != ignore_index) for s in range(num_segments)]


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[Tensor, Tensor, int, int | None]:
    b, d = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    h, w = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    num_segments = draw(st.integers(1, 9))
    ignore_index = draw(st.sampled_from([None, 0, num_segments - 1]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale, shift = draw(st.sampled_from([1e-3, 1.0, 100.0])), draw(st.sampled_from([0.0, -3.0, 50.0]))
    features = torch.randn(b, d, h, w, generator=generator, dtype=torch.float64) * scale + shift
    used = draw(st.integers(1, num_segments))  # the labels from there on are empty segments
    segments = torch.randint(0, used, (b, h, w), generator=generator)
    return features, segments, num_segments, ignore_index


# Whole images in one block, or a few pixels; channels by themselves, or vectors as rows.
ways = pytest.mark.parametrize(("block_elements", "row_channels"), [(2**20, 16), (2**20, 1), (8, 16), (8, 1)])


def use(patch: pytest.MonkeyPatch, block_elements: int, row_channels: int) -> None:
    patch.setattr(module, "_BLOCK_ELEMENTS", block_elements)
    patch.setattr(module, "_ROW_CHANNELS", row_channels)


@ways
@pytest.mark.parametrize("as_masks", [False, True])
@settings(examples, max_examples=25)
@given(case=label_maps(), beta=st.sampled_from([0.1, 0.5, 2.0]))
def test_losses_and_gradients_equal_the_equations(
    block_elements: int,
    row_channels: int,
    as_masks: bool,
    case: tuple[Tensor, Tensor, int, int | None],
    beta: float,
) -> None:
    features, segments, num_segments, ignore_index = case
    masks = [one_hot(labels, num_segments, ignore_index) for labels in segments]
    features.requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        use(patch, block_elements, row_channels)
        if as_masks:
            statistics = segment_statistics(features, torch.stack([torch.stack(m) for m in masks]))
        else:
            statistics = segment_statistics(features, segments, num_segments, ignore_index=ignore_index)
        invariance = segment_invariance_loss(statistics)
        separation = segment_separation_loss(statistics, beta)
        upstream = torch.linspace(-1, 2, invariance.numel(), dtype=torch.float64).reshape_as(invariance)
        (gradient,) = torch.autograd.grad(((invariance + 0.7 * separation) * upstream).sum(), features)

    reference = features.detach().clone().requires_grad_()
    for i in range(len(segments)):
        counts, means, squares = literal_statistics(reference[i], masks[i])
        torch.testing.assert_close(statistics.counts[i], torch.tensor(counts).double())
        torch.testing.assert_close(statistics.means[i], torch.stack(means), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(statistics.squared_deviations[i], torch.stack(squares), rtol=1e-8, atol=1e-8)
    expected = [literal_losses(reference[i], masks[i], beta) for i in range(len(segments))]
    expected_invariance = torch.stack([inv for inv, _ in expected])
    expected_separation = torch.stack([sep for _, sep in expected])
    torch.testing.assert_close(invariance, expected_invariance, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(separation, expected_separation, rtol=1e-8, atol=1e-9)
    loss = ((expected_invariance + 0.7 * expected_separation) * upstream).sum()
    (expected_gradient,) = torch.autograd.grad(loss, reference)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-7, atol=1e-8)


def test_overlapping_masks_equal_the_equations() -> None:
    features = torch.randn(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(2, 4, 6, 5) > 0.4
    masks[0, 2] = False
    statistics = segment_statistics(features, masks)
    for i in range(2):
        counts, means, squares = literal_statistics(features[i], list(masks[i]))
        torch.testing.assert_close(statistics.counts[i], torch.tensor(counts).double())
        torch.testing.assert_close(statistics.means[i], torch.stack(means))
        torch.testing.assert_close(statistics.squared_deviations[i], torch.stack(squares))
    assert gradcheck(lambda x: segment_statistics(x, masks)[1:], features)


@ways
def test_gradcheck(block_elements: int, row_channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, block_elements, row_channels)
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    segments = torch.randint(0, 4, (2, 4, 5))

    def losses(x: Tensor) -> tuple[Tensor, ...]:
        statistics = segment_statistics(x, segments, 5, ignore_index=0)
        return *statistics[1:], segment_invariance_loss(statistics), segment_separation_loss(statistics, 3.0)

    assert gradcheck(losses, features)
    assert gradgradcheck(losses, features)


@examples
@given(case=label_maps(), seed=st.integers(0, 2**31))
def test_relabelling_and_permuting_pixels_change_nothing(
    case: tuple[Tensor, Tensor, int, int | None], seed: int
) -> None:
    features, segments, num_segments, _ = case
    generator = torch.Generator().manual_seed(seed)
    relabelled = torch.randperm(num_segments, generator=generator)[segments]
    pixels = torch.randperm(features[0, 0].numel(), generator=generator)
    before = segment_statistics(features, segments, num_segments)
    for after in (
        segment_statistics(features, relabelled, num_segments),
        segment_statistics(
            features.flatten(2)[..., None, pixels], segments.flatten(1)[..., None, pixels], num_segments
        ),
    ):
        torch.testing.assert_close(segment_invariance_loss(after), segment_invariance_loss(before))
        torch.testing.assert_close(segment_separation_loss(after), segment_separation_loss(before), atol=1e-9, rtol=0)


@examples
@given(case=label_maps(), scale=st.floats(0.1, 10), shift=st.floats(-10, 10))
def test_scale_and_shift_laws(case: tuple[Tensor, Tensor, int, int | None], scale: float, shift: float) -> None:
    features, segments, num_segments, _ = case
    before = segment_statistics(features, segments, num_segments)
    after = segment_statistics(features * scale + shift, segments, num_segments)
    torch.testing.assert_close(
        segment_invariance_loss(after), segment_invariance_loss(before) * scale**2, rtol=1e-6, atol=1e-9
    )
    torch.testing.assert_close(
        segment_separation_loss(after, 0.5 * scale),
        segment_separation_loss(before, 0.5) * scale,
        rtol=1e-6,
        atol=1e-9,
    )


def test_limits_of_the_separation() -> None:
    def separation(means: list[float], beta: float = 0.5) -> float:
        features = torch.tensor(means, dtype=torch.float64).reshape(1, 1, -1)
        segments = torch.arange(len(means)).reshape(1, -1)
        return segment_separation_loss(segment_statistics(features, segments), beta).item()

    assert separation([1.0]) == 0
    assert separation([2.0, 2.0, 2.0]) == 0.5  # all means alike: the whole of beta for each pair
    assert separation([0.0, 0.5, 1.0]) == 0
    assert separation([0.0, 0.2]) == pytest.approx(0.3)


@pytest.mark.parametrize("segments", [torch.zeros(1, 4, 4).long(), torch.zeros(1, 2, 4, 4).bool()])
def test_no_segment_at_all_is_zero_and_backpropagates(segments: Tensor) -> None:
    features = torch.randn(1, 3, 4, 4, requires_grad=True)
    ignore_index = 0 if segments.ndim == 3 else None
    statistics = segment_statistics(features, segments, ignore_index=ignore_index)
    loss = segment_invariance_loss(statistics) + segment_separation_loss(statistics)
    assert loss.eq(0).all()
    loss.sum().backward()
    assert features.grad is not None
    assert features.grad.eq(0).all()


@pytest.mark.parametrize("channels", [1, 16])
@pytest.mark.parametrize("as_masks", [False, True])
def test_constant_features_keep_their_mean(as_masks: bool, channels: int) -> None:
    features = torch.full((1, channels, 480, 640), 5.03)
    segments = torch.zeros(1, 480, 640, dtype=torch.long)
    statistics = segment_statistics(features, segments[:, None] == 0 if as_masks else segments)
    torch.testing.assert_close(statistics.means, torch.full((1, 1, channels), 5.03), rtol=1e-6, atol=0)
    assert statistics.squared_deviations.max() <= (1e-6 if as_masks else 0)


@pytest.mark.parametrize("channels", [1, 16])
@pytest.mark.parametrize("outlier", [0, 5000, -1])
def test_one_pixel_far_off_costs_no_digits(channels: int, outlier: int) -> None:
    features = torch.randn(1, channels, 100, 100)
    features.view(channels, -1)[:, outlier] = 1e5
    statistics = segment_statistics(features, torch.zeros(1, 100, 100).long())
    exact = features.double().flatten(2).var(-1, correction=0) * 100**2
    torch.testing.assert_close(statistics.squared_deviations[:, 0].double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("channels", [1, 16])
def test_pixels_outside_of_all_segments_may_hold_anything(channels: int) -> None:
    features = torch.randn(1, channels, 6, 5)
    segments = torch.randint(0, 3, (1, 6, 5))
    segments[0, 2] = 1
    expected = segment_statistics(features, segments, 3, ignore_index=1)
    features[0, :, 2] = torch.nan
    for got, wanted in zip(segment_statistics(features, segments, 3, ignore_index=1), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite_and_close(dtype: torch.dtype) -> None:
    features = (torch.randn(2, 3, 64, 64) * 300 + 1000).to(dtype).requires_grad_()
    segments = torch.randint(0, 5, (2, 64, 64))
    statistics = segment_statistics(features, segments, 5)
    exact = segment_statistics(features.double(), segments, 5)
    assert statistics.means.dtype == torch.float32
    torch.testing.assert_close(statistics.means, exact.means.float())
    torch.testing.assert_close(statistics.squared_deviations, exact.squared_deviations.float(), rtol=1e-5, atol=0)
    loss = segment_invariance_loss(statistics).sum() + segment_separation_loss(statistics).sum()
    (gradient,) = torch.autograd.grad(loss, features)
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()


def test_autocast_changes_nothing() -> None:
    features, masks = torch.randn(1, 3, 8, 8), torch.rand(1, 4, 8, 8) > 0.5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = segment_statistics(features, masks)
    torch.testing.assert_close(inside, segment_statistics(features, masks), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("as_masks", [False, True])
def test_compiles_as_one_graph(as_masks: bool, dtype: torch.dtype) -> None:
    features = torch.randn(2, 3, 9, 7, dtype=dtype, requires_grad=True)
    labels = torch.randint(0, 4, (2, 9, 7))
    segments = torch.nn.functional.one_hot(labels, 4).movedim(-1, 1).bool() if as_masks else labels

    def loss(x: Tensor) -> Tensor:
        statistics = segment_statistics(x, segments, 4)
        return segment_invariance_loss(statistics).sum() + segment_separation_loss(statistics).sum()

    compiled = torch.compile(loss, fullgraph=True)
    torch.testing.assert_close(compiled(features), loss(features))
    (gradient,) = torch.autograd.grad(compiled(features), features)
    torch.testing.assert_close(gradient, torch.autograd.grad(loss(features), features)[0])


def test_vmap_and_per_sample_gradients() -> None:
    features, segments = torch.randn(4, 3, 5, 6), torch.randint(0, 3, (4, 5, 6))

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        statistics = segment_statistics(x, labels, 3)
        return segment_invariance_loss(statistics).sum() + segment_separation_loss(statistics).sum()

    def batched(x: Tensor) -> Tensor:
        return sum(loss(x[i], segments[i]) for i in range(4))

    torch.testing.assert_close(
        torch.func.vmap(loss)(features, segments),
        torch.stack([loss(features[i], segments[i]) for i in range(4)]),
    )
    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(loss))(features, segments), torch.func.grad(batched)(features)
    )


def test_leading_dimensions_and_layouts() -> None:
    features, segments = torch.randn(2, 3, 4, 6, 5), torch.randint(0, 4, (2, 3, 6, 5), dtype=torch.uint8)
    statistics = segment_statistics(features, segments, 4)
    assert [tuple(t.shape) for t in statistics] == [(2, 3, 4), (2, 3, 4, 4), (2, 3, 4, 4)]
    for row_channels in (1, 16):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_ROW_CHANNELS", row_channels)
            channels_last = features[0].contiguous(memory_format=torch.channels_last).requires_grad_()
            of_image = segment_statistics(channels_last, segments[0], 4)
        for got, expected in zip(of_image, statistics, strict=True):
            torch.testing.assert_close(got, expected[0])
        (gradient,) = torch.autograd.grad(of_image.squared_deviations.square().sum(), channels_last)
        contiguous = features[0].clone().requires_grad_()
        loss = segment_statistics(contiguous, segments[0], 4).squared_deviations.square().sum()
        torch.testing.assert_close(gradient, torch.autograd.grad(loss, contiguous)[0])


@pytest.mark.parametrize(
    ("features", "segments", "options", "error", "message"),
    [
        (
            torch.zeros(1, 2, 3, 3).long(),
            torch.zeros(1, 3, 3).long(),
            {},
            TypeError,
            "features must be a floating",
        ),
        (
            torch.zeros(3, 3),
            torch.zeros(3, 3).long(),
            {},
            ValueError,
            r"features must have shape \(..., d, H, W\)",
        ),
        (torch.zeros(1, 0, 3, 3), torch.zeros(1, 3, 3).long(), {}, ValueError, "features must not be empty"),
        (torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3), {}, TypeError, "segments must be an integer"),
        (torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 4).long(), {}, ValueError, "segments must have shape"),
        (torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3).bool(), {}, ValueError, "segments must have shape"),
        (torch.zeros(1, 2, 3, 3), torch.zeros(2, 4, 3, 3).bool(), {}, ValueError, "segments must have shape"),
        (
            torch.zeros(1, 2, 3, 3),
            torch.full((1, 3, 3), 7),
            {"num_segments": 7},
            ValueError,
            r"segments must lie in \[0, 7\), got values from 7 to 7",
        ),
        (
            torch.zeros(1, 2, 3, 3),
            torch.full((1, 3, 3), -1),
            {},
            ValueError,
            r"segments must lie in \[0, 1\)",
        ),
        (
            torch.zeros(1, 2, 3, 3),
            torch.zeros(1, 3, 3).long(),
            {"num_segments": 0},
            ValueError,
            "num_segments must",
        ),
        (
            torch.zeros(1, 2, 3, 3),
            torch.zeros(1, 4, 3, 3).bool(),
            {"num_segments": 3},
            ValueError,
            "num_segments must be the number of masks, 4",
        ),
        (
            torch.zeros(1, 2, 3, 3),
            torch.zeros(1, 4, 3, 3).bool(),
            {"ignore_index": 0},
            ValueError,
            "ignore_index must be None",
        ),
        (
            torch.zeros(1, 2, 3, 3),
            torch.zeros(1, 3, 3).long().to("meta"),
            {},
            ValueError,
            "segments must be on the",
        ),
    ],
)
def test_bad_input_names_the_argument(
    features: Tensor, segments: Tensor, options: dict[str, int], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        segment_statistics(features, segments, **options)


def test_bad_statistics_and_beta_name_the_argument() -> None:
    statistics = SegmentStatistics(torch.ones(2), torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"statistics\.counts must have shape"):
        segment_invariance_loss(statistics._replace(counts=torch.ones(3)))
    with pytest.raises(ValueError, match="beta must be above 0, got 0"):
        segment_separation_loss(statistics, beta=0)

"""SegmentRegularizationLoss: eq. 4.6 and 4.7 over its functional core."""

from typing import Any

import pytest
import torch
from torch import Tensor

from correspondence_losses.functional import segment_invariance_loss, segment_separation_loss, segment_statistics
from correspondence_losses.losses import SegmentContrastiveLoss, SegmentRegularizationLoss


@pytest.fixture
def case() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    segments = torch.randint(0, 5, (3, 9, 11), generator=generator)
    segments[1] = torch.randint(0, 2, (9, 11), generator=generator)  # one segment and unlabelled pixels
    segments[2] = 0  # no segment at all
    return torch.randn(3, 4, 9, 11, generator=generator, dtype=torch.float64, requires_grad=True), segments


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_is_the_mean_over_images_of_the_reduced_channels(case: tuple[Tensor, Tensor], reduction: Any) -> None:
    features, segments = case
    loss = SegmentRegularizationLoss(beta=0.5, channel_reduction=reduction)
    per_image = []
    for i in range(3):
        statistics = segment_statistics(features[i], segments[i], ignore_index=0)
        channels = segment_invariance_loss(statistics) + segment_separation_loss(statistics, 0.5)
        per_image.append(channels.mean() if reduction == "mean" else channels.sum())
    assert per_image[2] == 0
    torch.testing.assert_close(loss(features, segments), torch.stack(per_image).mean())
    for of_batch, expected in (("none", torch.stack(per_image)), ("sum", torch.stack(per_image).sum())):
        other = SegmentRegularizationLoss(0.5, channel_reduction=reduction, reduction=of_batch)
        torch.testing.assert_close(other(features, segments), expected)
        torch.testing.assert_close(sum(other.terms(features, segments)), expected)


def test_forward_is_the_sum_of_the_terms_and_masks_equal_labels(case: tuple[Tensor, Tensor]) -> None:
    features, segments = case
    loss = SegmentRegularizationLoss()
    terms = loss.terms(features, segments)
    assert loss(features, segments) == terms.invariance + terms.separation
    masks = torch.stack([segments == label for label in range(1, 5)], 1)
    torch.testing.assert_close(loss.terms(features, masks), terms)


def test_a_bound_on_the_labels_changes_nothing_and_compiles(case: tuple[Tensor, Tensor]) -> None:
    features, segments = case
    expected = SegmentRegularizationLoss()(features, segments)
    bounded = SegmentRegularizationLoss(num_segments=64)
    torch.testing.assert_close(bounded(features, segments), expected)
    torch.testing.assert_close(torch.compile(bounded, fullgraph=True)(features, segments), expected)


def test_ignore_index_none_makes_label_0_a_segment() -> None:
    features = torch.tensor([[[[0.0, 0.0, 0.1, 0.1]]]])
    segments = torch.tensor([[[0, 0, 1, 1]]])
    assert SegmentRegularizationLoss()(features, segments) == 0
    assert SegmentRegularizationLoss(ignore_index=None)(features, segments).item() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"channel_reduction": "max"}, "channel_reduction must be one of 'mean', 'sum', got 'max'"),
        ({"reduction": "batch"}, "reduction must be one of 'none', 'mean', 'sum', got 'batch'"),
    ],
)
def test_bad_settings_name_the_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmentRegularizationLoss(**options)


def test_bad_features_name_the_argument() -> None:
    with pytest.raises(ValueError, match=r"features must have shape \(..., d, H, W\), got \(4, 4\)"):
        SegmentRegularizationLoss()(torch.zeros(4, 4), torch.zeros(4).long())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.uint32])
def test_label_maps_of_any_integer_type_serve(dtype: torch.dtype) -> None:
    """Masks are kept as uint16, which PyTorch can hardly compute with."""
    features = torch.randn(2, 3, 8, 9)
    segments = torch.randint(0, 6, (2, 8, 9))
    expected = SegmentRegularizationLoss()(features, segments)
    assert SegmentRegularizationLoss()(features, segments.to(dtype)) == expected
    contrast = SegmentContrastiveLoss()
    other = torch.randn(2, 3, 8, 9)
    labels = segments.to(dtype)
    assert contrast(features, labels, other, labels) == contrast(features, segments, other, segments)

"""PatchNCELoss and SegmentContrastiveLoss: maps, matches and segments before the equations."""

import pytest
import torch
from torch import Tensor

from correspondence_losses.correspond import Matches, gather_matches
from correspondence_losses.functional import detcon_loss, info_nce_loss
from correspondence_losses.losses import PatchNCELoss, SegmentContrastiveLoss


def maps(b: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = {"generator": generator, "dtype": torch.float64, "requires_grad": True}
    return torch.randn(b, 4, 3, 4, **draw), torch.randn(b, 4, 3, 4, **draw)


def matches(b: int = 3, k: int = 5) -> Matches:
    generator = torch.Generator().manual_seed(0)
    index_a, index_b = torch.randint(12, (2, b, k), generator=generator)
    valid = torch.rand(b, k, generator=generator) < 0.7
    valid[0] = False
    return Matches(index_a, index_b, valid, valid.double())


def segments(b: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randint(4, (2, b, 3, 4), generator=torch.Generator().manual_seed(0)).unbind()


def test_patch_nce_is_the_function_on_matched_cells():
    map_a, map_b = maps()
    found = matches()
    vectors = gather_matches(map_a, map_b, found)
    for reduction in ("none", "mean", "sum"):
        expected = info_nce_loss(
            *vectors, temperature=0.2, valid=found.valid, key_cells=found.index_b, reduction=reduction
        )
        torch.testing.assert_close(PatchNCELoss(0.2, reduction=reduction)(map_a, map_b, found), expected)


def test_patch_nce_without_valid_matches_is_zero():
    map_a, map_b = maps()
    loss = PatchNCELoss()(map_a, map_b, matches()._replace(valid=torch.zeros(3, 5, dtype=torch.bool)))
    loss.backward()
    assert loss == 0
    assert (map_a.grad == 0).all()


@pytest.mark.parametrize("detach_target", [True, False])
def test_patch_nce_target(detach_target):
    map_a, map_b = maps()
    PatchNCELoss(detach_target=detach_target)(map_a, map_b, matches()).backward()
    assert (map_b.grad is None) == detach_target
    assert map_a.grad.abs().sum() > 0


def pooled(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Means (b, s, d) and presence (b, s) of the segments 1 to 3; 0 is no segment."""
    means = torch.zeros(len(features), 3, features.shape[1], dtype=features.dtype)
    present = torch.zeros(len(features), 3, dtype=torch.bool)
    for image, (of_image, of_labels) in enumerate(zip(features, labels, strict=True)):
        for segment in range(1, 4):
            if (of_labels == segment).any():
                means[image, segment - 1] = of_image[:, of_labels == segment].mean(1)
                present[image, segment - 1] = True
    return means, present


@pytest.mark.parametrize("num_segments", [None, 4, 7])
def test_segment_contrast_is_the_function_on_pooled_features(num_segments):
    map_a, map_b = maps()
    labels_a, labels_b = segments()
    labels_b = labels_b.clamp(max=2)  # the other view does not have all segments
    means_a, present_a = pooled(map_a.detach(), labels_a)
    means_b, present_b = pooled(map_b.detach(), labels_b)
    expected = detcon_loss(means_a, means_b, temperature=0.2, present_a=present_a, present_b=present_b)
    loss = SegmentContrastiveLoss(0.2, num_segments=num_segments)
    torch.testing.assert_close(loss(map_a, labels_a, map_b, labels_b).detach(), expected)
    masks_a, masks_b = (
        torch.stack([labels == segment for segment in range(1, 4)], 1) for labels in (labels_a, labels_b)
    )
    torch.testing.assert_close(loss(map_a, masks_a, map_b, masks_b).detach(), expected)


def test_segment_contrast_without_segments_is_zero():
    map_a, map_b = maps()
    nowhere = torch.zeros(3, 3, 4, dtype=torch.int64)
    loss = SegmentContrastiveLoss()(map_a, nowhere, map_b, nowhere)
    loss.backward()
    assert loss == 0
    assert (map_a.grad == 0).all()


def test_gradients():
    found, (labels_a, labels_b) = matches(2), segments(2)
    contrast = SegmentContrastiveLoss(num_segments=4, temperature=0.5)
    patches = PatchNCELoss(temperature=0.5, detach_target=False)
    assert torch.autograd.gradcheck(lambda a, b: patches(a, b, found), maps(2))
    assert torch.autograd.gradcheck(lambda a, b: contrast(a, labels_a, b, labels_b), maps(2))


def test_compiles_whole():
    (map_a, map_b), found, (labels_a, labels_b) = maps(), matches(), segments()
    for loss, inputs in (
        (PatchNCELoss(), (map_a, map_b, found)),
        (SegmentContrastiveLoss(num_segments=4, gather=True), (map_a, labels_a, map_b, labels_b)),
    ):
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*inputs), loss(*inputs))


def test_repr_shows_the_settings():
    assert "temperature=0.07, detach_target=True" in repr(PatchNCELoss())
    assert "num_segments=4" in repr(SegmentContrastiveLoss(num_segments=4))


MAP_A, MAP_B = maps()
LABELS = torch.zeros(3, 3, 4, dtype=torch.int64)
MATCHES = matches()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: PatchNCELoss(0), ValueError, "temperature must be above 0"),
        (lambda: SegmentContrastiveLoss(-1), ValueError, "temperature must be above 0"),
        (lambda: PatchNCELoss()(MAP_A, MAP_B[:1], MATCHES), ValueError, "features_b must have shape"),
        (
            lambda: PatchNCELoss()(MAP_A, MAP_B, MATCHES._replace(valid=MATCHES.valid[:, :1])),
            ValueError,
            "matches.valid must have shape",
        ),
        (lambda: SegmentContrastiveLoss()(MAP_A[0], LABELS, MAP_B, LABELS), ValueError, "features_a must have shape"),
        (lambda: SegmentContrastiveLoss()(MAP_A, LABELS, MAP_B[:, :1], LABELS), ValueError, "features_b must have"),
        (
            lambda: SegmentContrastiveLoss()(MAP_A, LABELS[:1], MAP_B, LABELS),
            ValueError,
            "segments_[ab] must have shape",
        ),
        (lambda: SegmentContrastiveLoss(num_segments=2)(MAP_A, LABELS + 2, MAP_B, LABELS), ValueError, "segments must"),
        (lambda: SegmentContrastiveLoss()(MAP_A, LABELS.double(), MAP_B, LABELS), TypeError, "segments_[ab] must be"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()

"""Votes of segments, against the equation written out pixel by pixel in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from correspondence_losses.functional import paint_masks, segment_vote, segments_to_masks


@st.composite
def images(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    b, c, s = draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    logits = 3 * torch.randn(b, c, height, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(s, (b, height, width), generator=generator)
    masks = torch.rand(b, s, height, width, generator=generator) < draw(st.sampled_from([0.1, 0.5, 0.9]))
    return logits.softmax(1), labels, masks, draw(st.sampled_from([0.0, 0.5, 0.8]))


def literal(probabilities: Tensor, masks: Tensor, min_confidence: float) -> tuple[Tensor, Tensor]:
    """The vote of masks (b, s, H, W), and each mask's confidence."""
    b, _, height, width = probabilities.shape
    result = probabilities.clone()
    confidence = torch.zeros(b, masks.shape[1], dtype=torch.float64)
    for image in range(b):
        votes = {}
        for segment in range(masks.shape[1]):
            pixels = [(y, x) for y in range(height) for x in range(width) if masks[image, segment, y, x]]
            if pixels:
                mean = sum(probabilities[image, :, y, x] for y, x in pixels) / len(pixels)
                confidence[image, segment] = max(mean.tolist())
                if confidence[image, segment] >= min_confidence:
                    votes[segment] = mean
        for y in range(height):
            for x in range(width):
                own = [vote for segment, vote in votes.items() if masks[image, segment, y, x]]
                if own:
                    result[image, :, y, x] = sum(own) / len(own)
    return result, confidence


@settings(max_examples=60, deadline=None)
@given(images())
def test_masks_that_overlap_equal_the_equation(arguments):
    probabilities, _, masks, least = arguments
    votes = segment_vote(probabilities, masks, min_confidence=least)
    expected, confidence = literal(probabilities, masks, least)
    torch.testing.assert_close(votes.probabilities, expected)
    torch.testing.assert_close(votes.confidence, confidence)
    assert torch.equal(votes.labels, votes.probabilities.argmax(1))


@settings(max_examples=60, deadline=None)
@given(images(), st.sampled_from([None, 0, 1]))
def test_a_label_map_equals_its_stack_of_masks(arguments, ignore_index):
    probabilities, labels, _, least = arguments
    votes = segment_vote(probabilities, labels, 5, ignore_index=ignore_index, min_confidence=least)
    masks = segments_to_masks(labels, 5, ignore_index=None)
    if ignore_index is not None:
        masks[:, ignore_index] = False
    expected, confidence = literal(probabilities, masks, least)
    torch.testing.assert_close(votes.probabilities, expected)
    torch.testing.assert_close(votes.confidence, confidence)


@settings(max_examples=30, deadline=None)
@given(images())
def test_votes_are_probabilities_and_settle(arguments):
    """They sum to 1, the mean over a segment stays, a second vote changes nothing, labels' names do not matter."""
    probabilities, labels, _, _ = arguments
    votes = segment_vote(probabilities, labels + 1)
    torch.testing.assert_close(votes.probabilities.sum(1), torch.ones_like(votes.probabilities[:, 0]))
    again = segment_vote(votes.probabilities, labels + 1)
    torch.testing.assert_close(again.probabilities, votes.probabilities)
    torch.testing.assert_close(again.segment_probabilities, votes.segment_probabilities)
    renamed = segment_vote(probabilities, 7 - labels)
    torch.testing.assert_close(renamed.probabilities, votes.probabilities)


def test_no_segment_and_unsure_segments_keep_their_own_prediction():
    probabilities = torch.rand(2, 3, 4, 5, dtype=torch.float64).softmax(1)
    nothing = torch.zeros(2, 4, 5, dtype=torch.int64)
    torch.testing.assert_close(segment_vote(probabilities, nothing).probabilities, probabilities)
    torch.testing.assert_close(segment_vote(probabilities, nothing + 1, min_confidence=1.0)[1], probabilities)
    no_masks = torch.zeros(2, 0, 4, 5, dtype=torch.bool)
    votes = segment_vote(probabilities, no_masks)
    torch.testing.assert_close(votes.probabilities, probabilities)
    assert votes.confidence.shape == (2, 0)


def test_gradients():
    probabilities = torch.rand(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(4, (2, 3, 4))
    masks = torch.rand(2, 3, 3, 4) < 0.5
    for segments in (labels, masks):
        assert torch.autograd.gradcheck(
            lambda p, s=segments: segment_vote(p, s, min_confidence=0.4)[1:3], probabilities
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_averaged_in_float32(dtype):
    probabilities = torch.rand(1, 3, 60, 80).softmax(1).to(dtype)
    segments = torch.ones(1, 60, 80, dtype=torch.int64)
    votes = segment_vote(probabilities, segments)
    assert votes.probabilities.dtype == torch.float32
    torch.testing.assert_close(votes.probabilities[0, :, 0, 0], probabilities.float().mean((2, 3))[0])


def test_painted_masks_and_leading_dimensions():
    probabilities = torch.rand(2, 2, 3, 4, 4).softmax(2)
    segments = torch.stack([paint_masks(torch.rand(2, 3, 4, 4) < 0.5) for _ in range(2)])
    votes = segment_vote(probabilities, segments, 4)
    for image in range(2):
        torch.testing.assert_close(
            votes.probabilities[image], segment_vote(probabilities[image], segments[image], 4)[1]
        )
    under_uint16 = segment_vote(probabilities, segments.to(torch.uint16), 4)
    assert torch.equal(under_uint16.labels, votes.labels)

"""Votes of segments: dense class probabilities averaged over the segments of an image."""

from typing import NamedTuple

import torch
from torch import Tensor

from correspondence_losses._checks import check_floating, check_rank, check_segments
from correspondence_losses._precision import at_least_float32, matmul
from correspondence_losses.functional.segments import segment_statistics

__all__ = ["SegmentVotes", "segment_vote"]


class SegmentVotes(NamedTuple):
    """What :func:`segment_vote` returns. An empty segment has probabilities and confidence 0."""

    labels: Tensor
    """The most probable class of each pixel after the vote, (..., H, W), int64."""
    probabilities: Tensor
    """Those of the pixels after the vote, (..., c, H, W)."""
    segment_probabilities: Tensor
    """What each segment votes for, (..., s, c)."""
    confidence: Tensor
    """The probability of each segment's most probable class, (..., s)."""


def segment_vote(
    probabilities: Tensor,
    segments: Tensor,
    num_segments: int | None = None,
    *,
    ignore_index: int | None = 0,
    min_confidence: float = 0.0,
) -> SegmentVotes:
    r"""Averages class probabilities over each segment of an image, and labels its pixels by the average.

    .. math::

        q_S = \frac{1}{|S|} \sum_{p \in S} \pi_p, \qquad \kappa_S = \max_c q_{S,c}, \qquad
        \hat\pi_p = \frac{1}{|V_p|} \sum_{S \in V_p} q_S, \qquad
        V_p = \{S \ni p : \kappa_S \ge \kappa_\text{min}\}, \qquad \hat y_p = \arg\max_c \hat\pi_{p,c}

    with :math:`\hat\pi_p = \pi_p` where :math:`V_p` is empty: a pixel in no segment, or only in segments that are not
    sure enough, keeps its own prediction. A pixel in several masks of a stack takes the mean of their votes. The
    segments may come from anywhere: superpixels, Segment Anything, instances; they are not classes.

    The vote is differentiable, its labels are not.

    Args:
        probabilities: (..., c, H, W), floating point: of classes, such as ``logits.softmax(-3)``.
        segments: A label map (..., H, W) of integers, or a stack of binary masks (..., s, H, W), bool, which may
            overlap. Leading dimensions are those of ``probabilities``.
        num_segments: Number of segments s; the labels of a map lie in [0, s). By default it is the largest label plus
            one, which synchronises with the device; ``torch.compile`` needs the number. On an accelerator, where a
            check would synchronise, the pixels of a label outside the range belong to no segment.
        ignore_index: The label that means "no segment", or ``None``. Stacks of masks have no such label.
        min_confidence: Least :math:`\kappa_S` of a segment that votes; 0 lets all of them vote.

    Returns:
        Labels (..., H, W), probabilities (..., c, H, W), and of each segment its probabilities (..., s, c) and its
        confidence (..., s); in float32, or float64 for float64 probabilities.

    Raises:
        TypeError: If ``probabilities`` are not floating point, or ``segments`` neither integer nor bool.
        ValueError: If shapes or devices do not fit, ``probabilities`` are empty, a label is out of range, or
            ``min_confidence`` is not in [0, 1].

    Source:
        The mean of eq. 4.2 of the thesis, taken of probabilities; pseudo labels by the vote of Segment Anything's
        masks are those of Yan et al., "SAM4UDASS: When SAM Meets Unsupervised Domain Adaptive Semantic Segmentation
        in Intelligent Vehicles", 2023.

    Example:
        >>> probabilities = torch.tensor([[[0.9, 0.8, 0.4, 0.3]], [[0.1, 0.2, 0.6, 0.7]]])  # two classes, one row
        >>> segments = torch.tensor([[1, 1, 1, 0]])  # the last pixel is in no segment
        >>> votes = segment_vote(probabilities, segments)
        >>> votes.labels.tolist(), votes.confidence.tolist()
        ([[0, 0, 0, 1]], [0.0, 0.699999988079071])
    """
    check_floating("probabilities", probabilities)
    check_rank("probabilities", probabilities, 3, "(..., c, H, W)", exact=False)
    check_segments("segments", segments, "probabilities", probabilities)
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence must lie in [0, 1], got {min_confidence}")
    is_masks = segments.dtype == torch.bool
    if is_masks:  # a stack of masks says how many there are, and has nothing to ignore
        num_segments, ignore_index = None, None
    probabilities = at_least_float32(probabilities)
    counts, means, _ = segment_statistics(probabilities, segments, num_segments, ignore_index=ignore_index)
    confidence = means.amax(-1)
    voting = (counts > 0) & (confidence >= min_confidence)
    if is_masks:
        members = (segments & voting[..., None, None]).flatten(-2).to(means.dtype)
        voters = members.sum(-2)
        votes = matmul(means.mT, members) / voters.clamp(min=1).unsqueeze(-2)
    else:
        labels = segments.flatten(-2).long()
        index = labels.clamp(0, counts.shape[-1] - 1)
        voters = voting.gather(-1, index) & (labels == index)
        if ignore_index is not None:
            voters = voters & (labels != ignore_index)
        votes = means.mT.gather(-1, index.unsqueeze(-2).expand(*means.shape[:-2], means.shape[-1], -1))
    own = probabilities.flatten(-2)
    voted = torch.where(voters.unsqueeze(-2) > 0, votes, own).reshape(probabilities.shape)
    return SegmentVotes(voted.argmax(-3), voted, means, confidence)

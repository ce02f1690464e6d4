"""Criteria of vectors on what corresponds between two feature maps: on matches, or on segments."""

from typing import Protocol

from torch import Tensor

from correspondence_losses._checks import check_bool, check_same_device, check_shape
from correspondence_losses.correspond import Matches, gather_matches
from correspondence_losses.functional.contrastive import pooled_segments

__all__ = ["VectorCriterion", "on_matches", "on_segments"]


class VectorCriterion(Protocol):
    """What should hold of corresponding vectors (b, k, d), those of both sides, where ``valid`` (b, k) says so.

    :class:`~correspondence_losses.losses.GramLoss`, :class:`~correspondence_losses.losses.KernelAlignmentLoss`,
    :class:`~correspondence_losses.losses.FeatureDistanceLoss`, :class:`~correspondence_losses.losses.LeJEPALoss` and
    :class:`~correspondence_losses.losses.InfoNCELoss` are such criteria, and so are their functions.
    """

    def __call__(self, a: Tensor, b: Tensor, /, *, valid: Tensor) -> Tensor:
        """Return the loss."""


def on_matches(criterion: VectorCriterion, features_a: Tensor, features_b: Tensor, matches: Matches) -> Tensor:
    """Return a criterion of vectors on the matched vectors of two feature maps.

    Args:
        criterion: Takes the vectors of both sides, and which of them count. A criterion that compares with a teacher
            takes ``features_b`` as its targets.
        features_a: Feature maps, (b, d, h, w), floating point.
        features_b: Feature maps, (b, d, h', w'), floating point.
        matches: Which cells of ``features_a`` correspond to which of ``features_b``, from any producer.

    Returns:
        What the criterion returns.

    Raises:
        TypeError, ValueError: If the features or the matches do not fit this, or the criterion does not take them.

    Example:
        >>> import torch
        >>> from correspondence_losses.correspond import feature_matches
        >>> from correspondence_losses.losses import GramLoss
        >>> student, teacher = torch.randn(2, 2, 16, 8, 8).unbind()
        >>> matches = feature_matches(student, teacher, num_matches=20)
        >>> on_matches(GramLoss(), student, teacher, matches).shape
        torch.Size([])
    """
    a, b = gather_matches(features_a, features_b, matches)
    check_bool("matches.valid", matches.valid)
    check_shape("matches.valid", matches.valid, matches.index_a.shape, "that of matches.index_a")
    check_same_device("matches.valid", matches.valid, "features_a", features_a)
    return criterion(a, b, valid=matches.valid)


def on_segments(
    criterion: VectorCriterion,
    features_a: Tensor,
    segments_a: Tensor,
    features_b: Tensor,
    segments_b: Tensor,
    *,
    ignore_index: int | None = 0,
    num_segments: int | None = None,
) -> Tensor:
    """Return a criterion of vectors on the features of two maps, pooled over the segments that both show.

    Features are pooled as the means of eq. 4.2.

    Args:
        criterion: Takes the vectors of both sides, and which of them count.
        features_a: Feature maps, (b, d, H, W), floating point.
        segments_a: Their segments, (b, H, W) integers or (b, s, H, W) bool masks.
        features_b: Feature maps of the other side, of any size.
        segments_b: Their segments; a label means the same segment on both sides.
        ignore_index: The label that means "no segment", or ``None``. Stacks of masks have no such label.
        num_segments: A bound on the labels, which lie in [0, num_segments). By default it is the largest label of the
            call plus one, which synchronises with the device. ``torch.compile`` needs the bound.

    Returns:
        What the criterion returns.

    Raises:
        TypeError, ValueError: If the features or the segments do not fit this, or the criterion does not take them.

    Example:
        >>> import torch
        >>> from correspondence_losses.losses import KernelAlignmentLoss
        >>> student, teacher = torch.randn(2, 2, 16, 8, 8).unbind()
        >>> segments = torch.arange(64).reshape(1, 8, 8).expand(2, -1, -1) // 16  # 0, no segment, to 3
        >>> on_segments(KernelAlignmentLoss(), student, segments, teacher, segments).shape
        torch.Size([])
    """
    means, present = pooled_segments(
        features_a, segments_a, features_b, segments_b, ignore_index=ignore_index, num_segments=num_segments
    )
    return criterion(means[0], means[1], valid=present.all(0))

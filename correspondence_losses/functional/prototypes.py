"""Class prototypes, the mean features of classes, and their alignment across domains."""

from typing import NamedTuple

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_floating,
    check_integer,
    check_rank,
    check_same_device,
    check_segments,
    check_shape,
)
from correspondence_losses._distributed import gather_across_ranks, num_ranks
from correspondence_losses._reduction import Reduction, check_reduction, reduce
from correspondence_losses.functional.segments import segment_statistics

__all__ = ["ClassPrototypes", "class_prototypes", "prototype_alignment_loss"]


class ClassPrototypes(NamedTuple):
    """What :func:`class_prototypes` returns. A class without a pixel has count and mean 0."""

    counts: Tensor
    """(s,): number of pixels in the batch, in the dtype of the means; not differentiable."""
    means: Tensor
    """(s, d)."""


def class_prototypes(
    features: Tensor,
    segments: Tensor,
    num_segments: int | None = None,
    *,
    ignore_index: int | None = None,
    gather: bool = False,
) -> ClassPrototypes:
    r"""The mean feature of each class over a batch.

    .. math:: \mu_c = \frac{1}{|P_c|} \sum_{p \in P_c} z_p, \qquad
        P_c = \{p \text{ of any image} : y_p = c\}

    Args:
        features: Feature maps, (b, d, H, W), floating point.
        segments: Label maps of classes, (b, H, W), integers: labels, or pseudo labels. A label means the same class in
            all images.
        num_segments: Number of classes s; labels lie in [0, s). By default it is the largest label of the call plus
            one, which synchronises with the device. ``torch.compile`` and ``gather`` need the number.
        ignore_index: A label in that range whose pixels count for no class, or ``None``.
        gather: Whether the batch is that of all ranks, with gradients as one process would have them.

    Returns:
        Counts (s,) and means (s, d), in float32, or float64 for float64 features.

    Raises:
        TypeError: If ``features`` are not floating point, or ``segments`` not integers.
        ValueError: If shapes or devices do not fit, ``features`` are empty, a label is out of range, or
            ``num_segments`` is missing where it must be given.

    Example:
        >>> features = torch.tensor([[[[1.0, 3.0, 8.0]]], [[[5.0, 7.0, 9.0]]]])  # two images, one channel, one row
        >>> labels = torch.tensor([[[0, 0, 1]], [[0, 1, 1]]])
        >>> counts, means = class_prototypes(features, labels)
        >>> counts.tolist(), means.tolist()
        ([3.0, 3.0], [[3.0], [8.0]])
    """
    check_rank("features", features, 4, "(b, d, H, W)")
    check_floating("features", features)
    check_integer("segments", segments)
    check_segments("segments", segments, "features", features)
    if num_segments is None and gather:
        num_segments = _count(gather, segments)
    counts, means, _ = segment_statistics(features, segments, num_segments, ignore_index=ignore_index)
    if gather:
        counts, means = gather_across_ranks(counts), gather_across_ranks(means)
    # Weighted by their share of the class, so that large sums of large features do not arise.
    total = counts.sum(0)
    shares = counts / total.clamp(min=1)
    return ClassPrototypes(total, (shares.unsqueeze(-1) * means).sum(0))


def prototype_alignment_loss(
    features_a: Tensor,
    segments_a: Tensor,
    features_b: Tensor,
    segments_b: Tensor,
    *,
    num_segments: int | None = None,
    ignore_index: int | None = None,
    gather: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Squared distance between the prototypes of each class in two domains.

    .. math:: \mathcal{L} = \frac{1}{|C|} \sum_{c \in C} \frac{1}{d} \lVert \mu^a_c - \mu^b_c \rVert_2^2

    with the prototypes of :func:`class_prototypes` and the classes C that both batches show. The source sums over
    classes and channels; the mean over them keeps the size of the loss independent of both.

    Args:
        features_a: Feature maps of one domain, (b, d, H, W), floating point.
        segments_a: Their classes, (b, H, W), integers.
        features_b: Feature maps of the other domain, (b', d, H', W').
        segments_b: Their classes, (b', H', W'), such as pseudo labels.
        num_segments: Number of classes; labels lie in [0, num_segments). By default it is the largest label of the call
            plus one, which synchronises with the device. ``torch.compile`` and ``gather`` need the number.
        ignore_index: A label in that range whose pixels count for no class, or ``None``.
        gather: Whether the batches are those of all ranks.
        reduction: ``"none"`` returns one value for each class, (num_segments,), 0 outside C; ``"mean"`` the mean over
            C, 0 if it is empty; ``"sum"`` the sum.

    Returns:
        The loss in float32, or float64 for float64 features.

    Raises:
        TypeError, ValueError: If the settings, the features or the labels do not fit this.

    Source:
        Xie, Zheng, Chen and Chen, "Learning Semantic Representations for Unsupervised Domain Adaptation", 2018, without
        its moving average of the prototypes.

    Example:
        >>> features_a, features_b = torch.zeros(1, 2, 1, 3), torch.ones(1, 2, 1, 3)
        >>> labels_a, labels_b = torch.tensor([[[0, 1, 1]]]), torch.tensor([[[1, 1, 2]]])
        >>> prototype_alignment_loss(features_a, labels_a, features_b, labels_b, reduction="none").tolist()
        [0.0, 1.0, 0.0]
    """
    check_reduction(reduction)
    for name, features, segments in (("a", features_a, segments_a), ("b", features_b, segments_b)):
        check_floating(f"features_{name}", features)
        check_rank(f"features_{name}", features, 4, "(b, d, H, W)")
        check_integer(f"segments_{name}", segments)
        check_segments(f"segments_{name}", segments, f"features_{name}", features)
    wanted = (len(features_b), features_a.shape[1], *features_b.shape[2:])
    check_shape("features_b", features_b, wanted, "channels of features_a")
    check_same_device("features_b", features_b, "features_a", features_a)
    if num_segments is None:
        num_segments = _count(gather, segments_a, segments_b)
    a = class_prototypes(features_a, segments_a, num_segments, ignore_index=ignore_index, gather=gather)
    b = class_prototypes(features_b, segments_b, num_segments, ignore_index=ignore_index, gather=gather)
    return reduce((a.means - b.means).square().mean(-1), reduction, (a.counts > 0) & (b.counts > 0))


def _count(gather: bool, *segments: Tensor) -> int:
    if torch.compiler.is_compiling():
        raise ValueError("num_segments must be given under torch.compile")
    if gather and num_ranks() > 1:
        raise ValueError("num_segments must be given to gather, so that all ranks count alike")
    return max(0, *(int(labels.long().max()) for labels in segments)) + 1

"""What self-training asks of predictions on unlabelled images: consistency with a teacher, and low entropy."""

import math

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_bool,
    check_floating,
    check_not_empty,
    check_rank,
    check_same_device,
    check_shape,
)
from correspondence_losses._precision import at_least_float32
from correspondence_losses._reduction import Reduction, check_reduction, reduce

__all__ = ["entropy_loss", "masked_consistency_loss"]


def masked_consistency_loss(
    logits: Tensor,
    probabilities: Tensor,
    mask: Tensor | None = None,
    *,
    threshold: float = 0.968,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Holds the predictions of masked images to a teacher's predictions of the whole images.

    For each image, over its pixels P,

    .. math:: \mathcal{L} = \frac{q}{|P|} \sum_{p \in P} -\log \hat y_{p, c_p}, \qquad
        c_p = \arg\max_c \pi_{p,c}, \qquad q = \frac{1}{HW} \sum_p [\max_c \pi_{p,c} > \tau]

    with the student's softmax :math:`\hat y` of the masked image and the teacher's probabilities :math:`\pi`. The
    quality q of an image is the share of the pixels that the teacher is sure of. The teacher's side is constant.

    Args:
        logits: The student's, of masked images (see :func:`mask_blocks`), (b, c, H, W), floating point.
        probabilities: The teacher's, of the whole images, (b, c, H, W), such as ``teacher_logits.softmax(1)`` or those
            of :func:`segment_vote`.
        mask: (b, H, W), bool: the pixels P that count, such as the hidden ones. By default all, as in the source.
        threshold: τ, in [0, 1].
        reduction: ``"none"`` returns one value for each image, (b,), 0 where no pixel counts; ``"mean"`` their mean,
            ``"sum"`` their sum.

    Returns:
        The loss in float32, or float64 for float64 logits.

    Raises:
        TypeError: If ``logits`` or ``probabilities`` are not floating point, or ``mask`` is not bool.
        ValueError: If shapes or devices do not fit, ``logits`` are empty, ``threshold`` is not in [0, 1], or the
            reduction is unknown.

    Source:
        Hoyer, Dai, Wang and Van Gool, "MIC: Masked Image Consistency for Context-Enhanced Domain Adaptation", 2023,
        sec. 3, with τ = 0.968; its weight in the total loss is 1.

    Example:
        >>> logits = torch.zeros(1, 2, 1, 4)  # unsure of two classes: log 2 at each pixel
        >>> probabilities = torch.tensor([[[[0.99, 0.98, 0.6, 0.5]], [[0.01, 0.02, 0.4, 0.5]]]])  # sure of half
        >>> masked_consistency_loss(logits, probabilities)
        tensor(0.3466)
    """
    check_floating("logits", logits)
    check_rank("logits", logits, 4, "(b, c, H, W)")
    check_not_empty("logits", logits)
    check_floating("probabilities", probabilities)
    check_shape("probabilities", probabilities, logits.shape, "that of logits")
    check_same_device("probabilities", probabilities, "logits", logits)
    check_threshold(threshold)
    check_reduction(reduction)
    logs = at_least_float32(logits).log_softmax(1)
    sureness, classes = at_least_float32(probabilities.detach()).max(1)
    # A NaN of the teacher is neither sure nor unsure, and shows.
    sure = torch.where(sureness.isnan(), sureness, (sureness > threshold).to(sureness.dtype))
    quality = sure.mean((1, 2))
    losses = -logs.gather(1, classes.unsqueeze(1)).squeeze(1)
    if mask is None:
        return reduce(quality * losses.mean((1, 2)), reduction)
    check_bool("mask", mask)
    check_shape("mask", mask, losses.shape, "a value for each pixel of logits")
    check_same_device("mask", mask, "logits", logits)
    means = losses.masked_fill(~mask, 0).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1)
    return reduce(quality * means, reduction)


def check_threshold(threshold: float) -> None:
    """Raise ``ValueError`` unless a threshold on probabilities is one."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold}")


def entropy_loss(logits: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    r"""The entropy of predictions, which entropy minimisation makes small on unlabelled images.

    .. math:: \mathcal{L}_p = -\frac{1}{\log C} \sum_c \pi_{p,c} \log \pi_{p,c}, \qquad \pi = \operatorname{softmax}(z)

    It lies between 0 (sure) and 1 (all classes alike).

    Args:
        logits: z, (b, C, ...), floating point, of at least two classes.
        reduction: ``"none"`` returns one value for each position, (b, ...); ``"mean"`` their mean, ``"sum"`` their
            sum.

    Returns:
        The loss in float32, or float64 for float64 logits.

    Raises:
        TypeError: If ``logits`` are not floating point.
        ValueError: If ``logits`` have fewer than two dimensions or classes, or are empty, or the reduction is unknown.

    Source:
        Grandvalet and Bengio, "Semi-supervised Learning by Entropy Minimization", 2004; for segmentation across
        domains, and divided by log C, Vu, Jain, Bucher, Cord and Pérez, "ADVENT: Adversarial Entropy Minimization for
        Domain Adaptation in Semantic Segmentation", 2019, eq. 2 and 3.

    Example:
        >>> entropy_loss(torch.tensor([[0.0, 0.0], [20.0, -20.0]]), reduction="none").round(decimals=4).tolist()
        [1.0, 0.0]
    """
    check_floating("logits", logits)
    check_rank("logits", logits, 2, "(b, c, ...)", exact=False)
    check_not_empty("logits", logits)
    if logits.shape[1] < 2:
        raise ValueError(f"logits must have at least 2 classes, got shape {tuple(logits.shape)}")
    check_reduction(reduction)
    logs = at_least_float32(logits).log_softmax(1)
    return reduce(-(logs.exp() * logs).sum(1) / math.log(logits.shape[1]), reduction)

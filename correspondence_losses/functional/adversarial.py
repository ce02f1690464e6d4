"""Adversarial losses of a discriminator's scores: least squares, and the minimax game of equation 3.2.

In both games the discriminator learns to give ``real`` samples the score 1, or a positive logit, and ``fake`` samples
the score 0, or a negative logit. The generator learns to make the discriminator score its fake samples as real ones.
"""

from torch import Tensor
from torch.nn import functional as F

from correspondence_losses._checks import check_floating, check_not_empty, check_same_device
from correspondence_losses._precision import at_least_float32
from correspondence_losses._reduction import Reduction, check_reduction, reduce

__all__ = [
    "lsgan_discriminator_loss",
    "lsgan_generator_loss",
    "minimax_discriminator_loss",
    "minimax_generator_loss",
]


def lsgan_discriminator_loss(real_scores: Tensor, fake_scores: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    r"""The discriminator's loss in a least-squares GAN.

    .. math::

        \tfrac12 \mathbb{E}\bigl[(D(x) - 1)^2\bigr] + \tfrac12 \mathbb{E}\bigl[D(G(z))^2\bigr]

    Detach the features that the discriminator scores, so that its loss does not train the network that made them::

        real, fake = discriminator(source.detach()), discriminator(target.detach())
        lsgan_discriminator_loss(real, fake).backward()

    Args:
        real_scores: D(x), of any shape.
        fake_scores: D(G(z)), of any shape.
        reduction: ``"mean"`` or ``"sum"`` over the scores of each side. ``"none"`` returns one value for each pair of
            scores; both sides then have one shape.

    Returns:
        The loss in float32, or float64 for float64 scores.

    Raises:
        TypeError: If scores are not floating point.
        ValueError: If there are none, their devices differ, the reduction is unknown, or shapes differ with ``"none"``.

    Source:
        Thesis, sec. 3.2; Mao et al., "Least Squares Generative Adversarial Networks", 2017, eq. 2 with b = 1, a = 0.

    Example:
        >>> import torch
        >>> lsgan_discriminator_loss(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0]))
        tensor(1.)
    """
    real, fake = _pair("real_scores", real_scores, "fake_scores", fake_scores, reduction)
    return reduce((real - 1).square() / 2, reduction) + reduce(fake.square() / 2, reduction)


def lsgan_generator_loss(fake_scores: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    r"""The generator's loss in a least-squares GAN.

    .. math::

        \tfrac12 \mathbb{E}\bigl[(D(G(z)) - 1)^2\bigr]

    Its gradient also reaches the discriminator: clear the discriminator's gradients before its own step.

    Args:
        fake_scores: D(G(z)), of any shape.
        reduction: ``"none"``, ``"mean"`` or ``"sum"`` over the scores.

    Returns:
        The loss in float32, or float64 for float64 scores.

    Raises:
        TypeError: If scores are not floating point.
        ValueError: If there are none, or the reduction is unknown.

    Source:
        Thesis, sec. 3.2; Mao et al., "Least Squares Generative Adversarial Networks", 2017, eq. 2 with c = 1.

    Example:
        >>> import torch
        >>> lsgan_generator_loss(torch.tensor([1.0, 3.0])), lsgan_generator_loss(torch.tensor([3.0]), reduction="none")
        (tensor(1.), tensor([2.]))
    """
    check_reduction(reduction)
    return reduce((_scores("fake_scores", fake_scores) - 1).square() / 2, reduction)


def minimax_discriminator_loss(real_logits: Tensor, fake_logits: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    r"""The discriminator's loss in the minimax game: the negative value of equation 3.2.

    .. math::

        -V(D, G) = -\mathbb{E}[\log D(x)] - \mathbb{E}[\log(1 - D(G(z)))]

    where D is the sigmoid of the logits. It is computed from the logits, so the logarithm never sees a 0. Detach the
    scored features as for :func:`lsgan_discriminator_loss`.

    Args:
        real_logits: Logits of D(x), of any shape.
        fake_logits: Logits of D(G(z)), of any shape.
        reduction: ``"mean"`` or ``"sum"`` over the logits of each side. ``"none"`` returns one value for each pair of
            logits; both sides then have one shape.

    Returns:
        The loss in float32, or float64 for float64 logits.

    Raises:
        TypeError: If logits are not floating point.
        ValueError: If there are none, their devices differ, the reduction is unknown, or shapes differ with ``"none"``.

    Source:
        Thesis, eq. 3.2; Goodfellow et al., "Generative Adversarial Nets", 2014.

    Example:
        >>> import torch
        >>> minimax_discriminator_loss(torch.zeros(3), torch.zeros(3))  # an undecided discriminator: 2 log 2
        tensor(1.3863)
    """
    real, fake = _pair("real_logits", real_logits, "fake_logits", fake_logits, reduction)
    return reduce(F.softplus(-real), reduction) + reduce(F.softplus(fake), reduction)


def minimax_generator_loss(fake_logits: Tensor, *, saturating: bool = True, reduction: Reduction = "mean") -> Tensor:
    r"""The generator's loss in the minimax game (equation 3.2).

    .. math::

        \mathbb{E}[\log(1 - D(G(z)))] \quad\text{or, not saturating,}\quad -\mathbb{E}[\log D(G(z))]

    The first is equation 3.2. Its gradient vanishes where the discriminator is certain; that of the second, from the
    same paper, does not.

    Args:
        fake_logits: Logits of D(G(z)), of any shape.
        saturating: Whether to use equation 3.2 as printed.
        reduction: ``"none"``, ``"mean"`` or ``"sum"`` over the logits.

    Returns:
        The loss in float32, or float64 for float64 logits.

    Raises:
        TypeError: If logits are not floating point.
        ValueError: If there are none, or the reduction is unknown.

    Source:
        Thesis, eq. 3.2; Goodfellow et al., "Generative Adversarial Nets", 2014, sec. 3.

    Example:
        >>> import torch
        >>> minimax_generator_loss(torch.zeros(3)), minimax_generator_loss(torch.zeros(3), saturating=False)
        (tensor(-0.6931), tensor(0.6931))
    """
    check_reduction(reduction)
    fake = _scores("fake_logits", fake_logits)
    return reduce(-F.softplus(fake) if saturating else F.softplus(-fake), reduction)


def _pair(
    real_name: str, real_scores: Tensor, fake_name: str, fake_scores: Tensor, reduction: Reduction
) -> tuple[Tensor, Tensor]:
    check_reduction(reduction)
    real, fake = _scores(real_name, real_scores), _scores(fake_name, fake_scores)
    check_same_device(fake_name, fake, real_name, real)
    if reduction == "none" and real.shape != fake.shape:
        raise ValueError(
            f'{fake_name} must have the shape of {real_name}, {tuple(real.shape)}, with reduction="none", '
            f"got {tuple(fake.shape)}"
        )
    return real, fake


def _scores(name: str, scores: Tensor) -> Tensor:
    check_floating(name, scores)
    check_not_empty(name, scores)
    return at_least_float32(scores)

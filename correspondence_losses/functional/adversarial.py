"""Adversarial objectives on a discriminator's scores: least squares, and the minimax game of equation 3.2.

In both, the discriminator should give 1, or a positive logit, to the distribution that is imitated, the ``real`` one,
and the generator should make the discriminator take its ``fake`` samples for real ones.
"""

import torch.nn.functional as F
from torch import Tensor

from correspondence_losses._checks import check_floating, check_not_empty, check_same_device
from correspondence_losses._precision import at_least_float32

__all__ = [
    "lsgan_discriminator_loss",
    "lsgan_generator_loss",
    "minimax_discriminator_loss",
    "minimax_generator_loss",
]


def lsgan_discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    r"""What the discriminator of a least-squares GAN minimises.

    .. math::

        \tfrac12 \mathbb{E}\bigl[(D(x) - 1)^2\bigr] + \tfrac12 \mathbb{E}\bigl[D(G(z))^2\bigr]

    Args:
        real_scores: D(x), of any shape; the mean is taken over all.
        fake_scores: D(G(z)), of any shape.

    Returns:
        A scalar in float32 or better.

    Raises:
        TypeError: If scores are not floating-point.
        ValueError: If there are none, or their devices differ.

    Source:
        Thesis, sec. 3.2; Mao et al., "Least Squares Generative Adversarial Networks", 2017, eq. 2 with b = 1, a = 0.

    Example:
        >>> import torch
        >>> lsgan_discriminator_loss(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0]))
        tensor(1.)
    """
    real, fake = _scores("real_scores", real_scores), _scores("fake_scores", fake_scores)
    check_same_device("fake_scores", fake, "real_scores", real)
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def lsgan_generator_loss(fake_scores: Tensor) -> Tensor:
    r"""What the generator of a least-squares GAN minimises.

    .. math::

        \tfrac12 \mathbb{E}\bigl[(D(G(z)) - 1)^2\bigr]

    Args:
        fake_scores: D(G(z)), of any shape; the mean is taken over all.

    Returns:
        A scalar in float32 or better.

    Raises:
        TypeError: If scores are not floating-point.
        ValueError: If there are none.

    Source:
        Thesis, sec. 3.2; Mao et al., "Least Squares Generative Adversarial Networks", 2017, eq. 2 with c = 1.

    Example:
        >>> import torch
        >>> lsgan_generator_loss(torch.tensor([1.0, 3.0]))
        tensor(1.)
    """
    return (_scores("fake_scores", fake_scores) - 1).square().mean() / 2


def minimax_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""The negative value of the minimax game, which its discriminator minimises (equation 3.2).

    .. math::

        -V(D, G) = -\mathbb{E}[\log D(x)] - \mathbb{E}[\log(1 - D(G(z)))]

    where D is the sigmoid of the logits; computed from the logits, so that no logarithm meets a 0.

    Args:
        real_logits: Logits of D(x), of any shape; the mean is taken over all.
        fake_logits: Logits of D(G(z)), of any shape.

    Returns:
        A scalar in float32 or better.

    Raises:
        TypeError: If logits are not floating-point.
        ValueError: If there are none.

    Source:
        Thesis, eq. 3.2; Goodfellow et al., "Generative Adversarial Nets", 2014.

    Example:
        >>> import torch
        >>> minimax_discriminator_loss(torch.zeros(3), torch.zeros(3))  # an undecided discriminator: 2 log 2
        tensor(1.3863)
    """
    real, fake = _scores("real_logits", real_logits), _scores("fake_logits", fake_logits)
    check_same_device("fake_logits", fake, "real_logits", real)
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def minimax_generator_loss(fake_logits: Tensor, *, saturating: bool = True) -> Tensor:
    r"""What the generator of the minimax game minimises (equation 3.2).

    .. math::

        \mathbb{E}[\log(1 - D(G(z)))] \quad\text{or, not saturating,}\quad -\mathbb{E}[\log D(G(z))]

    The first is equation 3.2 itself; its gradient vanishes where the discriminator is sure, which the second, of the
    same paper, avoids.

    Args:
        fake_logits: Logits of D(G(z)), of any shape; the mean is taken over all.
        saturating: Whether to take equation 3.2 as it stands.

    Returns:
        A scalar in float32 or better.

    Raises:
        TypeError: If logits are not floating-point.
        ValueError: If there are none.

    Source:
        Thesis, eq. 3.2; Goodfellow et al., "Generative Adversarial Nets", 2014, sec. 3.

    Example:
        >>> import torch
        >>> minimax_generator_loss(torch.zeros(3)), minimax_generator_loss(torch.zeros(3), saturating=False)
        (tensor(-0.6931), tensor(0.6931))
    """
    fake = _scores("fake_logits", fake_logits)
    return -F.softplus(fake).mean() if saturating else F.softplus(-fake).mean()


def _scores(name: str, scores: Tensor) -> Tensor:
    check_floating(name, scores)
    check_not_empty(name, scores)
    return at_least_float32(scores)

"""Adversarial alignment of the features of two domains (section 3.2)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn
from torch.func import functional_call

from correspondence_losses._checks import check_floating, check_not_empty
from correspondence_losses.functional.adversarial import (
    lsgan_discriminator_loss,
    lsgan_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
)

__all__ = ["AdversarialTerms", "LSGANLoss", "MinimaxLoss"]

Maps = Tensor | Sequence[Tensor]


class AdversarialTerms(NamedTuple):
    """The two sides of the game, scalars; the gradient of each reaches its own player only."""

    generator: Tensor
    discriminator: Tensor


class _AdversarialLoss(nn.Module):
    """Who is trained by what; the subclasses say how scores are judged."""

    def __init__(
        self,
        generator_objective: Callable[[Tensor], Tensor],
        discriminator_objective: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self._generator_objective = generator_objective
        self._discriminator_objective = discriminator_objective

    def forward(self, discriminator: nn.Module, source: Maps, target: Maps) -> Tensor:
        """Return the sum of :meth:`terms`: one backward pass trains both players, each by its own side."""
        generator, judge = self.terms(discriminator, source, target)
        return generator + judge

    def terms(self, discriminator: nn.Module, source: Maps, target: Maps) -> AdversarialTerms:
        """Return both sides of the game."""
        return AdversarialTerms(
            self.generator_loss(discriminator, target), self.discriminator_loss(discriminator, source, target)
        )

    def generator_loss(self, discriminator: nn.Module, target: Maps) -> Tensor:
        """Return the side of the features: that the target's pass for the source's.

        Its gradient reaches the features of the target, through the discriminator, but not the discriminator's
        parameters.
        """
        _check_discriminator(discriminator)
        _check_maps("target", target)
        frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
        scores = _levels(functional_call(discriminator, frozen, (target,)))
        return _total([self._generator_objective(level) for level in scores])

    def discriminator_loss(self, discriminator: nn.Module, source: Maps, target: Maps) -> Tensor:
        """Return the side of the discriminator: that it tells the source's features from the target's.

        Its gradient reaches the discriminator's parameters, but not the features.
        """
        _check_discriminator(discriminator)
        _check_maps("source", source)
        _check_maps("target", target)
        real, fake = (_levels(discriminator(_detach(maps))) for maps in (source, target))
        return _total([self._discriminator_objective(r, f) for r, f in zip(real, fake, strict=True)])


class LSGANLoss(_AdversarialLoss):
    r"""The features of one domain made indistinguishable from those of another, by least squares.

    A discriminator D learns to score the features of the ``source`` domain 1 and those of the ``target`` 0, while the
    network that makes the features learns to have the target's scored 1:

    .. math::

        \mathcal{L}_D = \tfrac12 \mathbb{E}[(D(z_\text{source}) - 1)^2] + \tfrac12 \mathbb{E}[D(z_\text{target})^2],
        \qquad \mathcal{L}_G = \tfrac12 \mathbb{E}[(D(z_\text{target}) - 1)^2]

    summed over the levels, where the discriminator has several. The detaching is done here: L_D never changes the
    features and L_G never changes the discriminator, so that one backward pass of the sum trains both, and neither
    optimiser ever sees the other's gradient. A training step::

        maps, logits = network(synthetic), ...                       # labelled: the source
        loss = cross_entropy(logits, labels) + 0.1 * lsgan(discriminator, maps, network(real))
        loss.backward()
        optimizer.step()                                             # the network's parameters
        discriminator_optimizer.step()                               # the discriminator's
        optimizer.zero_grad(), discriminator_optimizer.zero_grad()

    For alternating steps take :meth:`generator_loss` and :meth:`discriminator_loss` one by one. Hand over the bare
    discriminator, not one wrapped for distributed training: wrapped modules expect every pass to end in a gradient.

    Raises:
        TypeError, ValueError: If the discriminator is not a module, or a map not floating-point or empty.

    Shape:
        discriminator: a module from ``source`` or ``target`` to one tensor of scores or a sequence of them.
        source, target: a map (b, d, h, w) or a sequence of them, as the discriminator takes. Returns a scalar.

    Source:
        Thesis, sec. 3.2 and fig. 3.7; Mao et al., "Least Squares Generative Adversarial Networks", 2017.

    Example:
        >>> import torch
        >>> from correspondence_losses.blocks import FeatureDiscriminator
        >>> discriminator = FeatureDiscriminator(8)
        >>> source, target = (torch.randn(2, 8, 6, 6, requires_grad=True) for _ in range(2))
        >>> generator, judge = LSGANLoss().terms(discriminator, source, target)
        >>> generator.backward()
        >>> target.grad is not None, any(p.grad is not None for p in discriminator.parameters())
        (True, False)
        >>> target.grad = None
        >>> judge.backward()
        >>> target.grad is None and source.grad is None, all(p.grad is not None for p in discriminator.parameters())
        (True, True)
    """

    def __init__(self) -> None:
        super().__init__(lsgan_generator_loss, lsgan_discriminator_loss)


class MinimaxLoss(_AdversarialLoss):
    r"""The game of :class:`LSGANLoss` with the minimax objective of equation 3.2; the discriminator gives logits.

    .. math::

        \min_G \max_D \; \mathbb{E}[\log D(z_\text{source})] + \mathbb{E}[\log(1 - D(z_\text{target}))]

    Args:
        saturating: Whether the features minimise equation 3.2 as it stands, or :math:`-\log D(z_\text{target})`.

    Shape:
        As :class:`LSGANLoss`.

    Source:
        Thesis, eq. 3.2; Goodfellow et al., "Generative Adversarial Nets", 2014.

    Example:
        >>> import torch
        >>> from correspondence_losses.blocks import FeatureDiscriminator
        >>> maps = torch.randn(2, 8, 6, 6)
        >>> MinimaxLoss()(FeatureDiscriminator(8), maps, maps).shape
        torch.Size([])
    """

    def __init__(self, *, saturating: bool = True) -> None:
        super().__init__(partial(minimax_generator_loss, saturating=saturating), minimax_discriminator_loss)


def _check_discriminator(discriminator: nn.Module) -> None:
    if not isinstance(discriminator, nn.Module):
        raise TypeError(f"discriminator must be a torch.nn.Module, got {type(discriminator).__name__}")


def _check_maps(name: str, maps: Maps) -> None:
    named = [(name, maps)] if isinstance(maps, Tensor) else [(f"{name}[{i}]", level) for i, level in enumerate(maps)]
    for level_name, level in named:
        check_floating(level_name, level)
        check_not_empty(level_name, level)


def _levels(scores: Maps) -> list[Tensor]:
    levels = [scores] if isinstance(scores, Tensor) else list(scores)
    if not levels:
        raise ValueError("discriminator must return at least one tensor of scores, got none")
    return levels


def _detach(maps: Maps) -> Maps:
    return maps.detach() if isinstance(maps, Tensor) else [level.detach() for level in maps]


def _total(levels: list[Tensor]) -> Tensor:
    return sum(levels[1:], start=levels[0])

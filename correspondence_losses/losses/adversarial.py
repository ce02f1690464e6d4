"""Adversarial alignment of the features of two domains (section 3.2)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from correspondence_losses._checks import check_floating, check_not_empty
from correspondence_losses._reduction import Reduction, check_reduction
from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.functional.adversarial import (
    lsgan_discriminator_loss,
    lsgan_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
)

__all__ = [
    "AdversarialTerms",
    "LSGANDiscriminatorLoss",
    "LSGANGeneratorLoss",
    "LSGANLoss",
    "MinimaxDiscriminatorLoss",
    "MinimaxGeneratorLoss",
    "MinimaxLoss",
    "lsgan_loss",
    "minimax_loss",
]


class AdversarialTerms(NamedTuple):
    """The two sides of the game, scalars. The gradient of each side reaches only its own player."""

    generator: Tensor
    discriminator: Tensor


class _ScoreLoss(ModuleWithSettings):
    """A loss of scores whose one setting is its reduction."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction


class LSGANDiscriminatorLoss(_ScoreLoss):
    """The discriminator's loss in a least-squares GAN, of the scores of both domains.

    The function is :func:`~correspondence_losses.functional.lsgan_discriminator_loss`, which says what it computes and
    what ``reduction`` does.

    Example:
        >>> import torch
        >>> LSGANDiscriminatorLoss()(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0]))
        tensor(1.)
    """

    def forward(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the loss."""
        return lsgan_discriminator_loss(real_scores, fake_scores, reduction=self.reduction)


class LSGANGeneratorLoss(_ScoreLoss):
    """The generator's loss in a least-squares GAN, of the scores of its samples.

    The function is :func:`~correspondence_losses.functional.lsgan_generator_loss`, which says what it computes and
    what ``reduction`` does.

    Example:
        >>> import torch
        >>> LSGANGeneratorLoss()(torch.tensor([1.0, 3.0]))
        tensor(1.)
    """

    def forward(self, fake_scores: Tensor) -> Tensor:
        """Return the loss."""
        return lsgan_generator_loss(fake_scores, reduction=self.reduction)


class MinimaxDiscriminatorLoss(_ScoreLoss):
    """The discriminator's loss in the minimax game, of the logits of both domains.

    The function is :func:`~correspondence_losses.functional.minimax_discriminator_loss`, which says what it computes
    and what ``reduction`` does.

    Example:
        >>> import torch
        >>> MinimaxDiscriminatorLoss()(torch.zeros(3), torch.zeros(3))
        tensor(1.3863)
    """

    def forward(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return the loss."""
        return minimax_discriminator_loss(real_logits, fake_logits, reduction=self.reduction)


class MinimaxGeneratorLoss(ModuleWithSettings):
    """The generator's loss in the minimax game, of the logits of its samples.

    The function is :func:`~correspondence_losses.functional.minimax_generator_loss`, which says what it computes and
    what the settings do.

    Example:
        >>> import torch
        >>> MinimaxGeneratorLoss(saturating=False)(torch.zeros(3))
        tensor(0.6931)
    """

    def __init__(self, *, saturating: bool = True, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.saturating = saturating
        self.reduction = reduction

    def forward(self, fake_logits: Tensor) -> Tensor:
        """Return the loss."""
        return minimax_generator_loss(fake_logits, saturating=self.saturating, reduction=self.reduction)


class _AdversarialLoss(ModuleWithSettings):
    """Who is trained by what; the subclasses say how scores are judged."""

    def __init__(
        self,
        generator_objective: Callable[[Tensor], Tensor],
        discriminator_objective: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self._generator_objective = generator_objective
        self._discriminator_objective = discriminator_objective

    def forward(
        self, discriminator: nn.Module, source: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]
    ) -> Tensor:
        """Return the sum of :meth:`terms`: one backward pass trains both players, each by its own side."""
        generator, judge = self.terms(discriminator, source, target)
        return generator + judge

    def terms(
        self, discriminator: nn.Module, source: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]
    ) -> AdversarialTerms:
        """Return both sides of the game."""
        return AdversarialTerms(
            self.generator_loss(discriminator, target), self.discriminator_loss(discriminator, source, target)
        )

    def generator_loss(self, discriminator: nn.Module, target: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the generator's side. Its gradient reaches the target's features, but not the discriminator.

        The discriminator's buffers stay as they are too: running statistics count the target once, when
        :meth:`discriminator_loss` scores it.
        """
        _check_discriminator(discriminator)
        _check_features("target", target)
        module = _inside(discriminator)
        frozen = {name: parameter.detach() for name, parameter in module.named_parameters()}
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        scores = _levels(functional_call(module, (frozen, buffers), (target,)))
        return _total([self._generator_objective(level) for level in scores])

    def discriminator_loss(
        self, discriminator: nn.Module, source: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]
    ) -> Tensor:
        """Return the discriminator's side. Its gradient reaches the discriminator, but not the features."""
        _check_discriminator(discriminator)
        _check_features("source", source)
        _check_features("target", target)
        real = _levels(discriminator(_detach(source)))
        # Through the wrapper once, which is enough for it to average the gradients: before each call it overwrites the
        # buffers, some of which the call before may have kept for its backward pass.
        fake = _levels(_inside(discriminator)(_detach(target)))
        return _total([self._discriminator_objective(r, f) for r, f in zip(real, fake, strict=True)])


class LSGANLoss(_AdversarialLoss):
    r"""Makes the features of one domain indistinguishable from those of another, by least squares.

    A discriminator D learns to score the features of the ``source`` domain 1 and those of the ``target`` domain 0. The
    network that makes the features learns to have the target's scored 1:

    .. math::

        \mathcal{L}_D = \tfrac12 \mathbb{E}[(D(z_\text{source}) - 1)^2] + \tfrac12 \mathbb{E}[D(z_\text{target})^2],
        \qquad \mathcal{L}_G = \tfrac12 \mathbb{E}[(D(z_\text{target}) - 1)^2]

    With the functions of tensors, :func:`~correspondence_losses.functional.lsgan_discriminator_loss` and
    :func:`~correspondence_losses.functional.lsgan_generator_loss`, you call the discriminator and detach yourself::

        lsgan_generator_loss(discriminator(target)).backward()
        discriminator_optimizer.zero_grad()
        real, fake = discriminator(source.detach()), discriminator(target.detach())
        lsgan_discriminator_loss(real, fake).backward()

    This class does both for you, with any number of levels. :math:`\mathcal{L}_D` gives the features no gradient and
    :math:`\mathcal{L}_G` gives the discriminator none, so one backward pass of their sum trains both players, each by
    its own side. Losses are summed over the levels of a multi-level discriminator. A training step::

        source, target = network(synthetic), network(real)
        loss = supervised + 0.1 * lsgan.generator_loss(discriminator, target)
        (loss + lsgan.discriminator_loss(discriminator, source, target)).backward()
        optimizer.step(), discriminator_optimizer.step()

    **Distributed training.** A discriminator in ``DistributedDataParallel`` is called through its wrapper for
    :math:`\mathcal{L}_D`, so its gradients are averaged over the ranks. For :math:`\mathcal{L}_G` the module inside the
    wrapper is called: the discriminator gets no gradient there, and the wrapper would wait for one. With any other
    wrapper, use the functions of tensors.

    The function is :func:`lsgan_loss`.

    Raises:
        TypeError, ValueError: If the discriminator is not a module, or features are not floating point or empty.

    Shape:
        discriminator: a module from ``source`` or ``target`` to one tensor of scores or a sequence of them.
        source, target: one map (b, d, h, w) or a sequence of them, as the discriminator takes them. Returns a scalar.

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
    r"""The game of :class:`LSGANLoss` with the minimax objective of equation 3.2; the discriminator returns logits.

    .. math::

        \min_G \max_D \; \mathbb{E}[\log D(z_\text{source})] + \mathbb{E}[\log(1 - D(z_\text{target}))]

    What :class:`LSGANLoss` says of gradients, levels and distributed training holds here too. The functions of tensors
    are :func:`~correspondence_losses.functional.minimax_discriminator_loss` and
    :func:`~correspondence_losses.functional.minimax_generator_loss`; that of this class is :func:`minimax_loss`.

    Args:
        saturating: Whether the generator minimises equation 3.2 as printed, or :math:`-\log D(z_\text{target})`.

    Shape:
        As :class:`LSGANLoss`.

    Source:
        Thesis, eq. 3.2; Goodfellow et al., "Generative Adversarial Nets", 2014.

    Example:
        >>> import torch
        >>> from correspondence_losses.blocks import FeatureDiscriminator
        >>> source, target = torch.randn(2, 2, 8, 6, 6).unbind()
        >>> MinimaxLoss()(FeatureDiscriminator(8), source, target).shape
        torch.Size([])
    """

    def __init__(self, *, saturating: bool = True) -> None:
        super().__init__(partial(minimax_generator_loss, saturating=saturating), minimax_discriminator_loss)
        self.saturating = saturating


def lsgan_loss(
    discriminator: nn.Module, source: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]
) -> Tensor:
    """Both sides of the least-squares game in one loss: the function of :class:`LSGANLoss`.

    Example:
        >>> import torch
        >>> from correspondence_losses.blocks import FeatureDiscriminator
        >>> source, target = torch.randn(2, 2, 8, 6, 6).unbind()
        >>> lsgan_loss(FeatureDiscriminator(8), source, target).shape
        torch.Size([])
    """
    loss: Tensor = LSGANLoss()(discriminator, source, target)
    return loss


def minimax_loss(
    discriminator: nn.Module,
    source: Tensor | Sequence[Tensor],
    target: Tensor | Sequence[Tensor],
    *,
    saturating: bool = True,
) -> Tensor:
    """Both sides of the minimax game in one loss: the function of :class:`MinimaxLoss`.

    Example:
        >>> import torch
        >>> from correspondence_losses.blocks import FeatureDiscriminator
        >>> source, target = torch.randn(2, 2, 8, 6, 6).unbind()
        >>> minimax_loss(FeatureDiscriminator(8), source, target, saturating=False).shape
        torch.Size([])
    """
    loss: Tensor = MinimaxLoss(saturating=saturating)(discriminator, source, target)
    return loss


def _check_discriminator(discriminator: nn.Module) -> None:
    if not isinstance(discriminator, nn.Module):
        raise TypeError(f"discriminator must be a torch.nn.Module, got {type(discriminator).__name__}")


def _inside(discriminator: nn.Module) -> nn.Module:
    return discriminator.module if isinstance(discriminator, DistributedDataParallel) else discriminator


def _check_features(name: str, features: Tensor | Sequence[Tensor]) -> None:
    levels = [(name, features)] if isinstance(features, Tensor) else _named(name, features)
    for level_name, level in levels:
        check_floating(level_name, level)
        check_not_empty(level_name, level)


def _named(name: str, features: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
    return [(f"{name}[{index}]", level) for index, level in enumerate(features)]


def _levels(scores: Tensor | Sequence[Tensor]) -> list[Tensor]:
    levels = [scores] if isinstance(scores, Tensor) else list(scores)
    if not levels:
        raise ValueError("discriminator must return at least one tensor of scores, got none")
    return levels


def _detach(features: Tensor | Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
    return features.detach() if isinstance(features, Tensor) else [level.detach() for level in features]


def _total(levels: list[Tensor]) -> Tensor:
    return sum(levels[1:], start=levels[0])

"""How a loss brings its values together: ``reduction`` as PyTorch has it."""

from typing import Literal, get_args

from torch import Tensor

Reduction = Literal["none", "mean", "sum"]
"""What a loss returns: each of its values (``"none"``), their mean, or their sum."""
REDUCTIONS = get_args(Reduction)  # here, since older versions of torch.compile do not know get_args


def check_reduction(reduction: str) -> None:
    """Raise ``ValueError`` unless ``reduction`` is one that PyTorch has."""
    check_choice("reduction", reduction, REDUCTIONS)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def reduce(losses: Tensor, reduction: Reduction, valid: Tensor | None = None) -> Tensor:
    """Reduce ``losses``; those that are not ``valid`` are 0, and the mean does not count them.

    The mean over nothing is 0, so that a batch without a single valid value adds nothing to a sum of losses.
    """
    if valid is not None:
        losses = losses.masked_fill(~valid, 0)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    return losses.mean() if valid is None else losses.sum() / valid.sum().clamp(min=1)

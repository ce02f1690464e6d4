"""Batches that reach the model in the precision that they have."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["Sealed", "opened_inside"]


class Sealed:
    """A batch that is not looked into on its way to the model.

    In mixed precision Fabric and FSDP round every tensor that they find among a module's inputs, positions in pixels
    too, which are then off by up to two. Autocast, which is on as well, rounds what an operation wants rounded.

    Args:
        batch: What the model is to get.
    """

    def __init__(self, batch: Any) -> None:
        self.batch = batch


@contextmanager
def opened_inside(model: nn.Module) -> Iterator[None]:
    """Let a model that is called with a :class:`Sealed` batch get the batch itself."""
    handle = model.register_forward_pre_hook(_open)
    try:
        yield
    finally:
        handle.remove()


def _open(_model: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(arg.batch if isinstance(arg, Sealed) else arg for arg in args)

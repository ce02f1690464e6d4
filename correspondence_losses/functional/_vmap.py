"""Batches of ``torch.vmap`` as plain tensors, for the rules of autograd functions."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def batch_first(info: Any, tensor: Tensor, dim: int | None) -> Tensor:
    """Return the tensor with the dimension that ``torch.vmap`` adds first, repeated where it has none."""
    return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def all_batch_first(info: Any, in_dims: Sequence[int | None], tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return the same of each of these, and None for each that is not there."""
    return [
        None if tensor is None else batch_first(info, tensor, dim) for tensor, dim in zip(tensors, in_dims, strict=True)
    ]


def fold_batch(info: Any, tensor: Tensor, dim: int | None) -> Tensor:
    """Return the tensor with that dimension as a part of its own first one."""
    return batch_first(info, tensor, dim).flatten(0, 1)

"""Reductions in float32 or better, whatever the dtype of the inputs and under autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float32, or in float64 if it is that already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Keep autocast from lowering the precision of products.

    Only where it is on: entering costs microseconds, and a step of small tensors has dozens of products.
    """
    on = device.type != "meta" and torch.is_autocast_enabled(device.type)  # which meta tensors do not have
    return torch.autocast(device.type, enabled=False) if on else nullcontext()


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b`` in the precision of the operands, which autocast would lower."""
    with without_autocast(a.device):
        return a @ b

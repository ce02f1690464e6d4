"""Reductions in float32 or better, whatever the dtype of the inputs and under autocast."""

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return ``tensor`` in float32, or in float64 if it is that already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a @ b`` in the precision of the operands, which autocast would lower."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b

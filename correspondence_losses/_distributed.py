"""All ranks' samples in one tensor, with the gradient that makes DDP's average the whole batch's gradient."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def num_ranks() -> int:
    """Return the size of the default process group, or 1 where none is initialised."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def this_rank() -> int:
    """Return this process's rank in the default process group, or 0 where none is initialised."""
    return dist.get_rank() if num_ranks() > 1 else 0


def gather_across_ranks(tensor: Tensor, dim: int = 0) -> Tensor:
    """Concatenate every rank's ``tensor`` along ``dim``, in the order of the ranks.

    The shapes must be the same on all ranks. Without an initialised process group, or on one rank alone, ``tensor``
    comes back as it is.

    Each rank computes the whole batch's loss from the result, so a rank's samples receive gradients from all of the
    losses, and the backward pass sums them. ``DistributedDataParallel`` then averages the parameters' gradients over
    the ranks, and that is exactly the gradient of one process with the whole batch.
    """
    if num_ranks() == 1:
        return tensor
    rows = tensor.movedim(dim, 0)
    if rows.dtype == torch.bool:  # not every backend carries it
        return gather_across_ranks(rows.to(torch.uint8)).bool().movedim(0, dim)
    gathered: Tensor = _Gather.apply(rows)
    return gathered.movedim(0, dim)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.num_rows = rows.shape[0]
        gathered = rows.new_empty(num_ranks() * rows.shape[0], *rows.shape[1:])
        dist.all_gather_into_tensor(gathered, rows.contiguous(), group=dist.group.WORLD)
        return gathered

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        if _scatters():
            own = grad.new_empty(ctx.num_rows, *grad.shape[1:])
            dist.reduce_scatter_tensor(own, grad.contiguous(), group=dist.group.WORLD)
            return own
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=dist.group.WORLD)
        return total.narrow(0, dist.get_rank() * ctx.num_rows, ctx.num_rows)


def _scatters() -> bool:
    """Return whether the backend sums and scatters at once, half of the traffic; gloo does not in every version."""
    return dist.get_backend() != "gloo"

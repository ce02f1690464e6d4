"""The teacher of self-training: an exponential moving average of a model."""

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from correspondence_losses._distributed import num_ranks
from correspondence_losses._settings import ModuleWithSettings

__all__ = ["EMATeacher"]


class EMATeacher(ModuleWithSettings):
    r"""An exponential moving average of a model, which predicts on unlabelled images.

    After update t the parameters and the floating-point buffers are

    .. math:: \bar\theta_t = m_t \bar\theta_{t-1} + (1 - m_t) \theta_t, \qquad m_t = \min(m, 1 - 1 / t)

    so the first update copies the model, and the first updates average it evenly. Other buffers, such as counters, are
    copied. Called, the teacher predicts without gradients and in evaluation mode, whatever mode the modules around it
    are in. Its parameters want no gradients, so it may be a part of the model that is trained; its state, with the
    number of updates, is in ``state_dict()``.

    Under ``DistributedDataParallel`` call :meth:`update` on all ranks, after the optimizer's step. Parameters are the
    same there; buffers, such as the statistics of batch normalisation, are not, and the average is that of rank 0's, as
    the buffers of ``DistributedDataParallel`` are rank 0's. Make the teacher before a model is sharded (FSDP), and
    update it where the model's parameters are whole.

    Args:
        module: The model, which is copied; ``DistributedDataParallel`` around it is left out.
        momentum: m, in [0, 1).

    Raises:
        ValueError: If ``momentum`` is not in [0, 1), or a model of :meth:`update` has other parameters or buffers.

    Source:
        Tarvainen and Valpola, "Mean Teachers Are Better Role Models: Weight-averaged Consistency Targets Improve
        Semi-supervised Deep Learning Results", 2017.

    Example:
        >>> import torch
        >>> model = torch.nn.Conv2d(3, 5, 1)
        >>> teacher = EMATeacher(model, momentum=0.99)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> images = torch.rand(2, 3, 8, 8)
        >>> loss = torch.nn.functional.cross_entropy(model(images), teacher(images).argmax(1))
        >>> loss.backward()
        >>> optimizer.step()
        >>> teacher.update(model)
        >>> teacher(images).requires_grad
        False
    """

    num_updates: Tensor

    def __init__(self, module: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self.momentum = momentum
        self.module = copy.deepcopy(_unwrapped(module)).requires_grad_(False).eval()
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the averaged model does, without gradients."""
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> "EMATeacher":
        """Leave the averaged model in evaluation mode."""
        super().train(mode)
        self.module.eval()
        return self

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the weights of the model, after a step of training, into the average."""
        model = _unwrapped(module)
        self.num_updates += 1
        # A tensor, so that nothing waits for the device.
        momentum = (1 - 1 / self.num_updates.double()).clamp(max=self.momentum).float()
        own, other = _state(self.module), _state(model)
        shapes = {name: tensor.shape for name, tensor in own.items()}
        if {name: tensor.shape for name, tensor in other.items()} != shapes:
            raise ValueError("module must have the parameters and buffers of the teacher, got another model")
        buffers = dict(model.named_buffers())
        for name, average in own.items():
            value = other[name]
            if name in buffers and num_ranks() > 1:
                value = value.clone()
                dist.broadcast(value, src=0)
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), (1 - momentum).to(average))
            else:
                average.copy_(value)

    def extra_repr(self) -> str:
        """Show the settings in the module's repr; the averaged model stands below them."""
        return f"momentum={self.momentum}"


def _unwrapped(module: nn.Module) -> nn.Module:
    return module.module if isinstance(module, (DataParallel, DistributedDataParallel)) else module


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}

"""AdaBN: the batch normalisation of a model, with the statistics of another domain."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["adapt_batch_norm"]


@torch.no_grad()
def adapt_batch_norm(model: nn.Module, batches: Iterable[Any]) -> None:
    r"""Give the batch normalisation of a model the statistics of another domain; its weights stay as they are.

    Each layer's running mean and variance become those of its inputs over all batches together,

    .. math:: \mu = \frac{1}{N} \sum_i x_i, \qquad \sigma^2 = \frac{1}{N - 1} \sum_i (x_i - \mu)^2 ,

    while each batch passes through the layers normalised by its own statistics, as in training. All other modules are
    in evaluation mode meanwhile, and every module has its own mode again afterwards. On several ranks, give all of them
    the same batches.

    Args:
        model: With batch normalisation that keeps running statistics. It is changed in place.
        batches: What the model is called with, one after another, such as images of the other domain.

    Raises:
        ValueError: If the model has no such layer, there is no batch, or a layer saw fewer than two values.

    Source:
        Li, Wang, Shi, Liu and Hou, "Revisiting Batch Normalization For Practical Domain Adaptation", 2016 (AdaBN).

    Example:
        >>> model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())
        >>> adapt_batch_norm(model, [torch.zeros(1, 1, 1, 2), torch.full((1, 1, 1, 2), 3.0)])
        >>> model[0].running_mean.tolist(), model[0].running_var.tolist()
        ([1.5], [3.0])
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not layers:
        raise ValueError(f"model must have batch normalisation with running statistics, got {type(model).__name__}")
    statistics = {layer: _Statistics() for layer in layers}
    modes = {module: module.training for module in model.modules()}
    own = [{name: buffer.clone() for name, buffer in layer.named_buffers()} for layer in layers]
    hooks = [layer.register_forward_pre_hook(statistics[layer].add) for layer in layers]
    try:
        model.eval()
        for layer in layers:
            layer.train()
        for batch in batches:
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
        for layer, buffers in zip(layers, own, strict=True):
            for name, buffer in layer.named_buffers():
                buffer.copy_(buffers[name])
    if not any(found.count for found in statistics.values()):
        raise ValueError("batches must hold at least one batch, got none")
    for layer, found in statistics.items():
        if found.count == 0:
            continue  # a layer that the model did not call
        if found.count < 2:
            raise ValueError("batches must give each layer at least 2 values of each channel, got 1")
        layer.get_buffer("running_mean").copy_(found.mean)
        layer.get_buffer("running_var").copy_(found.squares / (found.count - 1))


class _Statistics:
    """Number, mean and summed squared deviation of the inputs of a layer, over all of its calls."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Take a call's input (b, c, ...) into the statistics (Chan, Golub and LeVeque 1979)."""
        values = inputs[0].movedim(1, -1).flatten(0, -2)
        values = values.to(torch.promote_types(values.dtype, torch.float32))
        mean = values.mean(0)
        squares = (values - mean).square().sum(0)
        total = self.count + len(values)
        difference = mean - self.mean
        self.mean = self.mean + difference * (len(values) / total)
        self.squares = self.squares + squares + difference.square() * (self.count * len(values) / total)
        self.count = total

"""Convolutions of each channel by itself, with kernels so wide that a CPU is slow at the gradient of their weights."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

__all__ = ["speed_up_depthwise"]

_COLUMNS = 3


def speed_up_depthwise(network: nn.Module) -> None:
    """Let wide depthwise convolutions of a network compute the gradient of their weights a few columns at a time.

    oneDNN's fast kernel for this gradient takes three columns at most. What it falls back to works on groups of 16
    channels where there is one, and takes three times as long. Nothing else changes, and nothing on other devices.
    """
    for module in network.modules():
        if (
            type(module) in _FAST
            and isinstance(module, nn.Conv2d)
            and module.in_channels == module.out_channels == module.groups > 1
            and module.kernel_size[1] > _COLUMNS
            and module.bias is None
            and module.dilation == (1, 1)
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        ):
            module.__class__ = _FAST[type(module)]


class _WideDepthwise(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        trained = torch.is_grad_enabled() and self.weight.requires_grad
        if not trained or input.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        convolved: Tensor = _Convolution.apply(input, self.weight, self.stride, self.padding)
        return convolved


class _WideDepthwiseSame(_WideDepthwise):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(pad_same(input, list(self.kernel_size), list(self.stride)))


_FAST: dict[type[nn.Module], type[nn.Conv2d]] = {nn.Conv2d: _WideDepthwise, Conv2dSame: _WideDepthwiseSame}


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors

        def backward(of: Tensor, part: Tensor, padding: Sequence[int], wanted: Sequence[bool]) -> Any:
            sizes = (None, ctx.stride, padding, [1, 1], False, [0, 0], len(weight))
            return torch.ops.aten.convolution_backward(gradient, of, part, *sizes, wanted)

        by_images = backward(images, weight, ctx.padding, [True, False, False])[0] if ctx.needs_input_grad[0] else None
        rows, columns = ctx.padding
        padded = F.pad(images, (columns, columns, rows, rows))
        reach = (gradient.shape[-1] - 1) * ctx.stride[1]
        by_weight = []
        for start, part in zip(range(0, weight.shape[-1], _COLUMNS), weight.split(_COLUMNS, dim=-1), strict=True):
            seen = padded[..., start : start + reach + part.shape[-1]]
            by_weight.append(backward(seen, part, [0, 0], [False, True, False])[1])
        return by_images, torch.cat(by_weight, dim=-1), None, None

"""The simple feature pyramid beside ViTDet's own layer normalisation, which is written in elementary operations."""

import torch
from torch import Tensor, nn

from benchmarks.workload import Case, Workload, convolutions, gradient_step, seeded
from correspondence_losses import SimpleFeaturePyramid


def pyramid(channels: int, height: int, width: int) -> Case:
    """One map of a vision transformer; the peer has the same weights."""
    torch.manual_seed(0)
    block = SimpleFeaturePyramid(channels)
    features = torch.randn(1, channels, height, width, generator=seeded(), requires_grad=True)

    def ours() -> Tensor:
        return torch.stack([level.exp().mean() for level in block(features)]).sum()

    def peer() -> Tensor:
        means = []
        for layers in block.levels:
            level = features
            for layer in layers:
                level = _layer_norm(layer, level) if isinstance(layer, nn.LayerNorm) else layer(level)
            means.append(level.exp().mean())
        return torch.stack(means).sum()

    leaves = [features, *block.parameters()]
    return Case(gradient_step(ours, leaves), gradient_step(peer, leaves), lambda: convolutions(ours))


def _layer_norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    normalised = (x - mean) / torch.sqrt(variance + layer.eps)
    return layer.weight[:, None, None] * normalised + layer.bias[:, None, None]


WORKLOADS = [
    Workload(
        name="pyramid",
        title="simple feature pyramid, {channels} channels, {height} x {width}",
        peer="ViTDet's layer normalisation",
        build=pyramid,
        sizes={"channels": 768, "height": 30, "width": 40},
        quick={"channels": 16, "height": 4, "width": 6},
        floor="its convolutions",
    ),
]

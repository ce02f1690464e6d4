"""The fusion block beside upsampling, concatenating and convolving."""

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.workload import Case, Workload, convolutions, gradient_step
from correspondence_losses import FPNFusionHead


def fusion(channels: int, height: int, width: int) -> Case:
    """Four levels, the finest at a quarter of the image's size, through the whole head; the peer has its weights."""
    torch.manual_seed(0)
    head = FPNFusionHead([channels] * 4, num_classes=22, fpn_channels=channels)
    maps = [torch.randn(1, channels, height // 2**k, width // 2**k, requires_grad=True) for k in range(2, 6)]

    def ours() -> Tensor:
        return head(maps, (height, width)).logits.square().mean()

    def peer() -> Tensor:
        levels = [F.interpolate(level, size=(height, width), mode="bilinear") for level in head.pyramid(maps)]
        features = F.relu(head.fusion(torch.cat(levels, dim=1)))
        return head.classifier(features).square().mean()

    leaves = [*maps, *head.parameters()]
    return Case(gradient_step(ours, leaves), gradient_step(peer, leaves), lambda: convolutions(ours))


WORKLOADS = [
    Workload(
        name="fusion",
        title="fusion, 4 levels x {channels} channels, {height} x {width}",
        peer="upsample, concatenate, convolve",
        build=fusion,
        sizes={"channels": 256, "height": 480, "width": 640},
        quick={"channels": 8, "height": 64, "width": 96},
        floor="its convolutions",
        ratio_target=3,
        memory_ratio_target=3,
    ),
]

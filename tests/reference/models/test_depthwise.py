"""Wide depthwise convolutions: the same values and gradients as PyTorch's own."""

import copy

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from correspondence_losses.reference.models.depthwise import speed_up_depthwise


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False),
        nn.Conv2d(6, 6, (3, 7), stride=(1, 2), padding=(1, 3), groups=6, bias=False),
        Conv2dSame(6, 6, 5, stride=2, groups=6, bias=False),
    ],
)
def test_values_and_gradients_are_those_of_pytorch(convolution: nn.Conv2d) -> None:
    network = nn.Sequential(copy.deepcopy(convolution)).double()
    plain = copy.deepcopy(network)
    speed_up_depthwise(network)
    assert type(network[0]) is not type(plain[0])
    assert network.state_dict().keys() == plain.state_dict().keys()
    results = []
    for model in (network, plain):
        images = torch.randn(2, 6, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        images.requires_grad_()
        output = model(images)
        output.square().sum().backward()
        results.append((output, images.grad, model[0].weight.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),  # narrow
        nn.Conv2d(6, 6, 5, padding=2, groups=2, bias=False),  # not each channel by itself
        nn.Conv2d(6, 6, 5, padding=2, groups=6),  # with a bias
        nn.Conv2d(6, 6, 5, dilation=2, groups=6, bias=False),
    ],
)
def test_others_stay_as_they_are(convolution: nn.Conv2d) -> None:
    speed_up_depthwise(convolution)
    assert type(convolution) is nn.Conv2d

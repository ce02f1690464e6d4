import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.blocks import RefineNet


def backbone_maps(size, widths, batch=1):
    return [
        torch.randn(batch, width, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        for width, stride in zip(widths, (4, 8, 16, 32), strict=False)
    ]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 2), st.integers(1, 130), st.integers(1, 130), st.integers(1, 4))
def test_images_of_any_size(batch, height, width, levels):
    widths = (3, 4, 5, 6)[:levels]
    maps = backbone_maps((height, width), widths, batch)
    model = RefineNet(widths, num_classes=5, channels=8)
    logits, features, refined = model(maps, (height, width))
    assert logits.shape == (batch, 5, height, width)
    assert model.pyramid_channels == (*[8] * (levels - 1), 16)
    assert [tuple(m.shape) for m in refined] == [
        (batch, channels, *m.shape[2:]) for channels, m in zip(model.pyramid_channels, maps, strict=True)
    ]
    assert features is refined[0]


def conv(layer, features):
    return F.conv2d(features, layer.weight, layer.bias, padding=1)


def unit(module, features):
    return features + conv(module.second, conv(module.first, features.relu()).relu())


def literal_refinement(block, lateral, coarser):
    """Figure 3.2 and Lin et al., figure 3, one operation after another."""
    for module in block.lateral:
        lateral = unit(module, lateral)
    if coarser is not None:
        for module in block.coarser:
            coarser = unit(module, coarser)
        coarser = conv(block.fuse_coarser, coarser)
        lateral = conv(block.fuse_lateral, lateral) + F.interpolate(coarser, lateral.shape[2:], mode="bilinear")
    rectified = lateral.relu()
    first = conv(block.pooling.convolutions[0], F.max_pool2d(rectified, 5, 1, 2))
    second = conv(block.pooling.convolutions[1], F.max_pool2d(first, 5, 1, 2))
    return unit(block.output, rectified + first + second)


def test_equals_the_figure():
    torch.manual_seed(0)
    widths = (3, 4, 5, 6)
    model = RefineNet(widths, num_classes=5, channels=8).double()
    maps = [m.double() for m in backbone_maps((70, 90), widths)]
    coarser, expected = None, []
    for lateral, block, features in zip(model.laterals, model.refinements, reversed(maps), strict=True):
        coarser = literal_refinement(block, conv(lateral, features), coarser)
        expected.append(coarser)
    logits, _, refined = model(maps, (70, 90))
    for got, wanted in zip(reversed(refined), expected, strict=True):
        torch.testing.assert_close(got, wanted)
    head = conv(model.classifier[2], unit(model.classifier[1], unit(model.classifier[0], coarser)))
    torch.testing.assert_close(logits, F.interpolate(head, (70, 90), mode="bilinear"))


def test_every_parameter_learns():
    model = RefineNet((3, 4, 5, 6), num_classes=5, channels=8)
    model(backbone_maps((64, 64), (3, 4, 5, 6)), (64, 64)).logits.square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_compiles_to_one_graph():
    model = RefineNet((3, 4), num_classes=5, channels=8)
    maps = backbone_maps((33, 40), (3, 4))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(maps, (33, 40)).logits, model(maps, (33, 40)).logits)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_over_a_backbone_of_timm(name):
    timm = pytest.importorskip("timm")
    indices = (1, 2, 3, 4) if name.startswith("resnet") else (0, 1, 2, 3)
    backbone = timm.create_model(name, features_only=True, out_indices=indices, pretrained=False)
    model = RefineNet(backbone.feature_info.channels(), num_classes=22, channels=16)
    image = torch.randn(2, 3, 96, 128)
    logits, _, refined = model(backbone(image), (96, 128))
    assert logits.shape == (2, 22, 96, 128)
    assert [m.shape[2:] for m in refined] == [(96 // s, 128 // s) for s in (4, 8, 16, 32)]


def test_the_maps_are_checked():
    model = RefineNet((3, 4), num_classes=5, channels=8)
    with pytest.raises(ValueError, match="features must hold 2 maps, got 1"):
        model(backbone_maps((32, 32), (3,)), (32, 32))
    with pytest.raises(ValueError, match=r"features\[1\] must have shape \(1, 4, 4, 4\) \(4 channels\)"):
        model(backbone_maps((32, 32), (3, 5)), (32, 32))

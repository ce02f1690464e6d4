"""FPNFusionHead against the literal fusion block: upsample every level, concatenate, convolve."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from correspondence_losses.blocks import FPNFusionHead


def literal(
    head: FPNFusionHead, maps: list[Tensor], size: tuple[int, int]
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Fig. 4.8, level by level as it is drawn."""
    tops = [lateral(feature_map) for lateral, feature_map in zip(head.laterals, maps, strict=True)]
    for i in reversed(range(len(tops) - 1)):
        tops[i] = tops[i] + F.interpolate(tops[i + 1], size=tops[i].shape[-2:], mode="bilinear")
    pyramid = [smooth(top) for smooth, top in zip(head.smooths, tops, strict=True)]
    features = F.relu(head.fusion(torch.cat([F.interpolate(p, size=size, mode="bilinear") for p in pyramid], 1)))
    return head.classifier(features), features, tuple(pyramid)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 11), st.integers(1, 11)), min_size=1, max_size=4),
    size=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    fused_channels=st.sampled_from([None, 7]),
    seed=st.integers(0, 2**31),
)
def test_equals_upsample_concatenate_convolve(
    sizes: list[tuple[int, int]], size: tuple[int, int], fused_channels: int | None, seed: int
) -> None:
    torch.manual_seed(seed)
    channels = [3 + i for i in range(len(sizes))]
    head = FPNFusionHead(channels, num_classes=4, fpn_channels=6, fused_channels=fused_channels).double()
    maps = [torch.randn(2, c, *s, dtype=torch.float64) for c, s in zip(channels, sizes, strict=True)]
    ours, expected = head(maps, size), literal(head, maps, size)
    torch.testing.assert_close(tuple(ours), expected)
    ours, expected = ((*output[:2], *output[2]) for output in (ours, expected))
    upstream = [torch.randn_like(t) for t in expected]
    parameters = list(head.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(ours, parameters, upstream), torch.autograd.grad(expected, parameters, upstream)
    )


def test_float32_accuracy_on_a_real_size() -> None:
    head = FPNFusionHead([8, 16, 32, 64], 22, fpn_channels=16)
    maps = [torch.randn(1, c, 120 // s, 160 // s) for c, s in ((8, 1), (16, 2), (32, 4), (64, 8))]
    torch.testing.assert_close(tuple(head(maps, (480, 640))), literal(head, maps, (480, 640)), rtol=1e-4, atol=1e-5)


def test_odd_sizes_autocast_and_compile() -> None:
    head = FPNFusionHead([4, 8], 3, fpn_channels=4)
    maps = [torch.randn(1, 4, 13, 17), torch.randn(1, 8, 7, 9)]
    output = head(maps, (51, 67))
    assert output.logits.shape == (1, 3, 51, 67)
    torch.testing.assert_close(tuple(torch.compile(head, fullgraph=True)(maps, (51, 67))), tuple(output))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(maps, (51, 67)).logits.isfinite().all()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_on_an_accelerator_no_gradient_of_full_size_is_copied(memory_format: torch.memory_format) -> None:
    # A change in place of what is a view there takes two copies and two clones in the backward pass.
    copied: list[str] = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func.overloadpacket.__name__ in ("clone", "copy_") and result.numel() >= 2 * 6 * 32 * 48:
                copied.append(f"{func}: {tuple(result.shape)}")
            return result

    with torch.device("meta"):
        head = FPNFusionHead([4, 8], 3, fpn_channels=6)
        maps = [torch.empty(2, 4, 16, 24), torch.empty(2, 8, 8, 12)]
    maps = [feature_map.contiguous(memory_format=memory_format).requires_grad_() for feature_map in maps]
    with Copies():
        output = head(maps, (32, 48))
        (output.logits.sum() + output.features.square().sum()).backward()
    assert not copied


def test_takes_the_maps_of_a_timm_backbone() -> None:
    timm = pytest.importorskip("timm")
    backbone = timm.create_model("convnext_atto", features_only=True)
    head = FPNFusionHead(backbone.feature_info.channels(), 22, fpn_channels=8)
    image = torch.randn(1, 3, 61, 83)
    assert head(backbone(image), image.shape[-2:]).logits.shape == (1, 22, 61, 83)


@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        ([torch.zeros(1, 4, 2, 2)], ValueError, "features must hold 2 maps, got 1"),
        ([torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)], ValueError, r"features\[1\] must have shape .*8"),
        ([torch.zeros(1, 4, 2, 2), torch.zeros(8, 2, 2)], ValueError, r"features\[1\] must have shape .*8"),
        ([torch.zeros(1, 4, 2, 2).long(), torch.zeros(1, 8, 2, 2)], TypeError, r"features\[0\] must be a float"),
    ],
)
def test_bad_maps_name_the_argument(maps: list[Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FPNFusionHead([4, 8], 3, fpn_channels=4)(maps, (8, 8))


def test_bad_settings_name_the_argument() -> None:
    with pytest.raises(ValueError, match="in_channels must name at least one level"):
        FPNFusionHead([], 3)
    with pytest.raises(ValueError, match=r"in_channels\[1\] must be at least 1, got 0"):
        FPNFusionHead([4, 0], 3)
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        FPNFusionHead([4], 0)

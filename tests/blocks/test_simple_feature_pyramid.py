"""The pyramid of a plain ViT: against its layers written out, its scales, and what it feeds."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from correspondence_losses.blocks import FPNFusionHead, RefineNet, SimpleFeaturePyramid


def normalised(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean = features.mean(1, keepdim=True)
    variance = (features - mean).square().mean(1, keepdim=True)
    return (features - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]


def enlarged(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each cell becomes 2 x 2 cells, each a linear map of it."""
    b, _, h, w = features.shape
    cells = torch.einsum("bchw,cdij->bdhiwj", features, weight)
    return cells.reshape(b, -1, 2 * h, 2 * w) + bias[:, None, None]


def literal(pyramid: SimpleFeaturePyramid, features: Tensor) -> list[Tensor]:
    """The four levels of ViTDet, layer by layer."""
    state = pyramid.state_dict()

    def layer(level: int, index: int) -> tuple[Tensor, ...]:
        found = (state.get(f"levels.{level}.{index}.{name}") for name in ("weight", "bias"))
        return tuple(tensor for tensor in found if tensor is not None)

    def to_width(level: int, first: int, scaled: Tensor) -> Tensor:
        reduced = torch.einsum("bchw,dc->bdhw", scaled, layer(level, first)[0][:, :, 0, 0])
        reduced = normalised(reduced, *layer(level, first + 1))
        return normalised(F.conv2d(reduced, *layer(level, first + 2), padding=1), *layer(level, first + 3))

    quarter = F.gelu(normalised(enlarged(features, *layer(0, 0)), *layer(0, 1)))
    halved = features.unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1))
    return [
        to_width(0, 4, enlarged(quarter, *layer(0, 3))),
        to_width(1, 1, enlarged(features, *layer(1, 0))),
        to_width(2, 0, features),
        to_width(3, 1, halved),
    ]


def test_it_is_what_the_paper_describes() -> None:
    torch.manual_seed(0)
    pyramid = SimpleFeaturePyramid(8, 6).double()
    with torch.no_grad():
        for parameter in pyramid.parameters():  # layer norms start as identities, which would hide a missing one
            parameter.add_(0.1 * torch.randn_like(parameter))
    features = torch.randn(2, 8, 4, 6, dtype=torch.float64)
    for ours, theirs in zip(pyramid(features), literal(pyramid, features), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [(14, 14), (7, 9), (1, 1)])
@pytest.mark.parametrize("scales", [(4, 2, 1, 0.5), (8.0, 0.25), (1,)])
def test_scales(size: tuple[int, int], scales: tuple[float, ...]) -> None:
    levels = SimpleFeaturePyramid(6, 3, scale_factors=scales)(torch.randn(2, 6, *size))
    wanted = [(2, 3, *(-(-extent * max(scale, 1) // max(1 / scale, 1)) for extent in size)) for scale in scales]
    assert [tuple(level.shape) for level in levels] == wanted


@pytest.mark.parametrize("head", [FPNFusionHead, RefineNet])
def test_it_feeds_the_heads_and_trains(head: Any) -> None:
    pyramid = SimpleFeaturePyramid(8, 4)
    over = head(pyramid.pyramid_channels, 3, 4)
    features = torch.randn(1, 8, 5, 7, requires_grad=True)
    output = over(pyramid(features), (70, 98))
    assert output.logits.shape == (1, 3, 70, 98)
    output.logits.square().mean().backward()
    assert features.grad is not None
    assert features.grad.abs().min() > 0
    assert all(parameter.grad is not None for parameter in pyramid.parameters())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"in_channels": 0}, ValueError, "in_channels must be at least 1"),
        ({"out_channels": 2.0}, TypeError, "out_channels must be an int"),
        ({"scale_factors": (4, 3)}, ValueError, r"scale_factors\[1\] must be a power of two, got 3"),
        ({"scale_factors": (0,)}, ValueError, r"scale_factors\[0\] must be a power of two, got 0"),
        ({"scale_factors": ()}, ValueError, "scale_factors must name at least one level"),
    ],
)
def test_bad_settings(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SimpleFeaturePyramid(**{"in_channels": 4, **settings})

"""SAMPoolingBlock: what a user relies on when dropping it into a model."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from correspondence_losses.blocks import SAMPoolingBlock
from correspondence_losses.losses import SegmentRegularizationLoss


def test_is_the_criterion_on_the_upsampled_projection() -> None:
    block = SAMPoolingBlock(6, beta=0.7).double()
    features = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    segments = torch.randint(0, 4, (2, 13, 20))
    loss, projection = block(features, segments)
    expected = F.interpolate(block.projector(features), size=(13, 20), mode="bilinear")
    torch.testing.assert_close(projection, expected)
    torch.testing.assert_close(loss, SegmentRegularizationLoss(0.7)(expected, segments))


def test_learns_to_tell_segments_apart() -> None:
    """Features that carry the segment must end with small deviations inside and means beta apart."""
    generator = torch.Generator().manual_seed(0)
    segments = (torch.arange(24).reshape(1, 1, 24) // 8 + 1).expand(1, 24, 24)
    features = F.one_hot(segments, 4).movedim(-1, 1).float() + 0.1 * torch.randn(1, 4, 24, 24, generator=generator)
    torch.manual_seed(0)
    block = SAMPoolingBlock(4)
    optimizer = torch.optim.Adam(block.parameters(), 0.02)
    first = block(features, segments).loss.item()
    for _ in range(300):
        optimizer.zero_grad()
        loss, _ = block(features, segments)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 < first


@pytest.mark.parametrize("hidden_channels", [(), (8,), (8, 8)])
def test_gradients_reach_features_and_projector(hidden_channels: tuple[int, ...]) -> None:
    block = SAMPoolingBlock(6, hidden_channels=hidden_channels)
    features = torch.randn(1, 6, 9, 9, requires_grad=True)
    block(features, torch.randint(1, 5, (1, 9, 9))).loss.backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


def test_autocast_and_compile() -> None:
    block = SAMPoolingBlock(6, num_segments=16)
    features, segments = torch.randn(2, 6, 8, 8), torch.randint(0, 16, (2, 16, 16))
    expected = block(features, segments)
    torch.testing.assert_close(tuple(torch.compile(block, fullgraph=True)(features, segments)), tuple(expected))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = block(features, segments)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected.loss, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("features", "segments", "error", "message"),
    [
        (torch.zeros(1, 5, 4, 4), torch.zeros(1, 4, 4).long(), ValueError, r"features must have"),
        (torch.zeros(6, 4, 4), torch.zeros(1, 4, 4).long(), ValueError, r"features must have"),
        (torch.zeros(1, 6, 4, 4).int(), torch.zeros(1, 4, 4).long(), TypeError, "features must be a floating-point"),
        (torch.zeros(1, 6, 4, 4), torch.zeros(4, 4).long(), ValueError, r"segments must have shape \(b, H, W\)"),
        (torch.zeros(1, 6, 4, 4), torch.zeros(2, 8, 8).long(), ValueError, "segments must have shape"),
        (torch.zeros(1, 6, 4, 4), torch.zeros(1, 8, 8), TypeError, "segments must be an integer tensor"),
    ],
)
def test_bad_input_names_the_argument(features: Tensor, segments: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SAMPoolingBlock(6)(features, segments)

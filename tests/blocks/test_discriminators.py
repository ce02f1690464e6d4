import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.blocks import FeatureDiscriminator, MultiLevelDiscriminator


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2), st.integers(1, 21), st.integers(1, 21), st.integers(0, 4))
def test_maps_of_any_size_have_scores(batch, height, width, num_downsamples):
    discriminator = FeatureDiscriminator(3, num_downsamples=num_downsamples, channels=32)
    scores = discriminator(torch.randn(batch, 3, height, width))
    assert scores.shape == (batch, 1, math.ceil(height / 2**num_downsamples), math.ceil(width / 2**num_downsamples))
    scores.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in discriminator.parameters())


def test_samples_are_judged_by_themselves():
    discriminator = FeatureDiscriminator(3, channels=32)
    maps = torch.randn(3, 3, 9, 8)
    torch.testing.assert_close(discriminator(maps)[1:2], discriminator(maps[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(480, 640), (250, 333)])
def test_levels_score_patches_of_one_size(size):
    maps = [torch.randn(1, 4, math.ceil(size[0] / s), math.ceil(size[1] / s)) for s in (4, 8, 16)]
    shapes = {tuple(scores.shape) for scores in MultiLevelDiscriminator((4, 4, 4), channels=32)(maps)}
    assert shapes == {(1, 1, math.ceil(size[0] / 32), math.ceil(size[1] / 32))}


def test_the_number_of_levels_is_checked():
    with pytest.raises(ValueError, match="features must hold 3 maps, got 2"):
        MultiLevelDiscriminator()([torch.randn(1, 256, 4, 4)] * 2)
    with pytest.raises(ValueError, match="num_downsamples must have one entry for each of in_channels"):
        MultiLevelDiscriminator((4, 4), num_downsamples=(1,))
    with pytest.raises(ValueError, match="channels must be a multiple of 32, got 33"):
        FeatureDiscriminator(4, channels=33)

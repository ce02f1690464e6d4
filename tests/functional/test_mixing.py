"""ClassMix and random blocks: what is pasted and hidden, how often, and that a generator decides it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.functional import class_mix, mask_blocks


@st.composite
def batches(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    b, classes = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    images = torch.rand(2, b, 3, 4, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (2, b, 4, 5), generator=generator)
    return images[0], labels[0], images[1], labels[1], classes, draw(st.sampled_from([None, 0, 255])), generator


@settings(max_examples=80, deadline=None)
@given(batches())
def test_half_of_the_classes_are_pasted_whole(arguments):
    images, labels, unlabelled, pseudo, classes, ignore_index, generator = arguments
    if ignore_index == 255:
        labels[:, 0] = 255
    mixed = class_mix(images, labels, unlabelled, pseudo, classes, ignore_index=ignore_index, generator=generator)
    for i in range(len(images)):
        present = set(labels[i].unique().tolist()) - {ignore_index}
        chosen = set(labels[i][mixed.pasted[i]].tolist())
        assert chosen <= present
        assert len(chosen) == math.ceil(len(present) / 2)
        for y in range(4):
            for x in range(5):
                pasted = int(labels[i, y, x]) in chosen
                source, label = (images, labels) if pasted else (unlabelled, pseudo)
                assert mixed.pasted[i, y, x] == pasted
                assert torch.equal(mixed.images[i, :, y, x], source[i, :, y, x])
                assert mixed.labels[i, y, x] == label[i, y, x]


def test_classes_are_drawn_alike_and_by_the_generator():
    labels = torch.arange(5).expand(4000, 1, 5)
    images = torch.zeros(4000, 1, 1, 5)

    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return class_mix(images, labels, images, labels, 5, generator=generator).pasted

    share = draw(0).float().mean((0, 1))
    assert share[0] == 0
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    # Two of the four objects each time; the standard error of a share is 0.008.
    torch.testing.assert_close(share[1:], torch.full((4,), 0.5), atol=0.04, rtol=0)


def test_gradients_reach_the_images_they_come_from():
    images, unlabelled = (torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    labels = torch.randint(4, (2, 4, 5))
    mixed = class_mix(images, labels, unlabelled, labels, 4)
    mixed.images.sum().backward()
    pasted = mixed.pasted.unsqueeze(1).expand_as(images).double()
    assert torch.equal(images.grad, pasted)
    assert torch.equal(unlabelled.grad, 1 - pasted)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.floats(0, 1), st.integers(0, 1000))
def test_blocks_are_hidden_whole(height, width, block, ratio, seed):
    images = torch.rand(2, 3, height, width) + 1
    masked = mask_blocks(images, block, ratio, value=-1.0, generator=torch.Generator().manual_seed(seed))
    for top in range(0, height, block):
        for left in range(0, width, block):
            square = masked.hidden[:, top : top + block, left : left + block]
            assert (square == square[:, :1, :1]).all()
    hidden = masked.hidden.unsqueeze(1).expand_as(images)
    assert (masked.images[hidden] == -1).all()
    assert torch.equal(masked.images[~hidden], images[~hidden])


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.7, 1.0])
def test_a_share_of_the_blocks_is_hidden(ratio):
    masked = mask_blocks(torch.ones(1, 1, 200, 200), 2, ratio, generator=torch.Generator().manual_seed(0))
    assert masked.hidden.float().mean().item() == pytest.approx(ratio, abs=0.02)  # standard error 0.005

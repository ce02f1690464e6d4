import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from correspondence_losses.blocks import GlobalExpander, LinearHead, LocalProjector


def literal_cell(projector, cell):
    """The perceptron on one vector, layer by layer."""
    for layer in projector.layers:
        cell = layer(cell[None])[0]
    return cell


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(1, 6), max_size=2))
def test_each_cell_is_projected_by_itself(batch, height, width, hidden):
    projector = LocalProjector(5, hidden, 3)
    features = torch.randn(batch, 5, height, width)
    got = projector(features)
    assert got.shape == (batch, 3, height, width)
    for b in range(batch):
        for row in range(height):
            for column in range(width):
                torch.testing.assert_close(got[b, :, row, column], literal_cell(projector, features[b, :, row, column]))


def test_equals_1x1_convolutions_with_batch_norm():
    projector = LocalProjector(5, (4,), 3, norm="batch")
    linear, _, _, last = projector.layers
    features = torch.randn(2, 5, 6, 7).to(memory_format=torch.channels_last)
    hidden = F.conv2d(features, linear.weight[..., None, None], linear.bias)
    expected = F.conv2d(F.relu(F.batch_norm(hidden, None, None, training=True)), last.weight[..., None, None])
    torch.testing.assert_close(projector(features), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_a_batch_of_one_trains(norm):
    for model, features in (
        (LocalProjector(8, (6,), 4, norm=norm), torch.randn(1, 8, 1, 1)),
        (GlobalExpander(8, (6,), 4, norm=norm), torch.randn(1, 8)),
    ):
        model(features).square().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_widths_are_those_of_the_thesis():
    with torch.device("meta"):
        local, expander = LocalProjector(), GlobalExpander()
    assert [tuple(layer.weight.shape) for layer in local.layers if isinstance(layer, torch.nn.Linear)] == [
        (512, 2048),
        (512, 512),
    ]
    assert [tuple(layer.weight.shape) for layer in expander.layers if isinstance(layer, torch.nn.Linear)] == [
        (8192, 2048),
        (8192, 8192),
    ]


def test_projectors_compile_and_take_autocast():
    projector = LocalProjector(8, (6,), 4)
    features = torch.randn(2, 8, 3, 3)
    compiled = torch.compile(projector, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(features), projector(features))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(
            projector(features).float(), projector(features), rtol=0.1, atol=0.1, check_dtype=False
        )


def test_unknown_norm():
    with pytest.raises(ValueError, match="norm must be one of layer, batch, none, got 'instance'"):
        LocalProjector(8, norm="instance")


@pytest.mark.parametrize("size", [(33, 47), (5, 7), (1, 1)])
def test_linear_head_upsamples_its_logits(size):
    head = LinearHead([3, 6], num_classes=4)
    fine, features = torch.randn(2, 3, 10, 14), torch.randn(2, 6, 5, 7)
    got, coarsest, pyramid = head([fine, features], size)
    assert coarsest is features
    assert pyramid == (fine, features)
    logits = torch.einsum("kc,bchw->bkhw", head.classifier.weight[..., 0, 0], features)
    logits = logits + head.classifier.bias[:, None, None]
    torch.testing.assert_close(got, F.interpolate(logits, size, mode="bilinear"), rtol=1e-4, atol=1e-5)

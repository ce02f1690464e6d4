"""AdaBN: the statistics of all batches together, and nothing else changed."""

import copy

import pytest
import torch
from torch import nn

from correspondence_losses.blocks import adapt_batch_norm


def test_statistics_are_those_of_all_batches_together():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.5)).double().train()
    batches = [3 * torch.randn(b, 3, 4, 5, dtype=torch.float64) + 100 * b for b in (1, 4, 2)]
    adapt_batch_norm(model, batches)
    values = torch.cat([batch.movedim(1, -1).reshape(-1, 3) for batch in batches])
    means = [sum(column) / len(column) for column in values.T.tolist()]
    variances = [
        sum((x - mean) ** 2 for x in column) / (len(column) - 1)
        for column, mean in zip(values.T.tolist(), means, strict=True)
    ]
    assert model[0].running_mean.tolist() == pytest.approx(means, rel=1e-12)
    assert model[0].running_var.tolist() == pytest.approx(variances, rel=1e-12)


def test_deeper_layers_see_normalised_inputs_and_nothing_else_changes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.9)).double()
    model.train()
    model[2].eval()
    before = copy.deepcopy(model.state_dict())
    batches = [10 * torch.randn(4, 2, 3, 3, dtype=torch.float64) + 5 for _ in range(2)]
    adapt_batch_norm(model, batches)
    assert [module.training for module in model] == [True, True, False, True]
    assert not any(module._forward_pre_hooks for module in model.modules())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"0.running_mean", "0.running_var", "2.running_mean", "2.running_var"}
    inputs = []
    for batch in batches:
        mean, variance = batch.mean((0, 2, 3), keepdim=True), batch.var((0, 2, 3), unbiased=False, keepdim=True)
        inputs.append(model[1]((batch - mean) / (variance + model[0].eps).sqrt()))
    torch.testing.assert_close(model[2].running_mean, torch.cat(inputs).mean((0, 2, 3)))
    torch.testing.assert_close(model[2].running_var, torch.cat(inputs).var((0, 2, 3)))


@pytest.mark.parametrize("model", [nn.Conv2d(3, 4, 1), nn.BatchNorm2d(3, track_running_stats=False)])
def test_a_model_without_such_layers(model):
    with pytest.raises(ValueError, match="model must have batch normalisation with running statistics, got"):
        adapt_batch_norm(model, [torch.randn(2, 3, 4, 4)])


def test_too_little_to_see_and_what_breaks_on_the_way():
    model = nn.BatchNorm2d(3)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="batches must hold at least one batch, got none"):
        adapt_batch_norm(model, [])
    with pytest.raises(ValueError, match="expected 4D input"):
        adapt_batch_norm(model, [torch.randn(2, 3, 4, 4), torch.randn(2, 3)])
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])

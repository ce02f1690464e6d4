"""Rates by part of the network, and what does not decay."""

import pytest
import torch
from torch import nn

from correspondence_losses.reference.engine.optimizer import create_optimizer, parameter_rates, set_learning_rate


def model() -> nn.ModuleDict:
    stages = [nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)) for _ in range(3)]
    return nn.ModuleDict({"backbone": nn.Sequential(*stages), "head": nn.Linear(3, 2)})


def test_each_stage_learns_at_a_part_of_the_rate_after_it_and_one_dimensional_parameters_do_not_decay() -> None:
    net = model()
    net["backbone"][0].requires_grad_(False)
    stages = [list(stage.parameters()) for stage in net["backbone"]]
    rates = parameter_rates(net, stages, backbone_lr_scale=0.5, layer_decay=0.1)
    assert not any(name.startswith("backbone.0") for name in rates)
    optimizer = create_optimizer(net, "adamw", rates, learning_rate=2.0, weight_decay=0.3)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in net.named_parameters():
        if name.startswith("backbone.0"):
            assert id(parameter) not in found
            continue
        scale = {"backbone.1": 0.05, "backbone.2": 0.5}.get(name[:10], 1.0)
        assert found[id(parameter)] == pytest.approx((2.0 * scale, 0.3 if parameter.ndim > 1 else 0.0)), name
    set_learning_rate(optimizer, 4.0)
    assert {round(group["lr"], 6) for group in optimizer.param_groups} == {0.2, 2.0, 4.0}


def test_one_rate_is_one_rate() -> None:
    net = model()
    optimizer = create_optimizer(net, "adam", parameter_rates(net), learning_rate=0.1, weight_decay=0.0)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters()))


def test_an_optimizer_of_other_making_keeps_one_rate() -> None:
    optimizer = torch.optim.SGD(model().parameters(), lr=1.0)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25]

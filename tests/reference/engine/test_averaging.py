"""The average of the weights: its recurrence, its place in the checkpoint, and that the trained weights come back."""

from typing import Any

import pytest
import torch
from torch import nn

from correspondence_losses.reference.engine.averaging import WeightAverage


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def step(net: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.add_(1)


def scored(average: WeightAverage, net: nn.Module) -> dict[str, Any]:
    with average.applied():
        return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def fail_inside(average: WeightAverage, net: nn.Module, trained: dict[str, Any]) -> None:
    with average.applied():
        assert not torch.equal(net.state_dict()["0.weight"], trained["0.weight"])
        raise RuntimeError("inside")


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
def test_the_average_is_the_recurrence_with_a_warm_up(momentum: float) -> None:
    net, generator = model(), torch.Generator().manual_seed(1)
    average = WeightAverage(net, momentum)
    expected = {name: tensor.double() for name, tensor in net.state_dict().items()}
    for update in range(1, 30):
        step(net, generator)
        average.update()
        m = min(momentum, update / (9 + update))
        for name, tensor in net.state_dict().items():
            expected[name] = m * expected[name] + (1 - m) * tensor.double()
    found = scored(average, net)
    for name, tensor in found.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-5)
    assert found["1.num_batches_tracked"] == net.state_dict()["1.num_batches_tracked"]  # counts are not averaged


def test_the_trained_weights_come_back_bit_for_bit_even_after_an_error() -> None:
    net, generator = model(), torch.Generator().manual_seed(1)
    average = WeightAverage(net, 0.9)
    step(net, generator)
    average.update()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(RuntimeError, match="inside"):
        fail_inside(average, net, before)
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_a_resumed_average_goes_on_as_if_it_had_never_stopped() -> None:
    one, generator = model(), torch.Generator().manual_seed(1)
    average = WeightAverage(one, 0.9)
    for _ in range(3):
        step(one, generator)
        average.update()
    saved = {name: tensor.clone() for name, tensor in average.state_dict().items()}
    other = model()
    other.load_state_dict(one.state_dict())
    resumed = WeightAverage(other, 0.9)
    resumed.load_state_dict(saved, num_updates=3)
    for net, kept in ((one, average), (other, resumed)):
        step(net, torch.Generator().manual_seed(2))
        kept.update()
    found, wanted = scored(resumed, other), scored(average, one)
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=0)


def test_averages_of_other_models_and_bad_momenta_are_refused() -> None:
    average = WeightAverage(model(), 0.9)
    with pytest.raises(ValueError, match="of another model"):
        average.load_state_dict({"0.weight": torch.zeros(1)}, num_updates=1)
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), got 1"):
        WeightAverage(model(), 1.0)

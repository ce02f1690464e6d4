"""The averaged teacher: its equation, its buffers and state, and two processes under DistributedDataParallel."""

import copy
from pathlib import Path

import pytest
import torch
from ranks import on_each_rank
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from correspondence_losses.blocks import EMATeacher


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1)).double()


def step(student: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64)
    student(images).square().mean().backward()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter -= 0.1 * parameter.grad
            parameter.grad = None


@pytest.mark.parametrize("momentum", [0.0, 0.6, 0.99])
def test_equals_the_equation(momentum):
    student = model()
    teacher = EMATeacher(student, momentum)
    expected = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    for t in range(1, 7):
        step(student, t)
        teacher.update(student)
        m = min(momentum, 1 - 1 / t)
        for name, value in student.state_dict().items():
            average = m * expected[name] + (1 - m) * value if value.is_floating_point() else value.clone()
            expected[name] = average
    assert teacher.num_updates == 6
    for name, value in teacher.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(teacher.module[1].num_batches_tracked, student[1].num_batches_tracked)


def test_predicts_alone_in_evaluation_mode_without_gradients():
    student = model()
    teacher = EMATeacher(student)
    whole = nn.ModuleDict({"student": student, "teacher": teacher}).train()
    assert student.training
    assert not any(module.training for module in teacher.module.modules())
    images = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    output = teacher(images)
    assert not output.requires_grad
    torch.testing.assert_close(output, student.eval()(images).detach())
    assert {name for name, p in whole.named_parameters() if p.requires_grad} == {
        f"student.{name}" for name, _ in student.named_parameters()
    }


def test_goes_on_from_its_state():
    student = model()
    teacher = EMATeacher(student, 0.9)
    for seed in range(3):
        step(student, seed)
        teacher.update(student)
    resumed = EMATeacher(model(), 0.9)
    resumed.load_state_dict(copy.deepcopy(teacher.state_dict()))
    step(student, 3)
    teacher.update(student)
    resumed.update(student)
    for name, value in teacher.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), got 1.0"):
        EMATeacher(model(), 1.0)
    with pytest.raises(ValueError, match="module must have the parameters and buffers of the teacher"):
        EMATeacher(model()).update(nn.Conv2d(3, 4, 1))


def worker(rank: int) -> tuple[list[dict], dict]:
    student = DistributedDataParallel(model())
    teacher = EMATeacher(student, 0.9)
    history = []
    for t in range(3):
        step(student, 10 * t + rank)  # each rank its own images
        history.append(copy.deepcopy(student.module.state_dict()))
        teacher.update(student)
    return history, teacher.state_dict()


def test_all_ranks_have_one_teacher(tmp_path: Path):
    (history, first), (other, second) = on_each_rank(worker, tmp_path)
    assert not torch.equal(history[-1]["1.running_mean"], other[-1]["1.running_mean"]), "nothing to reconcile"
    for name, value in first.items():
        assert torch.equal(second[name], value), name
    alone = EMATeacher(model(), 0.9)
    for state in history:  # rank 0's
        student = model()
        student.load_state_dict(state)
        alone.update(student)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first[name], value)

"""The training loop: a loss term that is not finite stops it, whichever term it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from correspondence_losses.reference.engine.checkpoint import CheckpointError, read_checkpoint
from correspondence_losses.reference.engine.history import History
from correspondence_losses.reference.engine.loop import NonFiniteLossError, train
from correspondence_losses.reference.engine.plan import TrainingPlan

TERMS = ("loss", "cross_entropy", "sam_invariance", "sam_separation")


class Model(nn.Module):
    """Four terms of one weight; one of them breaks at a step."""

    def __init__(self, term: str, value: float, step: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.broken, self.value, self.step = term, value, step

    def forward(self, batch: int) -> dict[str, Tensor]:
        terms = dict.fromkeys(TERMS, self.weight**2)
        if batch == self.step:
            terms[self.broken] = terms[self.broken] * self.value
        return terms


def run(inner: nn.Module, checkpoint: Path, batches: Sequence[Any] = range(6), precision: Any = "32-true") -> None:
    """Train for a step on each batch."""
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    model, optimizer = fabric.setup(inner, torch.optim.SGD(inner.parameters(), lr=0.1))
    plan = TrainingPlan(
        epochs=1,
        steps_per_epoch=len(batches),
        evaluate_every=1,
        checkpoint_every=1,
        learning_rate=0.1,
        seed=0,
    )
    history = History(None, interval=1)
    train(
        fabric, model, optimizer, lambda step: batches[step:], None, plan=plan, history=history, checkpoint=checkpoint
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("term", TERMS)
def test_a_term_that_is_not_finite_stops_with_its_step_and_name(tmp_path: Path, term: str, value: float) -> None:
    inner, checkpoint = Model(term, value, step=3), tmp_path / "checkpoint.pt"
    with pytest.raises(NonFiniteLossError, match=rf"at step 4: {term} = {value}") as caught:
        run(inner, checkpoint)
    others = str(caught.value).partition(" (all terms")[0]
    assert not [name for name in TERMS if name != term and f"{name} =" in others]
    # The step is not taken: the weight is that of the checkpoint, and a run can go on from there.
    assert inner.weight.item() == pytest.approx(0.8**3)
    assert read_checkpoint(checkpoint)["step"] == 3


@pytest.mark.parametrize(
    "change",
    [
        *({"step": step} for step in (7, -1, "3", None)),
        *({"history": history} for history in ({}, 3, [1])),
        {"history": {"training": [], "evaluation": [], "sums": [1], "seconds": 0.0}},
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    run(Model("loss", 1.0, step=0), checkpoint)
    torch.save({**read_checkpoint(checkpoint), **change}, checkpoint)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: "):
        run(Model("loss", 1.0, step=0), checkpoint)


class Positions(nn.Module):
    """Says what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[Tensor] = []

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.seen.append(batch["positions"])
        return {"loss": self.weight * batch["positions"].mean()}


def test_mixed_precision_rounds_no_position(tmp_path: Path) -> None:
    inner, positions = Positions(), torch.tensor([0.5, 321.75, 638.5])
    run(inner, tmp_path / "checkpoint.pt", [{"positions": positions}] * 2, precision="bf16-mixed")
    assert len(inner.seen) == 2
    for seen in inner.seen:
        assert torch.equal(seen, positions)
        assert seen.dtype == positions.dtype

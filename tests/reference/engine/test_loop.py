"""The training loop: a loss term that is not finite stops it, whichever term it is."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from correspondence_losses.reference.engine.averaging import WeightAverage
from correspondence_losses.reference.engine.checkpoint import CheckpointError, read_checkpoint
from correspondence_losses.reference.engine.history import History
from correspondence_losses.reference.engine.loop import train
from correspondence_losses.reference.engine.plan import TrainingPlan
from correspondence_losses.reference.engine.step_report import NonFiniteLossError

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


def run(
    inner: nn.Module,
    checkpoint: Path,
    batches: Sequence[Any] = range(6),
    precision: Any = "32-true",
    clip_gradients: float = 0.0,
    accelerator: str = "cpu",
) -> None:
    """Train for a step on each batch."""
    fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    model, optimizer = fabric.setup(inner, torch.optim.SGD(inner.parameters(), lr=0.1))
    plan = TrainingPlan(
        epochs=1,
        steps_per_epoch=len(batches),
        evaluate_every=1,
        checkpoint_every=1,
        learning_rate=0.1,
        clip_gradients=clip_gradients,
        seed=0,
    )
    history = History(None, interval=1)
    train(
        fabric,
        model,
        optimizer,
        lambda step: (batch for batch in batches[step:]),
        None,
        plan=plan,
        history=history,
        checkpoint=checkpoint,
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("term", TERMS)
def test_a_term_that_is_not_finite_stops_with_its_step_and_name(tmp_path: Path, term: str, value: float) -> None:
    inner, checkpoint = Model(term, value, step=3), tmp_path / "checkpoint.pt"
    with pytest.raises(NonFiniteLossError, match=rf"at step 4: {term} = {value}") as caught:
        run(inner, checkpoint)
    others = str(caught.value).partition(" (all terms")[0]
    assert not [name for name in TERMS if name != term and f"{name} =" in others]
    saved = read_checkpoint(checkpoint)  # of the step before, from which a run can go on
    assert saved["step"] == 3
    assert saved["model"]["weight"].item() == pytest.approx(0.8**3)


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


class Regression(nn.Module):
    """A module with parameters of two kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        loss = self.layer(batch["x"]).square().mean()
        return {"loss": loss, "again": loss.detach()}


@pytest.mark.gpu
def test_no_step_waits_for_the_gpu(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cuda", devices=1, precision="bf16-mixed")
    model = fabric.setup_module(Regression())
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(model.parameters(), lr=0.1))
    batch = {"x": torch.ones(3, 4).pin_memory()}

    def batches(_step: int) -> Generator[dict[str, Tensor], None, None]:
        yield from [batch] * 4
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield from [batch] * 3
        finally:
            torch.cuda.set_sync_debug_mode("default")
        yield batch  # the epoch's last step, after which is saved

    plan = TrainingPlan(epochs=1, steps_per_epoch=8, accumulate=1, clip_gradients=1.0, checkpoint_every=100)
    average, history = WeightAverage(model.module, 0.9), History(None, interval=1)
    train(
        fabric, model, optimizer, batches, None,
        plan=plan, history=history, checkpoint=tmp_path / "checkpoint.pt", average=average,
    )  # fmt: skip
    assert [row["step"] for row in history.training] == list(range(1, 9))


def test_a_gradient_that_is_not_finite_stops_before_anything_is_saved(tmp_path: Path) -> None:
    class Steep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, batch: int) -> dict[str, Tensor]:
            return {"loss": self.weight + (self.weight * 0 if batch < 2 else (self.weight * 0).sqrt())}

    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(NonFiniteLossError, match="at step 3: gradient norm = nan"):
        run(Steep(), checkpoint, clip_gradients=1.0)
    assert read_checkpoint(checkpoint)["step"] == 2


@pytest.mark.gpu
def test_a_loss_that_is_scaled_for_float16_is_clipped(tmp_path: Path) -> None:
    inner = Model("loss", 1.0, step=99)  # the first gradients overflow, and their steps are skipped
    run(inner, tmp_path / "checkpoint.pt", precision="16-mixed", clip_gradients=1.0, accelerator="cuda")
    assert 0.4 <= inner.weight.item() < 1

"""The training loop: it knows steps, epochs, checkpoints and logs, and nothing of what is trained."""

import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor
from tqdm import tqdm

from correspondence_losses.reference.engine.averaging import WeightAverage
from correspondence_losses.reference.engine.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from correspondence_losses.reference.engine.history import History
from correspondence_losses.reference.engine.optimizer import set_learning_rate
from correspondence_losses.reference.engine.plan import TrainingPlan
from correspondence_losses.reference.engine.sealed import Sealed, opened_inside
from correspondence_losses.reference.engine.step_report import StepReport
from correspondence_losses.reference.progress import progress_bar
from correspondence_losses.reference.seeding import seed_step

__all__ = ["Interrupted", "train"]


class Interrupted(SystemExit):
    """The run was asked to stop (Ctrl-C, or SIGTERM from a scheduler) and left a checkpoint; exit code 130."""


def train(
    fabric: Fabric,
    model: _FabricModule,
    optimizer: torch.optim.Optimizer,
    batches_from: Callable[[int], Generator[Any, None, None]],
    evaluate: Callable[[], Mapping[str, float]] | None,
    *,
    plan: TrainingPlan,
    history: History,
    checkpoint: Path,
    average: WeightAverage | None = None,
) -> None:
    """Train until the plan's end, from ``checkpoint`` if it is there.

    A run that was stopped anywhere and started again ends with the same numbers as one that never stopped: all
    randomness is a function of the seed and the step, and the history is part of the checkpoint.

    The device never waits for the host: the terms of a step are read when the next one has been launched, or before
    anything is evaluated or saved.

    Args:
        fabric: Launched.
        model: Set up by ``fabric``. Called with a batch it returns the loss terms by name, ``"loss"`` among them,
            which is minimised.
        optimizer: Set up by ``fabric``.
        batches_from: From a step to this process's batches from that step on, ``plan.accumulate`` for each step. It is
            closed in the end, also by an error.
        evaluate: Returns metrics by name; called on all processes. ``None`` where there is nothing to evaluate.
        plan: How long, and when to do what.
        history: Where terms and metrics are logged.
        checkpoint: The file that the run is saved to and resumed from.
        average: Average of the model's weights, which is taken further by each step and is what is evaluated.

    Raises:
        NonFiniteLossError: A loss term, or the norm of the gradient where it is clipped, is NaN or infinite; the
            checkpoint before that step stays.
        CheckpointError: ``checkpoint`` is damaged or of another model.
        Interrupted: The process got SIGINT or SIGTERM; the checkpoint is of the step just done.
    """
    state: dict[str, Any] = {"model": model, "optimizer": optimizer, "step": 0, "history": history.state_dict()}
    if average is not None:
        state["average"] = average.state_dict()
    if checkpoint.exists():
        load_checkpoint(fabric, checkpoint, state)
        try:
            history.load_state_dict(state["history"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(f"{checkpoint}: holds no history of a run ({error!r})") from error
        if type(state["step"]) is not int or not 0 <= state["step"] <= plan.num_steps:
            raise CheckpointError(f"{checkpoint}: is of step {state['step']!r}, the run has {plan.num_steps}")
        if average is not None:
            try:
                average.load_state_dict(state["average"], num_updates=state["step"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise CheckpointError(f"{checkpoint}: holds no average of this model's weights ({error!r})") from error
            state["average"] = average.state_dict()
    step: int = state["step"]
    stopping = False
    unread: StepReport | None = None

    def read() -> None:
        nonlocal stopping, unread
        if unread is not None:
            terms, asked = unread.read()
            stopping = stopping or asked
            history.add_training(unread.step, terms)
            progress.set_postfix(_postfix(terms, history), refresh=False)
            unread = None

    def save() -> None:
        save_checkpoint(fabric, checkpoint, {**state, "step": step, "history": history.state_dict()})
        history.flush()

    model.train()
    since = time.perf_counter()
    with (
        _stop_requests() as stop,
        opened_inside(model.module),
        _progress(fabric, step, plan, history) as progress,
        closing(batches_from(step)) as batches,
    ):
        while step < plan.num_steps:
            launched = _training_step(fabric, model, optimizer, islice(batches, plan.accumulate), step, plan, stop())
            read()
            unread = launched
            step += 1
            if average is not None:
                average.update()
            progress.update()
            if fabric.world_size == 1:  # several learn of it together, from the reports
                stopping = stopping or stop()
            epoch_ends = step % plan.steps_per_epoch == 0
            saving = epoch_ends or stopping or step % plan.checkpoint_every == 0
            if saving:
                read()
            if epoch_ends:
                epoch = step // plan.steps_per_epoch
                if evaluate is not None and (epoch % plan.evaluate_every == 0 or epoch == plan.epochs):
                    with nullcontext() if average is None else average.applied():
                        history.add_evaluation(step, epoch, evaluate())
                    model.train()
            history.seconds, since = history.seconds + time.perf_counter() - since, time.perf_counter()
            if saving:
                save()
            if stopping and step < plan.num_steps:
                progress.write(f"stopped after step {step} of {plan.num_steps}; the same command goes on from there")
                raise Interrupted(130)


def _training_step(
    fabric: Fabric,
    model: _FabricModule,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Any],
    step: int,
    plan: TrainingPlan,
    stop: bool,
) -> StepReport:
    """Launch a step; nothing in it may wait for the device."""
    seed_step(plan.seed, step, fabric.global_rank)
    set_learning_rate(optimizer, plan.rate(step))
    means = torch.zeros((), device=fabric.device)
    terms: dict[str, Tensor] = {}
    for index, batch in enumerate(batches, start=1):
        with fabric.no_backward_sync(model, enabled=index < plan.accumulate):
            terms = model(Sealed(fabric.to_device(batch)))
            fabric.backward(terms["loss"] / plan.accumulate)
        means = means + torch.stack([term.detach().float() for term in terms.values()]) / plan.accumulate
    norm = None
    if plan.clip_gradients:
        norm = fabric.clip_gradients(model, optimizer, max_norm=plan.clip_gradients, error_if_nonfinite=False)
    optimizer.step()
    optimizer.zero_grad()
    # Where the loss is scaled for float16, a step whose gradients overflow is skipped, which is no error.
    scaled = getattr(fabric.strategy.precision, "scaler", None) is not None
    return StepReport(fabric, step + 1, list(terms), means, norm=None if scaled else norm, stop=stop)


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a flag that the loop looks at between two steps; a second SIGINT ends at once."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may take signals
        yield lambda: False
        return
    requested = False

    def request(signum: int, _frame: object) -> None:
        nonlocal requested
        if requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        requested = True

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, request) for number in signals]
    try:
        yield lambda: requested
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)


def _progress(fabric: Fabric, step: int, plan: TrainingPlan, history: History) -> "tqdm[Any]":
    progress = progress_bar(
        stage="training", unit="step", total=plan.num_steps, done=step, shown=fabric.global_rank == 0
    )
    progress.set_postfix(_postfix({}, history), refresh=False)
    return progress


def _postfix(terms: Mapping[str, float], history: History) -> dict[str, str]:
    shown = {"loss": f"{terms['loss']:.3f}"} if terms else {}
    if history.evaluation:
        name, value = next((k, v) for k, v in history.evaluation[-1].items() if k not in ("epoch", "step"))
        shown[name] = f"{value:.3f}"
    return shown

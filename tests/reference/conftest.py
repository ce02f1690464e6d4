"""What the tests of whole runs share: a tiny data set, and what happens while it is trained on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ycb_layouts import write_tiny

from correspondence_losses.reference.engine import loop
from correspondence_losses.reference.runs.run import _Run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of each: synthetic and transparent, for training, and for testing."""
    return write_tiny(tmp_path_factory.mktemp("ycb"))


class Steps:
    """The training steps that are begun.

    Attributes:
        begun: Their numbers, in this order.
    """

    def __init__(self) -> None:
        self.begun: list[int] = []
        self._interruption: Callable[[], None] = lambda: None

    def begin(self, step: int) -> None:
        self.begun.append(step)
        self._interruption()

    @contextmanager
    def interrupted(self, action: Callable[[], None], *, step: int | None = None, after: int = 0) -> Iterator[None]:
        """In the block, something happens at the begin of a step: that of this number, or the one after so many."""
        before = len(self.begun)

        def interruption() -> None:
            if self.begun[-1] == step or (step is None and len(self.begun) == before + after + 1):
                action()

        self._interruption = interruption
        try:
            yield
        finally:
            self._interruption = lambda: None

    @contextmanager
    def killed(self, *, step: int | None = None, after: int = 0) -> Iterator[None]:
        """In the block, a run dies at the begin of a step, as in :meth:`interrupted`."""

        def die() -> None:
            raise MemoryError

        with self.interrupted(die, step=step, after=after), pytest.raises(MemoryError):
            yield


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """The steps of the runs of a test."""
    steps, seed_step = Steps(), loop.seed_step

    def begin(seed: int, step: int, rank: int) -> None:
        steps.begin(step)
        seed_step(seed, step, rank)

    monkeypatch.setattr(loop, "seed_step", begin)
    return steps


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For runs whose figures and report, most of the time that they take, are not looked at."""
    monkeypatch.setattr(_Run, "_draw", lambda *_: None)
    monkeypatch.setattr("correspondence_losses.reference.runs.run.write_report", lambda *_: None)

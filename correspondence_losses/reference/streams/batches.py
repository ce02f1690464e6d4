"""Which samples of a stream are a batch of which process, and the processes that read them."""

import os
import signal
from collections.abc import Callable, Generator, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

__all__ = ["StepSampler", "loader", "workers_beside"]

_WORKERS = 2
_MANY_CORES = 4


class StepSampler(Sampler[list[int]]):
    """The sample indices of each batch of one process, from a step on.

    All processes together take the samples of step s from ``s * global_batch`` on, so that the samples of a step
    depend neither on the number of processes that share them, nor on that of the batches they come in.

    Args:
        start: First step.
        stop: The step to stop before.
        batch_size: Samples of a batch of one process.
        rank: Number of the process.
        world_size: Number of processes.
        accumulate: Batches of a step.

    Example:
        >>> list(StepSampler(start=1, stop=3, batch_size=2, rank=1, world_size=2))
        [[6, 7], [10, 11]]
    """

    def __init__(
        self, *, start: int, stop: int, batch_size: int, rank: int, world_size: int, accumulate: int = 1
    ) -> None:
        self.batches = range(start * accumulate, stop * accumulate)
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of one batch after another."""
        for batch in self.batches:
            first = (batch * self.world_size + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches)


def workers_beside(device: torch.device) -> int:
    """Return how many processes should read images while a device trains.

    On two cores that both train, two such processes make a step a quarter longer, as the cores wait for each other.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device.type != "cpu" or cores >= _MANY_CORES:
        return _WORKERS
    return min(max(cores - torch.get_num_threads(), 0), _WORKERS)


def loader(
    stream: Dataset[Any], sampler: StepSampler, num_workers: int, collate: Callable[[list[Any]], Any]
) -> Generator[Any, None, None]:
    """Yield the batches of a stream, read by worker processes; to be closed, which ends these."""
    batches = iter(
        DataLoader(
            stream,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_leave_signals_to_the_trainer,
        )
    )
    try:
        yield from batches
    finally:
        # The traceback of an error keeps the iterator, whose end would end the workers. At exit Python sends them a
        # SIGTERM, which they ignore, and waits for them: for ever.
        if num_workers:
            batches._shutdown_workers()  # type: ignore[attr-defined]  # it has no public name


def _leave_signals_to_the_trainer(_worker: int) -> None:
    # Ctrl-C and schedulers signal the whole group of processes; a worker that dies of it takes the run with it before
    # the trainer has saved.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

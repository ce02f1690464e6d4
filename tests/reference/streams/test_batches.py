"""Which samples are a batch of which process."""

import itertools
import multiprocessing

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from correspondence_losses.reference.streams import batches
from correspondence_losses.reference.streams.batches import StepSampler, loader, workers_beside


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 5), st.integers(0, 6))
def test_processes_share_out_the_samples_of_one_process(world: int, batch: int, start: int, length: int) -> None:
    def indices(world_size: int, batch_size: int) -> list[list[int]]:
        samplers = [
            StepSampler(start=start, stop=start + length, batch_size=batch_size, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        return [list(itertools.chain(*step)) for step in zip(*samplers, strict=True)]

    assert indices(world, batch) == indices(1, world * batch)


@pytest.mark.parametrize(
    ("device", "cores", "threads", "workers"),
    [("cuda", 2, 2, 2), ("cpu", 1, 1, 0), ("cpu", 2, 2, 0), ("cpu", 2, 1, 1), ("cpu", 3, 3, 0), ("cpu", 16, 16, 2)],
)
def test_few_cores_train_undisturbed(
    monkeypatch: pytest.MonkeyPatch, device: str, cores: int, threads: int, workers: int
) -> None:
    monkeypatch.setattr(batches.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert workers_beside(torch.device(device)) == workers


def test_an_error_of_a_process_that_reads_ends_them_all() -> None:
    """They ignore the signal that Python sends them at exit, and it would wait for them for ever."""
    sampler = StepSampler(start=0, stop=9, batch_size=1, rank=0, world_size=1)
    with pytest.raises(OSError, match="no sample 3") as error:  # which keeps the traceback, as an uncaught error does
        for _batch in loader(_Broken(), sampler, 2, list):
            pass
    assert error.tb is not None
    assert multiprocessing.active_children() == []


class _Broken(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        if index == 3:
            raise OSError(f"no sample {index}")
        return index

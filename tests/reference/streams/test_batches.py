"""Which samples are a batch of which process."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from correspondence_losses.reference.streams.batches import StepSampler


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 5), st.integers(0, 6))
def test_processes_share_out_the_samples_of_one_process(world: int, batch: int, start: int, length: int) -> None:
    def indices(world_size: int, batch_size: int) -> list[list[int]]:
        samplers = [
            StepSampler(start=start, stop=start + length, batch_size=batch_size, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        return [list(itertools.chain(*step)) for step in zip(*samplers, strict=True)]

    assert indices(world, batch) == indices(1, world * batch)

"""Randomness as a function of the seed and of a place in the run, so that a resumed run draws what it would have."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["FrameOrder", "derive_seed", "seed_step", "seeded"]


def derive_seed(*place: int) -> int:
    """Return a 64-bit seed that is a function of ``place``, such as (seed, stream, index)."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0])


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch for one training step of one process (what dropout and drop path draw from)."""
    torch.manual_seed(derive_seed(seed, 0, step, rank))


@contextmanager
def seeded(*place: int) -> Iterator[None]:
    """In the block, let torch's global generator draw what is a function of ``place``; it is left as it was.

    That is the CPU's generator: ``torch.manual_seed`` would seed those of all devices too, at a hundred times the cost.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(*place))
        yield


@lru_cache(maxsize=16)  # two passes of each order of a run
def _permutation(num_frames: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(num_frames)


class FrameOrder:
    """Endless shuffled passes over n frames: each frame once before any comes again.

    Args:
        num_frames: n, above 0.
        seed: Seed of the run.
        stream: Tells apart the orders of one run.

    Example:
        >>> order = FrameOrder(3, seed=0, stream=1)
        >>> sorted(order[i] for i in range(3)), sorted(order[i] for i in range(3, 6))
        ([0, 1, 2], [0, 1, 2])
    """

    def __init__(self, num_frames: int, seed: int, stream: int) -> None:
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {num_frames}")
        self.num_frames = num_frames
        self._seed = seed
        self._stream = stream

    def __getitem__(self, index: int) -> int:
        """Return the frame at ``index`` of the endless order."""
        permutation = _permutation(self.num_frames, derive_seed(self._seed, self._stream, self.round(index)))
        return int(permutation[index % self.num_frames])

    def round(self, index: int) -> int:
        """Return the number of the pass that ``index`` is in; a transparent image has another background in each."""
        return index // self.num_frames

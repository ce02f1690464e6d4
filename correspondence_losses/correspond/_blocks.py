"""The pairwise comparisons of two sets of cells, cut into blocks that bound the memory they take."""

from collections.abc import Iterator

import torch

# On a CPU a block should stay in the cache between its product and its reduction; elsewhere it should be large enough
# to keep the device busy.
_CPU_PAIRS = 2**21
_DEVICE_PAIRS = 2**24
# A product of few rows spends its time on the other operand.
_ROWS = 1024


def pair_blocks(samples: int, rows: int, columns: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Slices of samples and of rows that together cover ``samples x rows``, each with ``columns`` comparisons.

    A block has at least some rows of one sample before it takes in more samples, so that a matrix product over it is
    never a thin one.
    """
    pairs = _CPU_PAIRS if device.type == "cpu" else _DEVICE_PAIRS
    sample_step = max(1, pairs // (min(rows, _ROWS) * columns))
    row_step = max(1, pairs // (min(sample_step, samples) * columns))
    for sample in range(0, samples, sample_step):
        for row in range(0, rows, row_step):
            yield slice(sample, sample + sample_step), slice(row, row + row_step)

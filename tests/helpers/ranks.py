"""What a function gives on each of two ranks: real processes, joined by gloo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

RANKS = 2


def on_each_rank(function: Callable[[int], object], folder: Path) -> list[Any]:
    """Return what a function of the rank returns, rank by rank; it goes through files in the folder."""
    mp.start_processes(_rank, (function, folder), nprocs=RANKS, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


def _rank(rank: int, function: Callable[[int], object], folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    torch.save(function(rank), folder / f"{rank}.pt")
    dist.destroy_process_group()

"""The rows of the table: all workloads, measured against their targets."""

from typing import TypedDict

import torch

from benchmarks import fusion, matches, pyramid, segments, self_training, similarity, vicreg
from benchmarks.measure import Measurement, measure
from benchmarks.workload import Workload

WORKLOADS = [
    *vicreg.WORKLOADS,
    *similarity.WORKLOADS,
    *segments.WORKLOADS,
    *matches.WORKLOADS,
    *fusion.WORKLOADS,
    *pyramid.WORKLOADS,
    *self_training.WORKLOADS,
]

# Of a side of a row in a process: of the only one, of one of several, on a GPU, to see that it works.
_SECONDS, _SECONDS_OF_SEVERAL, _CUDA_SECONDS, _QUICK_SECONDS = 6, 2, 0.5, 0.2


class Row(TypedDict):
    """One workload, measured."""

    name: str
    title: str
    peer: str
    note: str
    floor: str
    measurement: Measurement
    targets: dict[str, bool]
    """Whether each is met."""


def run_workload(workload: Workload, *, quick: bool, device: torch.device, processes: int) -> Row:
    """Measure a workload in so many processes; a quick one at sizes whose figures mean nothing."""
    sizes = workload.quick if quick else workload.sizes
    on_cpu = _SECONDS if processes == 1 else _SECONDS_OF_SEVERAL
    seconds = _QUICK_SECONDS if quick else _CUDA_SECONDS if device.type == "cuda" else on_cpu
    measurement = measure(
        workload.build,
        sizes,
        workload.quick,
        seconds=seconds,
        device=device,
        processes=processes,
        with_floor=True,
    )
    floor = measurement["floor"]
    ours, peer = measurement["ours"]["peak_memory_mib"], measurement["peer"]["peak_memory_mib"]
    wanted = [
        ("ratio >= {:g}", workload.ratio_target, measurement["ratio"]),
        ("times the floor <= {:g}", workload.floor_target, floor["times"] if floor else 0),
        ("memory ratio >= {:g}", workload.memory_ratio_target, peer / max(ours, 1)),
        ("memory <= {:g} MiB", workload.memory_limit_mib, ours),
    ]
    targets = {
        text.format(target): seen <= target if "<=" in text else seen >= target
        for text, target, seen in wanted
        if target is not None and not quick
    }
    return Row(
        name=workload.name,
        title=workload.title.format(**sizes),
        peer=workload.peer,
        note=workload.note,
        floor=workload.floor,
        measurement=measurement,
        targets=targets,
    )

"""The rows of the table: all workloads, measured against their targets."""

from typing import TypedDict

from benchmarks import fusion, matches, segments, similarity, vicreg
from benchmarks.measure import Measurement, measure
from benchmarks.workload import Workload

WORKLOADS = [*vicreg.WORKLOADS, *similarity.WORKLOADS, *segments.WORKLOADS, *matches.WORKLOADS, *fusion.WORKLOADS]

_SECONDS, _QUICK_SECONDS = 6, 0.2


class Row(TypedDict):
    """One workload, measured."""

    name: str
    title: str
    peer: str
    note: str
    is_floor: bool
    measurement: Measurement
    targets: dict[str, bool]
    """Whether each is met."""


def run_workload(workload: Workload, *, quick: bool) -> Row:
    """Measure a workload; a quick one at sizes whose figures mean nothing."""
    sizes = workload.quick if quick else workload.sizes
    seconds = _QUICK_SECONDS if quick else _SECONDS
    measurement = measure(workload.build, sizes, workload.quick, seconds=seconds, is_floor=workload.is_floor)
    ours, peer = measurement["ours"]["peak_memory_mib"], measurement["peer"]["peak_memory_mib"]
    wanted = [
        ("ratio >= {:g}", workload.ratio_target, measurement["ratio"]),
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
        is_floor=workload.is_floor,
        measurement=measurement,
        targets=targets,
    )

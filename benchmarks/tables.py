"""All rows of the table, in its order."""

from benchmarks import fusion, matches, segments, vicreg

WORKLOADS = [*vicreg.WORKLOADS, *segments.WORKLOADS, *matches.WORKLOADS, *fusion.WORKLOADS]

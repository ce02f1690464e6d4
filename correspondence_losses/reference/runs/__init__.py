"""From settings to results: one run, the sweep over rows of tables, and the table of what came out."""

from correspondence_losses.reference.runs.boundary_segmenter import BoundarySegmenter

__all__ = ["BoundarySegmenter"]  # imported here, so that ``--segmenter BoundarySegmenter`` finds it

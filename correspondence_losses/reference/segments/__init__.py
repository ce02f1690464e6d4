"""Pre-segmentation: masks of an image, painted into a label map, computed once and kept on disk."""

from correspondence_losses.reference.segments.cache import SegmentCache
from correspondence_losses.reference.segments.felzenszwalb import FelzenszwalbSegmenter
from correspondence_losses.reference.segments.presegment import presegment, presegment_folder
from correspondence_losses.reference.segments.sam import SAMCheckpointError, SAMSegmenter, download_checkpoint
from correspondence_losses.reference.segments.segmenter import Segmenter

__all__ = [
    "FelzenszwalbSegmenter",
    "SAMCheckpointError",
    "SAMSegmenter",
    "SegmentCache",
    "Segmenter",
    "download_checkpoint",
    "presegment",
    "presegment_folder",
]

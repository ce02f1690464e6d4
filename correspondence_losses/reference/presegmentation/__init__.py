"""Pre-segmentation: masks of an image, painted into a label map, computed once and kept on disk."""

from .cache import SegmentCache
from .felzenszwalb import FelzenszwalbSegmenter
from .masks import MaskSet, paint_masks
from .run import presegment, presegment_folder
from .sam import SAMCheckpointError, SAMSegmenter, download_checkpoint
from .segmenter import Segmenter

__all__ = [
    "FelzenszwalbSegmenter",
    "MaskSet",
    "SAMCheckpointError",
    "SAMSegmenter",
    "SegmentCache",
    "Segmenter",
    "download_checkpoint",
    "paint_masks",
    "presegment",
    "presegment_folder",
]

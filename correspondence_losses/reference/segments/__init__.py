"""Pre-segmentation: masks of an image, painted into a label map, computed once and kept on disk."""

from correspondence_losses.reference.segments.automatic import AutomaticMaskSegmenter, SAMCheckpointError
from correspondence_losses.reference.segments.cache import SegmentCache
from correspondence_losses.reference.segments.felzenszwalb import FelzenszwalbSegmenter
from correspondence_losses.reference.segments.mask_generation import MaskGenerationSegmenter
from correspondence_losses.reference.segments.mobile_sam import MobileSAMSegmenter
from correspondence_losses.reference.segments.presegment import missing_segments, presegment, presegment_folder
from correspondence_losses.reference.segments.sam import SAMSegmenter, download_checkpoint
from correspondence_losses.reference.segments.sam2 import SAM2Segmenter
from correspondence_losses.reference.segments.segmenter import Segmenter

__all__ = [
    "AutomaticMaskSegmenter",
    "FelzenszwalbSegmenter",
    "MaskGenerationSegmenter",
    "MobileSAMSegmenter",
    "SAM2Segmenter",
    "SAMCheckpointError",
    "SAMSegmenter",
    "SegmentCache",
    "Segmenter",
    "download_checkpoint",
    "missing_segments",
    "presegment",
    "presegment_folder",
]

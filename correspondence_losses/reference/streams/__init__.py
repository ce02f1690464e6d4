"""What a batch holds, as a function of the seed and of its place in the run.

Samples of whole images, labelled and unlabelled, for the families of chapter 3 and table 4.4; crops for CUT; views of
frames and where they correspond: multi-crop, and the arrangements of sections 4.2 to 4.4.
"""

from correspondence_losses.reference.streams.arrangements import (
    Arrangement,
    ArrangementName,
    MultipleArrangements,
    MultipleFrames,
    Paired,
    PlacedView,
    PosedArrangement,
    SingleFrame,
    Unpaired,
    create_arrangement,
    single_object_frames,
)
from correspondence_losses.reference.streams.batches import StepSampler, loader
from correspondence_losses.reference.streams.crop import Crop, labels_at
from correspondence_losses.reference.streams.crops import CropStream
from correspondence_losses.reference.streams.images import Augmentation
from correspondence_losses.reference.streams.pairs import PairStream
from correspondence_losses.reference.streams.picture import Picture, SeedFrame
from correspondence_losses.reference.streams.samples import SampleStream
from correspondence_losses.reference.streams.segment_pairs import (
    MatchedViewSet,
    MatchedViewStream,
    SegmentSearch,
    collate_matched_views,
    draw_segment_matches,
    segment_searches,
)
from correspondence_losses.reference.streams.view_set import LabelledImages, ViewSet, collate_views
from correspondence_losses.reference.streams.view_stream import ViewStream

__all__ = [
    "Arrangement",
    "ArrangementName",
    "Augmentation",
    "Crop",
    "CropStream",
    "LabelledImages",
    "MatchedViewSet",
    "MatchedViewStream",
    "MultipleArrangements",
    "MultipleFrames",
    "PairStream",
    "Paired",
    "Picture",
    "PlacedView",
    "PosedArrangement",
    "SampleStream",
    "SeedFrame",
    "SegmentSearch",
    "SingleFrame",
    "StepSampler",
    "Unpaired",
    "ViewSet",
    "ViewStream",
    "collate_matched_views",
    "collate_views",
    "create_arrangement",
    "draw_segment_matches",
    "labels_at",
    "loader",
    "segment_searches",
    "single_object_frames",
]

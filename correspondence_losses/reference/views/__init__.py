"""Views of frames and where they correspond: multi-crop, and the arrangements of sections 4.2 to 4.4."""

from correspondence_losses.reference.views.arrangements import (
    Arrangement,
    MultipleArrangements,
    MultipleFrames,
    Paired,
    PlacedView,
    PosedArrangement,
    SingleFrame,
    Unpaired,
    single_object_frames,
)
from correspondence_losses.reference.views.crop import Crop, labels_at
from correspondence_losses.reference.views.draw import draw_arrangements
from correspondence_losses.reference.views.multi_crop import ColorDistortion, MultiCrop
from correspondence_losses.reference.views.picture import Picture, SeedFrame
from correspondence_losses.reference.views.segment_pairs import (
    MatchedViewSet,
    MatchedViewStream,
    SegmentSearch,
    collate_matched_views,
    draw_segment_matches,
    segment_searches,
)
from correspondence_losses.reference.views.sheets import draw_view_set
from correspondence_losses.reference.views.stream import ViewStream
from correspondence_losses.reference.views.view_set import LabelledImages, ViewSet, collate_views

__all__ = [
    "Arrangement",
    "ColorDistortion",
    "Crop",
    "LabelledImages",
    "MatchedViewSet",
    "MatchedViewStream",
    "MultiCrop",
    "MultipleArrangements",
    "MultipleFrames",
    "Paired",
    "Picture",
    "PlacedView",
    "PosedArrangement",
    "SeedFrame",
    "SegmentSearch",
    "SingleFrame",
    "Unpaired",
    "ViewSet",
    "ViewStream",
    "collate_matched_views",
    "collate_views",
    "draw_arrangements",
    "draw_segment_matches",
    "draw_view_set",
    "labels_at",
    "segment_searches",
    "single_object_frames",
]

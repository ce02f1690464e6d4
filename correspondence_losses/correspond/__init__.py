"""Who matches whom: producers of matches, their filters, and the views that they match."""

from correspondence_losses.correspond.feature import feature_matches
from correspondence_losses.correspond.filters import (
    close_matches,
    mutual_matches,
    same_label_matches,
    union_matches,
)
from correspondence_losses.correspond.location import location_matches
from correspondence_losses.correspond.matches import Matches, gather_matches
from correspondence_losses.correspond.multi_crop import ColorDistortion, MultiCrop
from correspondence_losses.correspond.pose import PosedFrames, pose_grid, pose_matches
from correspondence_losses.correspond.segment import segment_matches
from correspondence_losses.correspond.view_grid import ViewGrid

__all__ = [
    "ColorDistortion",
    "Matches",
    "MultiCrop",
    "PosedFrames",
    "ViewGrid",
    "close_matches",
    "feature_matches",
    "gather_matches",
    "location_matches",
    "mutual_matches",
    "pose_grid",
    "pose_matches",
    "same_label_matches",
    "segment_matches",
    "union_matches",
]

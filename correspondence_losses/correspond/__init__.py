"""Correspondence producers: who matches whom, by location, features, segment labels or poses."""

from correspondence_losses.correspond.feature import feature_matches
from correspondence_losses.correspond.location import location_matches
from correspondence_losses.correspond.matches import Matches, gather_matches
from correspondence_losses.correspond.pose import PosedFrames, pose_grid, pose_matches
from correspondence_losses.correspond.segment import segment_matches
from correspondence_losses.correspond.view_grid import ViewGrid

__all__ = [
    "Matches",
    "PosedFrames",
    "ViewGrid",
    "feature_matches",
    "gather_matches",
    "location_matches",
    "pose_grid",
    "pose_matches",
    "segment_matches",
]

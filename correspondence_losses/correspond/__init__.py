"""Correspondence producers: who matches whom, by location, features, segment labels or poses."""

from .feature import feature_matches
from .location import location_matches
from .matches import Matches, gather_matches
from .segment import segment_matches
from .view_grid import ViewGrid

__all__ = ["Matches", "ViewGrid", "feature_matches", "gather_matches", "location_matches", "segment_matches"]

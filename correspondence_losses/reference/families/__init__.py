"""The thesis's families of experiments: settings, model and data of each, for one runner."""

from correspondence_losses.reference.families.cut import CUTSettings
from correspondence_losses.reference.families.family import FamilySettings
from correspondence_losses.reference.families.frame_level import FrameLevelSettings
from correspondence_losses.reference.families.segmentation import SegmentationSettings
from correspondence_losses.reference.families.task import Task
from correspondence_losses.reference.families.vicregl import VICRegLSettings

__all__ = [
    "FAMILIES",
    "CUTSettings",
    "FamilySettings",
    "FrameLevelSettings",
    "SegmentationSettings",
    "Task",
    "VICRegLSettings",
]

FAMILIES: dict[str, type[FamilySettings]] = {
    "segmentation": SegmentationSettings,
    "vicregl": VICRegLSettings,
    "frame_level": FrameLevelSettings,
    "cut": CUTSettings,
}
"""The settings of each family by its name."""

"""The thesis's families of experiments: settings, model and data of each, for one runner."""

from correspondence_losses.reference.experiments.cut import CUTSettings
from correspondence_losses.reference.experiments.family import FamilySettings
from correspondence_losses.reference.experiments.frame_level import FrameLevelSettings
from correspondence_losses.reference.experiments.segmentation import SegmentationSettings
from correspondence_losses.reference.experiments.task import Task
from correspondence_losses.reference.experiments.vicregl import VICRegLSettings

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

"""Families of experiments, the thesis's and others: settings, model and data, for one runner."""

from correspondence_losses.reference.experiments.boundaries import BoundarySettings
from correspondence_losses.reference.experiments.cut import CUTSettings
from correspondence_losses.reference.experiments.family import FamilySettings
from correspondence_losses.reference.experiments.frame_level import FrameLevelSettings
from correspondence_losses.reference.experiments.segmentation import SegmentationSettings
from correspondence_losses.reference.experiments.self_training import SelfTrainingSettings
from correspondence_losses.reference.experiments.vicregl import VICRegLSettings

__all__ = [
    "FAMILIES",
    "BoundarySettings",
    "CUTSettings",
    "FamilySettings",
    "FrameLevelSettings",
    "SegmentationSettings",
    "SelfTrainingSettings",
    "VICRegLSettings",
    "family_name",
]

FAMILIES: dict[str, type[FamilySettings]] = {
    "segmentation": SegmentationSettings,
    "vicregl": VICRegLSettings,
    "frame_level": FrameLevelSettings,
    "cut": CUTSettings,
    "self_training": SelfTrainingSettings,
    "boundaries": BoundarySettings,
}
"""The settings of each family by its name."""


def family_name(settings: FamilySettings) -> str:
    """Return the name of the family that settings are of; of one that is not listed, that of its class."""
    return next((name for name, type_ in FAMILIES.items() if type(settings) is type_), type(settings).__name__)

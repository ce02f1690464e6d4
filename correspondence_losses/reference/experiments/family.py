"""What a family of experiments is to the runner: settings that know their model and what it is trained on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.experiments.settings import RunSettings
from correspondence_losses.reference.experiments.task import Task

__all__ = ["FamilySettings"]


class FamilySettings(RunSettings, ABC):
    """Settings of one family, each of which adds its own."""

    def stages(self) -> Sequence["FamilySettings"]:
        """Return the runs that this is done in, one after another; the last one's result is the result."""
        return [self]

    @property
    def predicts(self) -> bool:
        """Whether the model predicts classes, and can be scored."""
        return True

    @abstractmethod
    def create_model(self, num_classes: int) -> nn.Module:
        """Create the model.

        Called with a batch it returns the loss terms by name, ``"loss"`` among them, which is minimised; its
        ``predict`` returns the logits (b, num_classes, H, W) of images (b, 3, H, W).
        """

    @abstractmethod
    def task(self, data: RunData) -> Task:
        """Return what is trained on, prepared."""

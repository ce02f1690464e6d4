"""What a family of experiments is to the runner: settings that know their model and what it is trained on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from correspondence_losses.reference.data import FrameSource
from correspondence_losses.reference.engine.prediction import PredictionWays
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.experiments.settings import RunSettings
from correspondence_losses.reference.experiments.task import Task
from correspondence_losses.reference.segments import FelzenszwalbSegmenter, SegmentCache, Segmenter, presegment

__all__ = ["FamilySettings", "SegmentedFamilySettings"]


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


@dataclass(frozen=True, kw_only=True)
class SegmentedFamilySettings(FamilySettings):
    """Settings of a family that uses the segments of images.

    Args:
        masks: Folder where the segments are kept, for all runs. Default: ``masks`` in ``output``.
        segmenter: What makes them: ``SAMSegmenter`` with a checkpoint, ``FelzenszwalbSegmenter`` where none is at
            hand, or a class of your own.
        min_segment_area: Masks with fewer pixels are left out.
        prediction_votes: At the end, score the prediction after a vote of the segments of each image too.
    """

    masks: Path | None = None
    segmenter: Segmenter = field(default_factory=FelzenszwalbSegmenter)
    min_segment_area: int = 0
    prediction_votes: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least_zero("min_segment_area")

    def prediction_ways(self) -> PredictionWays:
        """Return the ways to predict that are scored at the end, with the votes of segments."""
        return replace(super().prediction_ways(), segmenter=self.segmenter if self.prediction_votes else None)

    def segments_folder(self, name: str) -> Path:
        """Return the folder of the segments of a data set, known by a name."""
        return (self.output / "masks" if self.masks is None else self.masks) / name

    def segmented(
        self, data: RunData, name: str, source: FrameSource, frames: Sequence[str]
    ) -> list[tuple[FrameSource, str, SegmentCache]]:
        """Return frames of a data set, known by a name, with their segments, which are made where there are none."""
        folder, area = self.segments_folder(name), self.min_segment_area
        with data.fabric.rank_zero_first():
            made = presegment(source, frames, folder, self.segmenter, min_area=area, progress=data.progress)
        return [(source, frame, made) for frame in frames]

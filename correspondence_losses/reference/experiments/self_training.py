"""Self-training on unlabelled images, beside and on top of SAM pooling: what the thesis is compared with today."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.experiments.segmentation import SegmentationSettings, SegmentationTask
from correspondence_losses.reference.experiments.task import Task
from correspondence_losses.reference.models.self_training import SelfTrainingModel, SelfTrainingPlan
from correspondence_losses.reference.streams.self_training import SelfTrainingStream

__all__ = ["SelfTrainingSettings"]


@dataclass(frozen=True, kw_only=True)
class SelfTrainingSettings(SelfTrainingPlan, SegmentationSettings):
    """Settings of the family: those of FPN + SAM pooling, and what self-training adds.

    The teacher is the average of the weights, ``weight_average``, which is also what is scored.

    Args:
        weight_average: Momentum of the teacher.
    """

    output: Path = Path("runs/self_training")
    sam_weight: float = 0.0
    weight_average: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_above_zero("mask_block")
        self.check_at_least_zero(
            "pseudo_weight", "mask_weight", "rare_class_temperature", "supervised_epochs", "least_objects"
        )
        self.check_from_zero_to_one("mask_ratio", "threshold")
        if self.pseudo_weight > 0 and self.weight_average == 0:
            raise ValueError("weight_average must be above 0 with pseudo labels, which the average makes, got 0")

    def create_model(self, num_classes: int) -> nn.Module:
        """Create the model, its backbone with the weights that the settings ask for."""
        if self.pseudo_weight == 0:
            return super().create_model(num_classes)
        return SelfTrainingModel(
            *self.create_parts(num_classes),
            sam_weight=self.sam_weight,
            head_stride=self.head_stride,
            frozen_backbone=self.frozen_backbone,
            plan=self,
            supervised_steps=self.supervised_epochs * self.steps_per_epoch,
        )

    @property
    def needs_unlabelled(self) -> bool:
        """Whether unlabelled images are trained on."""
        return super().needs_unlabelled or self.pseudo_weight > 0

    @property
    def needs_segments(self) -> bool:
        """Whether their segments are."""
        return super().needs_segments or (self.pseudo_weight > 0 and self.votes)

    def task(self, data: RunData) -> Task:
        """Return what is trained on: the unlabelled images are segmented first, if their segments are used."""
        return _SelfTrainingTask(self, data)


class _SelfTrainingTask(SegmentationTask):
    settings: SelfTrainingSettings

    def create_stream(self) -> SelfTrainingStream:
        settings = self.settings
        return SelfTrainingStream(
            self.data.labelled,
            self.unlabelled,
            size=settings.image_size,
            augmentation=settings.augmentation,
            seed=settings.seed,
            rare_class_temperature=settings.rare_class_temperature,
            mask_block=settings.mask_block,
            mask_ratio=settings.mask_ratio,
        )

    def record(self) -> dict[str, Any]:
        return {**super().record(), "pseudo_labels": self.settings.pseudo_weight > 0}

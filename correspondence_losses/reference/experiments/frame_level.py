"""Frame level: the feature maps of real and synthetic images aligned as a whole (chapter 3, table 3.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from correspondence_losses.reference.data import FrameSource
from correspondence_losses.reference.experiments.family import FamilySettings
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.experiments.task import Task
from correspondence_losses.reference.figures.colors import component_images
from correspondence_losses.reference.figures.plots import plot_images
from correspondence_losses.reference.models.frame_level import LEVELS, FrameLevelModel, FrameLevelPlan
from correspondence_losses.reference.streams.pairs import PairStream
from correspondence_losses.reference.streams.samples import SampleStream

__all__ = ["FrameLevelSettings"]


@dataclass(frozen=True, kw_only=True)
class FrameLevelSettings(FrameLevelPlan, FamilySettings):
    """Settings of the family; the defaults are the thesis's for the adversarial approach on all three maps.

    The thesis does not say over which backbone its RefineNet is. It is one of RefineNet's own here, ResNet-50, with
    group normalisation, since its batches are of 1 image and a network from scratch has no statistics to keep.
    """

    output: Path = Path("runs/ycb_frame_level")
    backbone: str = "resnet50_gn"
    pretrained: bool = False
    epochs: int = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_above_zero("decoder_channels")
        self.check_at_least_zero("l2_weight", "adversarial_weight")
        if not self.levels or len(set(self.levels)) < len(self.levels) or not set(self.levels) <= set(LEVELS):
            raise ValueError(f"levels must hold some of {', '.join(map(str, LEVELS))}, each once, got {self.levels}")
        if self.l2_weight > 0 and not self.paired:
            raise ValueError("paired must be true for a distance between features, got false with l2_weight above 0")
        for name in ("labelled_data", "refined"):
            if self.paired and getattr(self, name) is not None:
                raise ValueError(f"{name} must not be given with paired images, which are renders, got it")

    def create_model(self, num_classes: int) -> nn.Module:
        """Create the model, its backbone with the weights that the settings ask for."""
        return FrameLevelModel(self.create_backbone(), num_classes, self)

    def task(self, data: RunData) -> Task:
        """Return what is trained on: paired images are rendered first."""
        return _FrameLevelTask(self, data)


class _FrameLevelTask(Task):
    def __init__(self, settings: FrameLevelSettings, data: RunData) -> None:
        self.data = data
        self.paired = settings.paired
        self.unlabelled: list[tuple[FrameSource, str]] = []
        self.labelled = data.labelled if not settings.paired else []
        shared: dict[str, Any] = {
            "size": settings.image_size,
            "augmentation": settings.augmentation,
            "seed": settings.seed,
        }
        if settings.paired:
            renders = data.pairs()
            self.unlabelled = data.unlabelled
            self.labelled = [(renders, frame) for _, frame in self.unlabelled]
            self.stream = PairStream(self.unlabelled, renders, **shared)
        else:
            if settings.adversarial_weight > 0:
                self.unlabelled = data.unlabelled
            self.stream = SampleStream(self.labelled, [(*frame, None) for frame in self.unlabelled], **shared)
        if self.unlabelled:
            self.methods = ("predict", "features")

    def record(self) -> dict[str, Any]:
        return {
            "paired": self.paired,
            "labelled_frames": len(self.labelled),
            "unlabelled_frames": len(self.unlabelled),
        }

    @torch.no_grad()
    def draw(self, model: Any, folder: Path, *, write: bool) -> None:
        if not self.unlabelled:
            return
        frames = {"labelled": self.labelled[0], "unlabelled": self.unlabelled[0]}
        inputs = torch.cat([self.data.inputs(*frame) for frame in frames.values()])
        maps = [component_images(level.float().cpu().numpy()) for level in model.features(inputs)]
        rows = [
            [
                (f"{name}: {frame}", source.image(frame)),
                *((f"{level[row].shape[1]} x {level[row].shape[0]}", level[row]) for level in maps),
            ]
            for row, (name, (source, frame)) in enumerate(frames.items())
        ]
        if write:
            plot_images(folder / "features.png", rows, "Feature maps of both domains, by their principal components")

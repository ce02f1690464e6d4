"""A segmenter that is learnt from rendered scenes, whose every thing is known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from correspondence_losses.blocks import FPNFusionHead
from correspondence_losses.reference.data import spread
from correspondence_losses.reference.experiments.family import FamilySettings
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.experiments.task import Task
from correspondence_losses.reference.figures.plots import Panel, plot_images
from correspondence_losses.reference.models.boundaries import BoundaryModel
from correspondence_losses.reference.models.heads import create_head
from correspondence_losses.reference.streams.boundaries import BoundaryStream

__all__ = ["BoundarySettings"]

_FIGURE_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class BoundarySettings(FamilySettings):
    """Settings of the family.

    Args:
        fpn_channels: Width of the pyramid.
        head_stride: Logits are computed at this part of the image's height and width, and upsampled.
    """

    output: Path = Path("runs/segmenter")
    fpn_channels: int = 256
    head_stride: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_above_zero("fpn_channels", "head_stride")

    @property
    def predicts(self) -> bool:
        """Whether the model predicts classes: it does not."""
        return False

    def create_model(self, num_classes: int) -> nn.Module:  # noqa: ARG002
        """Create the model, its backbone with the weights that the settings ask for."""
        backbone = self.create_backbone()
        head = create_head(FPNFusionHead, backbone, 1, self.fpn_channels)
        return BoundaryModel(backbone, head, head_stride=self.head_stride)

    def task(self, data: RunData) -> Task:
        """Return what is trained on."""
        return _BoundaryTask(self, data)


class _BoundaryTask(Task):
    methods = ("boundaries",)

    def __init__(self, settings: BoundarySettings, data: RunData) -> None:
        self.data = data
        self.stream = BoundaryStream(
            data.labelled, [], size=settings.image_size, augmentation=settings.augmentation, seed=settings.seed
        )

    def record(self) -> dict[str, Any]:
        return {"labelled_frames": len(self.data.labelled)}

    @torch.no_grad()
    def draw(self, model: Any, folder: Path, *, write: bool) -> None:
        rows = [
            [(frame, source.image(frame)), *self.panels(model, self.data.inputs(source, frame))]
            for source, frame in spread(self.data.labelled, _FIGURE_ROWS)
        ]
        if write:
            plot_images(folder / "boundaries.png", rows, "Boundaries of the things in labelled images")

    def panels(self, model: Any, images: Tensor) -> list[Panel]:
        found = (255 * model.boundaries(images)[0]).round().to(torch.uint8).cpu().numpy()
        return [("boundaries", found[..., None].repeat(3, axis=2))]

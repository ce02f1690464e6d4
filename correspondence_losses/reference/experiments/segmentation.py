"""FPN + SAM pooling, and its parts alone (sec. 4.5.2 and 4.6, table 4.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from correspondence_losses.blocks import FPNFusionHead, LinearHead, SAMPoolingBlock
from correspondence_losses.reference.data import FrameSource, ImageFolder, spread
from correspondence_losses.reference.engine.checkpoint import CheckpointError, read_checkpoint, scored_weights
from correspondence_losses.reference.experiments.family import SegmentedFamilySettings
from correspondence_losses.reference.experiments.record import plain
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.experiments.task import Task
from correspondence_losses.reference.figures.colors import colorize_segments, projection_image
from correspondence_losses.reference.figures.panels import save_panels
from correspondence_losses.reference.figures.plots import Panel, plot_images
from correspondence_losses.reference.models.backbone import Backbone
from correspondence_losses.reference.models.heads import PyramidHead, create_head
from correspondence_losses.reference.models.segmentation import SegmentationModel
from correspondence_losses.reference.segments import SegmentCache
from correspondence_losses.reference.streams.samples import SampleStream, collate_samples

__all__ = ["SegmentationSettings", "SegmentationTask"]

_FIGURE_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class SegmentationSettings(SegmentedFamilySettings):
    """Settings of the family; the defaults are the thesis's for FPN + SAM pooling.

    Args:
        unlabelled_images: A folder of further unlabelled images.
        head: ``"fpn"``, or ``"linear"`` for a linear head on the coarsest map.
        fpn_channels: Width of the pyramid.
        head_stride: Logits are computed at this part of the image's height and width, losses at twice that resolution,
            and predictions are upsampled: 1 as in the thesis, 4 at a fraction of the cost.
        frozen_backbone: Train the head alone.
        backbone_run: The folder of a run whose backbone this one starts from.
        start_run: The folder of a run whose backbone and head this one starts from, and whose pooling block, where both
            have one.
        sam_weight: Weight of the pooling loss in eq. 4.8; 0 trains without the pooling block.
        proj_channels: Channels of the pooling block's projection.
        beta: Distance that segments' means should keep in it.
    """

    output: Path = Path("runs/ycb_fpn_sam")
    unlabelled_images: Path | None = None
    head: Literal["fpn", "linear"] = "fpn"
    fpn_channels: int = 256
    head_stride: int = 1
    frozen_backbone: bool = False
    backbone_run: Path | None = None
    start_run: Path | None = None
    sam_weight: float = 0.05
    proj_channels: int = 3
    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_above_zero("fpn_channels", "head_stride", "proj_channels", "beta")
        self.check_at_least_zero("sam_weight")
        if self.backbone_run is not None and self.start_run is not None:
            raise ValueError(f"backbone_run must be left out with start_run, got {self.backbone_run}")
        if 32 % self.head_stride:
            raise ValueError(f"head_stride must be 1, 2, 4, 8, 16 or 32, got {self.head_stride}")
        for name, size in (("image_size", self.image_size), ("prediction_size", self.predicted_at)):
            if size[0] % self.head_stride or size[1] % self.head_stride:
                raise ValueError(f"{name} must be a multiple of head_stride, {self.head_stride}, got {size}")

    @property
    def needs_unlabelled(self) -> bool:
        """Whether unlabelled images are trained on."""
        return self.sam_weight > 0

    @property
    def needs_segments(self) -> bool:
        """Whether their segments are."""
        return self.sam_weight > 0

    def create_model(self, num_classes: int) -> nn.Module:
        """Create the model, its backbone with the weights that the settings ask for."""
        return SegmentationModel(
            *self.create_parts(num_classes),
            sam_weight=self.sam_weight,
            head_stride=self.head_stride,
            frozen_backbone=self.frozen_backbone,
        )

    def create_parts(
        self, num_classes: int
    ) -> tuple[Backbone, FPNFusionHead | LinearHead | PyramidHead, SAMPoolingBlock | None]:
        """Create the backbone, the head, and the pooling block where it is trained with."""
        run = self.backbone_run if self.start_run is None else self.start_run
        if run is None:
            backbone = self.create_backbone()
        else:  # its batch statistics come with it
            batch_norm = "frozen" if self.batch_norm == "auto" else self.batch_norm
            backbone = replace(self, pretrained=False, backbone_weights=None, batch_norm=batch_norm).create_backbone()
        head: FPNFusionHead | LinearHead | PyramidHead
        if self.head == "fpn":
            head = create_head(FPNFusionHead, backbone, num_classes, self.fpn_channels)
        else:
            head = LinearHead(backbone.channels, num_classes)
        pooling = SAMPoolingBlock(head.out_channels, self.proj_channels, self.beta) if self.sam_weight > 0 else None
        if self.backbone_run is not None:
            _load_parts(self.backbone_run / "checkpoint.pt", {"backbone": backbone})
        if self.start_run is not None:
            parts = {"backbone": backbone, "head": head, **({} if pooling is None else {"pooling": pooling})}
            _load_parts(self.start_run / "checkpoint.pt", parts, optional=["pooling"])
        return backbone, head, pooling

    def task(self, data: RunData) -> Task:
        """Return what is trained on: the unlabelled images are segmented first."""
        return SegmentationTask(self, data)


def _load_parts(checkpoint: Path, parts: Mapping[str, nn.Module], optional: Sequence[str] = ()) -> None:
    """Load parts of the model of a run's checkpoint; optional ones where it has them.

    Raises:
        CheckpointError: The file is missing or damaged, or holds other parts.
    """
    state = scored_weights(read_checkpoint(checkpoint))
    for name, part in parts.items():
        prefix = f"{name}."
        own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        if not own and name in optional:
            continue
        try:
            part.load_state_dict(own)
        except RuntimeError as error:
            raise CheckpointError(f"{checkpoint}: does not hold the {name} that is wanted: {error}") from error


class SegmentationTask(Task):
    """Labelled images, and unlabelled ones, which are segmented first where their segments are used."""

    collate = staticmethod(collate_samples)

    def __init__(self, settings: SegmentationSettings, data: RunData) -> None:
        self.settings = settings
        self.data = data
        self.unlabelled: list[tuple[FrameSource, str, SegmentCache | None]] = []
        if settings.sam_weight > 0:
            self.methods = ("predict", "project")
        if settings.needs_unlabelled:
            if settings.unlabelled is not None or settings.unlabelled_images is None:
                self._add_unlabelled("dataset", data.source, [frame for _, frame in data.unlabelled])
            if settings.unlabelled_images is not None:
                folder = ImageFolder(settings.unlabelled_images, background=settings.backgrounds)
                self._add_unlabelled("images", folder, folder.frames())
        self.stream = self.create_stream()

    def create_stream(self) -> SampleStream:
        """Create the stream of training samples."""
        return SampleStream(
            self.data.labelled,
            self.unlabelled,
            size=self.settings.image_size,
            augmentation=self.settings.augmentation,
            seed=self.settings.seed,
        )

    def _add_unlabelled(self, name: str, source: FrameSource, frames: Sequence[str]) -> None:
        if self.settings.needs_segments:
            self.unlabelled += self.settings.segmented(self.data, name, source, frames)
        else:
            self.unlabelled += [(source, frame, None) for frame in frames]

    def record(self) -> dict[str, Any]:
        """Return the numbers of images, and what segmented them."""
        return {
            "labelled_frames": len(self.data.labelled),
            "unlabelled_frames": len(self.unlabelled),
            "segmenter": plain(self.settings.segmenter) if self.settings.needs_segments else None,
        }

    def panels(self, model: Any, images: Tensor) -> list[Panel]:
        """Return the pooled projection of one image (1, 3, H, W)."""
        if self.settings.sam_weight == 0:
            return []
        return [("pooled projection", projection_image(model.project(images)[0].float().cpu().numpy()))]

    @torch.no_grad()
    def draw(self, model: Any, folder: Path, *, write: bool) -> None:
        """Draw unlabelled images with their segments into a folder."""
        rows = []
        for source, frame, cache in spread(self.unlabelled, _FIGURE_ROWS):
            if cache is None:
                return
            image, segments = source.image(frame), cache.load(frame)
            panels = self.panels(model, self.data.inputs(source, frame))
            rows.append([(frame, image), ("segments", colorize_segments(image, segments)), *panels])
        if rows and write:
            plot_images(folder / "segments.png", rows, f"Unlabelled images ({self.settings.segmenter.name})")
            save_panels(folder / "segments", rows)

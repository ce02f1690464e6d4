"""VICRegL: backbone and linear head one after the other, or together (sec. 4.2 to 4.5.1, tables 4.1 to 4.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from correspondence_losses.blocks import GlobalExpander, LinearHead, LocalProjector
from correspondence_losses.correspond import MultiCrop, feature_matches, location_matches, segment_matches
from correspondence_losses.functional import Convention
from correspondence_losses.losses import MatchedVICRegLoss, VICRegLLoss
from correspondence_losses.reference.data import FrameSource, spread
from correspondence_losses.reference.experiments.family import FamilySettings, SegmentedFamilySettings
from correspondence_losses.reference.experiments.record import plain
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.experiments.segmentation import SegmentationSettings
from correspondence_losses.reference.experiments.settings import RunSettings
from correspondence_losses.reference.experiments.task import Task
from correspondence_losses.reference.figures.colors import colorize_segments
from correspondence_losses.reference.figures.plots import MatchPanel, plot_images, plot_matches
from correspondence_losses.reference.figures.view_sheets import draw_view_set
from correspondence_losses.reference.models.vicregl import VICRegLModel
from correspondence_losses.reference.segments import SegmentCache
from correspondence_losses.reference.streams import (
    Arrangement,
    ArrangementName,
    MatchedViewStream,
    SegmentSearch,
    ViewStream,
    collate_matched_views,
    create_arrangement,
    segment_searches,
)

__all__ = ["VICRegLSettings"]

_FIGURE_ROWS = 3
_FIGURE_MATCHES = 10


@dataclass(frozen=True, kw_only=True)
class VICRegLSettings(SegmentedFamilySettings):
    """Settings of the family; the defaults are the thesis's.

    Args:
        training: ``"separate"``: the backbone without labels (eq. 4.9), then a linear head on it while it stays as it
            is. ``"joint"``: both together (eq. 4.10). ``"frozen"``: the head alone, on the backbone as it comes.
            ``"backbone"``: the backbone alone.
        backbone_run: Where ``"separate"`` trains the backbone, or finds it trained with these settings, for all runs
            that differ in the head's labels only. Default: ``backbone`` in ``output``.
        arrangement: Which images the views are cut from. The seed frames are the labelled ones where both are trained
            together, but for ``"unpaired"``, and else those of ``unlabelled``.
        num_posed_views: How many small views the multiple arrangements and frames cut from other images. Default: half
            of them.
        poses_per_class: How many images the multiple arrangements have of each object alone.
        crops: How many views, of which sizes.
        projector_channels: Widths of the local projector's layers.
        expander_channels: Widths of the global expander's layers.
        vicregl_weight: ρ_VICRegL, the weight of eq. 2.10; it needs at least two samples in all processes' batches.
            Statistics are over the batches of all processes, but not over those that are accumulated.
        sam_weight: ρ_SAM, the weight of eq. 4.1.
        alpha: Weight of the global loss in eq. 2.10.
        num_matches: Matches that are kept from a large view and from a small one.
        inv_coeff: λ of eq. 2.6.
        var_coeff: μ.
        cov_coeff: ν.
        convention: Whose factors the losses have, as in :class:`~correspondence_losses.losses.VICRegLLoss`.
    """

    output: Path = Path("runs/ycb_vicregl")
    training: Literal["separate", "joint", "frozen", "backbone"] = "separate"
    backbone_run: Path | None = None
    arrangement: ArrangementName = "single_frame"
    num_posed_views: int | None = None
    poses_per_class: int = 100
    crops: MultiCrop = field(default_factory=MultiCrop)
    projector_channels: tuple[int, ...] = (512, 512)
    expander_channels: tuple[int, ...] = (8192, 8192)
    vicregl_weight: float = 1.0
    sam_weight: float = 0.0
    alpha: float = 0.75
    num_matches: tuple[int, int] = (20, 4)
    inv_coeff: float = 25.0
    var_coeff: float = 25.0
    cov_coeff: float = 1.0
    convention: Convention = "vicregl"
    batch_size: int = 3
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_epochs: int = 10
    weight_decay: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_above_zero("poses_per_class")
        self.check_at_least_zero("vicregl_weight", "sam_weight")
        self._vicregl_loss()
        for name in ("projector_channels", "expander_channels"):
            channels = getattr(self, name)
            if not channels or min(channels) < 1:
                raise ValueError(f"{name} must hold numbers above 0, got {channels}")
        if self.num_posed_views is not None and not 0 <= self.num_posed_views <= self.crops.num_small:
            raise ValueError(
                f"num_posed_views must lie between 0 and crops.num_small, {self.crops.num_small}, "
                f"got {self.num_posed_views}"
            )
        if self.training in ("separate", "backbone"):
            if self.vicregl_weight == self.sam_weight == 0:
                raise ValueError("vicregl_weight or sam_weight must be above 0 to train the backbone, got 0 for both")
            if self.arrangement == "unpaired":
                raise ValueError(
                    'arrangement must not be "unpaired" where backbone and head are trained apart: no labels go with '
                    'the views; "single_frame" has the same views'
                )
        own_images = self.labelled_data is None and self.refined is None and self.labelled == self.unlabelled
        if self.training == "joint" and self.arrangement == "paired" and not own_images:
            raise ValueError(
                f'labelled must be unlabelled, {self.unlabelled!r}, for "paired", which renders the frames of that '
                f"split, and neither labelled_data nor refined may be given; got {self.labelled!r}, "
                f"{self.labelled_data} and {self.refined}"
            )

    @property
    def predicts(self) -> bool:
        """Whether the model has a head."""
        return self.training != "backbone"

    def stages(self) -> Sequence[FamilySettings]:
        """Return the runs that this is done in: a stage that needs no views is one of the segmentation family."""
        if self.training == "frozen":
            return [self._linear(frozen_backbone=True)]
        if self.training == "separate":
            folder = self.output / "backbone" if self.backbone_run is None else self.backbone_run
            return [self._backbone_alone(folder), self._linear(frozen_backbone=True, backbone_run=folder)]
        if self.vicregl_weight == self.sam_weight == 0:
            return [self._linear()]
        return [self]

    def create_model(self, num_classes: int) -> nn.Module:
        """Create the model, its backbone with the weights that the settings ask for.

        Raises:
            ValueError: The cells of the backbone's last map are not those that the views are cut for.
        """
        backbone = self.create_backbone()
        stride = backbone.reduction[-1]
        if stride != self.crops.stride:
            raise ValueError(f"crops.stride must be that of {self.backbone}, {stride}, got {self.crops.stride}")
        channels = backbone.channels[-1]
        head = LinearHead(backbone.channels, num_classes) if self.training == "joint" else None
        projector = LocalProjector(channels, self.projector_channels[:-1], self.projector_channels[-1])
        expander = None
        if self.vicregl_weight > 0:
            expander = GlobalExpander(channels, self.expander_channels[:-1], self.expander_channels[-1])
        return VICRegLModel(
            backbone,
            head,
            projector,
            expander,
            vicregl_weight=self.vicregl_weight,
            vicregl=self._vicregl_loss(),
            sam_weight=self.sam_weight,
            sam=MatchedVICRegLoss(
                self.inv_coeff, self.var_coeff, self.cov_coeff, gather=True, convention=self.convention
            ),
            searches=self.searches(),
        )

    def task(self, data: RunData) -> Task:
        """Return what is trained on: what the views are cut from is rendered and segmented first."""
        return _VICRegLTask(self, data)

    def searches(self) -> list[SegmentSearch]:
        """Return which views are matched by segment."""
        if self.sam_weight == 0:
            return []
        return segment_searches(self.crops.num_large, self.crops.num_small, self.num_matches)

    def _vicregl_loss(self) -> VICRegLLoss:
        return VICRegLLoss(
            self.alpha,
            self.num_matches,
            self.inv_coeff,
            self.var_coeff,
            self.cov_coeff,
            gather=True,
            convention=self.convention,
        )

    def _backbone_alone(self, folder: Path) -> FamilySettings:
        """The first stage; it names no labels, so that runs with other labels find it as they want it."""
        return replace(
            self,
            training="backbone",
            output=folder,
            backbone_run=None,
            overwrite=self.overwrite and self.backbone_run is None,
            labelled=RunSettings.labelled,
            labelled_data=None,
            refined=None,
        )

    def _linear(self, *, frozen_backbone: bool = False, backbone_run: Path | None = None) -> SegmentationSettings:
        shared = {shared.name: getattr(self, shared.name) for shared in fields(RunSettings)}
        return SegmentationSettings(
            **shared, head="linear", sam_weight=0.0, frozen_backbone=frozen_backbone, backbone_run=backbone_run
        )


class _VICRegLTask(Task):
    def __init__(self, settings: VICRegLSettings, data: RunData) -> None:
        samples = settings.batch_size * data.fabric.world_size
        if settings.vicregl_weight > 0 and samples < 2:
            raise ValueError("batch_size must be at least 2 for the statistics of VICRegL in one process, got 1")
        self.settings = settings
        self.data = data
        self.methods = ("predict", "project") if settings.predicts else ("project",)
        # Those of "paired" are the same frames either way, and the latter have renders.
        own_labels = settings.predicts and settings.arrangement not in ("unpaired", "paired")
        seeds = data.labelled if own_labels else data.unlabelled
        self.seeds: list[tuple[FrameSource, str, SegmentCache | None]] = [(*seed, None) for seed in seeds]
        if settings.sam_weight > 0:
            source = seeds[0][0]
            name = "dataset" if source is data.source else "labelled"
            self.seeds = [*settings.segmented(data, name, source, [frame for _, frame in seeds])]
        self.views = ViewStream(
            self.seeds,
            self._arrangement(),
            crops=settings.crops,
            seed=settings.seed,
            labelled_size=settings.image_size if settings.predicts else None,
            augmentation=settings.augmentation,
        )
        self.stream = MatchedViewStream(self.views, settings.searches())
        self.collate = collate_matched_views

    def record(self) -> dict[str, Any]:
        segmented = self.settings.sam_weight > 0
        return {
            "arrangement": self.settings.arrangement,
            "seed_frames": len(self.seeds),
            "labelled_frames": len(self.data.labelled) if self.settings.predicts else 0,
            "segmenter": plain(self.settings.segmenter) if segmented else None,
        }

    @torch.no_grad()
    def draw(self, model: Any, folder: Path, *, write: bool) -> None:
        rows = [self._match_panels(model, index) for index in range(_FIGURE_ROWS)]
        if not write:
            return
        plot_matches(folder / "matches.png", rows, "Matched cells of the first two views, in the seed image")
        draw_view_set(folder / "views.png", self.views, 0, self.settings.arrangement.replace("_", " "))
        if self.settings.sam_weight > 0:
            segmented = [
                [(frame, image := source.image(frame)), ("segments", colorize_segments(image, cache.load(frame)))]
                for source, frame, cache in spread(self.seeds, _FIGURE_ROWS)
                if cache is not None
            ]
            plot_images(folder / "segments.png", segmented, f"Seed frames ({self.settings.segmenter.name})")

    def _match_panels(self, model: Any, index: int) -> list[MatchPanel]:
        seed, views = self.views.placed(index)[0], self.views[index]
        one, other = (model.project(image.to(self.data.fabric.device)).float().cpu() for image in views.images[:2])
        found = {
            "by location": location_matches(views.grids[0], views.grids[1], _FIGURE_MATCHES),
            "by feature": feature_matches(one, other, _FIGURE_MATCHES),
        }
        if self.settings.sam_weight > 0:
            generator = torch.Generator().manual_seed(index)
            labels_one, labels_other = views.cell_segments[:2]
            found["by segment"] = segment_matches(labels_one, labels_other, _FIGURE_MATCHES, generator)
        points = [grid.points[0].flatten(0, 1) for grid in views.grids[:2]]
        return [
            (
                f"{seed.name}, {name}",
                seed.image,
                points[0][matches.index_a[0][matches.valid[0]]].numpy(),
                points[1][matches.index_b[0][matches.valid[0]]].numpy(),
            )
            for name, matches in found.items()
        ]

    def _arrangement(self) -> Arrangement:
        settings, data = self.settings, self.data
        return create_arrangement(
            settings.arrangement,
            frames=[(source, frame) for source, frame, _ in self.seeds],
            labelled=lambda: data.labelled,
            pairs=data.pairs,
            single_objects=lambda: data.single_objects(settings.poses_per_class),
            num_views=settings.num_posed_views,
        )

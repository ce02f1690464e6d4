"""Everything that can be set about a run of the FPN + SAM pooling family (thesis, sec. 4.5.2, 4.6, table 4.4)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from correspondence_losses.reference.presegmentation import FelzenszwalbSegmenter, Segmenter
from correspondence_losses.reference.samples import Augmentation
from correspondence_losses.reference.scenes import SceneSettings

__all__ = ["SegmentationSettings"]


@dataclass(frozen=True, kw_only=True)
class SegmentationSettings:
    """Settings of a run; the defaults are the thesis's for FPN + SAM pooling.

    Args:
        data: YCB-Video, in its original layout or BOP's. Default: embedded scenes are made and used.
        scenes: What the embedded scenes hold, where there is no ``data``.
        scenes_folder: Where they are kept, for all runs. Default: a folder of their own below the user's cache.
        output: The run's folder. A run that is there is continued if its settings are the same.
        overwrite: Start anew where there is a run.
        masks: Folder where the segments of unlabelled images are kept, for all runs. Default: ``masks`` in ``output``.
        backgrounds: A folder of images that is put behind transparent synthetic images. Default: one colour.
        labelled: Split whose labels are trained on: ``"synthetic"``, or ``"train"`` for the upper bound.
        unlabelled: Split whose images are used without labels, where ``sam_weight`` is above 0.
        unlabelled_images: A folder of further unlabelled images.
        evaluation: Split that is scored.
        max_evaluation_frames: Score this many frames, evenly spread over the split. Default: all.
        image_size: Height and width that images are trained and predicted at. Scores are at the labels' own size.
        augmentation: Random changes of the training images.
        backbone: A model of timm.
        pretrained: Start from the weights that timm has for the backbone.
        backbone_weights: A file to load those from, where they cannot be downloaded.
        head: ``"fpn"``, or ``"linear"`` for a linear head on the coarsest map.
        fpn_channels: Width of the pyramid.
        sam_weight: Weight of the pooling loss in eq. 4.8; 0 trains without the pooling block.
        proj_channels: Channels of the pooling block's projection.
        beta: Distance that segments' means should keep in it.
        segmenter: What makes the segments of the unlabelled images: ``SAMSegmenter`` with a checkpoint,
            ``FelzenszwalbSegmenter`` where none is at hand, or a class of your own.
        min_segment_area: Masks with fewer pixels are left out.
        epochs: Number of epochs.
        steps_per_epoch: Steps of an epoch.
        batch_size: Labelled images, and as many unlabelled ones, in a step of each process.
        optimizer: ``"adam"`` or ``"adamw"``.
        learning_rate: The peak learning rate.
        final_learning_rate: Where a cosine schedule ends.
        schedule: ``"constant"`` or ``"cosine"``.
        warmup_epochs: Epochs of linear warm-up.
        weight_decay: Weight decay.
        evaluate_every: Evaluate after each such number of epochs.
        average_epochs: The result is the mean over the evaluations of the last so many epochs.
        checkpoint_every: Save after each such number of steps, besides each epoch.
        log_every: Training terms are averaged over this many steps.
        seed: Seed of everything.
        num_workers: Processes that read images, for each training process.
        accelerator: Fabric's, such as ``"auto"``, ``"cpu"`` or ``"cuda"``.
        devices: Number of processes on this machine, or ``"auto"``.
        num_nodes: Number of machines.
        strategy: Fabric's, such as ``"auto"``, ``"ddp"`` or ``"fsdp"``.
        precision: Fabric's, such as ``"32-true"`` or ``"bf16-mixed"``.
    """

    data: Path | None = None
    scenes: SceneSettings = field(default_factory=SceneSettings)
    scenes_folder: Path | None = None
    output: Path = Path("runs/ycb_fpn_sam")
    overwrite: bool = False
    masks: Path | None = None
    backgrounds: Path | None = None
    labelled: str = "synthetic"
    unlabelled: str = "train"
    unlabelled_images: Path | None = None
    evaluation: str = "keyframe"
    max_evaluation_frames: int | None = None
    image_size: tuple[int, int] = (480, 640)
    augmentation: Augmentation = field(default_factory=Augmentation)
    backbone: str = "convnext_xlarge.fb_in22k_ft_in1k"
    pretrained: bool = True
    backbone_weights: Path | None = None
    head: Literal["fpn", "linear"] = "fpn"
    fpn_channels: int = 256
    sam_weight: float = 0.05
    proj_channels: int = 3
    beta: float = 0.5
    segmenter: Segmenter = field(default_factory=FelzenszwalbSegmenter)
    min_segment_area: int = 0
    epochs: int = 100
    steps_per_epoch: int = 1500
    batch_size: int = 1
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-5
    final_learning_rate: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    evaluate_every: int = 1
    average_epochs: int = 20
    checkpoint_every: int = 500
    log_every: int = 50
    seed: int = 0
    num_workers: int = 2
    accelerator: str = "auto"
    devices: int | Literal["auto"] = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "bf16-true", "16-mixed"] = "32-true"

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        for name in (
            "fpn_channels",
            "proj_channels",
            "beta",
            "epochs",
            "steps_per_epoch",
            "batch_size",
            "learning_rate",
            "evaluate_every",
            "average_epochs",
            "checkpoint_every",
            "log_every",
            "num_nodes",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in (
            "sam_weight",
            "weight_decay",
            "warmup_epochs",
            "num_workers",
            "final_learning_rate",
            "min_segment_area",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if min(self.image_size) < 32:
            raise ValueError(f"image_size must be at least 32 x 32, got {self.image_size}")

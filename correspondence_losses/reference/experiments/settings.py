"""What can be set about a run of any family: its data, its schedule, its place and its machines."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from correspondence_losses.reference.scenes import SceneSettings
from correspondence_losses.reference.streams.images import Augmentation

__all__ = ["RunSettings"]

_ABOVE_ZERO = (
    "epochs",
    "steps_per_epoch",
    "batch_size",
    "accumulate",
    "learning_rate",
    "evaluate_every",
    "average_epochs",
    "checkpoint_every",
    "log_every",
    "num_nodes",
)
_AT_LEAST_ZERO = ("weight_decay", "warmup_epochs", "num_workers", "final_learning_rate")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings that every family has; the families add their own.

    Args:
        data: YCB-Video, in its original layout or BOP's. Default: embedded scenes are made and used.
        labelled_data: A data set of its own for the frames whose labels are trained on. Default: ``data``.
        scenes: What the embedded scenes hold, where there is no ``data``; and how counterparts of real frames and
            images of single objects are rendered, where the data set's meshes are ``scenes.models``.
        scenes_folder: Where they are kept, for all runs. Default: a folder of their own below the user's cache.
        renders: Where counterparts and single objects are kept, for all runs. Default: folders of their own below the
            user's cache.
        output: The run's folder. A run that is there is continued if its settings are the same.
        overwrite: Start anew where there is a run.
        backgrounds: A folder of images that is put behind transparent synthetic images. Default: one colour.
        refined: A folder of refined images, ``FRAME-color.png``, that replace the labelled images and keep their
            labels, such as an image translator makes of them.
        labelled: Split whose labels are trained on: ``"synthetic"``, or ``"train"`` for real labels.
        unlabelled: Split whose images are used without labels; none where a folder of such images is given instead.
        max_unlabelled_frames: Use this many of them, evenly spread over the split. Default: all.
        evaluation: Split that is scored; none where the data set has no labels to score by.
        max_evaluation_frames: Score this many frames, evenly spread over the split. Default: all.
        image_size: Height and width that images are trained and predicted at. Scores are at the labels' own size.
        augmentation: Random changes of the training images.
        backbone: A model of timm.
        pretrained: Start from the weights that timm has for the backbone.
        backbone_weights: A file to load those from, where they cannot be downloaded.
        channels_last: Keep feature maps with their channels innermost, which most convolutions are faster with.
        activation_checkpointing: Compute the backbone's activations again in the backward pass, to save memory.
        epochs: Number of epochs.
        steps_per_epoch: Steps of an epoch.
        batch_size: Samples of a batch in each process.
        accumulate: Batches whose gradients are added up to one step.
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
        precision: Fabric's; the mixed ones keep weights in float32.
    """

    data: Path | None = None
    labelled_data: Path | None = None
    scenes: SceneSettings = field(default_factory=SceneSettings)
    scenes_folder: Path | None = None
    renders: Path | None = None
    output: Path = Path("runs/run")
    overwrite: bool = False
    backgrounds: Path | None = None
    refined: Path | None = None
    labelled: str = "synthetic"
    unlabelled: str | None = "train"
    max_unlabelled_frames: int | None = None
    evaluation: str | None = "keyframe"
    max_evaluation_frames: int | None = None
    image_size: tuple[int, int] = (480, 640)
    augmentation: Augmentation = field(default_factory=Augmentation)
    backbone: str = "convnext_xlarge.fb_in22k_ft_in1k"
    pretrained: bool = True
    backbone_weights: Path | None = None
    channels_last: bool = False
    activation_checkpointing: bool = False
    epochs: int = 100
    steps_per_epoch: int = 1500
    batch_size: int = 1
    accumulate: int = 1
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
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        self.check_above_zero(*_ABOVE_ZERO)
        self.check_at_least_zero(*_AT_LEAST_ZERO)
        for name in ("max_unlabelled_frames", "max_evaluation_frames"):
            if getattr(self, name) is not None:
                self.check_above_zero(name)
        if min(self.image_size) < 32:
            raise ValueError(f"image_size must be at least 32 x 32, got {self.image_size}")

    def check_above_zero(self, *names: str) -> None:
        """Raise ``ValueError`` unless the named settings are above 0."""
        for name in names:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")

    def check_at_least_zero(self, *names: str) -> None:
        """Raise ``ValueError`` unless the named settings are at least 0."""
        for name in names:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

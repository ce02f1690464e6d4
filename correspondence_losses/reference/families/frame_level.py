"""Frame level: the feature maps of real and synthetic images aligned as a whole (chapter 3, table 3.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from correspondence_losses.reference.data import FrameSource
from correspondence_losses.reference.families.family import FamilySettings
from correspondence_losses.reference.families.frame_level_model import LEVELS, FrameLevelModel
from correspondence_losses.reference.families.task import Task
from correspondence_losses.reference.figures import component_images, plot_images
from correspondence_losses.reference.models import create_backbone
from correspondence_losses.reference.run_data import RunData
from correspondence_losses.reference.samples import Augmentation, SampleStream, as_image, as_mask
from correspondence_losses.reference.seeding import FrameOrder, derive_seed

__all__ = ["FrameLevelSettings", "PairStream"]

_ORDER, _AUGMENTATION = 1, 2


@dataclass(frozen=True, kw_only=True)
class FrameLevelSettings(FamilySettings):
    """Settings of the family; the defaults are the thesis's for the adversarial approach on all three maps.

    The thesis does not say over which backbone its RefineNet is. It is one of RefineNet's own here, ResNet-50, with
    group normalisation, since its batches are of 1 image and a network from scratch has no statistics to keep.

    Args:
        output: The run's folder. A run that is there is continued if its settings are the same.
        paired: The labelled images are renders of the unlabelled frames' poses, with the labels of the renders: of the
            real frames the poses are used, and no label. Else they are those of the split ``labelled``.
        levels: The maps that are aligned, of 16, 8 and 4: that at 1/16 of the image's size, and so on.
        l2_weight: Weight of the distance of eq. 3.1, for paired images; 0 does without.
        adversarial_weight: Weight of the adversarial loss of sec. 3.2 on the network; 0 does without.
        decoder_channels: Width of RefineNet.
    """

    output: Path = Path("runs/ycb_frame_level")
    paired: bool = True
    levels: tuple[int, ...] = (16, 8, 4)
    l2_weight: float = 0.0
    adversarial_weight: float = 1.0
    decoder_channels: int = 256
    backbone: str = "resnet50_gn"
    pretrained: bool = False
    epochs: int = 300

    def __post_init__(self) -> None:
        """Check what the types do not say."""
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
        backbone, channels = create_backbone(
            self.backbone,
            pretrained=self.pretrained,
            weights=self.backbone_weights,
            activation_checkpointing=self.activation_checkpointing,
        )
        return FrameLevelModel(
            backbone,
            channels,
            num_classes=num_classes,
            decoder_channels=self.decoder_channels,
            levels=self.levels,
            l2_weight=self.l2_weight,
            adversarial_weight=self.adversarial_weight,
        )

    def task(self, data: RunData) -> Task:
        """Return what is trained on: paired images are rendered first."""
        return _FrameLevelTask(self, data)


class PairStream(Dataset[dict[str, Tensor]]):
    """Endless training samples of paired images, each a function of the seed and its index alone.

    A sample holds ``image`` (3, H, W) and ``label`` (H, W) of the render, and ``unlabelled_image`` (3, H, W), the real
    one, with the same crop, flip and changes of colour.

    Args:
        frames: Real frames, each with the source that reads it.
        renders: Their counterparts, under the frames' own ids.
        size: (H, W) of the samples.
        augmentation: What is done to each pair.
        seed: Seed of the run.
    """

    def __init__(
        self,
        frames: list[tuple[FrameSource, str]],
        renders: FrameSource,
        *,
        size: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.frames = frames
        self.renders = renders
        self.seed = seed
        self.transform = augmentation.build(size)
        self.order = FrameOrder(len(frames), seed, _ORDER)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the sample at ``index`` of the endless stream."""
        source, frame = self.frames[self.order[index]]
        images = [as_image(self.renders.image(frame)), as_image(source.image(frame))]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, _AUGMENTATION, index))
            tensors = self.transform(*images, as_mask(self.renders.label(frame)))
        image, unlabelled, label = (tensor.as_subclass(Tensor) for tensor in tensors)
        return {"image": image, "label": label, "unlabelled_image": unlabelled}


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

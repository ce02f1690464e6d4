"""CUT: synthetic images refined to look like real ones, for another run to train on (Imbusch et al. 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from correspondence_losses.reference.data import FrameSource, spread
from correspondence_losses.reference.experiments.family import FamilySettings
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.experiments.task import Task
from correspondence_losses.reference.figures.plots import plot_images
from correspondence_losses.reference.files import atomic_path
from correspondence_losses.reference.models.cut import CUTModel
from correspondence_losses.reference.progress import progress_bar
from correspondence_losses.reference.streams.crops import CropStream
from correspondence_losses.reference.streams.images import Augmentation, as_image

__all__ = ["CUTSettings", "refine_frames"]

_FIGURE_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class CUTSettings(FamilySettings):
    """Settings of the family: from the labelled images to the look of the unlabelled ones.

    A run ends with ``refined`` in its folder: all labelled images, refined, in the form that ``refined`` of the other
    families takes. Transparent ones are laid on ``backgrounds`` first. Settings of backbone and scores are not used.

    Args:
        image_size: Height and width of the random crops that are trained on, at the images' own resolution.
        channels: Width of the translator.
        num_blocks: Its residual blocks.
        num_places: Places at which patches are contrasted, drawn for each sample.
        nce_weight: Weight of PatchNCE on the labelled images.
        identity_weight: Weight of PatchNCE on the unlabelled ones, which should stay as they are.
    """

    output: Path = Path("runs/ycb_cut")
    image_size: tuple[int, int] = (256, 256)
    channels: int = 64
    num_blocks: int = 9
    num_places: int = 256
    nce_weight: float = 1.0
    identity_weight: float = 1.0
    learning_rate: float = 2e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_above_zero("channels", "num_blocks", "num_places")
        self.check_at_least_zero("nce_weight", "identity_weight")
        if self.augmentation != Augmentation():
            raise ValueError("augmentation must be left as it is, where images are only cropped")
        if self.strategy == "fsdp":
            raise ValueError("strategy must not be 'fsdp': each process refines images of its own")

    @property
    def predicts(self) -> bool:
        """Whether the model predicts classes: it does not."""
        return False

    def create_model(self, num_classes: int) -> nn.Module:  # noqa: ARG002
        """Create the model."""
        return CUTModel(
            self.channels, self.num_blocks, nce_weight=self.nce_weight, identity_weight=self.identity_weight
        )

    def task(self, data: RunData) -> Task:
        """Return what is trained on."""
        return _CUTTask(self, data)


@torch.no_grad()
def refine_frames(
    model: Any, frames: Sequence[tuple[FrameSource, str]], folder: Path, *, device: torch.device, progress: bool = True
) -> None:
    """Write the refined image ``FRAME-color.png`` of each frame that has none yet in a folder.

    Args:
        model: A trained :class:`~correspondence_losses.reference.models.cut.CUTModel`.
        frames: Each with the source that reads it.
        folder: Where to; ``--refined`` of another run reads it.
        device: Of the model.
        progress: Whether to show a progress bar.
    """
    for source, frame in progress_bar(frames, stage="refining", unit="image", shown=progress):
        path = folder / f"{frame}-color.png"
        if not path.exists():
            with atomic_path(path) as temporary:
                Image.fromarray(_refined(model, source.image(frame), device)).save(temporary, format="PNG")


def _refined(model: Any, image: NDArray[np.uint8], device: torch.device) -> NDArray[np.uint8]:
    inputs = as_image(image).as_subclass(Tensor)[None].to(device) / 255
    refined = (255 * model.refine(inputs)[0].float()).round().clamp(0, 255).to(torch.uint8)
    pixels: NDArray[np.uint8] = refined.permute(1, 2, 0).cpu().numpy()
    return pixels


class _CUTTask(Task):
    methods = ("refine",)

    def __init__(self, settings: CUTSettings, data: RunData) -> None:
        self.settings = settings
        self.data = data
        self.stream = CropStream(
            data.labelled,
            data.unlabelled,
            size=settings.image_size,
            num_places=settings.num_places,
            seed=settings.seed,
        )

    def record(self) -> dict[str, Any]:
        return {"refined_frames": len(self.data.labelled), "unlabelled_frames": len(self.data.unlabelled)}

    @torch.no_grad()
    def draw(self, model: Any, folder: Path, *, write: bool) -> None:
        fabric, refined = self.data.fabric, self.settings.output / "refined"
        own = self.data.labelled[fabric.global_rank :: fabric.world_size]
        refine_frames(model, own, refined, device=fabric.device, progress=write)
        if not write:
            return
        shown = (spread(frames, _FIGURE_ROWS) for frames in (self.data.labelled, self.data.unlabelled))
        rows = [
            [
                (frame, image := source.image(frame)),
                ("refined", _refined(model, image, fabric.device)),
                (f"target: {other}", target.image(other)),
            ]
            for (source, frame), (target, other) in zip(*shown, strict=False)
        ]
        plot_images(folder / "refined.png", rows, "Images, refined, and images of the target domain")

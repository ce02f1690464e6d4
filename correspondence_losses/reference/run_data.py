"""The data of a run: opened, and made, rendered or segmented first where that is still to be done."""

import hashlib
import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from lightning_fabric import Fabric

from correspondence_losses.reference.data import FrameSource, ImageFolder, RefinedImages, open_dataset
from correspondence_losses.reference.presegmentation import SegmentCache, Segmenter, presegment
from correspondence_losses.reference.record import plain
from correspondence_losses.reference.samples import image_to_tensor
from correspondence_losses.reference.scenes import SceneSettings, generate_scenes
from correspondence_losses.reference.settings import RunSettings

__all__ = ["RunData", "spread"]

T = TypeVar("T")


class RunData:
    """The data of a run, made once for all of its processes.

    Args:
        fabric: Launched.
        settings: Which data.

    Attributes:
        source: The data set that is scored, and whose images are used without labels.
        labelled_source: The data set whose labels are trained on.
    """

    def __init__(self, fabric: Fabric, settings: RunSettings) -> None:
        self.fabric = fabric
        self.settings = settings
        self.progress = fabric.global_rank == 0
        self.source = open_dataset(self._data(), background=settings.backgrounds)
        self.labelled_source: FrameSource = self.source
        if settings.labelled_data is not None:
            self.labelled_source = open_dataset(settings.labelled_data, background=settings.backgrounds)
        if settings.refined is not None:
            self.labelled_source = RefinedImages(self.labelled_source, settings.refined)

    @cached_property
    def labelled(self) -> list[tuple[FrameSource, str]]:
        """The frames whose labels are trained on."""
        return [(self.labelled_source, frame) for frame in self.labelled_source.frames(self.settings.labelled)]

    @cached_property
    def unlabelled(self) -> list[tuple[FrameSource, str]]:
        """The frames whose images are used without labels."""
        return [(self.source, frame) for frame in self.source.frames(self.settings.unlabelled)]

    @cached_property
    def evaluated(self) -> list[str]:
        """The frames of ``source`` that are scored."""
        return spread(self.source.frames(self.settings.evaluation), self.settings.max_evaluation_frames)

    def inputs(self, source: FrameSource, frame: str) -> torch.Tensor:
        """Return a frame's image as the model takes it, (1, 3, H, W)."""
        return image_to_tensor(source.image(frame), self.settings.image_size)[None].to(self.fabric.device)

    def presegmented(
        self,
        source: FrameSource,
        frames: Sequence[str],
        cache: Path,
        segmenter: Segmenter,
        min_area: int,
    ) -> list[tuple[FrameSource, str, SegmentCache]]:
        """Return frames with the cache of their segments, which are made where they are not there."""
        with self.fabric.rank_zero_first():
            made = presegment(source, frames, cache, segmenter, min_area=min_area, progress=self.progress)
        return [(source, frame, made) for frame in frames]

    def image_folder(self, root: Path) -> ImageFolder:
        """Open a folder of images without labels."""
        return ImageFolder(root, background=self.settings.backgrounds)

    def _data(self) -> Path:
        """Return the folder of the data; where there is none, of the embedded scenes, made first if need be."""
        if self.settings.data is not None:
            return self.settings.data
        folder = self.settings.scenes_folder or user_cache("scenes", self.settings.scenes)
        with self.fabric.rank_zero_first():
            return generate_scenes(folder, self.settings.scenes, progress=self.progress)


def user_cache(name: str, scenes: SceneSettings) -> Path:
    """Return the folder below the user's cache for what is rendered with these settings."""
    digest = hashlib.sha256(json.dumps(plain(scenes)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "correspondence_losses" / f"{name}-{digest}"


def spread(items: Sequence[T], most: int | None) -> list[T]:
    """Return at most so many items, evenly spread."""
    if most is None or most >= len(items):
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]

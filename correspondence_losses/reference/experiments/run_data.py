"""The data of a run: opened, and made, rendered or segmented first where that is still to be done."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from correspondence_losses.reference.data import FrameSource, RefinedImages, YCBVideo, open_dataset, spread
from correspondence_losses.reference.engine.evaluation import SegmentationScores, score_ways
from correspondence_losses.reference.experiments.record import plain
from correspondence_losses.reference.experiments.settings import RunSettings
from correspondence_losses.reference.progress import progress_bar
from correspondence_losses.reference.scenes import (
    SceneSettings,
    generate_scenes,
    render_pairs,
    render_single_objects,
    scene_models,
)
from correspondence_losses.reference.streams.images import image_to_tensor

__all__ = ["RunData"]


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
        if self.labelled_source.class_names != self.source.class_names:
            raise ValueError(
                f"labelled_data must have the classes of data, got {len(self.labelled_source.class_names)} and "
                f"{len(self.source.class_names)} classes, or other names"
            )
        if settings.refined is not None:
            self.labelled_source = RefinedImages(self.labelled_source, settings.refined)

    @cached_property
    def labelled(self) -> list[tuple[FrameSource, str]]:
        """The frames whose labels are trained on."""
        return [(self.labelled_source, frame) for frame in self.labelled_source.frames(self.settings.labelled)]

    @cached_property
    def unlabelled(self) -> list[tuple[FrameSource, str]]:
        """The frames whose images are used without labels.

        Raises:
            ValueError: The settings name no split of them.
        """
        if self.settings.unlabelled is None:
            raise ValueError("unlabelled must name a split of the data, got none")
        frames = spread(self.source.frames(self.settings.unlabelled), self.settings.max_unlabelled_frames)
        return [(self.source, frame) for frame in frames]

    @cached_property
    def evaluated(self) -> list[str]:
        """The frames of ``source`` that are scored."""
        if self.settings.evaluation is None:
            return []
        return spread(self.source.frames(self.settings.evaluation), self.settings.max_evaluation_frames)

    def inputs(self, source: FrameSource, frame: str) -> Tensor:
        """Return a frame's image as the model takes it, (1, 3, H, W)."""
        return image_to_tensor(source.image(frame), self.settings.predicted_at)[None].to(self.fabric.device)

    def scores(
        self, predict: Callable[[str], Mapping[str, Tensor]], ways: Sequence[str], stage: str, *, nested: bool = False
    ) -> dict[str, SegmentationScores]:
        """Score ways to predict over the frames that are evaluated.

        Args:
            predict: From a frame to its (H, W) class map by each way.
            ways: Their names.
            stage: What the line of progress says.
            nested: Part of another stage.
        """
        return score_ways(
            self.fabric,
            ways,
            predict,
            lambda frame: torch.from_numpy(self.source.label(frame)).long(),
            self.evaluated,
            self.source.class_names,
            lambda frames: progress_bar(frames, stage=stage, unit="frame", nested=nested, shown=self.progress),
        )

    def pairs(self) -> FrameSource:
        """Return renders of the unlabelled frames' poses, under the frames' own ids, made where they are not there.

        Raises:
            ValueError: The data set is not in the original layout, or its meshes are not known.
            FileNotFoundError: A frame has no poses, or a mesh is missing.
        """
        root, scenes = self.source.root.resolve(), self._rendered_scenes()
        frames = [frame.removeprefix("data/") for _, frame in self.unlabelled]
        folder = self._renders("pairs", scenes, root)
        with self.fabric.rank_zero_first():
            return YCBVideo(render_pairs(folder, scenes, root, frames, progress=self.progress))

    def single_objects(self, poses_per_class: int) -> FrameSource:
        """Return renders of each class alone in random poses, made where they are not there.

        Raises:
            ValueError: The data set's meshes are not known.
            FileNotFoundError: A mesh is missing.
        """
        scenes = self._rendered_scenes()
        folder = self._renders("objects", scenes, poses_per_class)
        with self.fabric.rank_zero_first():
            return YCBVideo(render_single_objects(folder, scenes, poses_per_class, progress=self.progress))

    def _data(self) -> Path:
        """Return the folder of the data; where there is none, of the embedded scenes, made first if need be."""
        if self.settings.data is not None:
            return self.settings.data
        folder = self.settings.scenes_folder or user_cache("scenes", self.settings.scenes)
        with self.fabric.rank_zero_first():
            return generate_scenes(folder, self.settings.scenes, progress=self.progress)

    def _rendered_scenes(self) -> SceneSettings:
        """Return how objects of the data set are rendered; embedded scenes say what their own are."""
        root = self.source.root
        if self.source.layout != YCBVideo.layout:
            raise ValueError(f"data must be in the original layout to render its objects, {root} is not")
        models = scene_models(root, self.settings.scenes.models, "scenes.models")
        # The numbers of images are not used, and should not keep renders from being shared.
        return replace(self.settings.scenes, models=models, num_synthetic=0, num_target=0, num_test=0)

    def _renders(self, name: str, *made_of: object) -> Path:
        return user_cache(name, *made_of) if self.settings.renders is None else self.settings.renders / name


def user_cache(name: str, *made_of: object) -> Path:
    """Return the folder below the user's cache for what is made of these settings."""
    digest = hashlib.sha256(json.dumps(plain(made_of)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "correspondence_losses" / f"{name}-{digest}"

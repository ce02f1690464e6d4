"""One run of the FPN + SAM pooling family, from settings to a folder with results and figures."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from correspondence_losses.reference.checkpoint import CheckpointError
from correspondence_losses.reference.data import FrameSource, ImageFolder, open_dataset
from correspondence_losses.reference.data.files import read_json
from correspondence_losses.reference.evaluation import SegmentationScores, score
from correspondence_losses.reference.figures import (
    Panel,
    colorize,
    colorize_segments,
    plot_curves,
    plot_images,
    plot_predictions,
    projection_image,
)
from correspondence_losses.reference.files import write_json
from correspondence_losses.reference.history import History
from correspondence_losses.reference.loop import TrainingPlan, train
from correspondence_losses.reference.models import SegmentationModel, create_backbone
from correspondence_losses.reference.presegmentation import SegmentCache, presegment
from correspondence_losses.reference.record import plain, versions
from correspondence_losses.reference.samples import SampleStream, StepSampler, image_to_tensor, loader
from correspondence_losses.reference.scenes import generate_scenes
from correspondence_losses.reference.schedule import LearningRateSchedule
from correspondence_losses.reference.seeding import seed_step
from correspondence_losses.reference.settings import SegmentationSettings

__all__ = ["run_segmentation"]

# Where and how a run is computed, which may change when it is continued, unlike what is computed.
_PLACE = {"scenes_folder", "output", "overwrite", "masks", "num_workers", "checkpoint_every"}
_FIGURE_ROWS = 4


def run_segmentation(settings: SegmentationSettings) -> dict[str, Any]:
    """Train, evaluate and draw one run; continue it where its folder holds an unfinished one.

    The folder ``settings.output`` then holds ``settings.json``, ``checkpoint.pt``, ``training.csv``,
    ``evaluation.csv``, TensorBoard's events, ``results.json`` and the figures.

    Args:
        settings: What to run.

    Returns:
        The content of ``results.json``.

    Raises:
        ValueError: A setting or a file of the data does not fit; the message says what and where.
        CheckpointError: The folder holds a run with other settings.
        NonFiniteLossError: A loss term became NaN or infinite.
        Interrupted: The run was asked to stop, and can be continued.
    """
    fabric = Fabric(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=settings.precision,
    )
    fabric.launch()
    return _Run(fabric, settings).run()


class _Run:
    def __init__(self, fabric: Fabric, settings: SegmentationSettings) -> None:
        self.fabric = fabric
        self.settings = settings
        self.is_first = fabric.global_rank == 0
        self._prepare_folder()
        self.source = open_dataset(self._data(), background=settings.backgrounds)
        self.labelled = [(self.source, frame) for frame in self.source.frames(settings.labelled)]
        self.evaluated = _spread(self.source.frames(settings.evaluation), settings.max_evaluation_frames)
        self.unlabelled = self._presegmented() if settings.sam_weight > 0 else []
        seed_step(settings.seed, -1 % 2**32, 0)  # the same initial weights on every process
        backbone, channels = create_backbone(
            settings.backbone, pretrained=settings.pretrained, weights=settings.backbone_weights
        )
        self.model: Any = SegmentationModel(  # later Fabric's wrapper, with the same methods
            backbone,
            channels,
            num_classes=len(self.source.class_names),
            head=settings.head,
            fpn_channels=settings.fpn_channels,
            sam_weight=settings.sam_weight,
            proj_channels=settings.proj_channels,
            beta=settings.beta,
        )

    def run(self) -> dict[str, Any]:
        settings = self.settings
        optimizer_type = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
        optimizer = optimizer_type(
            self.model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.model, optimizer = self.fabric.setup(self.model, optimizer)
        self.model.mark_forward_method("predict")
        plan = TrainingPlan(
            epochs=settings.epochs,
            steps_per_epoch=settings.steps_per_epoch,
            evaluate_every=settings.evaluate_every,
            checkpoint_every=settings.checkpoint_every,
            learning_rate=LearningRateSchedule(
                kind=settings.schedule,
                peak=settings.learning_rate,
                final=settings.final_learning_rate,
                warmup_steps=settings.warmup_epochs * settings.steps_per_epoch,
                num_steps=settings.epochs * settings.steps_per_epoch,
            ),
            seed=settings.seed,
        )
        history = History(settings.output if self.is_first else None, settings.log_every)
        stream = SampleStream(
            self.labelled,
            self.unlabelled,
            size=settings.image_size,
            augmentation=settings.augmentation,
            seed=settings.seed,
        )

        def batches_from(step: int) -> Iterable[dict[str, Tensor]]:
            sampler = StepSampler(
                start=step,
                stop=plan.num_steps,
                batch_size=settings.batch_size,
                rank=self.fabric.global_rank,
                world_size=self.fabric.world_size,
            )
            return loader(stream, sampler, settings.num_workers)

        train(
            self.fabric,
            self.model,
            optimizer,
            batches_from,
            lambda: self.evaluate().metrics(),
            plan=plan,
            history=history,
            checkpoint=settings.output / "checkpoint.pt",
        )
        history.close()
        results = self._results(history)
        if self.is_first:
            write_json(settings.output / "results.json", results)
            self.draw(history)
            tqdm.write(f"mean IoU {100 * results['mean_iou']:.2f} % on {settings.evaluation}; see {settings.output}")
        self.fabric.barrier()
        return results

    @torch.no_grad()
    def evaluate(self) -> SegmentationScores:
        self.model.eval()
        return score(
            self.fabric,
            lambda frame: self.predict(self.source, frame)[0],
            lambda frame: torch.from_numpy(self.source.label(frame)).long(),
            self.evaluated,
            self.source.class_names,
            lambda frames: tqdm(frames, desc="evaluating", leave=False, disable=not self.is_first),
        )

    def predict(self, source: FrameSource, frame: str) -> tuple[Tensor, Tensor | None]:
        """Return the classes (H, W) of a frame at the image's own size, and the projection where there is one."""
        image = source.image(frame)
        inputs = image_to_tensor(image, self.settings.image_size)[None].to(self.fabric.device)
        logits, projection = self.model.predict(inputs)
        logits = F.interpolate(logits.float(), size=image.shape[:2], mode="bilinear", align_corners=False)
        return logits[0].argmax(0), None if projection is None else projection[0].float()

    @torch.no_grad()
    def draw(self, history: History) -> None:
        """Save the figures."""
        self.model.eval()
        folder, names = self.settings.output / "figures", self.source.class_names
        plot_curves(folder / "curves.png", history.training, history.evaluation)
        rows: list[list[Panel]] = []
        shown: set[int] = set()
        for frame in _spread(self.evaluated, _FIGURE_ROWS):
            label = self.source.label(frame)
            classes, projection = self.predict(self.source, frame)
            prediction = classes.cpu().numpy()
            shown |= {*np.unique(label).tolist(), *np.unique(prediction).tolist()}
            row = [(frame, self.source.image(frame)), ("truth", colorize(label)), ("prediction", colorize(prediction))]
            if projection is not None:
                row.append(("pooled projection", projection_image(projection.cpu().numpy())))
            rows.append(row)
        plot_predictions(folder / "predictions.png", rows, "Predictions", names, sorted(shown))
        if self.unlabelled:
            rows = []
            for source, frame, cache in _spread(self.unlabelled, _FIGURE_ROWS):
                image, segments = source.image(frame), cache.load(frame)
                _, projection = self.predict(source, frame)
                rows.append([(frame, image), ("segments", colorize_segments(image, segments))])
                if projection is not None:
                    rows[-1].append(("pooled projection", projection_image(projection.cpu().numpy())))
            plot_images(folder / "segments.png", rows, f"Unlabelled images ({self.settings.segmenter.name})")

    def _data(self) -> Path:
        """Return the folder of the data, where there is none of the embedded scenes, made first if need be."""
        settings = self.settings
        if settings.data is not None:
            return settings.data
        folder = settings.scenes_folder
        if folder is None:
            digest = hashlib.sha256(json.dumps(plain(settings.scenes)).encode()).hexdigest()[:12]
            cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
            folder = cache / "correspondence_losses" / f"scenes-{digest}"
        with self.fabric.rank_zero_first():
            return generate_scenes(folder, settings.scenes, progress=self.is_first)

    def _presegmented(self) -> list[tuple[FrameSource, str, SegmentCache]]:
        settings = self.settings
        sources = [("dataset", self.source, self.source.frames(settings.unlabelled))]
        if settings.unlabelled_images is not None:
            folder = ImageFolder(settings.unlabelled_images)
            sources.append(("images", folder, folder.frames()))
        masks = settings.output / "masks" if settings.masks is None else settings.masks
        presegmented = []
        for name, source, frames in sources:
            with self.fabric.rank_zero_first():
                cache = presegment(
                    source,
                    frames,
                    masks / name,
                    settings.segmenter,
                    min_area=settings.min_segment_area,
                    progress=self.is_first,
                )
            presegmented += [(source, frame, cache) for frame in frames]
        return presegmented

    def _prepare_folder(self) -> None:
        path = self.settings.output / "settings.json"
        content = plain(self.settings)
        if self.is_first:
            if self.settings.overwrite and path.exists():  # only ever remove what a run has made
                shutil.rmtree(self.settings.output)
            if path.exists():
                _check_same_settings(path, content)
            write_json(path, content)
        self.fabric.barrier()

    def _results(self, history: History) -> dict[str, Any]:
        settings = self.settings
        averaged = [row for row in history.evaluation if row["epoch"] > settings.epochs - settings.average_epochs]
        return {
            "mean_iou": float(np.mean([row["mean_iou"] for row in averaged])),
            "averaged_evaluations": len(averaged),
            "final": history.evaluation[-1],
            "evaluations": history.evaluation,
            "data": {
                "root": str(self.source.root),
                "layout": self.source.layout,
                "labelled_frames": len(self.labelled),
                "unlabelled_frames": len(self.unlabelled),
                "evaluated_frames": len(self.evaluated),
            },
            "segmenter": plain(settings.segmenter) if self.unlabelled else None,
            "seconds": round(history.seconds, 1),
            "processes": self.fabric.world_size,
            "settings": plain(settings),
            "versions": versions(),
        }


def _check_same_settings(path: Path, content: dict[str, Any]) -> None:
    before = read_json(path)
    changed = [
        f"{name}: {before.get(name)!r} there, {value!r} now"
        for name, value in content.items()
        if name not in _PLACE and before.get(name) != value
    ]
    if changed:
        raise CheckpointError(
            f"{path.parent}: holds a run with other settings ({'; '.join(changed)}). Give another --output, the same "
            "settings to continue it, or --overwrite true to start anew"
        )


def _spread(items: Sequence[Any], most: int | None) -> list[Any]:
    """At most so many items, evenly spread."""
    if most is None or most >= len(items):
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]

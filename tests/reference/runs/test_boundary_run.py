"""The learnt segmenter: its loss, its samples, a whole run, and the segments that it then makes for others."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import run_in_two_processes
from runs import TINY, assert_same_numbers, training_rows
from torch import nn

from correspondence_losses.reference.data import open_dataset
from correspondence_losses.reference.engine.checkpoint import CheckpointError
from correspondence_losses.reference.experiments import BoundarySettings, SegmentationSettings
from correspondence_losses.reference.models.boundaries import BoundaryModel
from correspondence_losses.reference.runs import BoundarySegmenter
from correspondence_losses.reference.runs.command_line import preset_settings
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.segments import SegmentCache, presegment
from correspondence_losses.reference.streams.boundaries import BoundaryStream
from correspondence_losses.reference.streams.images import Augmentation

UNSCORED = {**TINY, "evaluation": None, "fpn_channels": 8}


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> BoundarySettings:
    return BoundarySettings(
        data=data,
        output=tmp_path / "segmenter",
        unlabelled=None,
        augmentation=Augmentation(copy_paste=0.5, clutter=0.5),
        epochs=2,
        steps_per_epoch=3,
        learning_rate=1e-3,
        weight_average=0.9,
        **UNSCORED,
    )


def test_the_loss_is_cross_entropy_and_dice() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 6, 8, dtype=torch.float64, requires_grad=True)

    class Fixed(BoundaryModel):
        def __init__(self) -> None:
            nn.Module.__init__(self)

        def predict(self, images: torch.Tensor) -> torch.Tensor:
            return logits

    target = torch.rand(2, 6, 8) < 0.2
    terms = Fixed()({"image": torch.zeros(2, 3, 6, 8), "boundary": target})
    entropy = dice = 0.0
    for image in range(2):
        z, y = logits[image].detach().float().flatten().tolist(), target[image].flatten().tolist()
        p = [1 / (1 + np.exp(-value)) for value in z]
        entropy -= sum(3 * np.log(a) if b else np.log(1 - a) for a, b in zip(p, y, strict=True)) / len(p) / 2
        overlap = 2 * sum(a for a, b in zip(p, y, strict=True) if b) + 1
        dice += (1 - overlap / (sum(a * a for a in p) + sum(y) + 1)) / 2
    assert terms["cross_entropy"].item() == pytest.approx(entropy, rel=1e-5)
    assert terms["dice"].item() == pytest.approx(dice, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(entropy + dice, rel=1e-5)
    terms["loss"].backward()
    assert logits.grad.abs().min() > 0


def test_boundaries_lie_beside_what_changes(data: Path) -> None:
    """Without clutter the things of an image are its classes, and the table and the background behind them."""
    source = open_dataset(data)
    frames = [(source, frame) for frame in source.frames("synthetic")]
    stream = BoundaryStream(frames, [], size=(48, 64), augmentation=Augmentation(), seed=0)
    for index in range(3):
        boundary = stream[index]["boundary"].numpy()
        picture = stream._labelled(index)
        things = picture.things
        expected = np.zeros_like(boundary)
        for axis in (0, 1):
            first, second = (things[:-1], things[1:]) if axis == 0 else (things[:, :-1], things[:, 1:])
            differs = first != second
            expected[: -1 if axis == 0 else None, : -1 if axis == 1 else None] |= differs
            expected[1 if axis == 0 else 0 :, 1 if axis == 1 else 0 :] |= differs
        np.testing.assert_array_equal(boundary, expected)
        for label in np.unique(picture.label[picture.label > 0]):  # each class of these images is one thing
            assert len(np.unique(things[picture.label == label])) == 1


def test_clutter_and_pasted_objects_are_things(data: Path) -> None:
    source = open_dataset(data, background=(100, 100, 100))
    frames = [(source, frame) for frame in source.frames("synthetic")]
    plain = BoundaryStream(frames, [], size=(48, 64), augmentation=Augmentation(), seed=0)
    full = BoundaryStream(frames, [], size=(48, 64), augmentation=Augmentation(copy_paste=1, clutter=1), seed=0)
    for index in range(3):
        things = full._labelled(index)
        assert len(np.unique(things.things)) > len(np.unique(plain._labelled(index).things))
        assert ((things.label > 0) <= (things.things >= 2000)).all()


@pytest.mark.usefixtures("without_figures")
def test_a_run_and_its_segmenter(settings: BoundarySettings, data: Path, tmp_path: Path) -> None:
    results = run(settings)
    assert results["data"] == {
        "root": str(data), "layout": "ycb-video", "evaluated_frames": 0, "labelled_frames": 3,
    }  # fmt: skip
    assert set(results["last_training_terms"]) >= {"loss", "cross_entropy", "dice"}
    segmenter = BoundarySegmenter(settings.output, min_size=5)
    source = open_dataset(data)
    image = source.image(source.frames("val")[0])
    boundaries = segmenter.boundaries(image)
    assert boundaries.shape == image.shape[:2]
    assert ((boundaries > 0) & (boundaries < 1)).all()
    np.testing.assert_allclose(segmenter.boundaries(image[:, ::-1].copy())[:, ::-1], boundaries, atol=1e-5)
    masks = segmenter(image)
    assert (np.sum(masks, axis=0) == 1).all()

    cache = presegment(source, source.frames("val"), tmp_path / "cache", segmenter, progress=False)
    identity = cache.record["identity"]
    assert identity["segmenter"] == "boundaries"
    assert len(identity["settings"]["checkpoint_sha256"]) == 64
    again = run(dataclasses.replace(settings, output=tmp_path / "again"))
    assert_same_numbers(settings.output, tmp_path / "again")
    assert again["last_training_terms"] == results["last_training_terms"]

    arguments = [
        "--segmenter",
        "BoundarySegmenter",
        "--segmenter.run",
        str(settings.output),
        "--segmenter.merge",
        "0.3",
    ]
    read = preset_settings("sam_fpn", args=arguments)
    assert isinstance(read, SegmentationSettings)
    assert isinstance(read.segmenter, BoundarySegmenter)
    assert read.segmenter.settings()["merge"] == 0.3
    pooled = SegmentationSettings(
        data=data, output=tmp_path / "pooled", segmenter=segmenter, epochs=1, steps_per_epoch=1, **UNSCORED
    )
    run(pooled)
    assert (tmp_path / "pooled" / "masks" / "dataset" / "segments.json").exists()
    assert SegmentCache(tmp_path / "pooled" / "masks" / "dataset").record["identity"]["segmenter"] == "boundaries"


@pytest.mark.usefixtures("without_figures")
def test_killed_and_resumed_equals_never_stopped(settings: BoundarySettings, tmp_path: Path, steps: Any) -> None:
    run(settings)
    killed = dataclasses.replace(settings, output=tmp_path / "killed", checkpoint_every=2)
    with steps.killed(step=5):
        run(killed)
    run(killed)
    assert_same_numbers(settings.output, killed.output)


def test_two_processes_train_as_one_with_the_same_global_batch(settings: BoundarySettings, tmp_path: Path) -> None:
    """Real gloo processes."""

    def training(devices: int) -> list[list[float]]:
        output = tmp_path / f"devices{devices}"
        changed = dataclasses.replace(settings, output=output, devices=devices, batch_size=2 // devices)
        run_in_two_processes(changed) if devices == 2 else run(changed)
        return training_rows(output)

    np.testing.assert_allclose(training(2), training(1), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("without_figures")
def test_what_is_no_segmenter(settings: BoundarySettings, data: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run"):
        BoundarySegmenter(tmp_path)
    other = SegmentationSettings(
        data=data, output=tmp_path / "other", sam_weight=0.0, epochs=1, steps_per_epoch=1, **UNSCORED
    )
    run(other)
    with pytest.raises(CheckpointError, match="is not a run of the preset boundaries"):
        BoundarySegmenter(other.output)
    run(dataclasses.replace(settings, epochs=1, steps_per_epoch=1))
    for change, message in (({"merge": 1.5}, "merge must lie in"), ({"min_size": 0}, "min_size must be at least 1")):
        with pytest.raises(ValueError, match=message):
            BoundarySegmenter(settings.output, **change)
    segmenter = BoundarySegmenter(settings.output)
    with pytest.raises(ValueError, match="image must be"):
        segmenter(np.zeros((4, 4), np.uint8))
    (settings.output / "checkpoint.pt").write_bytes((other.output / "checkpoint.pt").read_bytes())
    with pytest.raises(CheckpointError, match="does not hold the model of"):
        BoundarySegmenter(settings.output)


def test_the_figure_is_drawn(settings: BoundarySettings) -> None:
    run(dataclasses.replace(settings, epochs=1, steps_per_epoch=1))
    assert {path.name for path in (settings.output / "figures").iterdir()} == {"boundaries.png", "curves.png"}
    assert (settings.output / "report.html").exists()

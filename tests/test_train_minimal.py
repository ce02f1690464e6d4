"""The method on one page: it trains, scores as the trainer does, and stands on the library alone."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import run_script
from ycb_layouts import random_frame, write_original, write_tiny

from correspondence_losses.reference.data import CLASS_NAMES
from correspondence_losses.reference.engine.evaluation import SegmentationScores

EXAMPLE = Path(__file__).parents[1] / "examples" / "train_minimal.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_tiny(tmp_path_factory.mktemp("ycb"), count=2)
    (root / "image_sets").mkdir()
    for name, video in (("train", "0000"), ("keyframe", "0048")):
        (root / "image_sets" / f"{name}.txt").write_text(f"{video}/000001\n{video}/000002\n")
    return root


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(EXAMPLE))


@pytest.mark.parametrize("weight", ["0.05", "0"])
def test_it_trains_and_scores(data: Path, tmp_path: Path, weight: str) -> None:
    arguments = [str(data), "--steps", "2", "--batch_size", "1", "--weight", weight]
    shown = run_script(EXAMPLE, arguments, tmp_path)
    assert shown.startswith("mean IoU ")
    assert "on 2 frames" in shown


def test_it_imports_nothing_of_the_trainer() -> None:
    script = f"import runpy, sys; runpy.run_path({str(EXAMPLE)!r}); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = run.stdout.split()
    assert "correspondence_losses.losses" in loaded
    assert "correspondence_losses.reference" not in loaded


def test_its_score_is_that_of_the_trainer(data: Path, example: dict[str, Any]) -> None:
    predictions = iter(torch.randint(0, 22, (2, 48, 64), generator=torch.Generator().manual_seed(0)))
    drawn = []

    def model(images: torch.Tensor) -> tuple[torch.Tensor]:
        assert images.shape == (1, 3, 96, 128)
        drawn.append(next(predictions))
        return (torch.nn.functional.one_hot(drawn[-1], 22).movedim(-1, 0)[None].float(),)

    frames = [data / f"data/0048/{i:06d}" for i in (1, 2)]
    confusion = torch.zeros(22, 22, dtype=torch.long)
    found = example["mean_iou"](model, frames)
    for prediction, i in zip(drawn, (20, 21), strict=True):
        label = torch.from_numpy(random_frame(i, size=(48, 64)).label).long()
        confusion.index_put_((label.flatten(), prediction.flatten()), torch.ones(label.numel(), dtype=torch.long), True)
    assert found == pytest.approx(SegmentationScores(confusion, CLASS_NAMES).metrics()["mean_iou"], rel=1e-6)


def test_transparent_images_are_filled_and_segments_start_at_1(tmp_path: Path, example: dict[str, Any]) -> None:
    frame = random_frame(0, size=(96, 128))
    write_original(tmp_path, "frame", frame, alpha=np.uint8(255 * (frame.label > 0)))
    pixels = np.array(example["read_image"](tmp_path / "frame"))
    np.testing.assert_array_equal(pixels[frame.label > 0], frame.image[frame.label > 0])
    assert (pixels[frame.label == 0] == (124, 116, 104)).all()
    image, segments = example["SegmentedFrames"]([tmp_path / "frame"])[0]
    assert image.shape == (3, 96, 128)
    assert segments.shape == (96, 128)
    assert segments.min() == 1

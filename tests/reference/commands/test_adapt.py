"""From a folder of images and labelled images of another domain to labels, and a report of how sure they are."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from correspondence_losses.functional import SegmentVotes
from correspondence_losses.reference import __main__ as command_line
from correspondence_losses.reference.commands.adapt import _sureness
from correspondence_losses.reference.data import CLASS_NAMES
from correspondence_losses.reference.data.files import read_gray8
from correspondence_losses.reference.engine.prediction import Prediction

TINY = (
    "--backbone convnext_atto --pretrained false --frozen_stages 0 --image_size [32,64] --fpn_channels 4 --epochs 2 "
    "--supervised_epochs 1 --steps_per_epoch 1 --batch_size 2 --num_workers 0 --accelerator cpu --mask_block 8 "
    "--prediction_scales [1.0] --least_objects 0"
)
FELZENSZWALB = "--segmenter.min_size 20 --segmenter.scale 50"


@pytest.mark.parametrize("segmenter", [FELZENSZWALB, "--segmenter_epochs 1"], ids=["given", "learnt"])
def test_a_folder_gets_its_labels_and_a_report(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], without_figures: None, segmenter: str
) -> None:
    images, output = tmp_path / "images", tmp_path / "out"
    (images / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = ["a.png", "deep/b.jpg", "c.png"]
    for name in names:
        picture = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(picture).save(images / name)
    arguments = [
        "adapt",
        str(images),
        "--labelled",
        str(data),
        "--output",
        str(output),
        "--sure",
        "0.05",
        *TINY.split(),
        *segmenter.split(),
    ]
    command_line.main(arguments)
    assert (output / "segmenter/masks/segments.json").exists() == (segmenter != FELZENSZWALB)
    for name in ("a", "deep/b", "c"):
        assert read_gray8(output / f"labels/{name}.png").shape == (48, 64)
        assert Image.open(output / f"overlays/{name}.jpg").size == (64, 48)
    assert (output / "legend.png").exists()
    rows = list(csv.DictReader((output / "report.csv").open()))
    assert sorted(row["image"] for row in rows) == sorted(names)
    shares = [float(row["sure_segments"]) for row in rows]
    assert shares == sorted(shares)
    for row in rows:
        assert int(row["segments"]) >= 1
        label = read_gray8(output / f"labels/{row['image'].rpartition('.')[0]}.png")
        assert set(row["classes"].split()) == {CLASS_NAMES[i] for i in np.unique(label) if i > 0}
    assert "3 images" in capsys.readouterr().out
    again = (output / "report.csv").read_bytes()
    command_line.main(arguments)  # the run is finished: nothing is trained, the same comes out
    assert (output / "report.csv").read_bytes() == again


def test_how_sure_an_image_is() -> None:
    segments = torch.tensor([[0, 1, 1, 2], [0, 1, 1, 3]])
    confidence = torch.tensor([0.0, 0.95, 0.5, 0.9])
    probabilities = torch.zeros(22, 2, 4)
    probabilities[0] = 0.1
    probabilities[5, :, 1:3] = probabilities[2, 1, 3] = 1.0
    votes = SegmentVotes(segments, probabilities, torch.zeros(4, 22), confidence)
    found = _sureness("a.png", Prediction({"plain": probabilities}, segments, votes), 0.9, CLASS_NAMES)
    assert found.segments == 3
    assert found.sure_segments == pytest.approx(2 / 3)
    assert found.sure_pixels == pytest.approx(5 / 8)
    assert found.classes.split() == [CLASS_NAMES[5], CLASS_NAMES[2]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sure", "2"], "sure must lie between 0 and 1, got 2.0"),
        (["--output", "IMAGES/out"], "output must lie outside of the images"),
    ],
)
def test_bad_arguments_end_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (64, 48)).save(images / "a.png")
    given = [argument.replace("IMAGES", str(images)) for argument in arguments]
    output = [] if "--output" in given else ["--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        command_line.main(
            ["adapt", str(images), "--labelled", str(data), *output, *given, *TINY.split(), *FELZENSZWALB.split()]
        )
    assert end.value.code == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/run").exists(), "nothing was trained first"

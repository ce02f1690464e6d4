"""The commands as a user gives them: what they print and leave, and how they end where something is wrong."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from runs import TINY
from ycb_layouts import random_frame

from correspondence_losses.reference import __main__ as command_line
from correspondence_losses.reference.data.files import read_gray8
from correspondence_losses.reference.engine.checkpoint import CheckpointError
from correspondence_losses.reference.engine.prediction import PredictionWays
from correspondence_losses.reference.experiments.presets import load_presets, load_tables
from correspondence_losses.reference.figures.colors import PALETTE
from correspondence_losses.reference.runs.command_line import preset_settings, settings_from_command_line
from correspondence_losses.reference.runs.errors import one_line_errors
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.runs.trained import TrainedModel
from correspondence_losses.reference.segments import FelzenszwalbSegmenter

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("ycb_*.py"))


def correspondence_losses(*arguments: object) -> None:
    """The command, in this process."""
    command_line.main([str(argument) for argument in arguments])


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as end:
        correspondence_losses(*arguments)
    errors = capsys.readouterr().err
    assert end.value.code == 1, errors
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def changes(data: Path) -> dict[str, Any]:
    return {
        **TINY,
        "data": str(data),
        "batch_size": 1,
        "epochs": 2,
        "steps_per_epoch": 2,
        "fpn_channels": 4,
    }


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("runs") / "fpn"
    return folder, run(preset_settings("fpn", changes={**changes(data), "output": str(folder)}))


def test_evaluate_scores_as_the_run_did(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, results = trained
    correspondence_losses("evaluate", folder, "--output", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    final = results["final"]
    for name in ("mean_iou", "mean_iou_objects", "mean_iou_union", "pixel_accuracy"):
        assert scores[name] == final[name]
    present = {name: row["iou"] for name, row in scores["classes"].items() if row["pixels"]}
    assert present == {name.removeprefix("iou/"): value for name, value in final.items() if name.startswith("iou/")}
    assert sum(row["pixels"] for row in scores["classes"].values()) == 3 * 48 * 64
    assert sum(row["predicted_pixels"] for row in scores["classes"].values()) == 3 * 48 * 64
    assert (scores["step"], scores["data"]["frames"], scores["data"]["split"]) == (4, 3, "val")
    printed = capsys.readouterr().out
    assert f"{100 * final['mean_iou']:.2f}" in printed
    assert "002_master_chef_can" in printed or "004_sugar_box" in printed

    correspondence_losses("evaluate", folder, "--split", "train", "--max_frames", 2)
    assert "2 frames of train" in capsys.readouterr().out


def test_a_sheet_shows_images_and_labels(data: Path, tmp_path: Path) -> None:
    correspondence_losses("scenes", "sheet", data / "data_syn", tmp_path / "sheet.png", "--columns", 2)
    with Image.open(tmp_path / "sheet.png") as picture:
        shown = {tuple(color) for _, color in picture.convert("RGB").getcolors(2**24)}
    classes = np.unique(read_gray8(data / "data_syn/000000-label.png"))
    assert {tuple(PALETTE[i]) for i in classes} <= shown
    assert len(shown) > 1000


def test_predict_labels_images_of_any_size(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = trained
    images, output = tmp_path / "images", tmp_path / "out"
    (images / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    pictures = {"a.png": (40, 30), "a.jpg": (33, 47), "deep/c.bmp": (7, 90)}
    for name, size in pictures.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(images / name)
    output.mkdir()
    (output / "mine.txt").write_text("stays")
    for _ in range(2):  # its own files are replaced
        correspondence_losses("predict", folder, images, output)
    model = TrainedModel(folder, accelerator="cpu")
    files = {"a.png": "a.png", "a.jpg": "a.jpg", "deep/c.bmp": "deep/c"}  # two images are called a
    for name, size in pictures.items():
        label = read_gray8(output / f"labels/{files[name]}.png")
        assert label.shape == size
        image = np.array(Image.open(images / name).convert("RGB"))
        np.testing.assert_array_equal(label, model.classes(image))
        with Image.open(output / f"labels/{files[name]}.png") as picture:
            np.testing.assert_array_equal(picture.convert("RGB"), PALETTE[label])
        with Image.open(output / f"overlays/{files[name]}.jpg") as picture:
            assert picture.format == "JPEG"
            overlay = np.array(picture).astype(float)
        expected = np.where(label[..., None] > 0, 0.4 * image + 0.6 * PALETTE[label], image)
        assert abs(overlay.mean() - expected.mean()) < 2
    made = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert made == {"mine.txt", "legend.png"} | {
        f"{kind}/{name}.{ending}"
        for name in files.values()
        for kind, ending in (("labels", "png"), ("overlays", "jpg"))
    }


def test_predict_in_several_ways(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = trained
    (tmp_path / "images").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (8, 10, 3)).astype(np.uint8).repeat(6, 0).repeat(6, 1)
    Image.fromarray(picture).save(tmp_path / "images/a.png")
    ways = ["--scales", "[1, 2]", "--mirror", "true", "--segmenter", "FelzenszwalbSegmenter"]
    correspondence_losses("predict", folder, tmp_path / "images", tmp_path / "out", *ways)
    label = read_gray8(tmp_path / "out/labels/a.png")
    expected = TrainedModel(folder, accelerator="cpu").predict(
        picture, PredictionWays(scales=(1.0, 2.0), mirror=True, segmenter=FelzenszwalbSegmenter())
    )
    np.testing.assert_array_equal(label, expected.best())


def test_evaluate_shows_what_other_ways_to_predict_bring(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, results = trained
    ways = ["--mirror", "true", "--segmenter", "FelzenszwalbSegmenter", "--segmenter.min_size", 50]
    correspondence_losses("evaluate", folder, *ways, "--output", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["mean_iou"] == results["final"]["mean_iou"], "the score is that of the plain prediction"
    found = scores["prediction"]["ways"]
    assert list(found) == ["plain", "mirror", "votes", "mirror, votes"]
    assert found["plain"]["mean_iou"] == scores["mean_iou"]
    assert scores["prediction"]["settings"]["segmenter"]["settings"]["min_size"] == 50
    printed = capsys.readouterr().out
    for way, score in found.items():
        assert any(line.split() == [*way.split(), *_numbers(score)] for line in printed.splitlines()), way


def _numbers(score: dict[str, Any]) -> list[str]:
    return [f"{100 * score[name]:.2f}" for name in ("mean_iou", "mean_iou_objects", "mean_iou_union")]


def test_a_run_scores_other_ways_beside_the_plain_one(
    trained: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    _, plain = trained
    ways = {"prediction_mirror": True, "prediction_votes": True, "prediction_scales": [1.0, 2.0]}
    results = run(preset_settings("fpn", changes={**changes(data), **ways, "output": str(tmp_path / "run")}))
    assert results["final"] == plain["final"], "other ways change the result of the run"
    found = results["prediction"]["ways"]
    assert list(found) == ["plain", "scales", "mirror", "scales, mirror", "votes", "scales, mirror, votes"]
    assert {name: value for name, value in results["final"].items() if name not in ("step", "epoch")} == found["plain"]
    assert "prediction" not in plain
    assert TrainedModel(tmp_path / "run", accelerator="cpu").step == 4


def test_show_draws_finished_and_unfinished_runs(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, results = trained
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "evaluation.csv").write_bytes((folder / "evaluation.csv").read_bytes())
    correspondence_losses("show", folder, unfinished, "--output", tmp_path / "curves.png", "--metric", "pixel_accuracy")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"result {100 * results['mean_iou']:.2f} %, the mean of 1")
    assert lines[1].endswith(f"epoch 2, mean IoU {100 * results['final']['mean_iou']:.2f} %")
    assert Image.open(tmp_path / "curves.png").width > 300


def test_presets_lists_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    correspondence_losses("presets")
    listed = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in listed] == [row.name for rows in load_tables().values() for row in rows]
    correspondence_losses("presets", "--tables", "4.5")
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["pretrained_synthetic", "4.5", "62.33"],
        ["unpaired_sam", "4.5", "68.44"],
        ["sam_fpn", "4.5", "84.84"],
    ]


@pytest.mark.parametrize("preset", load_presets())
def test_every_preset_can_be_shown_and_read_back(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--preset", preset, "--epochs", "7", "--dry_run"]
    with pytest.raises(SystemExit) as end:
        settings_from_command_line(preset="fpn", description=None, args=arguments)
    assert end.value.code == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    settings = yaml.safe_load(shown.out)
    assert settings["epochs"] == 7
    for name, value in load_presets()[preset].settings.items():
        assert name in settings
        if not isinstance(value, dict):
            assert settings[name] == value
    path = tmp_path / "settings.yaml"
    path.write_text(shown.out)
    arguments = ["--preset", preset, "--config", str(path), "--dry_run"]
    with pytest.raises(SystemExit):
        settings_from_command_line(preset="fpn", description=None, args=arguments)
    assert capsys.readouterr().out == shown.out


@pytest.mark.parametrize(
    ("change", "args", "message"),
    [
        ({"epochs": "x"}, [], "epochs.*Expected a <class 'int'>. Got value: x"),
        ({"epocs": 1}, [], "'epocs' is not accepted"),
        ({"scenes": {"num_test": "x"}}, [], r"scenes\.num_test"),
        ({"epochs": 0}, [], "epochs must be above 0, got 0"),
        ({}, ["--epocs", "1"], "unrecognized arguments: --epocs 1"),
        ({}, ["--epo", "1"], "unrecognized arguments: --epo 1"),
        ({}, ["--segmenter", "NoSuch"], "segmenter"),
    ],
)
def test_a_setting_that_does_not_fit_is_a_value_error(change: dict[str, Any], args: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        preset_settings("fpn", changes=change, args=args)


def test_later_settings_win() -> None:
    changed = preset_settings("fpn", changes={"epochs": 3, "scenes": {"num_test": 2}}, args=["--epochs", "5"])
    assert (changed.epochs, changed.scenes.num_test) == (5, 2)
    assert changed.scenes.num_target == preset_settings("fpn").scenes.num_target


@pytest.mark.parametrize("text", ["preset: sam_fpn", "list: true", "scale: thesis", "epocs: 3"])
def test_a_file_of_settings_holds_nothing_else(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as end:
        correspondence_losses("train", "--preset", "fpn", "--config", path)
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_errors_are_one_line(
    trained: tuple[Path, dict[str, Any]],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, _ = trained
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(b"no image")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "settings.json").write_bytes((folder / "settings.json").read_bytes())
    (broken / "checkpoint.pt").write_bytes(b"nothing")
    for arguments, message in [
        (("train", "--data", tmp_path / "none", "--output", tmp_path / "run"), "is not a folder"),
        (("train", "--epochs", 0), "epochs must be above 0"),
        (("evaluate", tmp_path), "holds no run"),
        (("evaluate", broken), "checkpoint.pt: is damaged"),
        (("evaluate", folder, "--split", "none"), "split must be one of"),
        (("evaluate", folder, "--max_frames", 0), "max_frames must be at least 1, got 0"),
        (("predict", folder, images, tmp_path / "out"), "a.png: cannot be read as an image"),
        (("predict", folder, images, images / "out"), "output must lie outside of the images"),
        (("predict", folder, images, tmp_path / "out", "--opacity", 2), "opacity must lie between 0 and 1"),
        (("show", tmp_path), "holds no run"),
        (("show", broken, "--output", tmp_path / "x.png"), "holds no evaluation"),
        (("show", folder, "--metric", "none", "--output", tmp_path / "x.png"), "'none'"),
        (("masks", tmp_path / "none", tmp_path / "masks"), "is not a folder"),
        (("scenes", "sheet", images, tmp_path / "sheet.png"), "holds no FFFFFF-color.png"),
        (("views", tmp_path, tmp_path / "views"), str(tmp_path)),
    ]:
        assert message in fails(capsys, *arguments), arguments


def test_wrong_usage_ends_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in [
        ((), "COMMAND"),
        (("none",), "invalid choice: 'none'"),
        (("train", "--epocs", 3), "unrecognized arguments: --epocs 3"),
        (("train", "--preset", "none"), "invalid choice: 'none'"),
        (("evaluate",), "run"),
        (("evaluate", "run", "--nonsense", 1), "--nonsense"),
        (("show",), "RUN"),
        (("presets", "--tables", "9"), "invalid choice: '9'"),
    ]:
        with pytest.raises(SystemExit) as end:
            correspondence_losses(*arguments)
        assert end.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", command_line.COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        correspondence_losses(command, "--help")
    assert end.value.code == 0
    assert f"usage: correspondence-losses {command}" in capsys.readouterr().out


def test_faults_of_the_code_keep_their_traceback() -> None:
    with pytest.raises(IndexError), one_line_errors():
        raise IndexError
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise CheckpointError("one\n  two")
    assert end.value.code == 1


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """As in an environment with torch alone."""
    (tmp_path / "jsonargparse.py").write_text("raise ModuleNotFoundError('no', name='jsonargparse')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "correspondence_losses.reference", "presets"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 1
    assert result.stderr == "error: presets needs jsonargparse: pip install 'correspondence-losses[reference]'\n"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_end_with_one_line(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", "no/such/folder", "--accelerator", "cpu", "--output", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", [str(example), *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(example), run_name="__main__")
    assert end.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: no/such/folder: is not a folder"


def test_torchrun_trains_as_one_process(data: Path, tmp_path: Path) -> None:
    settings = {**changes(data), "epochs": 1, "log_every": 1}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(ROOT / "examples" / "ycb_fpn_sam.py"), "--preset", "fpn"]
    command += ["--config", str(tmp_path / "settings.yaml"), "--output", str(tmp_path / "two")]
    subprocess.run(command, check=True, capture_output=True)
    one = {**settings, "batch_size": 2, "output": str(tmp_path / "one")}
    run(preset_settings("fpn", changes=one))
    rows = [np.loadtxt(tmp_path / name / "training.csv", delimiter=",", skiprows=1) for name in ("one", "two")]
    np.testing.assert_allclose(*rows, rtol=1e-5)
    assert json.loads((tmp_path / "two" / "results.json").read_text())["processes"] == 2
    models = [TrainedModel(tmp_path / name, accelerator="cpu") for name in ("one", "two")]
    image = random_frame(1, size=(48, 64)).image
    np.testing.assert_array_equal(*(model.classes(image) for model in models))


def test_other_processes_than_torchrun_started_are_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = preset_settings("fpn", changes={**changes(data), "output": str(tmp_path / "run"), "devices": 3})
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="be what it started, 2 and 2; got 3 and 1"):
        run(settings)

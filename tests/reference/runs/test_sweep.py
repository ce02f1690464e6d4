"""Sweeps on a tiny data set: what is run, skipped, continued, left out, and what the tables say."""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from runs import TINY
from ycb_layouts import write_tiny

from correspondence_losses.reference.__main__ import main
from correspondence_losses.reference.engine.checkpoint import read_checkpoint
from correspondence_losses.reference.engine.loop import Interrupted
from correspondence_losses.reference.experiments.presets import Preset, load_presets, load_tables
from correspondence_losses.reference.runs import sweep as sweeps
from correspondence_losses.reference.runs.command_line import preset_settings
from correspondence_losses.reference.runs.results_table import write_results
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.runs.sweep import sweep

ROWS = ("fpn", "fpn_real")
pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = write_tiny(tmp_path_factory.mktemp("ycb"), count=1)
    return {
        **TINY,
        "data": str(root),
        "batch_size": 1,
        "epochs": 1,
        "steps_per_epoch": 1,
        "image_size": [32, 32],
        "fpn_channels": 4,
    }


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders of what is run, in this order."""
    folders: list[str] = []
    genuine = sweeps.run

    def noted(settings: Any, **options: Any) -> dict[str, Any]:
        folders.append("/".join(settings.output.parts[-2:]))
        return genuine(settings, **options)

    monkeypatch.setattr(sweeps, "run", noted)
    return folders


def swept(output: Path, changes: dict[str, Any], **options: Any) -> list[str]:
    options = {"presets": ROWS, "seeds": [0], "scale": "laptop", **options}
    return sweep({"4.4": load_tables()["4.4"]}, output=output, changes=changes, **options)


def read(output: Path) -> dict[str, Any]:
    table: list[dict[str, Any]] = json.loads((output / "results.json").read_text())["tables"]["4.4"]
    return {row["preset"]: row for row in table}


def test_a_sweep_is_its_runs(changes: dict[str, Any], tmp_path: Path, ran: list[str]) -> None:
    output = tmp_path / "sweep"
    assert swept(output, {**changes, "prediction_mirror": True}, seeds=[0, 1]) == []
    assert ran == ["fpn/seed-0", "fpn_real/seed-0", "fpn/seed-1", "fpn_real/seed-1"]
    alone = run(preset_settings("fpn", changes={**changes, "seed": 1, "output": str(tmp_path / "alone")}))
    rows = read(output)
    assert [row["thesis_percent"] for row in rows.values()] == [row.thesis for row in load_tables()["4.4"]]
    fpn = rows["fpn"]
    scores = [one["mean_iou_percent"] for one in fpn["runs"]]
    assert scores[1] == 100 * alone["mean_iou"]
    weights = [
        read_checkpoint(folder / "checkpoint.pt")["model"] for folder in (output / "fpn/seed-1", tmp_path / "alone")
    ]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert fpn["mean_iou_percent"] == pytest.approx(statistics.fmean(scores))
    assert fpn["standard_deviation_percent"] == pytest.approx(np.std(scores, ddof=1))
    assert [one["seed"] for one in fpn["runs"]] == [0, 1]
    assert (fpn["runs"][0]["steps"], fpn["runs"][0]["images_per_step"]) == ([1], [1])
    assert rows["sam_fpn"]["runs"] == []
    table = (output / "results.md").read_text()
    here = f"{fpn['mean_iou_percent']:.2f} ± {fpn['standard_deviation_percent']:.2f}"
    means = " | ".join(f"{fpn[name]:.2f}" for name in ("mean_iou_objects_percent", "mean_iou_union_percent"))
    assert f"| FPN, synthetic labels | `fpn` | 80.29 | {here} | {means} |  | 2 | 1 | 1 x 1 |" in table
    ways = fpn["prediction_percent"]
    assert ways["plain"] == pytest.approx(fpn["mean_iou_percent"])
    assert f"- `fpn`, other ways to predict, after the last epoch: plain {ways['plain']:.2f}, mirror " in table
    assert fpn["difference_percent"] is None  # none of its baseline's runs
    real = rows["fpn_real"]
    differences = [
        b["mean_iou_percent"] - a["mean_iou_percent"] for a, b in zip(fpn["runs"], real["runs"], strict=True)
    ]
    assert real["difference_percent"]["mean"] == pytest.approx(statistics.fmean(differences))
    half = abs(differences[0] - differences[1]) / 2 * 12.7062  # of two values, with Student's t of one degree
    assert real["difference_percent"]["half_interval"] == pytest.approx(half, rel=1e-4)
    assert f"{statistics.fmean(differences):+.2f} ± {half:.2f} (`fpn`)" in table
    assert "| SAM Pooling Block + FPN, synthetic labels | `sam_fpn` | 84.84 | not run |" in table
    assert f"- Data: {changes['data']} (ycb-video), scored on val" in table

    before = (output / "results.json").read_bytes()
    assert swept(output, changes, seeds=[0, 1]) == []
    assert len(ran) == 4  # what is finished is not run again
    (output / "results.json").unlink()
    main(["sweep", "--tables", "4.4", "--output", str(output), "--collect"])
    assert (output / "results.json").read_bytes() == before

    failures = swept(output, changes, seeds=[0], args=["--learning_rate", "0.5"])
    assert len(failures) == 2
    assert "holds a run with other settings (learning_rate" in failures[0]
    assert (output / "results.json").read_bytes() == before


def test_a_stopped_sweep_goes_on(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[str]
) -> None:
    output = tmp_path / "sweep"
    noted = sweeps.run

    def stopped(settings: Any, **options: Any) -> dict[str, Any]:
        if settings.output.parent.name == "fpn_real":
            settings.output.mkdir(parents=True)
            (settings.output / "settings.json").write_text("{}")
            raise Interrupted(130)
        return noted(settings, **options)

    monkeypatch.setattr(sweeps, "run", stopped)
    with pytest.raises(Interrupted):
        swept(output, changes)
    write_results(output, {"4.4": load_tables()["4.4"]})
    assert [one["status"] for one in read(output)["fpn_real"]["runs"]] == ["unfinished"]
    assert "`fpn_real`, seed 0: unfinished" in (output / "results.md").read_text()
    monkeypatch.setattr(sweeps, "run", noted)
    assert swept(output, changes) == []
    assert ran == ["fpn/seed-0", "fpn_real/seed-0"]


def test_a_failed_row_does_not_stop_the_others(
    changes: dict[str, Any], tmp_path: Path, ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "sweep"
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump(changes))
    arguments = ["sweep", "--tables", "4.4", "--presets", *ROWS, "--output", str(output), "--config", str(config)]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--labelled=train", "--refined", str(tmp_path / "none")])
    assert end.value.code == 1
    reason = f"{tmp_path / 'none'}: is not a folder of refined images"
    assert f"failed:\nfpn, seed 0: {reason}\nfpn_real, seed 0: {reason}\n" in capsys.readouterr().err
    assert read(output)["fpn"]["runs"] == [{"seed": 0, "status": "failed", "reason": reason}]
    assert f"- `fpn`, seed 0: failed: {reason}\n" in (output / "results.md").read_text()
    assert "Traceback" not in capsys.readouterr().err
    main(arguments)  # tried again, with other settings: what failed before its first checkpoint left nothing to keep
    assert [row["runs"][0]["status"] for row in read(output).values() if row["runs"]] == ["finished"] * 2
    assert not list(output.rglob("failure.txt"))


def test_settings_reach_the_families_that_have_them(tmp_path: Path) -> None:
    rows = {name: load_presets()[name] for name in ("fpn", "joint_real_vicregl")}
    options = sweeps._options(["--fpn_channels", "16", "--scenes.num_test=3", "--crops.num_small", "4"])
    fpn, joint = (sweeps._settings(row, 7, tmp_path, "laptop", {"epochs": 9}, options) for row in rows.values())
    assert (fpn.epochs, fpn.seed, fpn.scenes.num_test, fpn.fpn_channels) == (9, 7, 3, 16)
    assert (joint.epochs, joint.seed, joint.scenes.num_test, joint.crops.num_small) == (9, 7, 3, 4)
    assert fpn.masks == joint.masks == tmp_path / "masks"
    assert joint.output == tmp_path / "joint_real_vicregl" / "seed-7"


def test_runs_that_differ_in_the_labels_of_the_head_share_its_backbone(tmp_path: Path) -> None:
    def backbone(preset: str, seed: int, *args: str) -> Path:
        settings = sweeps._settings(load_presets()[preset], seed, tmp_path, "laptop", {}, sweeps._options(args))
        first, last = settings.stages()
        assert first.output == last.backbone_run
        return first.output

    real = backbone("single_frame_real", 0)
    assert real.parent == tmp_path / "backbones"
    assert real != backbone("single_frame_real", 1)
    assert real != backbone("paired_real", 0)
    assert real == backbone("single_frame_real", 0, "--num_workers", "7")
    assert backbone("paired_real", 0) == backbone("paired_synthetic", 0)
    assert backbone("paired_real", 0, "--backbone_run", "mine") == Path("mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"args": ["--nonsense", "1"]}, "nonsense is a setting of none of the rows"),
        ({"args": ["--seed", "1"]}, "seed is given to each run by the sweep"),
        ({"args": ["stray"]}, "settings must be given as --NAME VALUE, got 'stray'"),
        ({"presets": ["joint_real"]}, "presets must be of the rows of the tables, sam_fpn, .*, got joint_real"),
    ],
)
def test_what_no_row_has_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        swept(tmp_path, {}, **options)
    assert not list(tmp_path.iterdir())


def test_a_file_of_settings_must_hold_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, message in [
        ("- a list", "must hold settings by name, got a list"),
        ("a: [", "cannot be read as YAML"),
        ("a: &x [*x]", "aliases"),
    ]:
        (tmp_path / "settings.yaml").write_text(text)
        with pytest.raises(SystemExit) as end:
            main(["sweep", "--tables", "4.4", "--config", str(tmp_path / "settings.yaml")])
        assert end.value.code == 1
        assert message in capsys.readouterr().err


def test_the_comparison_is_of_rows_of_other_tables() -> None:
    rows = load_tables()["4.5"]
    presets = load_presets()
    assert [row.thesis for row in rows] == [62.33, 68.44, 84.84]
    for row in rows:
        assert presets[row.name].table != "4.5"
        assert row.settings == presets[row.name].settings


def test_rows_without_a_score_say_so(tmp_path: Path) -> None:
    row = Preset(name="plain", table="9", row="A row", thesis=None, family="segmentation", settings={})
    folder = tmp_path / "plain" / "seed-0"
    folder.mkdir(parents=True)
    settings = {
        "epochs": 2,
        "steps_per_epoch": 3,
        "batch_size": 4,
        "accumulate": 5,
        "backbone": "b",
        "evaluation": "val",
    }
    results = {
        "settings": {**settings, "image_size": [32, 48]},
        "processes": 6,
        "seconds": 7.0,
        "data": {"root": "r", "layout": "l", "evaluated_frames": 0, "labelled_frames": 1, "seed_frames": 2},
        "versions": {"torch": "1"},
    }
    (folder / "results.json").write_text(json.dumps(results))
    write_results(tmp_path, {"9": [row]})
    assert (
        "| A row | `plain` |  | no score |  |  |  | 1 |  | 6 x 120 | 7 | 1 / 2 / 0 |"
        in (tmp_path / "results.md").read_text()
    )


def test_two_sweeps_of_two_tables_run_a_shared_row_once(
    changes: dict[str, Any], tmp_path: Path, ran: list[str]
) -> None:
    tables = {name: load_tables()[name] for name in ("4.4", "4.5")}
    sweep(tables, output=tmp_path, seeds=[0], scale="laptop", presets=["sam_fpn"], changes=changes)
    assert ran == ["sam_fpn/seed-0"]
    content = json.loads((tmp_path / "results.json").read_text())["tables"]
    runs = [row["runs"] for rows in content.values() for row in rows if row["preset"] == "sam_fpn"]
    assert len(runs) == 2
    assert runs[0] == runs[1]
    assert read_checkpoint(tmp_path / "sam_fpn" / "seed-0" / "checkpoint.pt")["step"] == 1
    assert (tmp_path / "masks" / "dataset" / "segments.json").is_file()

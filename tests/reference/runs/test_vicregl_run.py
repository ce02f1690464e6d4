"""The VICRegL family: its loss term by term, and whole runs of one and of two stages on a tiny data set."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from processes import run_in_two_processes
from runs import TINY, assert_same_numbers
from ycb_layouts import real_sample

from correspondence_losses.correspond import MultiCrop
from correspondence_losses.functional.vicreg import Convention
from correspondence_losses.reference.data import open_dataset
from correspondence_losses.reference.engine.checkpoint import CheckpointError, read_checkpoint
from correspondence_losses.reference.experiments import SegmentationSettings, VICRegLSettings
from correspondence_losses.reference.experiments.presets import load_presets
from correspondence_losses.reference.experiments.record import plain
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.figures.plots import plot_comparison
from correspondence_losses.reference.runs.command_line import load_settings, preset_settings
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.runs.trained import TrainedModel
from correspondence_losses.reference.segments import FelzenszwalbSegmenter
from correspondence_losses.reference.streams import arrangements

PRESETS = {name: preset for name, preset in load_presets().items() if preset.table in ("4.1", "4.2", "4.3")}


def tiny(data: Path, output: Path, **changes: Any) -> VICRegLSettings:
    defaults: dict[str, Any] = {
        **TINY,
        "training": "joint",
        "arrangement": "unpaired",
        "vicregl_weight": 0.1,
        "sam_weight": 0.2,
        "crops": MultiCrop(num_small=2, large_size=64, small_size=32),
        "projector_channels": (16, 8),
        "expander_channels": (32, 16),
        "segmenter": FelzenszwalbSegmenter(scale=50, min_size=20),
        "batch_size": 2,
        "epochs": 2,
        "steps_per_epoch": 3,
        "warmup_epochs": 1,
        "checkpoint_every": 2,
    }
    return VICRegLSettings(data=data, output=output, **{**defaults, **changes})


@pytest.fixture(scope="module")
def joint(data: Path, tmp_path_factory: pytest.TempPathFactory) -> VICRegLSettings:
    """A finished run of eq. 4.10."""
    settings = tiny(data, tmp_path_factory.mktemp("joint"))
    run(settings)
    return settings


@pytest.fixture(scope="module")
def separate(data: Path, tmp_path_factory: pytest.TempPathFactory) -> VICRegLSettings:
    """A finished run of eq. 4.9 and of a head on its backbone."""
    settings = tiny(data, tmp_path_factory.mktemp("separate"), training="separate", arrangement="multiple_frames")
    run(settings)
    return settings


@pytest.mark.parametrize("convention", ["vicregl", "vicreg", "equations"])
def test_the_loss_is_that_of_the_equations(data: Path, tmp_path: Path, convention: Convention) -> None:
    settings = tiny(data, tmp_path, convention=convention, batch_size=3, num_matches=(5, 2))
    task = settings.task(RunData(Fabric(accelerator="cpu", devices=1), settings))
    batch = task.collate([task.stream[i] for i in range(3)])
    torch.manual_seed(0)
    model = settings.create_model(22).double()
    views = batch.views
    images = [image.double() for image in views.images]
    labelled = views.labelled._replace(image=views.labelled.image.double())
    terms = model(batch._replace(views=views._replace(images=tuple(images), labelled=labelled)))

    maps = [model.backbone(image)[-1] for image in images]
    local = [model.projector(view) for view in maps]
    pooled = [model.expander(view.mean((2, 3))) for view in maps]
    vicregl = settings._vicregl_loss()(pooled, local, views.grids, num_large=2)
    cells = torch.cat([view.flatten(2) for view in local], -1)

    def slot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """ℓ of eq. 2.6 between (n, d) vectors, with the convention's factors."""
        d = a.shape[1]

        def variance(z: torch.Tensor) -> torch.Tensor:
            spread = z.var(0) if len(z) > 1 else torch.zeros(d)
            return (1 - (spread + 1e-4).sqrt()).clamp(min=0).mean()

        def covariance(z: torch.Tensor) -> torch.Tensor:
            matrix = torch.cov(z.T) if len(z) > 1 else torch.zeros(d, d)
            return (matrix - matrix.diag().diag()).square().sum() / d

        distance = (a - b).square().sum(1).mean()
        return (
            25 * (distance if convention == "equations" else distance / d)
            + 25 * (1 if convention == "equations" else 0.5) * (variance(a) + variance(b))
            + (0.5 if convention == "vicregl" else 1) * (covariance(a) + covariance(b))
        )

    sam, total = torch.zeros((), dtype=torch.float64), 0.0
    for search, matches in zip(settings.searches(), batch.segment_matches, strict=True):
        slots = []
        for k in range(matches.valid.shape[1]):
            who = [i for i in range(3) if matches.valid[i, k]]
            if who:
                a = torch.stack([cells[i, :, matches.index_a[i, k]] for i in who])
                b = torch.stack([cells[i, :, matches.index_b[i, k]] for i in who])
                slots.append(slot(a, b))
        share = torch.stack(slots).sum()
        share = share / len(search.sources) if convention == "equations" else share / len(slots)
        sam, total = sam + search.weight * share, total + search.weight
    assert total == pytest.approx(1)
    logits = torch.nn.functional.interpolate(
        model.head.classifier(model.backbone(labelled.image)[-1]), size=(32, 64), mode="bilinear", align_corners=False
    )
    segmentation = torch.nn.functional.cross_entropy(logits.float(), labelled.label)

    assert terms["vicregl"].item() == pytest.approx(vicregl.item(), rel=1e-9)
    assert terms["sam"].item() == pytest.approx(sam.item(), rel=1e-6)
    assert terms["segmentation"].item() == pytest.approx(segmentation.item(), rel=1e-6)
    expected = 0.1 * vicregl + 0.2 * sam + segmentation
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert terms["sam"].item() == pytest.approx(
        sum(terms[f"sam_{name}"].item() for name in ("invariance", "variance", "covariance")), rel=1e-6
    )


@pytest.mark.parametrize(
    ("change", "absent", "terms"),
    [
        ({"vicregl_weight": 0.0}, "expander", {"loss", "segmentation", "sam"}),
        ({"sam_weight": 0.0}, "nothing", {"loss", "segmentation", "vicregl"}),
        ({"training": "backbone", "arrangement": "single_frame"}, "head", {"loss", "vicregl", "sam"}),
    ],
)
def test_what_has_no_weight_is_not_computed(
    data: Path, tmp_path: Path, change: dict[str, Any], absent: str, terms: set[str]
) -> None:
    settings = tiny(data, tmp_path, **change)
    task = settings.task(RunData(Fabric(accelerator="cpu", devices=1), settings))
    batch = task.collate([task.stream[i] for i in range(2)])
    model = settings.create_model(22)
    assert not any(name.startswith(absent) for name, _ in model.named_parameters())
    found = model(batch)
    totals = {name for name in found if not name.startswith("sam_") and name.count("_") != 1}
    assert totals == terms
    found["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())  # as DDP wants it
    assert (batch.segment_matches == ()) == (settings.sam_weight == 0)
    assert (task.record()["segmenter"] is None) == (settings.sam_weight == 0)


def test_a_joint_run_leaves_its_results(joint: VICRegLSettings) -> None:
    results = json.loads((joint.output / "results.json").read_text())
    assert results["family"] == "vicregl"
    assert [row["epoch"] for row in results["evaluations"]] == [1, 2]
    assert results["data"]["arrangement"] == "unpaired"
    assert results["data"]["seed_frames"] == results["data"]["labelled_frames"] == 3
    assert {path.name for path in (joint.output / "figures").iterdir()} == {
        "curves.png", "matches.png", "predictions", "predictions.png", "segments.png", "views.png",
    }  # fmt: skip
    for row in read_checkpoint(joint.output / "checkpoint.pt")["history"]["training"]:
        assert row["loss"] == pytest.approx(0.1 * row["vicregl"] + 0.2 * row["sam"] + row["segmentation"], rel=1e-5)
    read = load_settings(joint.output)
    assert isinstance(read, VICRegLSettings)
    assert dataclasses.replace(read, segmenter=joint.segmenter) == joint


def test_a_run_of_two_stages_leaves_a_backbone_and_a_head_on_it(separate: VICRegLSettings) -> None:
    results = json.loads((separate.output / "results.json").read_text())
    assert results["family"] == "segmentation"
    assert len(results["evaluations"]) == 2
    first = json.loads((separate.output / "backbone" / "results.json").read_text())
    assert first["data"]["arrangement"] == "multiple_frames"
    assert "mean_iou" not in first
    assert {path.name for path in (separate.output / "backbone" / "figures").iterdir()} == {
        "curves.png", "matches.png", "segments.png", "views.png",
    }  # fmt: skip
    before, after = (
        read_checkpoint(f / "checkpoint.pt")["model"] for f in (separate.output / "backbone", separate.output)
    )
    assert {name.split(".")[0] for name in before} == {"backbone", "projector", "expander"}
    assert {name.split(".")[0] for name in after} == {"backbone", "head"}
    for name, tensor in after.items():
        assert name.startswith("head.") or torch.equal(tensor, before[name])


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(("training", "call"), [("joint", 5), ("separate", 3), ("separate", 9)])
def test_killed_and_resumed_equals_never_stopped(
    request: pytest.FixtureRequest, training: str, call: int, tmp_path: Path, steps: Any
) -> None:
    whole: VICRegLSettings = request.getfixturevalue(training)
    killed = dataclasses.replace(whole, output=tmp_path, masks=whole.output / "backbone" / "masks")
    if training == "joint":
        killed = dataclasses.replace(killed, masks=whole.output / "masks")
    with steps.killed(after=call):
        run(killed)
    run(killed)
    assert_same_numbers(whole.output, killed.output)
    if training == "separate":
        assert_same_numbers(whole.output / "backbone", killed.output / "backbone")


@pytest.mark.usefixtures("without_figures")
def test_overwriting_starts_both_stages_anew(separate: VICRegLSettings, tmp_path: Path, steps: Any) -> None:
    shutil.copytree(separate.output, tmp_path, dirs_exist_ok=True)
    anew = dataclasses.replace(separate, output=tmp_path, epochs=1, seed=1)
    with pytest.raises(CheckpointError, match="seed: 0 there, 1 now"):
        run(anew)
    run(dataclasses.replace(anew, overwrite=True))
    assert steps.begun == 2 * [0, 1, 2]
    for folder in (tmp_path, tmp_path / "backbone"):
        assert json.loads((folder / "results.json").read_text())["settings"]["seed"] == 1


@pytest.mark.usefixtures("without_figures")
def test_heads_share_a_backbone(separate: VICRegLSettings, tmp_path: Path, steps: Any) -> None:
    backbone = separate.output / "backbone"
    other = dataclasses.replace(separate, output=tmp_path, labelled="train", backbone_run=backbone, overwrite=True)
    results = run(other)
    assert steps.begun == [0, 1, 2, 3, 4, 5]  # of the head
    assert results["settings"]["labelled"] == "train"
    with pytest.raises(CheckpointError, match="holds a model that predicts no classes"):
        TrainedModel(backbone)
    assert TrainedModel(other.output, accelerator="cpu").step == 6
    with pytest.raises(CheckpointError, match=r"alpha: 0.75 there, 0.5 now"):
        run(dataclasses.replace(other, alpha=0.5))


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("training", ["joint", "separate"])
def test_two_processes_train_as_one_with_the_same_global_batch(
    training: str, joint: VICRegLSettings, tmp_path: Path
) -> None:
    """Real gloo processes, with the settings that a file and the command line give."""
    one = dataclasses.replace(
        joint,
        output=tmp_path / "one",
        masks=joint.output / "masks",
        training=training,
        arrangement="unpaired" if training == "joint" else "single_frame",
        batch_size=4,
        epochs=1,
        # Adam gives a gradient that is 0 but for rounding a step of full length, in either direction.
        learning_rate=1e-4,
    )
    run(one)
    arguments = f"--config {tmp_path / 'settings.yaml'} --output {tmp_path / 'two'} --devices 2 --batch_size 2"
    settings = {
        **plain(one),
        "segmenter": {"class_path": "FelzenszwalbSegmenter", "init_args": one.segmenter.settings()},
    }
    (tmp_path / "settings.yaml").write_text(json.dumps(settings))
    run_in_two_processes(preset_settings("unpaired_sam", args=arguments.split()))
    for folder in ["."] if training == "joint" else ["backbone", "."]:
        rows = [
            [[float(value) for value in line.split(",")] for line in text.splitlines()[1:]]
            for text in [(tmp_path / name / folder / "training.csv").read_text() for name in ("one", "two")]
        ]
        assert len(rows[0]) == 3
        np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs(name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = PRESETS[name]
    source = open_dataset(data)
    singles = {3: [(source, "data/0000/000002")], 9: [(source, "data/0000/000003")]}
    monkeypatch.setattr(RunData, "pairs", lambda _: source)
    monkeypatch.setattr(RunData, "single_objects", lambda *_: source)
    monkeypatch.setattr(arrangements, "single_object_frames", lambda _: singles)
    changes = {
        "data": str(data),
        "output": str(tmp_path / "run"),
        "evaluation": "val",
        "epochs": 1,
        "steps_per_epoch": 1,
        "num_workers": 0,
        "image_size": [32, 64],
        "crops": {"num_small": 2, **preset.settings.get("crops", {}), "large_size": 64, "small_size": 32},
        "projector_channels": [8],
        "expander_channels": [8],
        "batch_size": 2,
        "accelerator": "cpu",
    }
    settings = preset_settings(name, changes=changes)
    assert isinstance(settings, VICRegLSettings)
    results = run(settings)
    assert results["settings"]["labelled"] == preset.settings["labelled"]
    assert 0 <= results["mean_iou"] <= 1
    stages = settings.stages()
    assert (results["family"] == "segmentation") == isinstance(stages[-1], SegmentationSettings)
    assert results["settings"].get("frozen_backbone", False) == (preset.table == "4.1")


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("arrangement", ["unpaired", "multiple_frames"])
def test_real_frames(arrangement: str, tmp_path: Path) -> None:
    settings = tiny(
        real_sample(),
        tmp_path,
        arrangement=arrangement,
        labelled="synthetic" if arrangement == "unpaired" else "val",  # ten frames of one scene
        max_unlabelled_frames=2,
        max_evaluation_frames=2,
        sam_weight=0.2 if arrangement == "unpaired" else 0.0,
        epochs=1,
        steps_per_epoch=1,
    )
    results = run(settings)
    assert 0 <= results["mean_iou"] <= 1
    task = settings.task(RunData(Fabric(accelerator="cpu", devices=1), settings))
    views = task.stream[0].views
    assert all(grid.valid.any() for grid in views.grids)  # each view has a place in the seed frame
    assert (views.pictures.max() > 0) == (arrangement == "multiple_frames")


def test_the_thesis_scale_is_the_default_of_the_settings() -> None:
    read = preset_settings("single_frame_synthetic", scale="thesis")
    assert isinstance(read, VICRegLSettings)
    assert read == VICRegLSettings(unlabelled="synthetic", min_segment_area=1000, segmenter=read.segmenter)
    assert preset_settings("multiple_arrangements_21_views_real").crops.num_small == 25


@pytest.mark.usefixtures("without_figures")
def test_vicregl_wants_two_samples_and_counts_those_of_all_processes(data: Path, tmp_path: Path) -> None:
    alone = tiny(data, tmp_path, batch_size=1)
    with pytest.raises(ValueError, match="batch_size must be at least 2 for the statistics of VICRegL"):
        run(alone)
    run(dataclasses.replace(alone, vicregl_weight=0.0, epochs=1, overwrite=True))  # segments have several matches each


def apart(**changes: Any) -> dict[str, Any]:
    return {"training": "separate", "arrangement": "single_frame", **changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vicregl_weight": -1.0}, "vicregl_weight must be at least 0, got -1.0"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\], got 1.5"),
        ({"num_matches": (0, 4)}, r"num_matches\[0\] must be at least 1, got 0"),
        ({"convention": "other"}, "convention must be one of"),
        ({"projector_channels": ()}, r"projector_channels must hold numbers above 0, got \(\)"),
        ({"expander_channels": (8, 0)}, r"expander_channels must hold numbers above 0, got \(8, 0\)"),
        ({"num_posed_views": 3}, "num_posed_views must lie between 0 and crops.num_small, 2, got 3"),
        ({"arrangement": "paired"}, "labelled must be unlabelled, 'train', for \"paired\""),
        (apart(poses_per_class=0), "poses_per_class must be above 0, got 0"),
        (apart(vicregl_weight=0.0, sam_weight=0.0), "vicregl_weight or sam_weight must be above 0"),
        (apart(arrangement="unpaired"), 'arrangement must not be "unpaired" where'),
    ],
)
def test_settings_check_what_they_hold(data: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(data, tmp_path, **change)


def test_a_backbone_of_another_stride_is_refused(data: Path, tmp_path: Path) -> None:
    crops = MultiCrop(num_small=2, large_size=64, small_size=32, stride=16)
    with pytest.raises(ValueError, match=r"crops\.stride must be that of convnext_atto, 32, got 16"):
        run(tiny(data, tmp_path, crops=crops))


def test_curves_of_several_runs_stand_in_one_plot(tmp_path: Path) -> None:
    evaluations = [{"epoch": i, "step": 3 * i, "mean_iou": 0.1 * i} for i in (1, 2)]
    plot_comparison(tmp_path / "plot.png", {"one": evaluations, "other": evaluations[:1]}, "title")
    assert (tmp_path / "plot.png").stat().st_size > 0
    for runs, message in [({"one": []}, "'one' has none"), ({"one": [{}]}, "mean_iou")]:
        with pytest.raises(ValueError, match=message):
            plot_comparison(tmp_path / "plot.png", runs, "title")

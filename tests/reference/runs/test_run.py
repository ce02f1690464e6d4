"""Whole runs on a tiny data set: results, figures, resumption bit for bit, and the ways a run must stop."""

import dataclasses
import itertools
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from processes import start_script
from runs import TINY, assert_same_numbers, training_rows
from ycb_layouts import random_frame, synthetic_meta, write_original

from correspondence_losses.losses import SegmentRegularizationLoss
from correspondence_losses.reference.commands.evaluate import evaluate
from correspondence_losses.reference.data import open_dataset
from correspondence_losses.reference.engine.checkpoint import CheckpointError, read_checkpoint, scored_weights
from correspondence_losses.reference.engine.loop import Interrupted
from correspondence_losses.reference.engine.step_report import NonFiniteLossError
from correspondence_losses.reference.experiments import SegmentationSettings
from correspondence_losses.reference.files import held_folder
from correspondence_losses.reference.runs.command_line import load_settings, preset_settings
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.segments import FelzenszwalbSegmenter, SegmentCache, presegment
from correspondence_losses.reference.streams.images import Augmentation
from correspondence_losses.reference.streams.samples import SampleStream

EXAMPLE = Path(__file__).parents[3] / "examples" / "ycb_fpn_sam.py"


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> SegmentationSettings:
    return SegmentationSettings(
        data=data,
        output=tmp_path / "run",
        fpn_channels=8,
        augmentation=Augmentation(
            crop_scale=(0.3, 1.0), flip=0.5, jitter=0.3, grayscale=0.2, blur=0.3, copy_paste=0.5, clutter=0.5
        ),
        segmenter=FelzenszwalbSegmenter(scale=50, min_size=20),
        epochs=3,
        steps_per_epoch=4,
        checkpoint_every=3,
        learning_rate=1e-3,
        backbone_lr_scale=0.5,
        layer_decay=0.9,
        weight_average=0.9,
        schedule="cosine",
        **{**TINY, "average_epochs": 2, "log_every": 2},
    )


def test_a_run_leaves_its_results(settings: SegmentationSettings) -> None:
    results = run(settings)
    assert json.loads((settings.output / "results.json").read_text()) == results
    assert [row["epoch"] for row in results["evaluations"]] == [1, 2, 3]
    assert results["mean_iou"] == pytest.approx(np.mean([row["mean_iou"] for row in results["evaluations"][-2:]]))
    assert results["averaged_evaluations"] == 2
    assert results["data"]["segmenter"]["class_path"].endswith("FelzenszwalbSegmenter")
    assert results["data"]["labelled_frames"] == results["data"]["evaluated_frames"] == 3
    assert results["versions"]["torch"] == torch.__version__
    assert {path.name for path in (settings.output / "figures").iterdir()} == {
        "curves.png", "predictions", "predictions.png", "segments", "segments.png",
    }  # fmt: skip
    report = (settings.output / "report.html").read_text(encoding="utf-8")
    assert f"{100 * results['mean_iou']:.2f} %" in report
    assert report.count('<figure class="compare">') == 3 + 3  # frames that are scored, and unlabelled ones
    scores = json.loads((settings.output / "scores.json").read_text())
    assert scores["mean_iou"] == results["final"]["mean_iou"]
    assert (settings.output / "training.csv").read_text().splitlines()[0] == (
        "step,loss,segmentation,sam_invariance,sam_separation"
    )
    assert list((settings.output / "tensorboard").iterdir())
    rows = read_checkpoint(settings.output / "checkpoint.pt")["history"]["training"]
    for row in rows:
        parts = row["segmentation"] + settings.sam_weight * (row["sam_invariance"] + row["sam_separation"])
        assert row["loss"] == pytest.approx(parts, rel=1e-5)
    # a finished run that is started again does no step more, and says the same
    again = run(settings)
    assert {**again, "seconds": 0} == {**results, "seconds": 0}


@pytest.mark.usefixtures("without_figures")
def test_killed_and_resumed_equals_never_stopped(settings: SegmentationSettings, tmp_path: Path, steps: Any) -> None:
    run(settings)
    killed = dataclasses.replace(settings, output=tmp_path / "killed")
    with steps.killed(step=8):  # the last checkpoint is of step 8, in the middle of nothing
        run(killed)
    run(killed)
    assert_same_numbers(settings.output, killed.output)


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_that_resumes(
    settings: SegmentationSettings,
    tmp_path: Path,
    steps: Any,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    run(settings)
    stopped = dataclasses.replace(settings, output=tmp_path / "stopped")
    with steps.interrupted(lambda: os.kill(os.getpid(), number), step=4), pytest.raises(Interrupted):
        run(stopped)
    assert "stopped after step 5 of 12; the same command goes on from there" in capsys.readouterr().out
    assert read_checkpoint(stopped.output / "checkpoint.pt")["step"] == 5
    run(stopped)
    assert_same_numbers(settings.output, stopped.output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_of_processes_leaves_a_checkpoint(
    data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C in a terminal reaches the loader's workers too."""
    arguments = f"--data {data} --output {tmp_path / 'run'} --evaluation val --epochs 1 --steps_per_epoch 100000 "
    arguments += "--num_workers 2 --image_size [32,32] --fpn_channels 4 --accelerator cpu --checkpoint_every 2"
    process = start_script(EXAMPLE, arguments.split(), tmp_path)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    while not checkpoint.exists() and process.is_alive():
        time.sleep(0.1)
    assert process.is_alive(), (tmp_path / "err").read_text()
    before = read_checkpoint(checkpoint)["step"]
    os.killpg(process.pid, number)
    process.join(timeout=60)
    errors = (tmp_path / "err").read_text()
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"it goes on: {errors}")
    assert process.exitcode == 130, errors
    assert "Traceback" not in errors
    assert read_checkpoint(checkpoint)["step"] >= before


def test_a_nan_stops_with_its_step_and_term(settings: SegmentationSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    _nan_at(monkeypatch, step=6)
    with pytest.raises(NonFiniteLossError, match=r"at step 6: loss = nan, sam_separation = nan"):
        run(settings)
    assert read_checkpoint(settings.output / "checkpoint.pt")["step"] == 4


def test_an_error_ends_the_processes_that_read(settings: SegmentationSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """They ignore the signal that Python sends them at exit, and it would wait for them for ever."""
    _nan_at(monkeypatch, step=2)
    with pytest.raises(NonFiniteLossError) as error:  # which keeps the traceback, as an uncaught error does
        run(dataclasses.replace(settings, num_workers=2))
    assert error.tb is not None
    assert multiprocessing.active_children() == []


def _nan_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    terms = SegmentRegularizationLoss.terms
    calls = itertools.count(1)

    def broken(self: Any, *arguments: Any) -> Any:
        good = terms(self, *arguments)
        return good._replace(separation=good.separation * float("nan")) if next(calls) == step else good

    monkeypatch.setattr(SegmentRegularizationLoss, "terms", broken)


def test_another_run_in_the_folder_is_refused_or_overwritten(settings: SegmentationSettings) -> None:
    short = dataclasses.replace(settings, epochs=1, sam_weight=0.0)
    run(short)
    other = dataclasses.replace(short, learning_rate=5e-4)
    with pytest.raises(CheckpointError, match=r"learning_rate: 0.001 there, 0.0005 now"):
        run(other)
    results = run(dataclasses.replace(other, overwrite=True))
    assert results["settings"]["learning_rate"] == 5e-4
    assert results["data"]["segmenter"] is None
    assert not (settings.output / "figures" / "segments.png").exists()


def test_a_folder_that_another_process_writes_to_is_refused(settings: SegmentationSettings) -> None:
    with held_folder(settings.output), pytest.raises(ValueError, match="another process is writing to it"):
        run(dataclasses.replace(settings, overwrite=True))


@pytest.mark.parametrize("preset", ["sam_fpn", "fpn", "fpn_real", "sam"])
def test_every_preset_runs(preset: str, data: Path, tmp_path: Path) -> None:
    changes = {
        "data": str(data),
        "output": str(tmp_path / preset),
        "evaluation": "val",
        "epochs": 1,
        "steps_per_epoch": 2,
        "num_workers": 0,
        "image_size": [32, 32],
        "fpn_channels": 4,
        "accelerator": "cpu",
    }
    results = run(preset_settings(preset, changes=changes))
    assert results["settings"]["labelled"] == ("train" if preset == "fpn_real" else "synthetic")
    assert results["settings"]["head"] == ("linear" if preset == "sam" else "fpn")
    assert (results["data"]["segmenter"] is not None) == (preset in ("sam_fpn", "sam"))


def test_two_processes_train_as_one_with_the_same_global_batch(data: Path, tmp_path: Path) -> None:
    """Real gloo processes, started as a user starts them."""

    def training(devices: int) -> list[list[float]]:
        output = tmp_path / f"devices{devices}"
        arguments = f"--data {data} --output {output} --masks {tmp_path / 'masks'} --evaluation val --epochs 1 "
        arguments += "--steps_per_epoch 4 --log_every 1 --num_workers 0 --image_size [32,32] --fpn_channels 4 "
        # A backbone with layer normalisation: batch normalisation sees the batch of its own process on CPUs.
        arguments += "--backbone convnext_atto --pretrained false "
        arguments += f"--accelerator cpu --devices {devices} --batch_size {2 // devices}"
        if devices > 1:
            subprocess.run([sys.executable, str(EXAMPLE), *arguments.split()], check=True, capture_output=True)
        else:
            run(preset_settings("sam_fpn", args=arguments.split()))
        return training_rows(output)

    np.testing.assert_allclose(training(2), training(1), rtol=1e-5, atol=1e-6)


def test_only_the_folder_of_a_run_is_overwritten(settings: SegmentationSettings) -> None:
    settings.output.mkdir()
    other = settings.output / "settings.json"
    other.write_text('{"editor.fontSize": 12}')
    with pytest.raises(ValueError, match=r"settings\.json is not that of a run"):
        run(dataclasses.replace(settings, overwrite=True))
    assert other.exists()


@pytest.mark.usefixtures("without_figures")
def test_accumulated_batches_train_as_one_large_one(settings: SegmentationSettings, tmp_path: Path) -> None:
    whole = dataclasses.replace(settings, epochs=1, batch_size=2, log_every=1)
    parts = dataclasses.replace(whole, batch_size=1, accumulate=2, output=tmp_path / "parts")
    rows = [read_checkpoint(s.output / "checkpoint.pt")["history"]["training"] for s in (whole, parts) if run(s)]
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.usefixtures("without_figures")
def test_activation_checkpointing_changes_nothing_but_memory(settings: SegmentationSettings, tmp_path: Path) -> None:
    short = dataclasses.replace(settings, epochs=1)
    checkpointed = dataclasses.replace(short, activation_checkpointing=True, output=tmp_path / "checkpointed")
    run(short)
    run(checkpointed)
    assert_same_numbers(short.output, checkpointed.output)
    model = checkpointed.create_model(22)
    assert model.backbone.network.grad_checkpointing


@pytest.mark.usefixtures("without_figures")
def test_a_frozen_backbone_of_another_run_stays_as_it_is(settings: SegmentationSettings, tmp_path: Path) -> None:
    first = dataclasses.replace(settings, epochs=1)
    run(first)
    head = dataclasses.replace(
        first, output=tmp_path / "head", head="linear", sam_weight=0.0, frozen_backbone=True, backbone_run=first.output
    )
    run(head)
    before, after = (read_checkpoint(s.output / "checkpoint.pt") for s in (first, head))
    for name, tensor in after["model"].items():
        assert (
            torch.equal(tensor, scored_weights(before)[name])
            if name.startswith("backbone.")
            else name.startswith("head.")
        )
    other = dataclasses.replace(head, output=tmp_path / "other", backbone="resnet10t")
    with pytest.raises(CheckpointError, match="does not hold the backbone that is wanted"):
        run(other)


@pytest.mark.usefixtures("without_figures")
def test_a_run_starts_from_the_model_of_another(settings: SegmentationSettings, tmp_path: Path) -> None:
    first = dataclasses.replace(settings, epochs=1)
    run(first)
    before = scored_weights(read_checkpoint(first.output / "checkpoint.pt"))
    # Steps of next to no length: what comes out is what went in.
    next_ = dataclasses.replace(first, output=tmp_path / "next", start_run=first.output, learning_rate=1e-12, seed=1)
    run(next_)
    after = scored_weights(read_checkpoint(next_.output / "checkpoint.pt"))
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-7)
    alone = dataclasses.replace(next_, output=tmp_path / "alone", sam_weight=0.0)
    run(alone)  # without the pooling block
    other = dataclasses.replace(next_, output=tmp_path / "other", head="linear")
    with pytest.raises(CheckpointError, match="does not hold the head that is wanted"):
        run(other)
    with pytest.raises(ValueError, match="backbone_run must be left out with start_run"):
        dataclasses.replace(next_, backbone_run=first.output)


@pytest.mark.usefixtures("without_figures")
def test_labels_may_come_from_another_data_set(settings: SegmentationSettings, data: Path, tmp_path: Path) -> None:
    frame = random_frame(5, size=(48, 64))
    write_original(tmp_path / "other", "data_syn/000000", frame, synthetic_meta(frame))
    results = run(dataclasses.replace(settings, epochs=1, labelled_data=tmp_path / "other"))
    assert results["data"]["labelled_frames"] == 1
    assert results["data"]["root"] == str(data)


def test_unlabelled_images_may_be_a_folder_alone_and_nothing_be_scored(
    settings: SegmentationSettings, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "photographs").mkdir()
    Image.fromarray(random_frame(7, size=(48, 64)).image).save(tmp_path / "photographs" / "desk.png")
    alone = dataclasses.replace(settings, unlabelled=None, evaluation=None)
    results = run(dataclasses.replace(alone, unlabelled_images=tmp_path / "photographs"))
    assert results["data"]["unlabelled_frames"] == 1
    assert results["data"]["evaluated_frames"] == 0
    assert "mean_iou" not in results
    assert not (settings.output / "evaluation.csv").exists()
    with pytest.raises(ValueError, match="unlabelled must name a split of the data, got none"):
        run(dataclasses.replace(alone, output=tmp_path / "neither"))
    with pytest.raises(ValueError, match=r"split must be given, since .* was not scored"):
        evaluate(settings.output)


def test_the_thesis_scale_is_the_default_of_the_settings() -> None:
    read = preset_settings("sam_fpn", scale="thesis")
    assert isinstance(read, SegmentationSettings)
    assert read == dataclasses.replace(SegmentationSettings(), min_segment_area=1000, segmenter=read.segmenter)


@pytest.mark.usefixtures("without_figures")
def test_settings_are_read_back_from_the_folder_of_a_run(settings: SegmentationSettings) -> None:
    short = dataclasses.replace(settings, epochs=1)
    run(short)
    read = load_settings(short.output)
    assert isinstance(read, SegmentationSettings)
    assert dataclasses.replace(read, segmenter=short.segmenter) == short


def test_samples_depend_on_their_index_alone_and_segments_follow_the_image(data: Path, tmp_path: Path) -> None:
    source = open_dataset(data)
    frames = source.frames("train")
    # segments that are a function of the image's content, so that a wrong crop or flip shows
    cache = presegment(source, frames, tmp_path, FelzenszwalbSegmenter(scale=50, min_size=20), progress=False)
    plain = Augmentation()
    full = Augmentation(crop_scale=(0.2, 0.9), flip=0.5, jitter=0.4, grayscale=0.2, blur=0.3)

    def stream(augmentation: Augmentation) -> SampleStream:
        return SampleStream(
            [(source, frame) for frame in source.frames("synthetic")],
            [(source, frame, cache) for frame in frames],
            size=(48, 64),
            augmentation=augmentation,
            seed=3,
        )

    torch.manual_seed(0)
    first = [stream(full)[i] for i in range(6)]
    torch.manual_seed(1)
    again = pickle.loads(pickle.dumps(stream(full)))  # noqa: S301 - as the processes that read get it
    state = torch.random.get_rng_state()
    for i in reversed(range(6)):
        for name, tensor in again[i].items():
            assert torch.equal(tensor, first[i][name])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first[0]["image"].shape == (3, 48, 64)
    assert first[0]["segments"].dtype == torch.int64

    sample = stream(plain)[0]
    frame = frames[stream(plain).unlabelled_order[0]]
    np.testing.assert_array_equal(sample["segments"], cache.load(frame))
    shown = sample["unlabelled_image"] * 255
    np.testing.assert_allclose(shown.permute(1, 2, 0), source.image(frame), atol=1e-3)


def test_geometry_moves_label_and_image_together(tmp_path: Path) -> None:
    """A frame whose red channel is its label: after crops and flips it must still be."""
    frame = random_frame(size=(48, 64), object_ids=(3, 9))
    label = np.repeat(np.repeat(frame.label[::8, ::8], 8, 0), 8, 1)
    image = np.dstack([label * 20] * 3).astype(np.uint8)
    write_original(tmp_path, "data/0000/000001", dataclasses.replace(frame, label=label, image=image))
    source = open_dataset(tmp_path)
    augmentation = Augmentation(crop_scale=(0.2, 0.9), flip=0.5)
    stream = SampleStream([(source, "data/0000/000001")], [], size=(96, 128), augmentation=augmentation, seed=0)
    for index in range(8):
        sample = stream[index]
        red = sample["image"][0] * 255 / 20
        assert ((red - sample["label"]).abs() < 0.5).float().mean() > 0.8  # all but the interpolated borders


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"backbone": "convnext_nonsense"}, ValueError, "backbone must be a model of timm .*convnext_"),
        ({"backbone": "levit_128"}, ValueError, "backbone 'levit_128' has no feature maps"),
        ({"backbone": "swin_tiny_patch4_window7_224"}, ValueError, "backbone must take images of any size"),
        ({"backbone": "mambaout_femto"}, ValueError, r"backbone must return maps \(b, channels, h, w\)"),
        ({"labelled": "nonsense"}, ValueError, "split must be one of .*nonsense"),
        ({"evaluation": "keyframe"}, ValueError, r"split must be one of \['train', 'val', 'synthetic'\]"),
        (
            {"backbone_weights": Path("/none.safetensors"), "pretrained": True},
            RuntimeError,
            "none.safetensors: is missing",
        ),
    ],
)
def test_bad_settings_name_the_argument(
    settings: SegmentationSettings, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(dataclasses.replace(settings, **change))


@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate", "fpn_channels"])
def test_settings_check_their_range(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above 0, got 0"):
        SegmentationSettings(**{name: 0})


def test_a_cache_of_other_segments_is_refused(settings: SegmentationSettings, tmp_path: Path) -> None:
    SegmentCache.open_or_create(tmp_path / "masks" / "dataset", {"segmenter": "other"}, {})
    with pytest.raises(ValueError, match="made by other settings"):
        run(dataclasses.replace(settings, masks=tmp_path / "masks"))

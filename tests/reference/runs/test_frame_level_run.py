"""The frame-level family: its losses term by term, its pairs, and whole runs on a tiny data set."""

import dataclasses
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from processes import run_in_two_processes
from runs import TINY, assert_same_numbers, training_rows
from ycb_layouts import random_frame, write_original, write_tiny

from correspondence_losses.reference.data import DataError, YCBVideo
from correspondence_losses.reference.engine.checkpoint import read_checkpoint
from correspondence_losses.reference.experiments import FrameLevelSettings, run_data
from correspondence_losses.reference.experiments.presets import load_presets
from correspondence_losses.reference.experiments.run_data import RunData
from correspondence_losses.reference.figures.colors import component_images
from correspondence_losses.reference.runs.command_line import load_settings, preset_settings
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.scenes import SceneSettings
from correspondence_losses.reference.streams.images import Augmentation
from correspondence_losses.reference.streams.pairs import PairStream

PRESETS = {name: preset for name, preset in load_presets().items() if preset.family == "frame_level"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("ycb"), transparent=False)


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Counterparts that take no renderer: the same labels, other colours. Which frames were asked for."""
    asked: list[tuple[str, ...]] = []

    def render_pairs(root: Path, settings: SceneSettings, source: Path, frames: list[str], *, progress: bool) -> Path:
        asked.append(tuple(frames))
        for frame in frames:
            read = YCBVideo(source).frame(f"data/{frame}")
            write_original(root, f"data/{frame}", dataclasses.replace(read, image=255 - read.image))
        return root

    monkeypatch.setattr(run_data, "render_pairs", render_pairs)
    return asked


def tiny(data: Path, output: Path, **changes: Any) -> FrameLevelSettings:
    defaults: dict[str, Any] = {
        **TINY,
        "l2_weight": 0.5,
        "adversarial_weight": 0.1,
        "scenes": SceneSettings(models=Path("meshes")),
        "renders": data / "renders",
        "decoder_channels": 8,
        "augmentation": Augmentation(crop_scale=(0.3, 1.0), flip=0.5, jitter=0.3),
        "epochs": 2,
        "steps_per_epoch": 3,
        "checkpoint_every": 2,
        "learning_rate": 1e-3,
    }
    return FrameLevelSettings(data=data, output=output, **{**defaults, **changes})


def test_a_run_leaves_its_results_and_figures(
    data: Path, tmp_path: Path, rendered: list[tuple[str, ...]], steps: Any
) -> None:
    """Killed and resumed, it equals one that never stopped."""
    settings = tiny(data, tmp_path / "run")
    results = run(settings)
    assert rendered == [("0000/000001", "0000/000002", "0000/000003")]
    assert results["data"]["paired"]
    assert results["data"]["labelled_frames"] == results["data"]["unlabelled_frames"] == 3
    assert {path.name for path in (settings.output / "figures").iterdir()} == {
        "curves.png", "predictions", "predictions.png", "features.png",
    }  # fmt: skip
    rows = read_checkpoint(settings.output / "checkpoint.pt")["history"]["training"]
    for row in rows:
        parts = row["segmentation"] + 0.5 * (row["l2_16"] + row["l2_8"] + row["l2_4"])
        assert row["loss"] == pytest.approx(parts + 0.1 * row["generator"] + row["discriminator"], rel=1e-5)
    assert load_settings(settings.output) == settings

    killed = dataclasses.replace(settings, output=tmp_path / "killed")
    with steps.killed(step=4):
        run(killed)
    run(killed)
    assert_same_numbers(settings.output, killed.output)


def test_the_losses_are_those_of_the_equations(data: Path, tmp_path: Path) -> None:
    settings = tiny(data, tmp_path, levels=(4, 16))
    torch.manual_seed(0)
    model: Any = settings.create_model(22).double()
    images, real = torch.randn(2, 2, 3, 32, 64, dtype=torch.float64)
    label = torch.randint(0, 3, (2, 32, 64))
    terms = model({"image": images, "label": label, "unlabelled_image": real})

    logits = model.predict(images)
    nll = -logits.log_softmax(1).gather(1, label[:, None]).mean()
    assert terms["segmentation"].item() == pytest.approx(nll.item(), abs=1e-6)
    fine_first = [model.refinenet(model.backbone(x), (32, 64)).pyramid for x in (images, real)]
    generator = discriminator = 0.0
    for level, place, stride, judge in ((4, 0, 4, 0), (16, 2, 16, 1)):
        synthetic, other = (maps[place] for maps in fine_first)
        assert synthetic.shape[-2:] == (32 // stride, 64 // stride)
        mask = F.interpolate((label > 0)[:, None].double(), synthetic.shape[-2:], mode="nearest-exact")
        distance = torch.stack([
            sum((other[i, :, y, x] - synthetic[i, :, y, x]).square().mean() for y, x in mask[i, 0].nonzero())
            / mask[i].sum()
            for i in range(2)
        ]).mean()  # fmt: skip
        assert terms[f"l2_{level}"].item() == pytest.approx(distance.item(), rel=1e-6)
        scores, other_scores = (model.discriminator.levels[judge](x) for x in (synthetic, other))
        generator += 0.5 * (other_scores - 1).square().mean().item()
        discriminator += 0.5 * ((scores - 1).square().mean() + other_scores.square().mean()).item()
    assert terms["generator"].item() == pytest.approx(generator, rel=1e-6)
    assert terms["discriminator"].item() == pytest.approx(discriminator, rel=1e-6)

    terms["discriminator"].backward(retain_graph=True)
    assert all(p.grad is None for name, p in model.named_parameters() if not name.startswith("discriminator"))
    model.zero_grad()
    terms["generator"].backward()
    assert all(p.grad is None for p in model.discriminator.parameters())


def test_both_images_of_a_pair_have_the_same_crop_and_flip(data: Path, tmp_path: Path) -> None:
    """A real image that is its render's complement must be it after crops and flips, and so must the label."""
    frame = random_frame(size=(48, 64), object_ids=(3, 9))
    label = np.repeat(np.repeat(frame.label[::8, ::8], 8, 0), 8, 1)
    image = np.dstack([label * 20] * 3).astype(np.uint8)
    for root, shown in (("real", 255 - image), ("renders", image)):
        write_original(tmp_path / root, "data/0000/000001", dataclasses.replace(frame, label=label, image=shown))
    stream = PairStream(
        [(YCBVideo(tmp_path / "real"), "data/0000/000001")],
        YCBVideo(tmp_path / "renders"),
        size=(96, 128),
        augmentation=Augmentation(crop_scale=(0.2, 0.9), flip=0.5),
        seed=0,
    )
    for index in range(6):
        sample = stream[index]
        render, real = ((255 * sample[name][0]).round() for name in ("image", "unlabelled_image"))
        torch.testing.assert_close(render + real, torch.full_like(render, 255.0), atol=1.0, rtol=0)
        assert ((render / 20 - sample["label"]).abs() < 0.5).float().mean() > 0.8  # all but interpolated borders
    copy = pickle.loads(pickle.dumps(stream))  # noqa: S301 - as the processes that read get it
    assert all(torch.equal(copy[5][name], sample[name]) for name in sample)
    assert not torch.equal(stream[4]["image"], sample["image"])


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_runs(preset: str, data: Path, tmp_path: Path, rendered: list[tuple[str, ...]]) -> None:
    changes = {
        **TINY,
        "data": str(data),
        "scenes": {"models": "meshes"},
        "renders": str(tmp_path / "renders"),
        "output": str(tmp_path / preset),
        "epochs": 1,
        "steps_per_epoch": 2,
        "batch_size": 1,
        "decoder_channels": 4,
    }
    if preset == "refinenet_cut":
        with pytest.raises(DataError, match="runs/ycb_cut/refined: is not a folder of refined images"):
            run(preset_settings(preset, changes={**changes, "output": str(tmp_path / "nothing")}))
        shutil.copytree(data / "data_syn", tmp_path / "refined" / "data_syn")
        changes["refined"] = str(tmp_path / "refined")
    results = run(preset_settings(preset, changes=changes))
    paired = PRESETS[preset].settings["paired"]
    assert bool(rendered) == results["data"]["paired"] == paired
    terms = set(results["last_training_terms"]) - {"step", "loss", "segmentation"}
    levels = PRESETS[preset].settings.get("levels", [])
    if preset.startswith("l2"):
        assert terms == {f"l2_{level}" for level in levels}
    else:
        assert terms == ({"generator", "discriminator"} if preset.startswith("adversarial") else set())


def training(data: Path, output: Path, **changes: int) -> list[list[float]]:
    """The terms of each step of a run."""
    arguments = f"--data {data} --output {output} --levels [16,4] --evaluation val "
    arguments += "--backbone convnext_atto --pretrained false --epochs 1 --steps_per_epoch 3 --log_every 1 "
    arguments += "--num_workers 0 --image_size [32,64] --decoder_channels 8 --accelerator cpu "
    arguments += " ".join(f"--{key} {value}" for key, value in changes.items())
    settings = preset_settings("adversarial_unpaired", args=arguments.split())
    run_in_two_processes(settings) if settings.devices == 2 else run(settings)
    return training_rows(output)


def test_two_processes_or_two_batches_a_step_train_as_one_large_batch(data: Path, tmp_path: Path) -> None:
    """The processes are real gloo processes."""
    whole = training(data, tmp_path / "whole", batch_size=2)
    assert len(whole) == 3
    for name, changes in {"processes": {"devices": 2}, "accumulated": {"accumulate": 2}}.items():
        parts = training(data, tmp_path / name, batch_size=1, **changes)
        np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_equal_features_have_equal_colours() -> None:
    maps = np.random.default_rng(0).normal(size=(1, 8, 6, 10))
    one, other = component_images(np.concatenate([maps, maps[..., ::-1]]))
    assert one.shape == (6, 10, 3)
    np.testing.assert_array_equal(one, other[:, ::-1])


def test_data_that_cannot_be_paired_says_why(data: Path, tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    settings = tiny(data, tmp_path, scenes=SceneSettings())
    with pytest.raises(ValueError, match=r"scenes.models must be the folder of the meshes of .*, got none"):
        RunData(fabric, settings).pairs()
    with pytest.raises(ValueError, match=r"scenes.models must be the folder of the meshes of .*, got none"):
        RunData(fabric, settings).single_objects(1)


def test_a_part_of_the_frames_is_rendered(data: Path, tmp_path: Path, rendered: list[tuple[str, ...]]) -> None:
    settings = tiny(data, tmp_path, max_unlabelled_frames=2, renders=tmp_path / "renders")
    RunData(Fabric(accelerator="cpu", devices=1), settings).pairs()
    assert rendered == [("0000/000001", "0000/000002")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": ()}, r"levels must hold some of 16, 8, 4, each once, got \(\)"),
        ({"levels": (8, 8)}, "each once"),
        ({"levels": (32,)}, "each once"),
        ({"paired": False, "l2_weight": 1.0}, "paired must be true for a distance"),
        ({"refined": Path("refined")}, "refined must not be given with paired images"),
        ({"adversarial_weight": -1.0}, "adversarial_weight must be at least 0"),
        ({"max_unlabelled_frames": 0}, "max_unlabelled_frames must be above 0"),
    ],
)
def test_bad_settings_name_the_argument(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameLevelSettings(**change)


def test_the_thesis_scale_is_the_default_of_the_settings() -> None:
    assert preset_settings("adversarial", scale="thesis") == FrameLevelSettings()

"""CUT: its losses, its crops, and whole runs on a tiny data set whose refined images another run trains on."""

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from processes import run_in_two_processes
from runs import QUICK, assert_same_numbers, training_rows
from ycb_layouts import write_tiny

from correspondence_losses.reference.data import RefinedImages, open_dataset
from correspondence_losses.reference.engine.checkpoint import read_checkpoint
from correspondence_losses.reference.experiments import CUTSettings
from correspondence_losses.reference.models.cut import CUTModel, Translator
from correspondence_losses.reference.runs.command_line import preset_settings
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.streams.crops import CropStream
from correspondence_losses.reference.streams.images import Augmentation


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("ycb"), synthetic_size=(48, 63))


def tiny(data: Path, output: Path, **changes: Any) -> CUTSettings:
    defaults: dict[str, Any] = {
        **QUICK,
        "image_size": (32, 40),
        "channels": 8,
        "num_blocks": 2,
        "num_places": 16,
        "epochs": 2,
        "steps_per_epoch": 3,
        "checkpoint_every": 2,
    }
    return CUTSettings(data=data, output=output, **{**defaults, **changes})


def test_a_run_leaves_refined_images_with_the_labels(data: Path, tmp_path: Path, steps: Any) -> None:
    """Killed and resumed, it equals one that never stopped."""
    settings = tiny(data, tmp_path / "run", nce_weight=0.5, identity_weight=0.25)
    results = run(settings)
    assert "mean_iou" not in results
    assert {path.name for path in (settings.output / "figures").iterdir()} == {"curves.png", "refined.png"}
    source = open_dataset(data)
    refined = RefinedImages(source, settings.output / "refined")
    frames = refined.frames("synthetic")
    assert results["data"]["refined_frames"] == len(frames) == 3
    for frame in frames:
        image, original = refined.image(frame).astype(int), source.image(frame).astype(int)
        assert image.shape == original.shape == (48, 63, 3)
        assert 0 < np.abs(image - original).mean() < 40
    for row in read_checkpoint(settings.output / "checkpoint.pt")["history"]["training"]:
        parts = row["generator"] + row["discriminator"] + 0.5 * row["nce"] + 0.25 * row["nce_identity"]
        assert row["loss"] == pytest.approx(parts, rel=1e-5)

    killed = dataclasses.replace(settings, output=tmp_path / "killed")
    with steps.killed(step=4):
        run(killed)
    run(killed)
    assert_same_numbers(settings.output, killed.output)


def test_the_losses_are_those_of_the_equations() -> None:
    torch.manual_seed(0)
    model = CUTModel(8, 2, nce_weight=1.0, identity_weight=1.0).double()
    torch.nn.init.normal_(model.translator.change.weight, std=0.1)
    source, target = torch.rand(2, 1, 3, 32, 40, dtype=torch.float64) * 2 - 1
    places = torch.rand(1, 12, 2)
    terms = model({"image": source, "unlabelled_image": target, "places": places})

    def nce(image: torch.Tensor) -> float:
        total = 0.0
        encoded = [model.translator.encode(x) for x in (model.translator(image), image)]
        for projector, a, b in zip(model.projectors, *encoded, strict=True):
            height, width = a.shape[-2:]
            cells = [(int(v * height), int(u * width)) for v, u in places[0].tolist()]
            queries, keys = (F.normalize(projector(x)[0], dim=0) for x in (a, b))
            losses = []
            for row, column in cells:
                query = queries[:, row, column]
                others = [keys[:, r, c] for r, c in cells if (r, c) != (row, column)]
                logits = torch.stack([keys[:, row, column], *others]) @ query / 0.07
                losses.append(-logits.log_softmax(0)[0])
            total += torch.stack(losses).mean().item()
        return total / len(model.projectors)

    real, fake = model.discriminator(target), model.discriminator(model.translator(source))
    assert terms["generator"].item() == pytest.approx((0.5 * (fake - 1).square().mean()).item(), rel=1e-6)
    expected = 0.5 * ((real - 1).square().mean() + fake.square().mean())
    assert terms["discriminator"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert terms["nce"].item() == pytest.approx(nce(source), rel=1e-6)
    assert terms["nce_identity"].item() == pytest.approx(nce(target), rel=1e-6)


@pytest.mark.parametrize("size", [(32, 40), (33, 47)])
def test_a_new_translator_changes_next_to_nothing(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size) * 2 - 1
    torch.testing.assert_close(Translator(8, 2)(images), images, atol=0.0101, rtol=0)
    images.requires_grad_()
    Translator(8, 2)(images).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


def test_crops_depend_on_their_index_alone(data: Path) -> None:
    source = open_dataset(data)
    frames = [[(source, frame) for frame in source.frames(split)] for split in ("synthetic", "train")]
    stream = CropStream(*frames, size=(32, 40), num_places=16, seed=0)
    copy = pickle.loads(pickle.dumps(stream))  # noqa: S301 - as the processes that read get it
    first, again = [stream[i] for i in range(4)], [copy[i] for i in reversed(range(4))][::-1]
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert first[0]["image"].shape == first[0]["unlabelled_image"].shape == (3, 32, 40)
    assert first[0]["image"].abs().max() <= 1
    assert not torch.equal(first[0]["places"], first[1]["places"])


@pytest.mark.parametrize("size", [(49, 40), (32, 64)])
def test_crops_that_do_not_fit_name_the_setting(data: Path, size: tuple[int, int]) -> None:
    source = open_dataset(data)
    frames = [(source, "data_syn/000000")]
    stream = CropStream(frames, frames, size=size, num_places=4, seed=0)
    with pytest.raises(ValueError, match=r"image_size must be at most \(48, 63\), .* of data_syn/000000, got"):
        stream[0]


def test_two_processes_or_two_batches_a_step_train_as_one_large_batch(data: Path, tmp_path: Path) -> None:
    """The processes are real gloo processes; each refines its part of the images."""

    def training(name: str, **changes: int) -> list[list[float]]:
        arguments = f"--output {tmp_path / name} --data {data} --epochs 1 --steps_per_epoch 3 --log_every 1 "
        arguments += "--num_workers 0 --image_size [32,40] --channels 8 --num_blocks 2 --accelerator cpu "
        arguments += " ".join(f"--{key} {value}" for key, value in changes.items())
        settings = preset_settings("cut", args=arguments.split())
        run_in_two_processes(settings) if settings.devices == 2 else run(settings)
        assert len(list((tmp_path / name / "refined/data_syn").iterdir())) == 3
        return training_rows(tmp_path / name)

    whole = training("whole", batch_size=2)
    for name, changes in {"processes": {"devices": 2}, "accumulated": {"accumulate": 2}}.items():
        np.testing.assert_allclose(training(name, batch_size=1, **changes), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, "channels must be above 0"),
        ({"nce_weight": -1.0}, "nce_weight must be at least 0"),
        ({"augmentation": Augmentation(flip=0.5)}, "augmentation must be left as it is"),
        ({"strategy": "fsdp"}, "strategy must not be 'fsdp'"),
    ],
)
def test_bad_settings_name_the_argument(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CUTSettings(**change)


def test_the_thesis_scale_is_that_of_the_source() -> None:
    settings = preset_settings("cut", scale="thesis")
    assert settings == CUTSettings(schedule="cosine")
    assert not settings.predicts

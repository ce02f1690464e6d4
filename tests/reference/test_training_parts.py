"""The trainer's small parts: frame order, samples of a step, schedule, history, files, checkpoints."""

import copy
import csv
import itertools
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch import nn

from correspondence_losses.reference.checkpoint import (
    CheckpointError,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from correspondence_losses.reference.evaluation import SegmentationScores
from correspondence_losses.reference.files import atomic_path, write_json
from correspondence_losses.reference.history import History
from correspondence_losses.reference.models import SegmentationModel, WeightsError, create_backbone
from correspondence_losses.reference.presegmentation import SAMCheckpointError, SAMSegmenter
from correspondence_losses.reference.samples import StepSampler
from correspondence_losses.reference.schedule import LearningRateSchedule
from correspondence_losses.reference.seeding import FrameOrder, derive_seed


@given(num_frames=st.integers(1, 50), seed=st.integers(0, 2**63), round_=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_each_pass_visits_every_frame_once(num_frames: int, seed: int, round_: int) -> None:
    order = FrameOrder(num_frames, seed, stream=1)
    visited = [order[i] for i in range(round_ * num_frames, (round_ + 1) * num_frames)]
    assert sorted(visited) == list(range(num_frames))
    assert visited == [
        FrameOrder(num_frames, seed, stream=1)[i] for i in range(round_ * num_frames, (round_ + 1) * num_frames)
    ]


def test_seeds_and_streams_draw_different_orders() -> None:
    orders = {tuple(FrameOrder(20, seed, stream)[i] for i in range(20)) for seed in range(3) for stream in (1, 2)}
    assert len(orders) == 6
    assert len({derive_seed(0, 1, i) for i in range(1000)}) == 1000


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 5), st.integers(0, 6))
def test_processes_share_out_the_samples_of_one_process(world: int, batch: int, start: int, length: int) -> None:
    def indices(world_size: int, batch_size: int) -> list[list[int]]:
        samplers = [
            StepSampler(start=start, stop=start + length, batch_size=batch_size, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        return [list(itertools.chain(*step)) for step in zip(*samplers, strict=True)]

    assert indices(world, batch) == indices(1, world * batch)


def test_schedule_is_constant_or_a_warmed_up_cosine() -> None:
    constant = LearningRateSchedule(kind="constant", peak=0.1, final=0.0, warmup_steps=0, num_steps=10)
    assert {constant(step) for step in range(10)} == {0.1}
    cosine = LearningRateSchedule(kind="cosine", peak=1.0, final=0.1, warmup_steps=4, num_steps=104)
    rates = [cosine(step) for step in range(104)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[-1] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[3:]))


def test_history_goes_back_with_its_state(tmp_path: Path) -> None:
    history = History(tmp_path, interval=2)
    history.add_training(1, {"loss": 1.0})
    state = json.loads(json.dumps(history.state_dict()))
    history.add_training(2, {"loss": 3.0})
    history.add_evaluation(2, 1, {"mean_iou": 0.5})
    history.close()
    with (tmp_path / "training.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"step": "2", "loss": "2.0"}]

    resumed = History(None, interval=2)
    resumed.load_state_dict(state)
    assert resumed.training == []
    resumed.add_training(2, {"loss": 3.0})
    assert resumed.training == history.training


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})

    def fail_half_way() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail_half_way()
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_checkpoints_restore_and_refuse(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(
        fabric, path, {"model": model, "optimizer": optimizer, "step": 7, "history": {"rows": [{"a": 1.5}]}}
    )
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]

    other = nn.Linear(3, 2)
    state = {"model": other, "optimizer": torch.optim.Adam(other.parameters()), "step": 0, "history": {}}
    load_checkpoint(fabric, path, state)
    assert state["step"] == 7
    assert state["history"] == {"rows": [{"a": 1.5}]}
    torch.testing.assert_close(other.weight, model.weight, rtol=0, atol=0)

    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: is damaged, or not a checkpoint of this model"):
        load_checkpoint(fabric, path, {"model": nn.Linear(4, 2), "step": 0})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for read in (lambda: load_checkpoint(fabric, path, dict(state)), lambda: read_checkpoint(path)):
        with pytest.raises(CheckpointError, match="damaged"):
            read()
    with pytest.raises(CheckpointError, match="missing"):
        read_checkpoint(tmp_path / "none.pt")


class _Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploited"),))


def test_a_checkpoint_that_carries_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"step": _Exploit()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "evil.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(Fabric(accelerator="cpu", devices=1), tmp_path / "evil.pt", {"step": 0})
    with pytest.raises(WeightsError):
        create_backbone("convnext_atto", pretrained=True, weights=tmp_path / "evil.pt")
    with pytest.raises(SAMCheckpointError):
        SAMSegmenter(tmp_path / "evil.pt", model_type="vit_b")
    assert not (tmp_path / "exploited").exists()


def test_a_failed_save_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(fabric, path, {"step": 1})

    def full_disk(*args: object, **kwargs: object) -> None:
        (tmp_path / ".checkpoint.pt.partial").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fabric, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(fabric, path, {"step": 2})
    assert read_checkpoint(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_scores_of_a_known_confusion_matrix() -> None:
    # class 2 is nowhere in the truth but predicted once; class 3 is nowhere at all
    confusion = torch.tensor([[8, 1, 1, 0], [2, 6, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    metrics = SegmentationScores(confusion, ["background", "a", "b", "c"]).metrics()
    assert metrics["iou/background"] == pytest.approx(8 / 12)
    assert metrics["iou/a"] == pytest.approx(6 / 9)
    assert metrics["mean_iou"] == pytest.approx(np.mean([8 / 12, 6 / 9]))
    assert metrics["mean_iou_objects"] == pytest.approx(6 / 9)
    assert metrics["mean_iou_union"] == pytest.approx(np.mean([8 / 12, 6 / 9, 0]))
    assert metrics["pixel_accuracy"] == pytest.approx(14 / 18)
    assert "iou/b" not in metrics


def test_a_changed_or_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    """PyTorch reads both without a word."""
    fabric = Fabric(accelerator="cpu", devices=1)
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(fabric, path, {"weights": torch.arange(64.0), "step": 1})
    content = bytearray(path.read_bytes())
    changed = bytearray(content)
    changed[content.index(torch.arange(64.0).numpy().tobytes()) + 20] ^= 1
    path.write_bytes(changed)
    with pytest.raises(CheckpointError, match="another checksum"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match="another checksum"):
        load_checkpoint(fabric, path, {"weights": torch.zeros(64), "step": 0})

    (tmp_path / "whole.pt").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for record in whole.infolist():
            body = bytes(10**6) if "/data/" in record.filename else whole.read(record)
            packed.writestr(record.filename, body)
    with pytest.raises(CheckpointError, match="unpacks to"):
        read_checkpoint(path)


def test_a_checkpoint_in_the_old_format_is_refused(tmp_path: Path) -> None:
    torch.save({"step": 1}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"old\.pt: is damaged, or not a checkpoint"):
        read_checkpoint(tmp_path / "old.pt")


def test_pooled_images_are_normalised_as_at_prediction_and_leave_the_statistics_alone() -> None:
    backbone, channels = create_backbone("mobilenetv3_small_050", pretrained=False)
    torch.manual_seed(0)
    model = SegmentationModel(
        backbone,
        channels,
        num_classes=3,
        head="fpn",
        fpn_channels=4,
        frozen_backbone=False,
        sam_weight=1.0,
        proj_channels=3,
        beta=0.5,
    )
    batch = {
        "image": torch.randn(2, 3, 32, 32),
        "label": torch.randint(0, 3, (2, 32, 32)),
        "unlabelled_image": 5 + 3 * torch.randn(2, 3, 32, 32),
        "segments": torch.randint(0, 5, (2, 32, 32)),
    }
    other = copy.deepcopy(model)
    terms = model(batch)
    other._logits_and_features(batch["image"], (32, 32))
    for ours, theirs in zip(model.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert all(module.training for module in model.modules())

    expected = model.eval().pooling.criterion.terms(model.project(batch["unlabelled_image"]), batch["segments"])
    torch.testing.assert_close((terms["sam_invariance"], terms["sam_separation"]), tuple(expected))

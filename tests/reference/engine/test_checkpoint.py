"""Checkpoints are whole, run no code, and refuse what they do not fit."""

import zipfile
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from correspondence_losses.reference.engine.checkpoint import (
    CheckpointError,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from correspondence_losses.reference.models.weights import WeightsError, read_weights
from correspondence_losses.reference.segments import SAMCheckpointError, SAMSegmenter


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
        read_weights("convnext_atto", tmp_path / "evil.pt")
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

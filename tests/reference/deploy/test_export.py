"""A run's model as torch.export, as ONNX and on a hub: the same numbers, and what they say of themselves."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import TINY
from scripts import load_script

from correspondence_losses.reference.__main__ import main
from correspondence_losses.reference.data import CLASS_NAMES
from correspondence_losses.reference.deploy import export as exports
from correspondence_losses.reference.deploy.export import ExportError, export_model
from correspondence_losses.reference.deploy.published import PublishedModel
from correspondence_losses.reference.engine.checkpoint import CheckpointError
from correspondence_losses.reference.engine.evaluation import predict_classes
from correspondence_losses.reference.runs.command_line import preset_settings
from correspondence_losses.reference.runs.run import _Run, run
from correspondence_losses.reference.runs.trained import TrainedModel
from correspondence_losses.reference.streams.images import image_to_tensor

FILES = {"model.onnx", "model.pt2", "predict.py"}


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the row of a frozen encoder."""
    folder: Path = tmp_path_factory.mktemp("runs") / "frozen"
    changes = {
        **TINY,
        "data": str(data),
        "output": str(folder),
        "backbone": "test_vit",
        "batch_size": 1,
        "epochs": 1,
        "steps_per_epoch": 2,
        "image_size": [64, 96],
        "fpn_channels": 4,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Run, "_draw", lambda *_: None)
        run(preset_settings("dinov3_frozen", changes=changes))
    return folder


@pytest.fixture(scope="module")
def exported(trained: Path) -> Path:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    if torch.__version__.startswith("2.6."):
        pytest.skip("PyTorch 2.6 writes no resize to a computed size as ONNX")
    main(["export", str(trained)])
    return trained / "export"


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_both_programs_compute_the_model_s_logits_for_any_number_and_size(trained: Path, exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == FILES
    model = TrainedModel(trained, accelerator="cpu").module
    alone = load_script(exported / "predict.py").Model(exported / "model.onnx", ["CPUExecutionProvider"])
    extra = {"correspondence-losses": ""}
    program = torch.export.load(exported / "model.pt2", extra_files=extra).module()
    for size in ((1, 3, 64, 96), (2, 3, 65, 131), (3, 3, 128, 96)):
        images = torch.rand(size)
        with torch.no_grad():
            expected = model.predict(images)
            torch.testing.assert_close(program(images), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.from_numpy(alone.logits(images.numpy())), expected, rtol=1e-3, atol=1e-4)
    description = json.loads(extra["correspondence-losses"])
    assert description["class_names"] == alone.class_names == list(CLASS_NAMES)
    assert tuple(description["prediction_size"]) == alone.size == (64, 96)


def test_predict_alone_labels_as_the_run_s_model_does(trained: Path, exported: Path) -> None:
    alone = load_script(exported / "predict.py").Model(exported / "model.onnx")
    whole = TrainedModel(trained, accelerator="cpu")
    for size in ((64, 96), (50, 70), (201, 97)):  # as it is, enlarged, and reduced
        picture = Image.fromarray(image(*size)).resize((96, 64), Image.Resampling.BILINEAR)
        resized = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
        # Pillow and torchvision round a resized image to levels that differ by one at most ...
        assert (resized - image_to_tensor(image(*size), (64, 96))).abs().max() < 1.01 / 255
        # ... and what follows is the same: the model, its logits at the image's size, and their classes.
        expected = predict_classes(whole.module, resized[None], size).numpy()
        assert (alone.classes(image(*size)) == expected).mean() > 0.999
    assert np.array_equal(alone.classes(image(64, 96)), whole.classes(image(64, 96)))
    with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) of uint8, got \(4, 4\) of float64"):
        alone.classes(np.zeros((4, 4)))


def test_predict_alone_needs_three_packages(exported: Path, tmp_path: Path) -> None:
    tree = ast.parse((exported / "predict.py").read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {name.split(".")[0] for name in found} - set(sys.stdlib_module_names)
    assert others == {"numpy", "onnxruntime", "PIL"}
    Image.fromarray(image(50, 70)).save(tmp_path / "a.png")
    command = [
        sys.executable,
        "-I",
        str(exported / "predict.py"),
        str(exported / "model.onnx"),
        str(tmp_path / "a.png"),
    ]
    done = subprocess.run([*command, "--output", str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path / 'a.png'}: ")
    with Image.open(tmp_path / "a-label.png") as label:
        assert (label.mode, label.size) == ("P", (70, 50))
    assert (tmp_path / "a-overlay.png").exists()


def test_an_export_that_computes_something_else_is_refused(
    trained: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_TOLERANCE", -1.0)
    with pytest.raises(ExportError, match=r"model.pt2: computes other logits than the model, by"):
        export_model(TrainedModel(trained, accelerator="cpu"), tmp_path)


def test_what_is_missing_is_named(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exports, "find_spec", lambda _: None)
    with pytest.raises(SystemExit):
        main(["export", str(trained), "--output", str(tmp_path)])
    assert "an export needs onnx: pip install 'correspondence-losses[export]'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path)])
    assert "holds no run" in capsys.readouterr().err


def test_a_published_model_comes_back_without_the_run(trained: Path, tmp_path: Path) -> None:
    PublishedModel.from_run(trained).save_pretrained(tmp_path / "hub")
    assert {path.name for path in (tmp_path / "hub").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    loaded = PublishedModel.from_pretrained(str(tmp_path / "hub"))
    assert loaded.class_names == list(CLASS_NAMES)
    assert not loaded.training
    whole = TrainedModel(trained, accelerator="cpu")
    assert np.array_equal(loaded.classes(image(50, 70)), whole.classes(image(50, 70)))
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), whole.module.predict(images), rtol=0, atol=0)
    for path in (tmp_path / "hub").glob("*.[jm]*"):
        assert str(trained.parent) not in path.read_bytes().decode("utf-8", "replace"), path  # no path of this machine


def test_the_card_is_made_of_the_run_s_results(trained: Path, tmp_path: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    card = str(PublishedModel.from_run(trained).generate_model_card())
    assert card.startswith("---\n")
    assert "library_name: correspondence-losses" in card
    assert "pipeline_tag: image-segmentation" in card
    assert f"| mean IoU, classes present | {100 * results['mean_iou']:.2f} |" in card
    assert "On 3 frames of the split `val`" in card
    assert "`test_vit` backbone" in card
    assert f"- torch {torch.__version__}" in card
    assert "21 061_foam_brick" in card
    (tmp_path / "run").mkdir()
    for name in ("settings.json", "checkpoint.pt"):
        (tmp_path / "run" / name).write_bytes((trained / name).read_bytes())
    assert "This run was not scored." in str(PublishedModel.from_run(tmp_path / "run").generate_model_card())


def test_settings_of_an_unknown_family_are_refused() -> None:
    with pytest.raises(CheckpointError, match="settings: family must be one of"):
        PublishedModel(settings={"family": "none"}, class_names=["background"])

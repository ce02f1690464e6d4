"""Files of settings that are made to do harm, or that hold what no setting takes."""

from pathlib import Path

import pytest

from correspondence_losses.reference.engine.checkpoint import CheckpointError
from correspondence_losses.reference.runs.command_line import load_settings, settings_from_command_line

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "aliases"),
        ("output: &x [*x]\n", "aliases"),
        ("output: " + "[" * 5000, "cannot be read as YAML settings"),
        ('output: !!python/object/apply:os.system ["touch escaped"]\n', "could not determine a constructor"),
        ("segmenter: {class_path: os.system, init_args: {command: touch escaped}}\n", "segmenter"),
        ("segmenter: {class_path: subprocess.Popen, init_args: {args: [touch, escaped]}}\n", "segmenter"),
        ("epochs: many\n", "epochs"),
    ],
)
def test_a_hostile_file_of_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SystemExit, match="2"):
        settings_from_command_line(preset="sam_fpn", description="Train.", args=["--config", "config.yaml"])
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_that_is_no_text_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_bytes(b"epochs: \xff\xfe\n")
    with pytest.raises(SystemExit, match="2"):
        settings_from_command_line(preset="sam_fpn", description="Train.", args=["--config", str(tmp_path / "c.yaml")])
    assert "cannot be read as YAML settings" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["sam_weight:\n", "scenes:\n"])
def test_a_setting_without_a_value_is_an_error_of_the_user(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(f"head: fpn\n{text}")
    with pytest.raises(ValueError, match="must not be empty"):
        settings_from_command_line(
            preset="sam_fpn", description="Train.", args=["--config", str(tmp_path / "config.yaml")]
        )


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"family": []}', '{"family": "segmentation", "epochs": "x"}'])
def test_damaged_settings_of_a_run_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ValueError, match=r"settings\.json: ") as caught:
        load_settings(tmp_path)
    assert isinstance(caught.value, CheckpointError) or "cannot be read" in str(caught.value)

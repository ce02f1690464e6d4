"""A bar on a terminal, one line elsewhere, and nothing where nothing is to be shown."""

import io
from typing import Any

import pytest

from correspondence_losses.reference.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, **settings: Any) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    assert list(progress_bar(["a", "b", "c"], stage="painting", unit="image", **settings)) == ["a", "b", "c"]
    return stream.getvalue()


def test_a_terminal_shows_one_line_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, Terminal())
    assert text.count("\n") == 1  # at its end
    last = text.split("\r")[-1]
    assert last.startswith("painting: 100%")
    assert "3/3 [00:00<00:00" in last


def test_a_log_file_gets_one_line_and_no_carriage_return(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO()) == "painting: 3 images\n"
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar(stage="training", unit="step", total=10, done=4) as bar:
        for _ in range(6):
            bar.update()
            bar.set_postfix({"loss": "1.0"}, refresh=False)
    assert stream.getvalue() == "training: 10 steps, 4 of them done before\n"
    monkeypatch.setattr("sys.stderr", stream := io.StringIO())
    assert [*progress_bar(iter("ab"), stage="reading", unit="letter")] == ["a", "b"]
    assert stream.getvalue() == "reading\n"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_other_processes_show_nothing(monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    assert shown(monkeypatch, stream(), shown=False) == ""


def test_a_part_of_another_stage_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO(), nested=True) == ""
    drawn = shown(monkeypatch, Terminal(), nested=True).split("\r")
    assert drawn[1].startswith("painting: ")
    assert drawn[-2].strip() == drawn[-1] == ""  # the last thing is to clear the line
    assert "\n" not in "".join(drawn)

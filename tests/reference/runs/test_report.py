"""The report of a run: what it holds, that it needs nothing else, and how a browser shows it."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from correspondence_losses.reference.data import CLASS_NAMES
from correspondence_losses.reference.figures.panels import read_panels, save_panels
from correspondence_losses.reference.runs.report import read_run, write_report

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")
TERMS = {"loss": 2.0, "segmentation": 1.9, "sam_invariance": 0.01}


def pixels(seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def write_run(folder: Path, *, finished: bool = True, score: float = 0.4, frames: tuple[str, ...] = ("a", "b")) -> Path:
    """What a run of the main family leaves, without the training."""
    folder.mkdir(parents=True)
    evaluation = [
        {"epoch": i, "step": 4 * i, "mean_iou": score * i / 2, "mean_iou_objects": 0.3, "mean_iou_union": 0.2,
         "pixel_accuracy": 0.9, "iou/003_cracker_box": 0.1} for i in (1, 2)
    ]  # fmt: skip
    training = [{"step": 2 * i, **{name: value / i for name, value in TERMS.items()}} for i in (1, 2, 3, 4)]
    for name, rows in (("training", training), ("evaluation", evaluation)):
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    settings = {"family": "segmentation", "evaluation": "val", "seed": 3, "augmentation": {"flip": 0.5}, "data": "<b>&"}
    (folder / "settings.json").write_text(json.dumps(settings))
    classes = {name: {"iou": None, "pixels": 0, "predicted_pixels": 0} for name in CLASS_NAMES}
    classes[CLASS_NAMES[0]] = {"iou": 0.8, "pixels": 3000, "predicted_pixels": 2900}
    classes["003_cracker_box"] = {"iou": 0.1234, "pixels": 1000, "predicted_pixels": 1100}
    classes["025_mug"] = {"iou": 0.0, "pixels": 0, "predicted_pixels": 7}
    (folder / "scores.json").write_text(json.dumps({"mean_iou": score, "classes": classes}))
    label = np.repeat(np.repeat((pixels(5)[::8, ::8] > 128).astype(np.uint8) * 200, 8, 0), 8, 1)
    rows = [[(frame, pixels(i)), ("truth", label), ("prediction", label[:, ::-1])] for i, frame in enumerate(frames)]
    save_panels(folder / "figures" / "predictions", rows)
    segments = [("c", pixels(9)), ("segments", pixels(8)), ("pooled projection", pixels(7, (24, 32)))]
    save_panels(folder / "figures" / "segments", [segments])
    if finished:
        data = {"root": "there", "evaluated_frames": 2}
        results: dict[str, Any] = {"family": "segmentation", "mean_iou": score, "mean_iou_objects": 0.3, "data": data}
        results["prediction"] = {"ways": {"plain": {"mean_iou": score}, "mirrored": {"mean_iou": score + 0.01}}}
        results |= {"mean_iou_union": 0.2, "averaged_evaluations": 2, "versions": {"torch": "9.9"}}
        (folder / "results.json").write_text(json.dumps(results))
    return folder


class Outside(HTMLParser):
    """What a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.urls += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def report_of(tmp_path: Path, *folders: Path) -> str:
    write_report(tmp_path / "report.html", folders)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_report_is_one_file(tmp_path: Path) -> None:
    text = report_of(tmp_path, write_run(tmp_path / "run"))
    page = Outside()
    page.feed(text)
    assert page.open == []
    assert all(url.startswith(("data:", "#")) for url in page.urls)
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)
    assert not re.findall(r"fetch\(|XMLHttpRequest|import\(", text)


def test_it_says_what_came_of_the_run(tmp_path: Path) -> None:
    text = report_of(tmp_path, folder := write_run(tmp_path / "run"))
    assert "40.00 %" in text
    assert "mean IoU of 2 frames of the split val, the mean of the last 2 evaluations" in text
    # 3000 of 4000 pixels are background, over the two classes that are there
    assert re.search(r"If all were called background</td><td class=number>37\.50", text)
    assert re.search(r"Predicted in another way: mirrored</td><td class=number>41\.00", text)
    assert re.search(r"After the first evaluation</td><td class=number>20\.00", text)
    rows = re.findall(r'<tr><td><span class="name">.*', text)
    assert len(rows) == 3  # what is in the truth or predicted
    assert "003_cracker_box" in rows[1]
    assert "12.34" in rows[1]
    assert "<td class=number>1,000</td><td class=number>1,100</td>" in rows[1]
    assert "025_mug" in rows[2]
    for term in TERMS:
        assert f">{term}</text>" in text
    assert f"correspondence-losses predict {folder} MY_IMAGES labelled" in text
    assert f"correspondence-losses show {folder} runs/ANOTHER" in text
    assert "augmentation.flip" in text
    assert "&lt;b&gt;&amp;" in text
    assert "torch 9.9" in text


def test_pictures_are_those_of_the_figures(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    text = report_of(tmp_path, folder)
    (first, layers), _ = read_panels(folder / "figures" / "predictions")
    assert (first, list(layers)) == ("a", ["image", "truth", "prediction"])
    shown = [base64.b64decode(code) for code in re.findall(r"data:image/\w+;base64,([^\"]+)", text)]
    assert layers["truth"].suffix == ".png"  # a map of labels, of which nothing is lost
    for path in layers.values():
        assert path.read_bytes() in shown
    assert len(shown) == 2 * 3 + 3


def test_the_thesis_stands_beside_the_row_that_was_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert "The thesis" not in report_of(tmp_path, folder)
    settings = json.loads((folder / "settings.json").read_text())
    row = {"labelled": "synthetic", "head": "fpn", "sam_weight": 0.0}
    (folder / "settings.json").write_text(json.dumps({**settings, **row}))
    text = report_of(tmp_path, folder)
    assert re.search(
        r"The thesis for “.*” \(table 4\.4\), with its own model and data</td><td class=number>80\.29", text
    )


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "x" / "run"), write_run(tmp_path / "y" / "run", score=0.6, frames=("a",))
    settings = json.loads((other / "settings.json").read_text())
    (other / "settings.json").write_text(json.dumps({**settings, "seed": 4}))
    text = report_of(tmp_path, one, other)
    assert "2 runs side by side" in text
    assert text.index("40.00 %") < text.index("60.00 %")
    assert "<h3>x/run</h3>" in text
    assert "<th class=number>x/run, %</th><th class=number>y/run, %</th>" in text
    assert [caption.split(":")[0] for caption in re.findall("<figcaption>(.*?: a)</figcaption>", text)] == [
        "x/run", "y/run",
    ]  # fmt: skip
    different, everything = text[text.index("<h2>Settings") :].split("All settings")
    assert "<td>seed</td><td>3</td><td>4</td>" in different
    assert "augmentation.flip" not in different
    assert "augmentation.flip" in everything
    assert f"correspondence-losses predict {other} MY_IMAGES" in text  # the better one


def test_unfinished_runs_and_runs_without_scores_are_shown_too(tmp_path: Path) -> None:
    text = report_of(tmp_path, folder := write_run(tmp_path / "run", finished=False))
    assert "mean IoU of the split val, so far, after epoch 2" in text  # of how many frames is not known yet
    for name in ("evaluation.csv", "scores.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "figures")
    text = report_of(tmp_path, folder)
    assert "Not scored yet" in text
    assert "predict" not in text
    for name in ("training.csv", "settings.json"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match="holds no run"):
        read_run(folder)


SCRIPT = """
<script>
addEventListener("error", event => document.title += " ERROR " + event.message);
addEventListener("load", () => {
  const figure = document.querySelector(".compare"), slider = figure.querySelector("input");
  const opacities = () => [...figure.querySelectorAll(".layers img")].map(layer => layer.style.opacity).join(" ");
  const seen = [opacities()];
  for (const value of [0, 0.5, 1]) {
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
    seen.push(opacities());
  }
  figure.querySelectorAll("button")[2].click();
  seen.push(opacities() + " at " + slider.value);
  const sizes = [...figure.querySelectorAll(".layers img")].map(layer => layer.naturalWidth).join(" ");
  document.body.dataset.found = JSON.stringify({
    lines: Math.max(...[...document.querySelectorAll(".name")].map(name => name.getClientRects().length)),
    seen, sizes, overflow: document.documentElement.scrollWidth - innerWidth, width: innerWidth, title: document.title,
    smallest: Math.min(...[...document.querySelectorAll("p, td, button, text")].map(
      element => parseFloat(getComputedStyle(element).fontSize))),
  });
});
</script>
"""


@pytest.mark.browser
@pytest.mark.skipif(not BROWSER, reason="needs chromium, such as Debian's package of this name")
@pytest.mark.parametrize("runs", [1, 2])
def test_a_browser_shows_it(tmp_path: Path, runs: int) -> None:
    """It loads without an error, the slider moves, and at a width of 400 pixels nothing is cut off."""
    text = report_of(tmp_path, *(write_run(tmp_path / f"run{i}") for i in range(runs)))
    frame = '<iframe src="page.html" style="width: 400px; height: 3000px; border: 0"></iframe>'
    (tmp_path / "page.html").write_text(text.replace("</head>", f"{SCRIPT}</head>", 1), encoding="utf-8")
    # A window cannot be as narrow as that, a frame can.
    hand_over = (
        "<script>document.querySelector('iframe').addEventListener('load', event => "
        "document.body.dataset.found = event.target.contentDocument.body.dataset.found);</script>"
    )
    (tmp_path / "outer.html").write_text(f"<!DOCTYPE html><body>{frame}{hand_over}</body>")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--log-level=0"]
    command += ["--virtual-time-budget=10000", "--dump-dom", str(tmp_path / "outer.html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    match = re.search(r'<body data-found="(.*?)">', done.stdout)
    assert match is not None, done.stdout[-2000:]
    found = json.loads(match[1].replace("&quot;", '"'))
    assert "CONSOLE" not in done.stderr, done.stderr
    assert "ERROR" not in found["title"]
    assert found["width"] == 400
    assert found["overflow"] <= 0
    assert found["lines"] == 1  # no name of a class is broken
    assert found["smallest"] >= 9
    assert found["sizes"] == "64 64 64"
    # from the prediction, which is seen first, to the image, between it and the truth, the truth, and back by a button
    assert found["seen"] == ["1 1 1", "1 0 0", "1 0.5 0", "1 1 0", "1 1 1 at 2"]


def test_classes_of_ones_own_are_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    scores = {"iou": 0.5, "pixels": 10, "predicted_pixels": 12}
    unseen = {"iou": None, "pixels": 0, "predicted_pixels": 0}
    classes = {"background": scores, "screw": scores, "nut": unseen}
    (folder / "scores.json").write_text(json.dumps({"mean_iou": 0.5, "classes": classes}))
    text = report_of(tmp_path, folder)
    assert "screw" in text
    assert "nut</span>" not in text
    assert "003_cracker_box</span>" not in text

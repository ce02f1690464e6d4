"""The benchmark command, end to end on a tiny workload: what it reports, and that its checks can fail."""

import argparse
import json

import pytest
import torch
from devices import without_the_host

pytest.importorskip("lightly")
from runs import TINY, training_rows
from ycb_layouts import write_tiny

from benchmarks import __main__ as command
from benchmarks import report as reports
from benchmarks import step
from benchmarks.__main__ import main
from benchmarks.device import benchmark_device, copy_rate, product_rate, seconds_of
from benchmarks.gpu_tests import GpuTests
from benchmarks.table import WORKLOADS
from benchmarks.thesis import VARIANTS, Variant, markdown, run_variant
from benchmarks.timing import Timing, over_processes
from benchmarks.workload import build_on, convolutions, copying, products, relative_difference
from correspondence_losses.reference.experiments.segmentation import SegmentationSettings
from correspondence_losses.reference.runs.run import run
from correspondence_losses.reference.segments import FelzenszwalbSegmenter

CPU = torch.device("cpu")


def test_reports_a_workload(tmp_path, capsys):
    names = ["location", "small-location", "sweep-location"]
    assert main(["--quick", "--device", "cpu", "--output", str(tmp_path), "--only", *names]) == 0
    report = json.loads((tmp_path / "results.json").read_text())
    assert report["quick"] is True
    assert report["machine"]["torch"] == torch.__version__
    assert min(report["rates"].values()) > 0
    assert report["gpu_tests"] is None
    row, small = report["table"]
    assert [row["name"], small["name"]] == ["location-matches", "small-location-matches"]
    assert row["title"] == "location matches, two 12 x 16 crop grids"
    assert row["targets"] == {}  # they are of the full sizes
    measurement = row["measurement"]
    assert measurement["same_number"] is True
    assert measurement["relative_difference"] <= 1e-4
    for side in ("ours", "peer"):
        assert 0 < measurement[side]["least_s"] <= measurement[side]["median_s"] <= measurement[side]["most_s"]
        assert measurement[side]["runs"] >= 1
        assert measurement[side]["peak_memory_mib"] >= 0
    floor = measurement["floor"]
    assert floor["bytes"] == 2 * 2 * 12 * 16 * 2 * 4  # read and write two grids of points in float32
    assert floor["times"] == pytest.approx(measurement["ours"]["median_s"] / floor["median_s"])
    assert measurement["ratio"] == pytest.approx(measurement["peer"]["median_s"] / measurement["ours"]["median_s"])
    (sweep,) = report["sweeps"]
    assert len(sweep["points"]) == len(sweep["values"]) == 2
    for plot in ("time.svg", "memory.svg"):
        assert (tmp_path / plot).read_text().count("<path") > 4
    assert (tmp_path / "results.md").read_text() == capsys.readouterr().out
    assert row["title"] in (tmp_path / "results.md").read_text()

    measurement.update(same_number=False, relative_difference=0.5, ratio=0.9)
    report["gpu_tests"] = GpuTests(passed=False, summary="1 failed")
    assert reports.failures(report) == [
        "not the same number: location-matches: relative difference 5.0e-01",
        "tests: 1 failed",
    ]
    assert any("(0.90)" in loss for loss in reports.losses(report))
    report["left_out"] = ["fusion"]
    assert "Tests marked for a GPU: 1 failed." in reports.markdown(report)
    assert "No time was left for: fusion." in reports.markdown(report)


def test_several_processes(tmp_path):
    arguments = ["--quick", "--processes", "3", "--only", "small-location", "--output", str(tmp_path)]
    assert main(arguments) == 0
    report = json.loads((tmp_path / "results.json").read_text())
    assert report["processes"] == 3
    measurement = report["table"][0]["measurement"]
    assert measurement["ours"]["runs"] == measurement["peer"]["runs"] == 3
    assert measurement["least_ratio"] <= measurement["ratio"] <= measurement["most_ratio"]
    assert measurement["floor"]["least_times"] <= measurement["floor"]["times"] <= measurement["floor"]["most_times"]
    assert "Each row ran in 3 processes" in (tmp_path / "results.md").read_text()


def test_over_processes_are_medians():
    found = [Timing(median, 0, 9, 15) for median in (3.0, 1.0, 2.0)]
    assert over_processes(found) == Timing(2, 1, 3, 3)
    assert over_processes(found[:1]) == found[0]


@pytest.mark.parametrize("name", ["meta", "nonsense", "cuda:99"])
def test_wrong_device(name, capsys):
    with pytest.raises(SystemExit):
        main(["--device", name])
    assert "--device" in capsys.readouterr().err


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(argparse.ArgumentTypeError, match=r"cuda was asked for, but PyTorch .* finds no CUDA device"):
        benchmark_device("cuda")


def test_a_gpu_run_has_the_rows_of_the_kernels_and_the_tests_and_ends_in_time(tmp_path, monkeypatch, capsys):
    """The command's order, with everything that would touch a GPU replaced."""
    done, seconds = [], iter(range(0, 10_000, 20))
    row, sweep = {"name": "row"}, {"name": "sweep"}
    for name, replacement in {
        "benchmark_device": torch.device,
        "describe_machine": lambda device: {},
        "run_workload": lambda item, **_: done.append(item.name) or row,
        "run_sweep": lambda item, **_: done.append(item.name) or sweep,
        "in_new_process": lambda function, first, *_, **__: done.append(getattr(first, "name", "rates")),
        "run_gpu_tests": lambda limit: done.append("tests") or GpuTests(passed=True, summary=f"{limit:.0f}"),
        "write_report": lambda report, folder: None,
        "markdown": lambda report: f"left out: {report['left_out']}",
        "failures": lambda report: [],
        "perf_counter": lambda: next(seconds),
    }.items():
        monkeypatch.setattr(command, name, replacement)
    monkeypatch.setattr(command, "WORKLOADS", WORKLOADS[-3:] + [w for w in WORKLOADS if w.cuda_only])
    assert main(["--device", "cuda", "--output", str(tmp_path)]) == 0
    assert [name for name in done if "triton" in name] == [w.name for w in WORKLOADS if w.cuda_only] != []
    assert done.count("tests") == 1
    assert done[: len(command.WORKLOADS) + 2] == ["rates", *(w.name for w in command.WORKLOADS), "tests"]
    left_out = [item.name for item in [*VARIANTS, *command.SWEEPS] if item.name not in done]
    assert len(left_out) > len(command.SWEEPS)
    assert capsys.readouterr().out == f"left out: {left_out}"


@pytest.mark.gpu
def test_on_a_gpu(tmp_path):
    assert main(["--quick", "--device", "cuda", "--only", "small-location", "--output", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "results.json").read_text())
    assert report["table"][0]["measurement"]["ours"]["peak_memory_mib"] > 0
    assert report["machine"]["gpu"]


@pytest.mark.parametrize("workload", [w for w in WORKLOADS if w.name != "class-mix"], ids=lambda w: w.name)
def test_a_case_lies_on_its_device(workload, monkeypatch):
    """On meta tensors, which mix with no others: nothing is made or left on the host.

    The peer of ClassMix is given which classes were drawn: values, which there are none of here.
    """
    if "metric-learning" in workload.name:
        pytest.importorskip("pytorch_metric_learning")
    for module in ("vicreg", "similarity", "segments", "matches", "pyramid", "self_training"):
        monkeypatch.setattr(f"benchmarks.{module}.seeded", lambda: None)
    case = build_on(torch.device("meta"), workload.build, workload.quick)
    with without_the_host():
        assert all(value.is_meta for value in case.ours())


def test_floors_are_counted():
    x = torch.ones(4, 6, requires_grad=True)
    assert copying([x]).bytes == 2 * 4 * 6 * 4
    assert products((x, x.mT), (x.mT, x)).flops == 2 * 4 * 4 * 6 + 2 * 6 * 6 * 4
    layer = torch.nn.Conv2d(3, 5, 3, padding=1)
    image = torch.ones(1, 3, 8, 8)
    # Forward, and of the input and of the weight.
    assert convolutions(lambda: layer(image)).flops == 3 * 2 * 5 * 8 * 8 * 3 * 3 * 3


def test_rates_and_times_are_positive():
    assert copy_rate(CPU) > 0
    assert product_rate(CPU) > 0
    assert seconds_of(lambda: torch.ones(10), CPU) > 0


def test_unknown_name(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "no such name; there are vicreg-64x8192" in capsys.readouterr().err


def test_relative_difference_is_of_the_worst_tensor():
    one = torch.ones(3)
    assert relative_difference((one, one), (one, 2 * one)) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="shorter"):
        relative_difference((one, one), (one,))


def test_the_steps_that_are_timed_are_those_of_a_run(tmp_path, monkeypatch, capsys):
    data = write_tiny(tmp_path / "ycb")
    settings = SegmentationSettings(
        **{**TINY, "evaluation": None},
        data=data,
        output=tmp_path / "run",
        segmenter=FelzenszwalbSegmenter(min_size=20),
        sam_weight=0.5,
        fpn_channels=8,
        batch_size=2,
        epochs=1,
        steps_per_epoch=step.WARM_UP + 2,
        clip_gradients=5.0,
        schedule="constant",
        warmup_epochs=0,
    )
    seconds, loss = step.profile(settings, 2)
    assert list(seconds) == [
        "samples",
        "backbone",
        "head",
        "losses",
        "backward pass",
        "clipping",
        "optimiser",
        "average of the weights",
    ]
    assert all(len(times) == 2 and min(times) >= 0 for times in seconds.values())
    run(settings)
    *_, last = training_rows(settings.output)
    assert loss == pytest.approx(last[1], rel=1e-4)
    monkeypatch.setattr(step, "_main_job", lambda folder: settings)
    step.main(["--steps", "2"])
    table = capsys.readouterr().out
    assert all(f"| {part} | " in table for part in seconds)
    assert f"loss of the last step: {loss!r}" in table
    assert torch.__version__ in table


def test_steps_of_the_thesis_run_on_a_tiny_model():
    results = [run_variant(variant, CPU, quick=True) for variant in (Variant(), Variant(trainer=True))]
    alone, in_the_loop = results
    assert alone["flops"] == in_the_loop["flops"] > 0
    assert set(alone["parts"]) == {"backbone, forward", "head, forward", "losses", "backward pass", "optimiser"}
    table = markdown(results)
    assert f"| thesis: bf16 | {1e3 * alone['seconds']:.1f} |" in table
    assert "| thesis: bf16, in the training loop |" in table

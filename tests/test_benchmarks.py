"""The benchmark command, end to end on a tiny workload: what it reports, and that its checks can fail."""

import json

import pytest
import torch

pytest.importorskip("lightly")
from benchmarks import report as reports
from benchmarks.__main__ import main
from benchmarks.workload import relative_difference


def test_reports_a_workload(tmp_path, capsys):
    assert main(["--quick", "--only", "location-matches", "--output", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "results.json").read_text())
    assert report["quick"] is True
    assert report["machine"]["torch"] == torch.__version__
    (row,) = report["table"]
    assert row["name"] == "location-matches"
    assert row["title"] == "location matches, two 12 x 16 crop grids"
    assert row["targets"] == {}  # they are of the full sizes
    measurement = row["measurement"]
    assert measurement["same_number"] is True
    assert measurement["relative_difference"] <= 1e-4
    for side in ("ours", "peer"):
        assert 0 < measurement[side]["least_s"] <= measurement[side]["median_s"] <= measurement[side]["most_s"]
        assert measurement[side]["runs"] >= 1
        assert measurement[side]["peak_memory_mib"] >= 0
    assert measurement["ratio"] == pytest.approx(measurement["peer"]["median_s"] / measurement["ours"]["median_s"])
    (sweep,) = report["sweeps"]
    assert len(sweep["points"]) == len(sweep["values"]) == 2
    for plot in ("time.svg", "memory.svg"):
        assert (tmp_path / plot).read_text().count("<path") > 4
    assert (tmp_path / "results.md").read_text() == capsys.readouterr().out
    assert row["title"] in (tmp_path / "results.md").read_text()

    measurement.update(same_number=False, relative_difference=0.5, ratio=0.9)
    assert reports.failures(report) == ["location-matches: relative difference 5.0e-01"]
    assert any("(0.90)" in loss for loss in reports.losses(report))


def test_unknown_name(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "no such name; there are vicreg-64x8192" in capsys.readouterr().err


def test_relative_difference_is_of_the_worst_tensor():
    one = torch.ones(3)
    assert relative_difference((one, one), (one, 2 * one)) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="shorter"):
        relative_difference((one, one), (one,))

"""The README's Python runs as it stands there, and keeps what the README promises of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import without_the_host

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, str(README), "exec"), names)  # noqa: S102
    return names


@pytest.mark.parametrize("code", EXAMPLES)
def test_readme_example_runs(code: str) -> None:
    run(code)


@pytest.mark.parametrize("code", EXAMPLES)
def test_readme_example_never_waits_for_the_device(code: str) -> None:
    """On meta tensors, which have no values: whatever reads one on the host fails."""
    with torch.device("meta"), without_the_host():
        names = run(code)
    assert names["loss"].is_meta


def test_readme_examples_compile_whole() -> None:
    pooled, matched = (run(code) for code in EXAMPLES)
    pooling, features, segments = (pooled[name] for name in ("pooling", "features", "segments"))
    features.grad = None
    loss, _ = torch.compile(pooling, fullgraph=True, backend="aot_eager")(features, segments)
    loss.backward()
    assert features.grad.isfinite().all()
    torch.testing.assert_close(loss, pooled["loss"])

    def second(boxes_a: torch.Tensor, boxes_b: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        grid_a, grid_b = (matched["ViewGrid"].from_boxes(boxes, (7, 7)) for boxes in (boxes_a, boxes_b))
        return matched["MatchedVICRegLoss"]()(a, b, matched["location_matches"](grid_a, grid_b, num_matches=20))

    a, b = torch.randn(2, 1, 512, 7, 7).unbind()
    compiled = torch.compile(second, fullgraph=True, backend="aot_eager")
    arguments = (matched["boxes_a"], matched["boxes_b"], a, b)
    torch.testing.assert_close(compiled(*arguments), second(*arguments))

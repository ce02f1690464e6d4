"""Write the pages that list every public name: ``python tests/api_pages.py``, from the root of the repository.

``docs/api/table.md`` says of each function and module what was found by running it: whether it synchronises with an
accelerator, compiles into one graph and has second derivatives. ``docs/api/names.md`` and ``llms.txt`` have one line
for each name. ``tests/test_api_pages.py`` computes all of it again and compares.
"""

import ast
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

import criteria  # noqa: E402
from devices import without_the_host  # noqa: E402
from public_calls import CALLS, GOOD, PAIRS, PUBLIC, RANDOM, TERMS, Built, moved, tensors_in  # noqa: E402

from correspondence_losses import blocks, correspond, functional, losses  # noqa: E402

PACKAGES = {"functional": functional, "correspond": correspond, "losses": losses, "blocks": blocks}
TITLES = {
    "functional": "Functions of tensors",
    "correspond": "Who matches whom",
    "losses": "Losses",
    "blocks": "Blocks",
}
MATCHES = ("location_matches", "feature_matches", "segment_matches", "pose_matches", "pose_grid", "gather_matches")
FILTERS = ("mutual_matches", "close_matches", "same_label_matches", "union_matches")
HOST = {"MultiCrop", "ViewGrid.from_transform"}


def sections() -> dict[str, list[tuple[str, str]]]:
    """The rows of the table by section: (function, module), either of which may be empty."""
    in_pairs = {name for pair in PAIRS for name in pair}
    rest = [
        name
        for name in functional.__all__
        if inspect.isfunction(PUBLIC[name]) and name not in in_pairs and name not in TERMS
    ]
    return {
        "Losses": [*PAIRS],
        "Terms of losses, statistics, masks and mixed images": [(name, "") for name in (*TERMS, *rest)],
        "Matches and views": [
            *((name, "") for name in (*MATCHES, *FILTERS, "on_matches")),
            ("ViewGrid.from_transform", ""),
            ("", "MultiCrop"),
        ],
        "Blocks": [("", name) for name in blocks.__all__ if issubclass_of_module(PUBLIC[name])],
    }


def issubclass_of_module(thing: Any) -> bool:
    """Whether a public name is a module."""
    return inspect.isclass(thing) and issubclass(thing, nn.Module)


def row(function: str, module: str) -> str:
    """One line of the table, found by running what it is about."""
    name = function or module
    settings = _settings(function, module)
    cells = [
        _linked(function) if function else "-",
        _linked(module) if module else "-",
        ", ".join(f"`{key}={value}`" for key, value in settings.items()) or "-",
        "none, mean, sum" if "reduction" in settings else "-",
    ]
    if name in HOST:
        cells += ["runs on the host"] * 3
    else:
        # Both halves of a pair are run, and must behave alike.
        found = {(_waits(half), _compiles(half), _second_derivatives(half)) for half in (function, module) if half}
        if len(found) != 1:
            raise RuntimeError(f"{function} and {module} differ: {found}")
        cells += found.pop()
    return f"| {' | '.join(cells)} |"


def _settings(function: str, module: str) -> dict[str, str]:
    if function == "ViewGrid.from_transform":
        return {}
    thing = PUBLIC[module or function]
    signature = inspect.signature(thing)
    return {
        name: f"{type(getattr(thing(), name)).__name__}()" if _is_made(parameter) else repr(parameter.default)
        for name, parameter in signature.parameters.items()
        if parameter.default is not inspect.Parameter.empty and not _is_input(name)
    }


def _is_input(name: str) -> bool:
    return name in {"valid", "key_cells", "present_a", "present_b", "generator", "size", "mask"}


def _is_made(parameter: inspect.Parameter) -> bool:
    return repr(parameter.default) == "<factory>"  # as dataclasses show what they make for each object


def _linked(name: str) -> str:
    package = next(key for key, value in PACKAGES.items() if name.split(".")[0] in value.__all__)
    kind = "meth" if "." in name else "class" if inspect.isclass(PUBLIC[name]) else "func"
    return f"{{py:{kind}}}`{name} <correspondence_losses.{package}.{name}>`"


def _variants(name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The call with its defaults, and then with a bound on the labels."""
    has_bound = "num_segments" in inspect.signature(PUBLIC[name]).parameters
    yield "yes", PUBLIC[name] if has_bound and inspect.isfunction(PUBLIC[name]) else GOOD[name][0]
    if has_bound:
        yield "with `num_segments`", CALLS[name][0]


def _first_that_works(name: str, works: Callable[[Callable[..., Any]], bool]) -> str:
    return next((answer for answer, call in _variants(name) if works(call)), "no")


@cache
def _waits(name: str) -> str:
    def stays_on_device(call: Callable[..., Any]) -> bool:
        arguments = _arguments(name, "meta")
        try:
            with torch.device("meta") if isinstance(call, Built) else nullcontext(), without_the_host():
                _forward_and_backward(call, arguments)
        except (RuntimeError, NotImplementedError):
            return False
        return True

    found = _first_that_works(name, stays_on_device)
    return {"yes": "no", "no": "yes"}.get(found, "not with `num_segments`")


@cache
def _compiles(name: str) -> str:
    def compiles(call: Callable[..., Any]) -> bool:
        torch._dynamo.reset()
        torch.manual_seed(0)
        eager = call.build() if isinstance(call, Built) else call
        arguments = _arguments(name, "cpu")
        compiled = torch.compile(lambda **inputs: eager(**inputs), fullgraph=True, backend="aot_eager")
        try:
            results = _forward_and_backward(compiled, arguments)
        except Exception as error:  # what Dynamo raises for what it cannot trace is of many kinds
            if "torch.compile" not in str(error) and "Dynamo" not in f"{type(error).__module__}{error}":
                raise
            return False
        if name not in RANDOM:
            for got, expected in zip(results, _forward_and_backward(eager, arguments), strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
        return True

    return _first_that_works(name, compiles)


@cache
def _second_derivatives(name: str) -> str:
    """By numerical differentiation of the gradients, in float64."""
    torch.manual_seed(0)
    _, call = [*_variants(name)][-1]
    function = call.build() if isinstance(call, Built) else call
    for module in (function, *getattr(function, "args", ())):
        if isinstance(module, nn.Module):
            module.double()
    arguments = _arguments(name, "cpu", torch.float64)
    outputs = _differentiable(function(**arguments))
    if not outputs:
        return "not differentiable"
    gradients = torch.autograd.grad([output.sum() for output in outputs], _leaves(arguments), allow_unused=True)
    used = [leaf for leaf, grad in zip(_leaves(arguments), gradients, strict=True) if grad is not None]

    def of_leaves(*_: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(0)  # what is random is the same each time
        return tuple(_differentiable(function(**arguments)))

    try:
        return "yes" if torch.autograd.gradgradcheck(of_leaves, used, fast_mode=True, atol=1e-4) else "no"
    except RuntimeError as error:
        if "once_differentiable" in str(error) or "not implemented" in str(error):
            return "no"
        raise


def _arguments(name: str, device: str, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    def cast(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(dtype) if value.is_floating_point() else value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(cast, value))
        return [cast(part) for part in value] if isinstance(value, list | tuple) else value

    return {key: moved(cast(value), device) for key, value in GOOD[name][1]().items()}


def _leaves(arguments: dict[str, Any]) -> list[Tensor]:
    found = [tensor for key, value in arguments.items() for _, tensor in tensors_in(value, (key,))]
    return [tensor for tensor in found if tensor.is_floating_point()]


def _differentiable(result: Any) -> list[Tensor]:
    return [tensor for _, tensor in tensors_in(result, ()) if tensor.requires_grad]


def _forward_and_backward(function: Callable[..., Any], arguments: dict[str, Any]) -> list[Tensor]:
    result = function(**arguments)
    outputs = [tensor for _, tensor in tensors_in(result, ())]
    differentiable = [output.float().sum() for output in outputs if output.requires_grad]
    gradients = (
        torch.autograd.grad(sum(differentiable), _leaves(arguments), allow_unused=True) if differentiable else ()
    )
    return [output.detach() for output in outputs] + [grad for grad in gradients if grad is not None]


HEADER = """\
# Every function and module

What each function and module takes, and what was found by running it; `python tests/api_pages.py` wrote this page, and
the tests compute it again. A function and the module beside it have the same settings and the same value. A module
takes its coefficients by position too; all other settings are given by name.

*Reduction*: what `reduction=` accepts, as in PyTorch. *Synchronises*: whether a forward and backward pass waits for an
accelerator, found on meta tensors, which have no values to wait for. *Compiles*: `torch.compile(fullgraph=True)`,
forward and backward, with the same values. *Second derivatives*: whether the gradients can be differentiated again,
checked numerically in float64.
"""
COLUMNS = "| function | module | settings | reduction | synchronises | compiles | second derivatives |"


def table(rows: Callable[[str, str], str] = row) -> str:
    """The page of the table."""
    parts = [HEADER]
    for title, entries in sections().items():
        lines = "\n".join(rows(*entry) for entry in entries)
        parts.append(f"## {title}\n\n{COLUMNS}\n|{' --- |' * 7}\n{lines}\n")
    return "\n".join(parts)


def first_line(name: str) -> str:
    """The first line of a name's documentation; of a type, the string below it."""
    thing = PUBLIC[name]
    if inspect.isfunction(thing) or (inspect.isclass(thing) and thing.__module__.startswith("correspondence_losses")):
        return inspect.cleandoc(thing.__doc__ or "").splitlines()[0]
    for path in sorted((ROOT / "correspondence_losses").rglob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node, following in pairwise(body):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return inspect.cleandoc(following.value.value).splitlines()[0]
    raise LookupError(f"{name} has no documentation")


def plain(line: str) -> str:
    """A line without the markup of references."""
    for role in (":class:", ":func:", ":meth:"):
        line = line.replace(role, "")
    return line.replace("``", "`")


def names() -> str:
    """The page of all names."""
    parts = [
        "# All names\n\nEvery public name, with one line each. All can be imported from `correspondence_losses`.\n"
    ]
    for package, module in PACKAGES.items():
        lines = "\n".join(f"- `{name}`: {plain(first_line(name))}" for name in sorted(module.__all__, key=str.lower))
        parts.append(f"## {TITLES[package]}: `correspondence_losses.{package}`\n\n{lines}\n")
    return "\n".join(parts)


LLMS_HEADER = """\
# correspondence-losses

> PyTorch losses and blocks that align dense features by correspondence: a producer decides which feature vectors
> correspond (by location, feature distance, segment label or 6D pose), a loss says what should hold of them.

Install a checkout with `pip install .` (it is on no package index yet); the library needs PyTorch alone. Import every
name from `correspondence_losses`. Shapes: b images, d channels, h x w a feature map, H x W an image, k matches. Label 0
means "no segment" (`ignore_index=0`). Give `num_segments` on a GPU and under `torch.compile`.

```python
from correspondence_losses import MatchedVICRegLoss, SAMPoolingBlock, ViewGrid, location_matches, paint_masks

pooling = SAMPoolingBlock(in_channels=256, num_segments=64)
loss, projection = pooling(features, paint_masks(masks))  # features (b, 256, h, w), masks (b, n, H, W) bool

view, grid = ViewGrid.from_transform(transform, image, (7, 7))  # any transform of torchvision v2
matches = location_matches(grid_a, grid_b, num_matches=20)  # or feature_matches, segment_matches, pose_matches
loss = MatchedVICRegLoss()(features_a, features_b, matches)
```

## Documentation

- [The idea](https://correspondence-losses.readthedocs.io/en/latest/idea.html): producers, losses, blocks
- [Conventions](https://correspondence-losses.readthedocs.io/en/latest/conventions.html): which factor is whose
- [Coming from another library](https://correspondence-losses.readthedocs.io/en/latest/coming_from.html)
- [Every function and module](https://correspondence-losses.readthedocs.io/en/latest/api/table.html): settings,
  reductions, synchronisation, compilation
- [Troubleshooting](https://correspondence-losses.readthedocs.io/en/latest/troubleshooting.html)
"""


def llms() -> str:
    """The text for language models."""
    return (
        f"{LLMS_HEADER}\n{names().replace('# All names', '## All names', 1).replace(chr(10) + '## ', chr(10) + '### ')}"
    )


PAGES = {ROOT / "docs/api/names.md": names, ROOT / "docs/api/criteria.md": criteria.page, ROOT / "llms.txt": llms}

if __name__ == "__main__":
    for path, page in {**PAGES, ROOT / "docs/api/table.md": table}.items():
        path.write_text(page(), encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}: {math.ceil(path.stat().st_size / 1024)} KB\n")

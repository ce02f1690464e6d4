"""Functions and modules pair one to one, with the same inputs, settings and values; every setting shows in a repr."""

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from public_calls import FUNCTIONS, GOOD, MODULES, PAIRS, PUBLIC, TERMS, tensors_in
from torch import nn

import correspondence_losses
from correspondence_losses import blocks


def test_every_loss_is_half_of_a_pair() -> None:
    assert {function for function, _ in PAIRS} == set(FUNCTIONS)
    for module in TERMS.values():
        assert hasattr(MODULES[module], "terms")


def parameters(function: Callable[..., Any], skip: int = 0) -> dict[str, inspect.Parameter]:
    return dict(list(inspect.signature(function).parameters.items())[skip:])


@pytest.mark.parametrize(("function", "module"), PAIRS)
def test_a_pair_has_one_signature(function: str, module: str) -> None:
    of_function = parameters(FUNCTIONS[function])
    inputs, settings = parameters(MODULES[module].forward, skip=1), parameters(MODULES[module])
    assert list(of_function) == [*inputs, *settings]
    for name, parameter in (inputs | settings).items():
        assert of_function[name].default == parameter.default, name
        assert of_function[name].annotation == parameter.annotation, name
    # Settings of a function are given by name; a module takes its coefficients by position too, and nothing else.
    assert all(of_function[name].kind is inspect.Parameter.KEYWORD_ONLY for name in settings)
    positional = [name for name, p in settings.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    coefficients = {"inv_coeff", "var_coeff", "cov_coeff", "alpha", "num_matches", "beta", "temperature"}
    assert set(positional) <= coefficients


SETTINGS: dict[str, dict[str, Any]] = {
    "VICRegLoss": {
        "inv_coeff": 2.0,
        "var_coeff": 3.0,
        "cov_coeff": 0.5,
        "gamma": 2.0,
        "eps": 0.1,
        "convention": "equations",
    },
    "MatchedVICRegLoss": {"inv_coeff": 2.0, "convention": "vicreg", "statistics": "matches", "gamma": 2.0},
    "VICRegLLoss": {"alpha": 0.3, "num_matches": (4, 2), "var_coeff": 3.0, "num_feature_matches": (3, 3)},
    "SegmentRegularizationLoss": {"beta": 2.0, "ignore_index": 1, "channel_reduction": "sum", "reduction": "none"},
    "MaskedL2Loss": {"ignore_index": 2, "element_reduction": "sum", "reduction": "none"},
    "LSGANDiscriminatorLoss": {"reduction": "sum"},
    "LSGANGeneratorLoss": {"reduction": "none"},
    "MinimaxDiscriminatorLoss": {"reduction": "none"},
    "MinimaxGeneratorLoss": {"saturating": False, "reduction": "sum"},
    "InfoNCELoss": {"temperature": 0.3, "reduction": "none"},
    "DetConLoss": {"temperature": 0.3, "reduction": "none"},
    "PatchNCELoss": {"temperature": 0.3, "detach_target": False, "reduction": "sum"},
    "SegmentContrastiveLoss": {"temperature": 0.3, "ignore_index": None, "num_segments": 5, "reduction": "none"},
    "GramLoss": {"detach_target": False, "element_reduction": "sum", "reduction": "none"},
    "KernelAlignmentLoss": {"detach_target": False, "eps": 100.0, "reduction": "none"},
    "FeatureDistanceLoss": {"detach_target": False, "distance": "cosine", "reduction": "sum"},
    "SIGRegLoss": {"num_points": 5, "max_t": 3.0, "reduction": "none"},
    "LeJEPALoss": {"sigreg_weight": 0.5, "num_points": 5, "max_t": 3.0},
    "MaskedConsistencyLoss": {"threshold": 0.4, "reduction": "none"},
    "EntropyLoss": {"reduction": "sum"},
    "PrototypeAlignmentLoss": {"num_segments": 5, "ignore_index": 1, "reduction": "none"},
    "CORALLoss": {},
    "MMDLoss": {"bandwidths": (1.0, 3.0)},
    "LSGANLoss": {},
    "MinimaxLoss": {"saturating": False},
}


@pytest.mark.parametrize(("function", "module"), PAIRS)
def test_a_pair_has_one_value(function: str, module: str) -> None:
    arguments = GOOD[module][1]()
    if module in ("LSGANLoss", "MinimaxLoss"):
        arguments = {"discriminator": blocks.FeatureDiscriminator(6, channels=32)} | arguments
    leaves = [tensor for _, tensor in tensors_in(list(arguments.values()), ()) if tensor.is_floating_point()]
    for leaf in leaves:
        leaf.requires_grad_()
    results = []
    for call in (
        lambda: MODULES[module](**SETTINGS[module])(**arguments),
        lambda: FUNCTIONS[function](**arguments, **SETTINGS[module]),
        lambda: MODULES[module]()(**arguments),
    ):
        loss = call()
        results.append((loss.detach(), *torch.autograd.grad(loss.sum(), leaves, allow_unused=True)))
    for ours, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)
    assert not SETTINGS[module] or not torch.equal(results[0][0], results[2][0]), "the settings change nothing"


REDUCING = [(function, module) for function, module in PAIRS if "reduction" in parameters(MODULES[module])]


@pytest.mark.parametrize(("function", "module"), REDUCING)
def test_reduction_means_what_it_means_in_torch(function: str, module: str) -> None:
    assert parameters(MODULES[module])["reduction"].default == "mean"
    arguments = GOOD[module][1]()
    none, mean, total = (MODULES[module](reduction=name)(**arguments) for name in ("none", "mean", "sum"))
    assert none.ndim > 0
    assert mean.shape == total.shape == ()
    torch.testing.assert_close(none.sum(), total)
    counted = (
        none[none != 0] if module in ("DetConLoss", "SegmentContrastiveLoss", "PatchNCELoss", "InfoNCELoss") else none
    )
    torch.testing.assert_close(counted.mean(), mean)
    for unknown in ("batchmean", None, "Mean", ""):
        with pytest.raises(ValueError, match=r"reduction must be one of 'none', 'mean', 'sum', got"):
            MODULES[module](reduction=unknown)
        with pytest.raises(ValueError, match=r"reduction must be one of 'none', 'mean', 'sum', got"):
            FUNCTIONS[function](**arguments, reduction=unknown)


def test_losses_without_a_reduction_have_no_values_to_reduce() -> None:
    """Statistics over a batch are no sums over it; a game sums over levels and sides of different sizes."""
    without = {module for _, module in PAIRS} - {module for _, module in REDUCING}
    statistics = {"VICRegLoss", "MatchedVICRegLoss", "VICRegLLoss", "LeJEPALoss", "CORALLoss", "MMDLoss"}
    assert without == statistics | {"LSGANLoss", "MinimaxLoss"}


BLOCKS = {
    "EMATeacher": (nn.Conv2d(4, 3, 1),),
    "FPNFusionHead": ((4, 8), 3),
    "FeatureDiscriminator": (4,),
    "GlobalExpander": (4, (8,), 8),
    "LinearHead": ((4, 8), 3),
    "LocalProjector": (4, (8,), 8),
    "MultiLevelDiscriminator": ((4, 8, 8),),
    "RefineNet": ((4, 8), 3),
    "SAMPoolingBlock": (4,),
    "SimpleFeaturePyramid": (4,),
}


@pytest.mark.parametrize("name", [*MODULES, *BLOCKS])
def test_a_repr_shows_every_setting(name: str) -> None:
    module = PUBLIC[name](*BLOCKS.get(name, ()))
    shown = repr(module).replace("\n", " ")
    for setting in parameters(type(module)):
        value = getattr(module, setting)
        assert (f"({setting}): " if isinstance(value, nn.Module) else f"{setting}={value!r}") in shown, setting


def test_every_module_is_covered() -> None:
    modules = {name for name, thing in PUBLIC.items() if inspect.isclass(thing) and issubclass(thing, nn.Module)}
    assert modules == {*MODULES, *BLOCKS}
    assert set(SETTINGS) == set(MODULES)


WORDS = {
    "features", "features_a", "features_b", "segments", "segments_a", "segments_b", "matches", "z1", "z2",
    "embeddings", "grids", "num_large", "size", "queries", "keys", "valid", "key_cells", "targets",
    "directions", "z", "means_a", "means_b", "present_a", "present_b", "real_scores", "fake_scores",
    "real_logits", "fake_logits", "discriminator", "source", "target", "logits", "probabilities", "mask",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted({*MODULES, *BLOCKS} - {"EMATeacher"}))  # it takes what its model takes
def test_inputs_have_one_word_each(name: str) -> None:
    """Feature maps are features and label maps are segments, in every forward."""
    assert set(parameters(PUBLIC[name].forward, skip=1)) <= WORDS


@pytest.mark.parametrize("head", ["FPNFusionHead", "LinearHead", "RefineNet"])
def test_heads_have_one_contract(head: str) -> None:
    build = PUBLIC[head]
    assert list(parameters(build))[:2] == ["in_channels", "num_classes"]
    assert list(parameters(build.forward, skip=1)) == ["features", "size"]
    module = build([4, 8, 16], 3)
    features = [torch.randn(2, c, 12 // s, 16 // s) for c, s in ((4, 1), (8, 2), (16, 4))]
    output = module(features, (24, 32))
    assert isinstance(output, blocks.HeadOutput)
    assert output.logits.shape == (2, 3, 24, 32)
    assert output.features.shape[:2] == (2, module.out_channels)
    assert [tuple(level.shape) for level in output.pyramid] == [
        (2, channels, *level.shape[2:]) for channels, level in zip(module.pyramid_channels, features, strict=True)
    ]


ROOT = Path(correspondence_losses.__file__).parent


def annotated_names(path: Path) -> set[tuple[str, str]]:
    """Names of the library in annotations of public functions and methods of a file, with where they stand."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("correspondence_losses")
        for alias in node.names
    }
    own |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    own |= {
        node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    own |= {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    found = set()
    scopes = [(node.name, node) for node in tree.body if isinstance(node, ast.FunctionDef)]
    for klass in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        scopes += [(klass.name, node) for node in klass.body if isinstance(node, ast.FunctionDef)]
    for scope, node in scopes:
        if scope not in PUBLIC or (node.name.startswith("_") and node.name not in ("__init__", "__call__")):
            continue
        arguments = [*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs]
        for annotation in [argument.annotation for argument in arguments] + [node.returns]:
            for part in ast.walk(annotation) if annotation is not None else ():
                name = part.id if isinstance(part, ast.Name) else part.value if isinstance(part, ast.Constant) else None
                if name in own:
                    found.add((scope, str(name)))
    return found


@pytest.mark.parametrize("package", ["functional", "correspond", "losses", "blocks"])
def test_types_of_annotations_can_be_imported(package: str) -> None:
    used = {found for path in (ROOT / package).glob("*.py") for found in annotated_names(path)}
    assert used
    for scope, name in used:
        assert name in PUBLIC, f"{name}, in the signature of {scope}, is not public"


def test_the_package_itself_has_every_name() -> None:
    for name, thing in PUBLIC.items():
        assert getattr(correspondence_losses, name) is thing
        assert name in correspondence_losses.__all__
    assert len(set(correspondence_losses.__all__)) == len(correspondence_losses.__all__)
    from correspondence_losses import Convention, MatchStatistics, Reduction

    assert {Convention, MatchStatistics, Reduction} == {
        PUBLIC[n] for n in ("Convention", "MatchStatistics", "Reduction")
    }

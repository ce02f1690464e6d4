"""Every public name of the core against bad arguments: an error of the right type that names the argument.

Each name has one call that works. From it come the bad calls that are bad for every argument of their kind (no
tensor, another dtype, no dimensions, nothing in it, another size, another device); ``VALUES`` lists those that are
particular to a name.
"""

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from correspondence_losses import blocks, correspond, functional, losses
from correspondence_losses.correspond import Matches, PosedFrames, ViewGrid

PACKAGES = (functional, correspond, losses, blocks)


def maps(*channels: int, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(2, c, 8 // 2**i, 8 // 2**i, generator=generator) for i, c in enumerate(channels)]
    return made[0] if len(made) == 1 else made


def labels() -> Tensor:
    return torch.arange(128).view(2, 8, 8) % 4


def grid() -> ViewGrid:
    points = torch.rand(2, 8, 8, 2, generator=torch.Generator().manual_seed(0)) * 8
    return ViewGrid.from_points(points, torch.ones(2, 8, 8, dtype=torch.bool))


def matches() -> Matches:
    return correspond.feature_matches(maps(6), maps(6, seed=1), 5)


def frames() -> PosedFrames:
    return PosedFrames(
        labels=torch.ones(2, 8, 8, dtype=torch.int64),
        object_ids=torch.tensor([[1, 2], [2, 1]]),
        poses=torch.eye(3, 4).expand(2, 2, -1, -1).clone(),
        intrinsics=torch.eye(3).expand(2, -1, -1).clone(),
        depth=torch.ones(2, 8, 8),
        object_coordinates=torch.ones(2, 8, 8, 3),
    )


def views() -> dict[str, Any]:
    return {
        "embeddings": [torch.randn(2, 5) for _ in range(3)],
        "features": [maps(6, seed=i) for i in range(3)],
        "grids": [grid() for _ in range(3)],
    }


def vectors(seed: int = 0) -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


def mask(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.bool)


def statistics() -> Any:
    return functional.segment_statistics(maps(3), labels(), 4)


def matched() -> dict[str, Any]:
    return {"features_a": maps(6), "features_b": maps(6, seed=1), "matches": matches()}


def contrasted() -> dict[str, Any]:
    return {"features_a": maps(6), "segments_a": labels(), "features_b": maps(6, seed=1), "segments_b": labels()}


def bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """With a bound on the labels, which on an accelerator keeps it from reading them."""
    return lambda **arguments: function(**arguments, num_segments=4)


class Built:
    """A call of something that is made first, such as a module with parameters."""

    def __init__(self, build: Callable[[], Callable[..., Any]]) -> None:
        self.build = build

    def __call__(self, **arguments: Any) -> Any:
        return self.build()(**arguments)


def called(module: Any, *constructor: Any, **settings: Any) -> Built:
    return Built(lambda: module(*constructor, **settings))


def played(game: Callable[..., Any]) -> Built:
    return Built(lambda: partial(game, blocks.FeatureDiscriminator(6, channels=32)))


def both_domains() -> dict[str, Any]:
    return {"source": maps(6), "target": maps(6, seed=1)}


GOOD: dict[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]]]] = {
    # functional
    "variance_loss": (functional.variance_loss, lambda: {"z": vectors(), "valid": mask(6)}),
    "covariance_loss": (functional.covariance_loss, lambda: {"z": vectors(), "valid": mask(6)}),
    "collapse_diagnostics": (functional.collapse_diagnostics, lambda: {"z": vectors()}),
    "invariance_loss": (functional.invariance_loss, lambda: {"z1": vectors(), "z2": vectors(1), "valid": mask(6)}),
    "vicreg_loss": (functional.vicreg_loss, lambda: {"z1": vectors(), "z2": vectors(1)}),
    "vicreg_terms": (functional.vicreg_terms, lambda: {"z1": vectors(), "z2": vectors(1), "valid": mask(6)}),
    "segment_statistics": (
        lambda features, segments: functional.segment_statistics(features, segments, 4),
        lambda: {"features": maps(3), "segments": labels()},
    ),
    "segment_invariance_loss": (functional.segment_invariance_loss, lambda: {"statistics": statistics()}),
    "segment_separation_loss": (functional.segment_separation_loss, lambda: {"statistics": statistics()}),
    "segment_regularization_loss": (
        bounded(functional.segment_regularization_loss),
        lambda: {"features": maps(3), "segments": labels()},
    ),
    "masked_l2_loss": (
        functional.masked_l2_loss,
        lambda: {"features_a": maps(3, 4), "features_b": maps(3, 4, seed=1), "segments": labels()},
    ),
    "lsgan_discriminator_loss": (
        functional.lsgan_discriminator_loss,
        lambda: {"real_scores": vectors(), "fake_scores": vectors(1)},
    ),
    "lsgan_generator_loss": (functional.lsgan_generator_loss, lambda: {"fake_scores": vectors()}),
    "minimax_discriminator_loss": (
        functional.minimax_discriminator_loss,
        lambda: {"real_logits": vectors(), "fake_logits": vectors(1)},
    ),
    "minimax_generator_loss": (functional.minimax_generator_loss, lambda: {"fake_logits": vectors()}),
    "info_nce_loss": (
        functional.info_nce_loss,
        lambda: {"queries": vectors(), "keys": vectors(1), "valid": mask(6), "key_cells": torch.arange(6)},
    ),
    "detcon_loss": (
        functional.detcon_loss,
        lambda: {
            "means_a": vectors()[None],
            "means_b": vectors(1)[None],
            "present_a": mask(1, 6),
            "present_b": mask(1, 6),
        },
    ),
    "segment_contrastive_loss": (bounded(functional.segment_contrastive_loss), contrasted),
    "paint_masks": (functional.paint_masks, lambda: {"masks": torch.arange(4)[:, None, None] == labels()[0]}),
    "segments_to_masks": (bounded(functional.segments_to_masks), lambda: {"segments": labels()}),
    # correspond
    "ViewGrid": (ViewGrid.from_points, lambda: {"points": torch.rand(2, 3, 3, 2), "valid": mask(2, 3, 3)}),
    "location_matches": (
        lambda **grids: correspond.location_matches(**grids, num_matches=3),
        lambda: {"grid_a": grid(), "grid_b": grid()},
    ),
    "feature_matches": (
        lambda **both: correspond.feature_matches(**both, num_matches=3),
        lambda: {"features_a": maps(6), "features_b": maps(6, seed=1)},
    ),
    "segment_matches": (
        lambda **both: correspond.segment_matches(**both, num_matches=3),
        lambda: {"segments_a": labels(), "segments_b": labels()},
    ),
    "gather_matches": (correspond.gather_matches, matched),
    "mutual_matches": (correspond.mutual_matches, lambda: {"matches": matches(), "reverse": matches()}),
    "close_matches": (lambda matches: correspond.close_matches(matches, 2.0), lambda: {"matches": matches()}),
    "same_label_matches": (
        correspond.same_label_matches,
        lambda: {"matches": matches(), "segments_a": labels(), "segments_b": labels()},
    ),
    "union_matches": (lambda matches: correspond.union_matches(*matches), lambda: {"matches": [matches(), matches()]}),
    "pose_grid": (correspond.pose_grid, lambda: {"grid": grid(), "frames": frames(), "seed_frames": frames()}),
    "pose_matches": (
        lambda **both: correspond.pose_matches(**both, num_matches=3),
        lambda: {"grid_a": grid(), "frames_a": frames(), "grid_b": grid(), "frames_b": frames()},
    ),
    # losses
    "VICRegLoss": (called(losses.VICRegLoss), lambda: {"z1": vectors(), "z2": vectors(1)}),
    "VICRegLLoss": (called(losses.VICRegLLoss, num_matches=(4, 2)), views),
    "vicregl_loss": (lambda **views: losses.vicregl_loss(**views, num_matches=(4, 2)), views),
    "MatchedVICRegLoss": (called(losses.MatchedVICRegLoss), matched),
    "matched_vicreg_loss": (losses.matched_vicreg_loss, matched),
    "SegmentRegularizationLoss": (
        called(losses.SegmentRegularizationLoss),
        lambda: {"features": maps(3), "segments": labels()},
    ),
    "MaskedL2Loss": (
        called(losses.MaskedL2Loss),
        lambda: {"features_a": maps(3, 4), "features_b": maps(3, 4, seed=1), "segments": labels()},
    ),
    "LSGANDiscriminatorLoss": (
        called(losses.LSGANDiscriminatorLoss),
        lambda: {"real_scores": vectors(), "fake_scores": vectors(1)},
    ),
    "LSGANGeneratorLoss": (called(losses.LSGANGeneratorLoss), lambda: {"fake_scores": vectors()}),
    "MinimaxDiscriminatorLoss": (
        called(losses.MinimaxDiscriminatorLoss),
        lambda: {"real_logits": vectors(), "fake_logits": vectors(1)},
    ),
    "MinimaxGeneratorLoss": (called(losses.MinimaxGeneratorLoss), lambda: {"fake_logits": vectors()}),
    "LSGANLoss": (played(losses.LSGANLoss()), both_domains),
    "MinimaxLoss": (played(losses.MinimaxLoss()), both_domains),
    "lsgan_loss": (played(losses.lsgan_loss), both_domains),
    "minimax_loss": (played(losses.minimax_loss), both_domains),
    "InfoNCELoss": (
        called(losses.InfoNCELoss),
        lambda: {"queries": vectors(), "keys": vectors(1), "valid": mask(6), "key_cells": torch.arange(6)},
    ),
    "DetConLoss": (
        called(losses.DetConLoss),
        lambda: {
            "means_a": vectors()[None],
            "means_b": vectors(1)[None],
            "present_a": mask(1, 6),
            "present_b": mask(1, 6),
        },
    ),
    "PatchNCELoss": (called(losses.PatchNCELoss), matched),
    "patch_nce_loss": (losses.patch_nce_loss, matched),
    "SegmentContrastiveLoss": (called(losses.SegmentContrastiveLoss), contrasted),
    # blocks
    "LocalProjector": (called(blocks.LocalProjector, 6, (4,), 3), lambda: {"features": maps(6)}),
    "GlobalExpander": (called(blocks.GlobalExpander, 4, (4,), 3), lambda: {"features": vectors()}),
    "LinearHead": (called(blocks.LinearHead, (6, 4), 3), lambda: {"features": maps(6, 4), "size": (9, 9)}),
    "FeatureDiscriminator": (called(blocks.FeatureDiscriminator, 6, channels=32), lambda: {"features": maps(6)}),
    "MultiLevelDiscriminator": (
        called(blocks.MultiLevelDiscriminator, (6, 4), num_downsamples=(2, 1), channels=32),
        lambda: {"features": maps(6, 4)},
    ),
    "RefineNet": (called(blocks.RefineNet, (6, 4), 3, channels=4), lambda: {"features": maps(6, 4), "size": (9, 9)}),
    "FPNFusionHead": (
        called(blocks.FPNFusionHead, (6, 4), 3, fpn_channels=4),
        lambda: {"features": maps(6, 4), "size": (9, 9)},
    ),
    "SAMPoolingBlock": (called(blocks.SAMPoolingBlock, 6), lambda: {"features": maps(6), "segments": labels()}),
}


class Place(NamedTuple):
    """A tensor among the arguments of a call, such as matches.index_a or maps[1]."""

    call: str
    path: tuple[str | int, ...]

    @property
    def name(self) -> str:
        head, *rest = self.path
        return str(head) + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest)


def tensors_in(value: Any, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], Tensor]]:
    if isinstance(value, Tensor):
        return [(path, value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        steps: list[tuple[str | int, Any]] = list(zip(value._fields, value, strict=True))
    elif isinstance(value, list | tuple):
        steps = list(enumerate(value))
    else:
        return []
    return [found for step, part in steps for found in tensors_in(part, (*path, step))]


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    step, *rest = path
    if isinstance(step, int):
        return [replaced(part, tuple(rest), new) if i == step else part for i, part in enumerate(value)]
    return value._replace(**{step: replaced(getattr(value, step), tuple(rest), new)})


class Value(NamedTuple):
    """A bad value that is particular to one name."""

    call: str
    function: Callable[[], Any]
    error: type[Exception]
    message: str


def good(call: str, **changed: Any) -> Callable[[], Any]:
    function, arguments = GOOD[call]
    return lambda: function(**(arguments() | changed))


def boxes(**changed: Any) -> Callable[[], Any]:
    arguments = {"boxes": torch.tensor([[0.0, 0, 8, 8]]), "size": (2, 2)} | changed
    return lambda: ViewGrid.from_boxes(**arguments)


VALUES = [
    Value("variance_loss", good("variance_loss", gamma=0.0), ValueError, "gamma must be above 0, got 0.0"),
    Value("variance_loss", good("variance_loss", eps=-1.0), ValueError, "eps must be above 0, got -1.0"),
    Value("vicreg_terms", good("vicreg_terms", inv_coeff=-1.0), ValueError, "inv_coeff must be at least 0, got -1.0"),
    Value("vicreg_terms", good("vicreg_terms", convention="paper"), ValueError, "convention must be one of"),
    Value(
        "segment_statistics",
        good("segment_statistics", segments=labels() + 1),
        ValueError,
        r"segments must lie in \[0, 4\)",
    ),
    Value(
        "segment_statistics",
        good("segment_statistics", segments=labels() - 1),
        ValueError,
        r"segments must lie in \[0, 4\)",
    ),
    Value("segment_separation_loss", good("segment_separation_loss", beta=0.0), ValueError, "beta must be above 0"),
    *(
        Value(call, good(call, reduction="batchmean"), ValueError, "reduction must be one of 'none', 'mean', 'sum'")
        for call in sorted(GOOD)
        if "reduction" in inspect.signature(GOOD[call][0]).parameters
    ),
    Value("masked_l2_loss", good("masked_l2_loss", element_reduction="none"), ValueError, "element_reduction must be"),
    Value("info_nce_loss", good("info_nce_loss", temperature=0.0), ValueError, "temperature must be above 0"),
    Value(
        "detcon_loss",
        good("detcon_loss", temperature=-1.0),
        ValueError,
        "temperature must be above 0",
    ),
    Value("ViewGrid", boxes(size=(0, 2)), ValueError, r"size\[0\] must be at least 1, got 0"),
    Value("ViewGrid", boxes(size=(2, 2.5)), TypeError, r"size\[1\] must be an int, got float"),
    Value("ViewGrid", boxes(boxes=torch.zeros(1, 5)), ValueError, r"boxes must have shape \(1, 4\)"),
    Value("ViewGrid", boxes(boxes=torch.tensor([[4, 0, 4, 8]])), ValueError, "boxes must have left < right"),
    Value("ViewGrid", boxes(boxes=torch.full((1, 4), torch.nan)), ValueError, "boxes must have left < right"),
    Value("ViewGrid", boxes(boxes=[[0, 0, 8, 8]]), TypeError, r"boxes must be a torch\.Tensor, got list"),
    Value("ViewGrid", boxes(horizontal_flip=torch.tensor([1])), TypeError, "horizontal_flip must be a bool tensor"),
    Value("ViewGrid", boxes(vertical_flip=mask(2)), ValueError, r"vertical_flip must have shape \(1,\)"),
    Value("ViewGrid", lambda: ViewGrid.cat([]), ValueError, "grids must hold at least one"),
    Value(
        "ViewGrid",
        lambda: ViewGrid.cat([grid(), boxes()()]),
        ValueError,
        r"grids must have one size .* \(8, 8\) and \(2, 2\)",
    ),
    Value("location_matches", good("location_matches", grid_a=torch.ones(1)), TypeError, "grid_a must be a ViewGrid"),
    Value(
        "location_matches",
        lambda: correspond.location_matches(grid(), grid(), 0),
        ValueError,
        "num_matches must be at least 1, got 0",
    ),
    Value(
        "feature_matches",
        lambda: correspond.feature_matches(maps(6), maps(6), 2.0),
        TypeError,
        "num_matches must be an int, got float",
    ),
    Value(
        "feature_matches",
        lambda: correspond.feature_matches(maps(6), maps(5), 2),
        ValueError,
        r"features_b must have shape \(2, 6, 8, 8\) \(batch and channels of features_a\), got \(2, 5, 8, 8\)",
    ),
    Value(
        "segment_matches",
        lambda: correspond.segment_matches(labels(), labels(), True),
        TypeError,
        "num_matches must be an int, got bool",
    ),
    Value(
        "gather_matches",
        good("gather_matches", matches=matches()._replace(index_a=torch.full((2, 5), 64))),
        ValueError,
        r"matches\.index_a must lie in \[0, 64\), got values from 64 to 64",
    ),
    Value("pose_grid", good("pose_grid", tolerance=0.0), ValueError, "tolerance must be above 0"),
    Value("pose_grid", good("pose_grid", frames=None), TypeError, "frames must be PosedFrames, got NoneType"),
    Value(
        "pose_grid",
        good("pose_grid", seed_frames=frames()._replace(depth=None, object_coordinates=None)),
        ValueError,
        "seed_frames must have depth or object_coordinates, got neither",
    ),
    Value("VICRegLoss", lambda: losses.VICRegLoss(cov_coeff=-1.0), ValueError, "cov_coeff must be at least 0"),
    Value("VICRegLLoss", lambda: losses.VICRegLLoss(alpha=1.5), ValueError, r"alpha must lie in \[0, 1\], got 1.5"),
    Value(
        "VICRegLLoss",
        lambda: losses.VICRegLLoss(num_matches=(20, 0)),
        ValueError,
        r"num_matches\[1\] must be at least 1",
    ),
    Value("MatchedVICRegLoss", lambda: losses.MatchedVICRegLoss(statistics="images"), ValueError, "statistics must be"),
    Value(
        "SegmentRegularizationLoss",
        lambda: losses.SegmentRegularizationLoss(channel_reduction="max"),
        ValueError,
        "channel_reduction must be",
    ),
    Value(
        "MaskedL2Loss",
        lambda: losses.MaskedL2Loss(reduction="max"),
        ValueError,
        "reduction must be one of 'none', 'mean', 'sum', got 'max'",
    ),
    Value("MaskedL2Loss", good("MaskedL2Loss", features_a=[]), ValueError, "features_b must have the same levels"),
    Value(
        "MaskedL2Loss",
        good("MaskedL2Loss", features_b=maps(3, 5)),
        ValueError,
        r"features_b\[1\] must have shape \(2, 4, 4, 4\)",
    ),
    Value("PatchNCELoss", lambda: losses.PatchNCELoss(temperature=0.0), ValueError, "temperature must be above 0"),
    Value(
        "SegmentContrastiveLoss",
        lambda: losses.SegmentContrastiveLoss(temperature=0.0),
        ValueError,
        "temperature must be above 0",
    ),
    Value(
        "LocalProjector",
        lambda: blocks.LocalProjector(6, (0,), 3),
        ValueError,
        r"hidden_channels\[0\] must be at least 1",
    ),
    Value("LocalProjector", good("LocalProjector", features=maps(5)), ValueError, r"features must have .*6 channels"),
    Value("GlobalExpander", lambda: blocks.GlobalExpander(6, norm="group"), ValueError, "norm must be one of"),
    Value(
        "GlobalExpander",
        good("GlobalExpander", features=vectors()[:, 1:]),
        ValueError,
        "features must have .*4 channels",
    ),
    Value("LinearHead", good("LinearHead", size=(0, 9)), ValueError, r"size\[0\] must be at least 1"),
    Value("LinearHead", lambda: blocks.LinearHead([6], 0), ValueError, "num_classes must be at least 1"),
    Value("LinearHead", lambda: blocks.LinearHead(6, 3), TypeError, "in_channels must be a sequence"),
    Value("LinearHead", good("LinearHead", features=maps(6)), TypeError, "features must be a sequence of .*got Tensor"),
    Value(
        "FeatureDiscriminator",
        lambda: blocks.FeatureDiscriminator(6, num_downsamples=-1),
        ValueError,
        "num_downsamples must be at least 0",
    ),
    Value(
        "MultiLevelDiscriminator",
        good("MultiLevelDiscriminator", features=maps(6, 5)),
        ValueError,
        r"features\[1\] must have .*4 ch",
    ),
    Value("RefineNet", good("RefineNet", features=[maps(6)]), ValueError, "features must hold 2 maps, got 1"),
    Value("RefineNet", lambda: blocks.RefineNet((), 3), ValueError, "in_channels must name at least one level"),
    Value(
        "FPNFusionHead",
        good("FPNFusionHead", features=[maps(6)]),
        ValueError,
        "features must hold 2 maps, got 1",
    ),
    Value("SAMPoolingBlock", lambda: blocks.SAMPoolingBlock(6, beta=0.0), ValueError, "beta must be above 0"),
]


def other_dtype(tensor: Tensor) -> Tensor:
    return tensor.long() if tensor.is_floating_point() else tensor.float()


def larger(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor[-1:]])


CORRUPTIONS: dict[str, tuple[Callable[[Tensor], Any], type[Exception]]] = {
    "a list": (lambda tensor: tensor.tolist(), TypeError),
    "another dtype": (other_dtype, TypeError),
    "no dimensions": (lambda tensor: tensor.flatten()[0], ValueError),
    "nothing in it": (lambda tensor: tensor[:0], ValueError),
    "one sample more": (larger, ValueError),
    "another device": (lambda tensor: tensor.to("meta"), ValueError),
}

SCORES = {name for name in functional.__all__ if name.startswith(("lsgan_", "minimax_"))}
SCORES |= {name for name in losses.__all__ if name.endswith(("DiscriminatorLoss", "GeneratorLoss"))}
GAMES = {"LSGANLoss", "MinimaxLoss", "lsgan_loss", "minimax_loss"}


READS_PAIRS = {"gather_matches", "MatchedVICRegLoss", "matched_vicreg_loss", "PatchNCELoss", "patch_nce_loss"}


def is_bad(place: Place, corruption: str) -> bool:
    """Whether a corruption is one for this tensor: some functions take any size, and a single tensor any device."""
    if place.call in READS_PAIRS and place.path[-1] == "distance":
        return False  # never read
    if place.call == "gather_matches" and place.path[-1] == "valid":
        return False
    tensors = sum(other.call == place.call for other in places())
    if corruption == "another device" and (tensors == 1 or place.call in GAMES or hasattr(blocks, place.call)):
        return False  # where the parameters of a module are is the user's business, as it is for all of torch.nn
    if corruption == "no dimensions" and place.call in SCORES | GAMES:
        return False
    if corruption == "one sample more":
        takes_any = SCORES | GAMES | {"collapse_diagnostics"}
        return not (place.call in takes_any or (hasattr(blocks, place.call) and tensors == 1))
    return True


def places() -> list[Place]:
    return [
        Place(call, path)
        for call, (_, arguments) in GOOD.items()
        for name, value in arguments().items()
        for path, _ in tensors_in(value, (name,))
    ]


# Calls that do not yet say what is wrong, or name an argument that is not the caller's.
def case(place: Place, corruption: str) -> Any:
    return pytest.param(place, corruption, id=f"{place.call}-{place.name}-{corruption}")


def is_called(thing: Any) -> bool:
    """Whether a public name is a function, a module or a grid: no type of an argument and no named tuple."""
    if inspect.isclass(thing):
        return thing is ViewGrid or not (issubclass(thing, tuple) or getattr(thing, "_is_protocol", False))
    return inspect.isfunction(thing)


def test_every_public_name_is_here():
    public = {name for package in PACKAGES for name in package.__all__ if is_called(getattr(package, name))}
    assert public - {"MultiCrop", "ColorDistortion"} == set(GOOD)  # those two are in tests/correspond


@pytest.mark.parametrize("call", GOOD)
def test_the_good_calls_work(call):
    function, arguments = GOOD[call]
    function(**arguments())


@pytest.mark.parametrize(
    ("place", "corruption"),
    [case(place, corruption) for place in places() for corruption in CORRUPTIONS if is_bad(place, corruption)],
)
def test_bad_tensors(place, corruption):
    function, make = GOOD[place.call]
    arguments = make()
    corrupt, error = CORRUPTIONS[corruption]
    name, *rest = place.path
    (tensor,) = [tensor for path, tensor in tensors_in(arguments[name], (name,)) if path == place.path]
    arguments[name] = replaced(arguments[name], tuple(rest), corrupt(tensor))
    with pytest.raises(error) as raised:
        function(**arguments)
    assert re.search(rf"(?<![\w.]){re.escape(place.name)}(?!\w)", str(raised.value)), raised.value


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{value.call}-{value.message}")
def test_bad_values(value):
    with pytest.raises(value.error, match=value.message):
        value.function()


def floating_in(result: Any) -> list[Tensor]:
    return [tensor for _, tensor in tensors_in(result, ()) if tensor.is_floating_point()]


def shows_nan(place: Place) -> bool:
    """Whether a NaN here should show: not in what only says where, nor in a part that the function does not read."""
    name, last = place.path[0], place.path[-1]
    tensor = dict(tensors_in(GOOD[place.call][1]()[str(name)], (name,)))[place.path]
    positions = last in ("points", "distance") and not place.call.startswith("location_")
    return tensor.is_floating_point() and not (positions or place.call.startswith("pose_") or name == "statistics")


@pytest.mark.parametrize(
    "place", [place for place in places() if shows_nan(place)], ids=lambda place: f"{place.call}-{place.name}"
)
def test_a_nan_is_never_hidden(place):
    """NaN features, embeddings and scores give NaN: no clamp, mask or hinge takes them for something else."""
    function, make = GOOD[place.call]
    arguments = make()
    name, *rest = place.path
    broken = torch.full_like(dict(tensors_in(arguments[name], (name,)))[place.path], torch.nan)
    arguments[name] = replaced(arguments[name], tuple(rest), broken)
    assert any(tensor.isnan().any() for tensor in floating_in(function(**arguments)))

"""Every public name of the core against bad arguments: an error of the right type that names the argument.

Each name has one call that works. From it come the bad calls that are bad for every argument of their kind (no
tensor, another dtype, no dimensions, nothing in it, another size, another device); ``VALUES`` lists those that are
particular to a name.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from public_calls import GOOD, PACKAGES, frames, grid, labels, maps, mask, matches, tensors_in, vectors
from torch import Tensor

from correspondence_losses import blocks, correspond, functional, losses
from correspondence_losses.correspond import ViewGrid


class Place(NamedTuple):
    """A tensor among the arguments of a call, such as matches.index_a or maps[1]."""

    call: str
    path: tuple[str | int, ...]

    @property
    def name(self) -> str:
        head, *rest = self.path
        return str(head) + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest)


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
    Value("gram_loss", good("gram_loss", element_reduction="none"), ValueError, "element_reduction must be"),
    Value("kernel_alignment_loss", good("kernel_alignment_loss", eps=0.0), ValueError, "eps must be above 0, got 0.0"),
    Value(
        "feature_distance_loss",
        good("feature_distance_loss", targets=torch.ones(2, 3, 3)),
        ValueError,
        r"targets must have shape \(2, 3, 4\) \(that of features\), got \(2, 3, 3\)",
    ),
    Value("FeatureDistanceLoss", lambda: losses.FeatureDistanceLoss(distance="l2"), ValueError, "distance must be one"),
    Value("sigreg_loss", good("sigreg_loss", num_points=4), ValueError, "num_points must be odd and at least 3, got 4"),
    Value("sigreg_loss", good("sigreg_loss", max_t=0.0), ValueError, "max_t must be above 0"),
    Value("SIGRegLoss", lambda: losses.SIGRegLoss(num_slices=0), ValueError, "num_slices must be at least 1"),
    Value(
        "LeJEPALoss", lambda: losses.LeJEPALoss(sigreg_weight=2.0), ValueError, r"sigreg_weight must lie in \[0, 1\]"
    ),
    Value("segment_vote", good("segment_vote", segments=labels() + 1), ValueError, r"segments must lie in \[0, 4\)"),
    Value(
        "segment_vote",
        lambda: functional.segment_vote(maps(3), labels(), min_confidence=1.5),
        ValueError,
        r"min_confidence must lie in \[0, 1\], got 1.5",
    ),
    Value("class_mix", good("class_mix", labels=labels() + 1), ValueError, r"labels must lie in \[0, 4\)"),
    Value(
        "class_mix",
        lambda: functional.class_mix(maps(3), labels(), maps(3), labels(), 4.0),
        TypeError,
        "num_classes must be an int, got float",
    ),
    Value("mask_blocks", lambda: functional.mask_blocks(maps(3), 0), ValueError, "block_size must be at least 1"),
    Value("mask_blocks", lambda: functional.mask_blocks(maps(3), 2, 1.5), ValueError, r"ratio must lie in \[0, 1\]"),
    Value(
        "masked_consistency_loss",
        good("masked_consistency_loss", threshold=-0.1),
        ValueError,
        r"threshold must lie in \[0, 1\], got -0.1",
    ),
    Value("entropy_loss", lambda: functional.entropy_loss(maps(1)), ValueError, "logits must have at least 2 classes"),
    Value("coral_loss", good("coral_loss", target=vectors()[:1]), ValueError, "target must hold at least 2 vectors"),
    Value("mmd_loss", good("mmd_loss", bandwidths=()), ValueError, "bandwidths must hold at least one factor"),
    Value("MMDLoss", lambda: losses.MMDLoss(bandwidths=[1.0, 0.0]), ValueError, r"bandwidths\[1\] must be above 0"),
    Value(
        "MaskedConsistencyLoss",
        lambda: losses.MaskedConsistencyLoss(threshold=2.0),
        ValueError,
        r"threshold must lie in \[0, 1\], got 2.0",
    ),
    Value("ViewGrid", boxes(size=(0, 2)), ValueError, r"size\[0\] must be at least 1, got 0"),
    Value("ViewGrid", boxes(size=(2, 2.5)), TypeError, r"size\[1\] must be an int, got float"),
    Value("ViewGrid", boxes(boxes=torch.zeros(1, 5)), ValueError, r"boxes must have shape \(1, 4\)"),
    Value("ViewGrid", boxes(boxes=torch.tensor([[4, 0, 4, 8]])), ValueError, "boxes must have left < right"),
    Value("ViewGrid", boxes(boxes=torch.full((1, 4), torch.nan)), ValueError, "boxes must have left < right"),
    Value("ViewGrid", boxes(boxes=torch.tensor([[0, 0, torch.inf, 8]])), ValueError, "and a finite area, got"),
    Value("ViewGrid", boxes(boxes=torch.tensor([[9, 0, 4, 8]], dtype=torch.uint8)), ValueError, "boxes must have left"),
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
    Value(
        "SimpleFeaturePyramid",
        lambda: blocks.SimpleFeaturePyramid(6, scale_factors=(4, 3)),
        ValueError,
        r"scale_factors\[1\] must be a power of two, got 3",
    ),
    Value(
        "SimpleFeaturePyramid", good("SimpleFeaturePyramid", features=maps(5)), ValueError, "features must have .*6 ch"
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


READS_PAIRS = {
    "gather_matches",
    "on_matches",
    "MatchedVICRegLoss",
    "matched_vicreg_loss",
    "PatchNCELoss",
    "patch_nce_loss",
}


def is_bad(place: Place, corruption: str) -> bool:
    """Whether a corruption is one for this tensor: some functions take any size, and a single tensor any device."""
    if place.call in READS_PAIRS and place.path[-1] == "distance":
        return False  # never read
    if place.call == "gather_matches" and place.path[-1] == "valid":
        return False
    if place.call == "adapt_batch_norm":
        return False  # what the model of the user is called with
    if place.call == "paint_masks" and corruption in ("a list", "nothing in it"):
        return False  # lists of masks are read as masks, and no masks are a map without segments
    tensors = sum(other.call == place.call for other in places())
    if corruption == "another device" and (tensors == 1 or place.call in GAMES or hasattr(blocks, place.call)):
        return False  # where the parameters of a module are is the user's business, as it is for all of torch.nn
    if corruption == "no dimensions" and place.call in SCORES | GAMES:
        return False
    if place.call == "paint_masks" and corruption in ("a list", "nothing in it"):
        return False  # a list of masks is one of its forms, and there may be none
    if corruption == "one sample more":
        takes_any = {"paint_masks", "segments_to_masks", "collapse_diagnostics", "mask_blocks"} | SCORES | GAMES
        takes_any |= {"entropy_loss", "EntropyLoss", "coral_loss", "CORALLoss", "mmd_loss", "MMDLoss"}
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

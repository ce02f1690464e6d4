"""What every correspondence producer returns, how its closest pairs are kept, and how matched vectors are read."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from correspondence_losses._checks import (
    check_floating,
    check_integer,
    check_labels,
    check_rank,
    check_same_device,
    check_shape,
)

# Up to so many cells of a batch, the closest are found by sorting.
_SORTED_CELLS = 4096


class Matches(NamedTuple):
    """Pairs of corresponding cells of two feature maps ``a`` and ``b``: ``k`` slots for each image of the batch.

    A cell is given by its flat row-major index, ``row * width + column``. The number of slots is fixed, so that
    matches can be batched and compiled. ``valid`` says which slots hold a match. The others are padding, with index 0
    and an infinite distance.

    :func:`location_matches`, :func:`feature_matches` and :func:`pose_matches` list their matches first, in row-major
    order of the cell in ``a``, then the padding. A cell of ``b`` may occur in several matches. The slots of
    :func:`segment_matches` are independent draws. Filters leave the remaining matches in their slots.

    Attributes:
        index_a: Cells of map ``a``, int64, shape ``(b, k)``.
        index_b: The corresponding cells of map ``b``, int64, shape ``(b, k)``.
        valid: Which slots hold a match, bool, shape ``(b, k)``.
        distance: How far the two cells of each pair are apart, in the producer's own measure, shape ``(b, k)``.
    """

    index_a: Tensor
    index_b: Tensor
    valid: Tensor
    distance: Tensor


def gather_matches(features_a: Tensor, features_b: Tensor, matches: Matches) -> tuple[Tensor, Tensor]:
    """Read the feature vectors of both cells of each match: z_p and z'_NN(p) of equations 2.8, 2.9 and 4.1.

    Invalid slots read cell 0: mask them with ``matches.valid``.

    Args:
        features_a: Feature map that ``matches.index_a`` refers to, ``(b, d, h, w)``.
        features_b: Feature map that ``matches.index_b`` refers to, ``(b, d, h', w')``.
        matches: ``k`` matches of each of the ``b`` samples.

    Returns:
        The vectors of ``features_a`` and those of ``features_b``, each ``(b, k, d)``.

    Raises:
        TypeError: If a map is not a floating-point tensor, or an index not an integer tensor.
        ValueError: If the maps differ in batch size, channels or device, the matches are not of their batch, or, in
            host memory, an index lies outside its map.

    Example:
        >>> import torch
        >>> from correspondence_losses.correspond import feature_matches, gather_matches
        >>> features = torch.randn(2, 8, 3, 3)
        >>> a, b = gather_matches(features, features, feature_matches(features, features, num_matches=4))
        >>> a.shape, torch.equal(a, b)
        (torch.Size([2, 4, 8]), True)
    """
    check_map_pair(features_a, features_b)
    for name, index, feature_map in (
        ("matches.index_a", matches.index_a, features_a),
        ("matches.index_b", matches.index_b, features_b),
    ):
        check_integer(name, index)
        check_rank(name, index, 2, "(b, k)")
        check_shape(
            name, index, (len(features_a), matches.index_a.shape[1]), "batch of features_a, slots of matches.index_a"
        )
        check_same_device(name, index, "features_a", features_a)
        check_labels(name, index, feature_map.shape[2] * feature_map.shape[3])
    return _gather(features_a, matches.index_a), _gather(features_b, matches.index_b)


def check_map_pair(features_a: Tensor, features_b: Tensor) -> None:
    """Raise unless both are feature maps ``(b, d, h, w)`` of one batch size, number of channels and device."""
    for name, feature_map in (("features_a", features_a), ("features_b", features_b)):
        check_floating(name, feature_map)
        check_rank(name, feature_map, 4, "(b, d, h, w)")
    check_shape(
        "features_b", features_b, (*features_a.shape[:2], *features_b.shape[2:]), "batch and channels of features_a"
    )
    check_same_device("features_b", features_b, "features_a", features_a)


def keep_closest(index_b: Tensor, squared_distance: Tensor, num_matches: int, *, finite: bool = False) -> Matches:
    """Keep the ``num_matches`` closest of the pairs that each cell of ``a`` forms with its nearest cell of ``b``.

    Among equally distant pairs the first in row-major order are kept. A pair at infinite distance is no match. A NaN
    distance counts as the closest, so that broken features show in whatever is computed from the matches.

    Args:
        index_b: The nearest cell of ``b`` for each of the ``n`` cells of ``a``, ``(b, n)``.
        squared_distance: The squared distance of each of these pairs, ``(b, n)``.
        num_matches: Number of slots ``k`` of the result.
        finite: Whether all distances are known to be finite.
    """
    cells = index_b.shape[-1]
    if finite and num_matches <= cells and squared_distance.numel() <= _SORTED_CELLS:
        return _closest_without_padding(index_b, squared_distance, num_matches)
    key = squared_distance.nan_to_num(nan=-torch.inf, posinf=torch.inf)
    # The same cells either way: sorting takes fewer steps, selecting fewer comparisons.
    closest = _closest_by_sorting if key.numel() <= _SORTED_CELLS else _closest_by_selecting
    index_a = closest(key, num_matches)
    # For few cells each operation counts, so what is new here is changed in place.
    absent = index_a == cells
    index_a.masked_fill_(absent, 0)
    return Matches(
        index_a=index_a,
        index_b=index_b.gather(-1, index_a).masked_fill_(absent, 0),
        valid=~absent,
        distance=squared_distance.gather(-1, index_a).sqrt_().masked_fill_(absent, torch.inf),
    )


def _closest_without_padding(index_b: Tensor, squared_distance: Tensor, num_matches: int) -> Matches:
    """What :func:`keep_closest` returns where each slot holds a match: half of its operations."""
    index = squared_distance.sort(dim=-1, stable=True).indices.narrow(-1, 0, num_matches)
    index_a = index.sort(dim=-1).values
    return Matches(
        index_a=index_a,
        index_b=index_b.gather(-1, index_a),
        valid=torch.ones_like(index_a, dtype=torch.bool),
        distance=squared_distance.gather(-1, index_a).sqrt_(),
    )


def _gather(feature_map: Tensor, index: Tensor) -> Tensor:
    vectors = feature_map.flatten(2)
    return vectors.gather(2, index[:, None, :].long().expand(-1, vectors.shape[1], -1)).transpose(1, 2)


def _closest_by_sorting(key: Tensor, num_matches: int) -> Tensor:
    """Row-major cells with the ``num_matches`` smallest finite keys ``(b, n)``; n where there are no more."""
    cells = key.shape[-1]
    ordered, index = key.sort(dim=-1, stable=True)
    if num_matches < cells:
        ordered, index = ordered.narrow(-1, 0, num_matches), index.narrow(-1, 0, num_matches)
    kept = index.masked_fill_(ordered == torch.inf, cells).sort(dim=-1).values
    return kept if num_matches <= cells else F.pad(kept, (0, num_matches - cells), value=cells)


def _closest_by_selecting(key: Tensor, num_matches: int) -> Tensor:
    """What :func:`_closest_by_sorting` returns."""
    kept_cells = min(num_matches, key.shape[-1])
    # The k-th smallest value is unique where its position is not: ties at it are broken by hand.
    threshold = key.topk(kept_cells, largest=False).values[..., -1:]
    closer = key < threshold
    tied = key == threshold
    room = kept_cells - closer.sum(dim=-1, keepdim=True)
    kept = (closer | (tied & (tied.cumsum(dim=-1) <= room))) & (key < torch.inf)

    # The j-th kept cell is the first at which the running count of kept cells reaches j.
    slots = torch.arange(1, num_matches + 1, device=key.device).expand(len(key), -1)
    return torch.searchsorted(kept.cumsum(dim=-1), slots.contiguous())

"""Filters and combinations of matches: from :class:`Matches` to :class:`Matches`, whoever produced them.

A filter keeps the remaining matches in their slots and turns the others into padding, so shapes stay fixed.
"""

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_bool,
    check_floating,
    check_integer,
    check_labels,
    check_not_empty,
    check_positive,
    check_rank,
    check_same_device,
    check_shape,
)
from correspondence_losses.correspond.matches import Matches

__all__ = ["close_matches", "mutual_matches", "same_label_matches", "union_matches"]


@torch.no_grad()
def mutual_matches(matches: Matches, reverse: Matches) -> Matches:
    """Keep the matches that hold both ways: those from ``a`` to ``b`` whose reverse is a match from ``b`` to ``a``.

    With nearest neighbours in both directions these are the mutual nearest neighbours.

    Args:
        matches: Matches from ``a`` to ``b``, ``k`` slots.
        reverse: Matches from ``b`` to ``a`` of the same batch, any number of slots.

    Returns:
        ``matches``, with those that ``reverse`` does not hold made invalid.

    Raises:
        TypeError: If a field of the matches has a wrong dtype.
        ValueError: If batch sizes, shapes or devices differ, or a field is empty.

    Example:
        >>> from correspondence_losses.correspond import feature_matches
        >>> a = torch.tensor([0.0, 1.0, 9.0]).view(1, 1, 1, 3)
        >>> b = torch.tensor([0.9, 8.0]).view(1, 1, 1, 2)
        >>> matches = feature_matches(a, b, num_matches=3)  # 0 and 1 both choose 0.9
        >>> mutual_matches(matches, feature_matches(b, a, num_matches=2)).valid.tolist()
        [[False, True, True]]
    """
    check_matches("matches", matches)
    check_matches("reverse", reverse)
    _check_batch("reverse", reverse, "matches", matches)
    codes = _codes(matches.index_a, matches.index_b, matches.valid)
    known = _codes(reverse.index_b, reverse.index_a, reverse.valid).sort(dim=-1).values
    slot = torch.searchsorted(known, codes).clamp(max=known.shape[-1] - 1)
    return _kept(matches, known.gather(-1, slot) == codes)


@torch.no_grad()
def close_matches(matches: Matches, max_distance: float) -> Matches:
    """Keep the matches whose cells are at most ``max_distance`` apart.

    A NaN distance is kept, so that broken features show in whatever is computed from the matches.

    Args:
        matches: ``k`` matches of each image.
        max_distance: The largest distance, in the producer's own measure; at least 0.

    Returns:
        ``matches``, with those that are further apart made invalid.

    Raises:
        TypeError: If a field of the matches has a wrong dtype.
        ValueError: If shapes or devices differ, a field is empty, or ``max_distance`` is negative.

    Example:
        >>> from correspondence_losses.correspond import feature_matches
        >>> a = torch.tensor([0.0, 5.0, 9.0]).view(1, 1, 1, 3)
        >>> b = torch.tensor([8.5, 0.0]).view(1, 1, 1, 2)
        >>> close_matches(feature_matches(a, b, num_matches=3), max_distance=1.0).valid.tolist()
        [[True, False, True]]
    """
    check_matches("matches", matches)
    check_positive("max_distance", max_distance, zero=True)
    return _kept(matches, ~(matches.distance > max_distance))


@torch.no_grad()
def same_label_matches(
    matches: Matches, segments_a: Tensor, segments_b: Tensor, *, ignore_index: int | None = 0
) -> Matches:
    """Keep the matches whose two cells have the same label.

    Args:
        matches: ``k`` matches of each image.
        segments_a: Label of each cell of ``a``, integer, ``(b, h, w)``.
        segments_b: Label of each cell of ``b``, integer, ``(b, h', w')``. A label means the same in both.
        ignore_index: The label of cells under no segment, whose matches are never kept, or ``None`` if every label is
            a segment.

    Returns:
        ``matches``, with those of different labels made invalid.

    Raises:
        TypeError: If a field of the matches has a wrong dtype, or labels are not integers.
        ValueError: If shapes or devices differ, something is empty, or, in host memory, a match lies outside the
            labels.

    Example:
        >>> from correspondence_losses.correspond import feature_matches
        >>> features = torch.arange(3.0).view(1, 1, 1, 3)
        >>> matches = feature_matches(features, features, num_matches=3)
        >>> same_label_matches(matches, torch.tensor([[[0, 1, 2]]]), torch.tensor([[[0, 1, 3]]])).valid.tolist()
        [[False, True, False]]
    """
    check_matches("matches", matches)
    labels = []
    for name, segments, index in (
        ("segments_a", segments_a, matches.index_a),
        ("segments_b", segments_b, matches.index_b),
    ):
        check_integer(name, segments)
        check_rank(name, segments, 3, "(b, h, w)")
        check_not_empty(name, segments)
        check_shape(name, segments, (len(index), *segments.shape[1:]), "batch of matches.index_a")
        check_same_device(name, segments, "matches.index_a", matches.index_a)
        check_labels(f"matches.index_{name[-1]}", index, segments[0].numel())
        labels.append(segments.flatten(1).long().gather(1, index.long()))
    kept = labels[0] == labels[1]
    if ignore_index is not None:
        kept = kept & (labels[0] != ignore_index)
    return _kept(matches, kept)


@torch.no_grad()
def union_matches(*matches: Matches) -> Matches:
    """Join sets of matches between the same two maps; a pair of cells that occurs several times counts once.

    Args:
        matches: Any number of sets of matches of one batch, each with its own number of slots.

    Returns:
        The slots of all sets in turn. The first occurrence of a pair is kept, with its distance; the others are made
        invalid.

    Raises:
        TypeError: If a field of the matches has a wrong dtype.
        ValueError: If there is no set, batch sizes, shapes or devices differ, or a field is empty.

    Example:
        >>> from correspondence_losses.correspond import feature_matches
        >>> features = torch.arange(3.0).view(1, 1, 1, 3)
        >>> few, all_ = (feature_matches(features, features, num_matches=k) for k in (1, 3))
        >>> union_matches(few, all_).valid.tolist()
        [[True, False, True, True]]
    """
    if not matches:
        raise ValueError("matches must hold at least one Matches, got none")
    for index, some in enumerate(matches):
        check_matches(f"matches[{index}]", some)
        _check_batch(f"matches[{index}]", some, "matches[0]", matches[0])
    joined = Matches(*(torch.cat(fields, dim=-1) for fields in zip(*matches, strict=True)))
    codes = _codes(joined.index_a, joined.index_b, joined.valid)
    ordered, slot = codes.sort(dim=-1, stable=True)
    first = torch.cat((torch.ones_like(ordered[:, :1], dtype=torch.bool), ordered[:, 1:] != ordered[:, :-1]), dim=-1)
    return _kept(joined, torch.zeros_like(first).scatter(-1, slot, first))


def check_matches(name: str, matches: Matches) -> None:
    """Raise unless ``matches`` is a Matches whose fields fit each other."""
    if not isinstance(matches, Matches):
        raise TypeError(f"{name} must be Matches, got {type(matches).__name__}")
    first = f"{name}.index_a"
    check_integer(first, matches.index_a)
    check_rank(first, matches.index_a, 2, "(b, k)")
    check_not_empty(first, matches.index_a)
    check_integer(f"{name}.index_b", matches.index_b)
    check_bool(f"{name}.valid", matches.valid)
    check_floating(f"{name}.distance", matches.distance)
    for field in ("index_b", "distance", "valid"):
        tensor = getattr(matches, field)
        check_shape(f"{name}.{field}", tensor, matches.index_a.shape, f"that of {first}")
        check_same_device(f"{name}.{field}", tensor, first, matches.index_a)


def _check_batch(name: str, matches: Matches, other_name: str, other: Matches) -> None:
    index, other_index = matches.index_a, other.index_a
    check_shape(f"{name}.index_a", index, (len(other_index), index.shape[1]), f"batch of {other_name}")
    check_same_device(f"{name}.index_a", index, f"{other_name}.index_a", other_index)


def _codes(index_a: Tensor, index_b: Tensor, valid: Tensor) -> Tensor:
    """One number for each pair of cells; -1 where there is no match."""
    return ((index_a.long() << 32) | index_b.long()).masked_fill(~valid, -1)


def _kept(matches: Matches, kept: Tensor) -> Matches:
    kept = kept & matches.valid
    return Matches(
        index_a=matches.index_a.masked_fill(~kept, 0),
        index_b=matches.index_b.masked_fill(~kept, 0),
        valid=kept,
        distance=matches.distance.masked_fill(~kept, torch.inf),
    )

"""Matches of many pairs of views in few calls: searches are planned by shape, and their cells looked up together."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from correspondence_losses._distributed import gather_across_ranks, this_rank
from correspondence_losses.correspond import Matches, feature_matches
from correspondence_losses.correspond._feature_views import fits_in_blocks, joined, nearest_between_views
from correspondence_losses.correspond.matches import keep_closest
from correspondence_losses.functional._row_moments import row_moments
from correspondence_losses.functional.vicreg import PairMoments, pair_moments

Terms = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From the rows of matched cells (p, k, n) twice, and which are valid, to the t terms of each direction (t, p)."""


class Direction(NamedTuple):
    """The cells of one view, matched with those of another."""

    source: int
    target: int
    num_matches: int
    weight: float
    """Of its terms in their sum."""


class Search(NamedTuple):
    """Directions of equal shapes, which one call can match."""

    sources: list[int]
    targets: list[int]
    num_matches: int
    weight: float
    """Of the terms of each."""


class MatchedCells(NamedTuple):
    """The matches of the p directions of a search, k slots for each of n images, as rows of a :class:`CellTable`."""

    rows_a: Tensor
    """(p, k, n)"""
    rows_b: Tensor
    """(p, k, n)"""
    valid: Tensor | None
    """(p, k, n), or None if all are."""
    weight: float


class CellTable:
    """The feature vectors of all cells of all views in one table, so that one lookup serves any set of matches.

    Args:
        maps: The views' feature maps, (b, c, h, w) each.
        gather: Hold those of all ranks.
    """

    def __init__(self, maps: Sequence[Tensor], gather: bool) -> None:
        self._gather = gather
        table = torch.cat([view.flatten(2).mT.flatten(0, 1) for view in maps])
        parts = table.detach().split_with_sizes([len(view) * view[0, 0].numel() for view in maps])
        self._maps = [
            part.view(len(view), *view.shape[2:], -1).permute(0, 3, 1, 2)
            for part, view in zip(parts, maps, strict=True)
        ]
        first = this_rank() * len(table) if gather else 0
        self._table = gather_across_ranks(table) if gather else table
        self._in_blocks = table.device.type == "cpu" and not torch.compiler.is_compiling()
        self._rows = []
        for view in maps:
            images, _, height, width = view.shape
            last = first + images * height * width
            self._rows.append(torch.arange(first, last, device=view.device).view(images, -1))
            first = last

    def plan(self, directions: Iterable[Direction]) -> list[Search]:
        """Return the searches that match these directions; one that is there twice is matched once."""
        weights: dict[tuple[int, int, int], float] = {}
        for source, target, num_matches, weight in directions:
            key = (source, target, num_matches)
            weights[key] = weights.get(key, 0.0) + weight
        views: dict[tuple[torch.Size, torch.Size, int, float], list[tuple[int, int]]] = defaultdict(list)
        for (source, target, num_matches), weight in weights.items():
            shapes = self._maps[source].shape, self._maps[target].shape
            views[(*shapes, num_matches, weight)].append((source, target))
        return [
            Search([source for source, _ in pairs], [target for _, target in pairs], num_matches, weight)
            for (*_, num_matches, weight), pairs in views.items()
        ]

    def feature_matcher(self, num_large: int) -> Callable[[Search], Matches]:
        """Return what finds the feature matches of a search, along the batch.

        On a CPU, searches between large views, or between one and any other, share their comparisons.
        """
        if not self._in_blocks:
            return lambda search: feature_matches(
                self._joined(search.sources), self._joined(search.targets), search.num_matches
            )
        if not fits_in_blocks(self._maps):
            return self._match_pair_by_pair
        nearest = nearest_between_views(self._maps, num_large)

        def match(search: Search) -> Matches:
            found = joined([nearest[pair] for pair in zip(search.sources, search.targets, strict=True)])
            return keep_closest(found.index_b, found.squared_distance, search.num_matches)

        return match

    def _match_pair_by_pair(self, search: Search) -> Matches:
        pairs = zip(search.sources, search.targets, strict=True)
        found = [feature_matches(self._maps[a], self._maps[b], search.num_matches) for a, b in pairs]
        return Matches(*map(torch.cat, zip(*found, strict=True)))

    def _joined(self, views: Sequence[int]) -> Tensor:
        """The maps of these views along the batch, channels last, in which they are searched fastest."""
        return self._maps[views[0]] if len(views) == 1 else torch.cat([self._maps[view] for view in views])

    def matched(self, search: Search, matches: Matches, *, all_valid: bool) -> MatchedCells:
        """Return the cells that a search matched, along the batch; without a mask where all matches are valid."""
        rows_a, rows_b = self._find(search.sources, matches.index_a), self._find(search.targets, matches.index_b)
        valid = None if all_valid else matches.valid.view(len(search.sources), -1, search.num_matches).mT
        if self._gather:
            rows_a, rows_b = gather_across_ranks(rows_a, dim=2), gather_across_ranks(rows_b, dim=2)
            valid = None if valid is None else gather_across_ranks(valid, dim=2)
        return MatchedCells(rows_a, rows_b, valid, search.weight)

    def sum_terms(self, groups: Sequence[Sequence[MatchedCells]], terms: Terms) -> list[Tensor]:
        """Return for each group the weighted sum (t,) of the terms of its matches.

        Those of equally many slots stand in one call; where all matches are known to be valid, without a mask.

        Args:
            groups: Matched cells.
            terms: What is summed.
        """
        calls: dict[tuple[int, bool], list[tuple[int, MatchedCells]]] = defaultdict(list)
        for group, members in enumerate(groups):
            for cells in members:
                calls[cells.rows_a.shape[1], cells.valid is None].append((group, cells))
        sums: list[list[Tensor]] = [[] for _ in groups]
        for call in calls.values():
            found = self._terms([cells for _, cells in call], terms)
            for (group, cells), own in zip(call, found, strict=True):
                sums[group].append(cells.weight * own.sum(-1))
        return [torch.stack(parts).sum(0) for parts in sums]

    def _terms(self, call: Sequence[MatchedCells], terms: Terms) -> Sequence[Tensor]:
        """The terms (t, p) of each of these, which have equally many slots and all a mask or none."""
        rows_a, rows_b = torch.cat([cells.rows_a for cells in call]), torch.cat([cells.rows_b for cells in call])
        masks = [cells.valid for cells in call if cells.valid is not None]
        found = terms(rows_a, rows_b, torch.cat(masks) if masks else None)
        return found.split_with_sizes([len(cells.rows_a) for cells in call], dim=-1)

    def moments(self, rows_a: Tensor, rows_b: Tensor, valid: Tensor | None) -> PairMoments:
        """Return the moments (..., k) of the vectors in rows (..., k, n, 1), of which those count that are valid."""
        *leading, n, _ = rows_a.shape
        if not self._in_blocks:
            # The backward pass of an embedding adds up repeated rows in a fixed order on every device.
            a, b = (F.embedding(rows.squeeze(-1), self._table) for rows in (rows_a, rows_b))
            return pair_moments(a, b, valid)
        rows = torch.stack([rows_a, rows_b]).view(2, -1, n)
        distances, variances, off_diagonals = row_moments(
            self._table, rows, None if valid is None else valid.reshape(-1, n)
        )
        counts = n if valid is None else valid.sum(-1).clamp(min=1)
        of_variances, of_off_diagonals = variances.view(2, *leading, -1), off_diagonals.view(2, *leading)
        return PairMoments(distances.view(leading) / counts, of_variances.unbind(), of_off_diagonals.unbind())

    def _find(self, views: Sequence[int], index: Tensor) -> Tensor:
        rows = torch.cat([self._rows[view] for view in views]).gather(1, index)
        return rows.view(len(views), -1, rows.shape[-1]).mT

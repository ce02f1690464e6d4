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
from correspondence_losses.functional._pair_moments import PairMoments, pair_moments
from correspondence_losses.functional._row_moments import row_moments
from correspondence_losses.functional.vicreg import VICRegTerms, terms_of_moments
from correspondence_losses.losses._vicreg_settings import VICRegSettings
from correspondence_losses.losses.matched_vicreg import MatchedSets, MatchStatistics, matched_sets


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

    def sum_terms(
        self, groups: Sequence[Sequence[MatchedCells]], statistics: MatchStatistics, settings: VICRegSettings
    ) -> list[VICRegTerms]:
        """Return for each group the weighted sum of the terms of its matches.

        All sets of equally many vectors stand in one call; where all matches are known to be valid, without a mask.
        """
        calls: dict[tuple[int, bool], list[tuple[int, float, MatchedSets]]] = defaultdict(list)
        for group, members in enumerate(groups):
            for cells in members:
                sets = matched_sets(cells.rows_a, cells.rows_b, cells.valid, statistics, settings["convention"])
                calls[sets.a.shape[-1], sets.valid is None].append((group, cells.weight, sets))
        sums: list[list[Tensor]] = [[] for _ in groups]
        for call in calls.values():
            terms = self._terms([sets for *_, sets in call], settings)
            for (group, weight, sets), own in zip(call, terms, strict=True):
                sums[group].append((own * (weight * sets.weights)).sum((-2, -1)))
        return [VICRegTerms(*torch.stack(parts).sum(0).unbind()) for parts in sums]

    def _terms(self, call: Sequence[MatchedSets], settings: VICRegSettings) -> list[Tensor]:
        """The three terms (3, p, s) of each of these, whose sets have equally many vectors, and all a mask or none."""
        rows_a = torch.cat([sets.a.flatten(0, 1) for sets in call])
        rows_b = torch.cat([sets.b.flatten(0, 1) for sets in call])
        masks = [sets.valid.flatten(0, 1) for sets in call if sets.valid is not None]
        valid = torch.cat(masks) if masks else None
        terms = torch.stack(terms_of_moments(self._moments(rows_a, rows_b, valid), valid, **settings))
        shapes = [sets.a.shape[:2] for sets in call]
        parts = terms.split_with_sizes([shape.numel() for shape in shapes], dim=-1)
        return [part.view(3, *shape) for part, shape in zip(parts, shapes, strict=True)]

    def _moments(self, rows_a: Tensor, rows_b: Tensor, valid: Tensor | None) -> PairMoments:
        """The moments (m,) of the vectors in rows (m, n), of which those count that are valid."""
        if not self._in_blocks:
            # The backward pass of an embedding adds up repeated rows in a fixed order on every device.
            return pair_moments(F.embedding(rows_a, self._table), F.embedding(rows_b, self._table), valid)
        return row_moments(self._table, torch.stack([rows_a, rows_b]), valid)

    def _find(self, views: Sequence[int], index: Tensor) -> Tensor:
        rows = torch.cat([self._rows[view] for view in views]).gather(1, index)
        return rows.view(len(views), -1, rows.shape[-1]).mT

"""Random matches by segment between the views of a set (eq. 4.1), drawn with the views."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from correspondence_losses.correspond import Matches, segment_matches
from correspondence_losses.reference.seeding import derive_seed
from correspondence_losses.reference.streams.view_set import ViewSet, collate_views
from correspondence_losses.reference.streams.view_stream import ViewStream

__all__ = [
    "MatchedViewSet",
    "MatchedViewStream",
    "SegmentSearch",
    "collate_matched_views",
    "draw_segment_matches",
    "segment_searches",
]

_SEGMENT_MATCHES = 6


class SegmentSearch(NamedTuple):
    """Pairs of views of equal kinds, whose matches are drawn in one call.

    Attributes:
        sources: The first view of each pair.
        targets: The second view of each.
        num_matches: Matches drawn for each pair.
        weight: Weight of the mean over these pairs in the mean over all.
    """

    sources: tuple[int, ...]
    targets: tuple[int, ...]
    num_matches: int
    weight: float


class MatchedViewSet(NamedTuple):
    """A view set, and matches between its views that were drawn with it.

    Attributes:
        views: The views.
        segment_matches: Those of each search, as :func:`draw_segment_matches` returns them; empty for none.
    """

    views: ViewSet
    segment_matches: tuple[Matches, ...]


def segment_searches(num_large: int, num_small: int, num_matches: tuple[int, int]) -> list[SegmentSearch]:
    """Return which views are matched by segment: those that VICRegL pairs.

    That is each large view with every other, in both directions, where eq. 4.1 runs over the cells of the first. Two
    large views form two pairs, one in each order. The loss is the mean over pairs and directions.

    Args:
        num_large: Number of large views, which come first.
        num_small: Number of small views.
        num_matches: How many matches are drawn from a large view, and from a small one (sec. 4.7).

    Example:
        >>> for search in segment_searches(2, 1, (20, 4)):
        ...     print(search.sources, search.targets, search.num_matches, search.weight)
        (0, 1) (1, 0) 20 0.5
        (0, 1) (2, 2) 20 0.25
        (2, 2) (0, 1) 4 0.25
    """
    views = range(num_large + num_small)
    both = [(a, b) for a in views[:num_large] for b in views[:num_large] if a != b]
    mixed = [(a, b) for a in views[:num_large] for b in views[num_large:]]
    directions = 2 * (len(both) + len(mixed))
    kinds = [
        (both, num_matches[0], 2 * len(both)),
        (mixed, num_matches[0], len(mixed)),
        ([(b, a) for a, b in mixed], num_matches[1], len(mixed)),
    ]
    return [
        SegmentSearch(tuple(a for a, _ in pairs), tuple(b for _, b in pairs), count, share / directions)
        for pairs, count, share in kinds
        if pairs
    ]


def draw_segment_matches(
    views: ViewSet, searches: Sequence[SegmentSearch], generator: torch.Generator
) -> tuple[Matches, ...]:
    """Draw matches by segment between the views of one seed frame.

    Args:
        views: The views, with segments, and b = 1.
        searches: Which of them are matched.
        generator: Source of the draws, on the CPU.

    Returns:
        For each search, ``(1, pairs * num_matches)`` matches. Their indices count the cells of all views, one view
        after another.
    """
    first = [0, *accumulate(labels.numel() for labels in views.cell_segments)]

    def matches(search: SegmentSearch) -> Matches:
        labels_a, labels_b = (
            torch.cat([views.cell_segments[view] for view in side]) for side in (search.sources, search.targets)
        )
        drawn = segment_matches(labels_a, labels_b, search.num_matches, generator)
        offset_a, offset_b = (
            torch.tensor([first[view] for view in side])[:, None] for side in (search.sources, search.targets)
        )
        placed = drawn._replace(index_a=drawn.index_a + offset_a, index_b=drawn.index_b + offset_b)
        return Matches(*(part.reshape(1, -1) for part in placed))

    return tuple(matches(search) for search in searches)


class MatchedViewStream(Dataset[MatchedViewSet]):
    """Endless view sets with their matches by segment, each a function of the seed and its index alone.

    To be batched with :func:`collate_matched_views`.

    Args:
        views: The view sets; with segments where there are searches.
        searches: Which views are matched; empty for none.
    """

    def __init__(self, views: ViewStream, searches: Sequence[SegmentSearch]) -> None:
        self.views = views
        self.searches = searches

    def __getitem__(self, index: int) -> MatchedViewSet:
        """Return the view set at ``index`` of the endless stream, with b = 1."""
        views = self.views[index]
        generator = torch.Generator().manual_seed(derive_seed(self.views.seed, _SEGMENT_MATCHES, index))
        return MatchedViewSet(views, draw_segment_matches(views, self.searches, generator))


def collate_matched_views(samples: Sequence[MatchedViewSet]) -> MatchedViewSet:
    """Join view sets and their matches along the batch, as the ``collate_fn`` of a data loader."""
    drawn = zip(*[sample.segment_matches for sample in samples], strict=True)
    return MatchedViewSet(
        collate_views([sample.views for sample in samples]),
        tuple(Matches(*map(torch.cat, zip(*matches, strict=True))) for matches in drawn),
    )

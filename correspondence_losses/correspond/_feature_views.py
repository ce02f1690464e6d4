"""The nearest features between many views of the same images: both directions of a pair from one product."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from correspondence_losses._precision import without_autocast
from correspondence_losses.correspond.feature import take_vectors

# The cells of a block of images, which should stay in a CPU's cache, and the products of one image and view.
_BLOCK_ELEMENTS = 2**21
_MAX_PRODUCTS = 2**22


class NearestCells(NamedTuple):
    """For each of the n cells of one view, the cell of another view with the nearest features."""

    index_b: Tensor
    """(b, n)"""
    squared_distance: Tensor
    """(b, n)"""


def fits_in_blocks(maps: Sequence[Tensor]) -> bool:
    """Whether the cells (b, c, h, w) are few enough for :func:`nearest_between_views`, which keeps their products."""
    sizes = [view[0, 0].numel() for view in maps]
    return max(sizes) * sum(sizes) <= _MAX_PRODUCTS


@torch.no_grad()
def nearest_between_views(maps: Sequence[Tensor], num_large: int) -> dict[tuple[int, int], NearestCells]:
    """Return the nearest cells by :func:`feature_matches`' search, of each large view with every other, both ways.

    Args:
        maps: The maps (b, c, h, w) of the views, large views first.
        num_large: How many of them are large.

    Returns:
        The nearest cells by source and target.
    """
    images = max(_BLOCK_ELEMENTS // sum(view[0].numel() for view in maps), 1)
    blocks: dict[tuple[int, int], list[NearestCells]] = defaultdict(list)
    for block in zip(*(torch.split(view.flatten(2), images) for view in maps), strict=True):
        for pair, nearest in _nearest_in_block(block, num_large):
            blocks[pair].append(nearest)
    return {pair: joined(found) for pair, found in blocks.items()}


def joined(found: Sequence[NearestCells]) -> NearestCells:
    """Return the nearest cells of all images."""
    index_b, squared_distance = zip(*found, strict=True)
    return NearestCells(torch.cat(index_b), torch.cat(squared_distance))


def _nearest_in_block(views: Sequence[Tensor], num_large: int) -> Iterator[tuple[tuple[int, int], NearestCells]]:
    """The same of views (b, c, n) that stay in the cache."""
    sizes = [view.shape[-1] for view in views]
    cells = torch.cat([view.mT for view in views], dim=1)
    cells.sub_(cells.mean(dim=1, keepdim=True))  # a large common mean would cancel in the products
    vectors = cells.split_with_sizes(sizes, dim=1)
    biases = (torch.linalg.vector_norm(cells, dim=-1).square_() / 2).split_with_sizes(sizes, dim=1)
    for large in range(min(num_large, len(views) - 1)):
        later = range(large + 1, len(views))
        with without_autocast(cells.device):
            products = torch.bmm(vectors[large], cells[:, sum(sizes[: large + 1]) :].mT)
        for other, part in zip(later, products.split_with_sizes(sizes[large + 1 :], dim=-1), strict=True):
            forth = (part - biases[other].unsqueeze(-2)).max(dim=-1).indices
            back = (part - biases[large].unsqueeze(-1)).max(dim=-2).indices
            yield (large, other), _measured(views[large], views[other], forth)
            yield (other, large), _measured(views[other], views[large], back)


def _measured(source: Tensor, target: Tensor, index: Tensor) -> NearestCells:
    differences = take_vectors(target, index).sub_(source)
    return NearestCells(index, differences.square_().sum(dim=1))

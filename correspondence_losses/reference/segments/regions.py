"""From the probability of a boundary at each pixel to segments: a watershed, and neighbours that are merged."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.graph import merge_hierarchical, rag_boundary
from skimage.segmentation import watershed

__all__ = ["closed_regions"]

_LEVELS = 64
_SIGMA, _WIDER = 1.0, 4.0  # standard deviations in pixels of the Gaussians that smooth the probabilities


def closed_regions(boundaries: NDArray[np.floating], *, merge: float = 0.15, min_size: int = 200) -> NDArray[np.int64]:
    """Return the regions that boundaries enclose, though these have gaps.

    A watershed makes small regions. Two neighbours become one as long as the mean probability along their common
    border is low, those with the lowest first. A gap in a boundary lowers that mean a little; it does not join the
    regions on both sides.

    Args:
        boundaries: (H, W) the probability of a boundary at each pixel.
        merge: Regions are merged up to this mean probability.
        min_size: Regions with fewer pixels go to their neighbours.

    Returns:
        (H, W) the number of each pixel's region, from 1.

    Source:
        Arbeláez, Maire, Fowlkes and Malik 2011, "Contour Detection and Hierarchical Image Segmentation", sec. 4.

    Example:
        >>> boundaries = np.zeros((20, 30))
        >>> boundaries[:, 15] = 1.0
        >>> boundaries[8:10, 15] = 0.0  # a gap
        >>> regions = closed_regions(boundaries, min_size=5)
        >>> len(np.unique(regions[:, :15])), len(np.unique(regions[:, 16:])), len(np.unique(regions))
        (1, 1, 2)
    """
    smooth = gaussian_filter(boundaries.astype(np.float64), _SIGMA)
    # The wider Gaussian closes gaps. There are few levels, so that the slight waves of a plain area are no basins.
    relief = smooth + gaussian_filter(boundaries.astype(np.float64), _WIDER)
    regions = watershed(np.round(_LEVELS * relief))  # type: ignore[no-untyped-call]
    if regions.max() <= 1:
        return np.ones(boundaries.shape, np.int64)
    borders = rag_boundary(regions, smooth)  # type: ignore[no-untyped-call]
    merged = merge_hierarchical(  # type: ignore[no-untyped-call]
        regions,
        borders,
        thresh=merge,
        rag_copy=False,
        in_place_merge=True,
        merge_func=_nothing,
        weight_func=_mean_of_borders,
    )
    seeds = merged.astype(np.int64) + 1
    sizes = np.bincount(seeds.ravel())
    large = sizes >= min(min_size, sizes.max())
    seeds[~large[seeds]] = 0
    labels: NDArray[np.int64] = watershed(smooth, seeds)  # type: ignore[no-untyped-call]
    return labels


def _nothing(*_: Any) -> None:
    """Regions carry no values of their own."""


def _mean_of_borders(graph: Any, one: int, other: int, neighbour: int) -> dict[str, float]:
    """Return the border of a neighbour with two regions that become one: the mean over the pixels of both."""
    borders = [graph[region][neighbour] for region in (one, other) if graph.has_edge(region, neighbour)]
    count = sum(border["count"] for border in borders)
    return {"count": count, "weight": sum(border["weight"] * border["count"] for border in borders) / count}

"""Matches by location in the seed image (equation 2.8)."""

import torch
from torch import Tensor

from correspondence_losses._checks import check_count, check_same_device
from correspondence_losses.correspond._blocks import pair_blocks
from correspondence_losses.correspond.matches import Matches, keep_closest
from correspondence_losses.correspond.view_grid import ViewGrid, check_grid


@torch.no_grad()
def location_matches(grid_a: ViewGrid, grid_b: ViewGrid, num_matches: int) -> Matches:
    """Match by location: the cell of view ``b`` nearest to each cell of view ``a`` in the seed image (eq. 2.8).

    NN(p) is the cell of the other view whose centre has the smallest Euclidean distance to that of p. The
    ``num_matches`` closest of the pairs (p, NN(p)) of each image are kept. Of equally near cells the lowest index
    wins, and of equally distant pairs the first in row-major order. Invalid cells match nothing.

    If view ``b`` is a crop, rows and columns are searched separately, in O(hw) time and memory. Otherwise all pairs
    are compared, in blocks of bounded memory.

    Args:
        grid_a: Cell centres of the source views.
        grid_b: Cell centres of the views to search, of the same batch.
        num_matches: Number of match slots ``k``. If fewer cells match, the remaining slots are invalid.

    Returns:
        ``k`` matches for each image, in row-major order of the cell in ``a``. ``distance`` is in pixels of the seed
        image.

    Raises:
        TypeError: If a grid is not a ViewGrid, or ``num_matches`` not an integer.
        ValueError: If the grids differ in batch size or device, or ``num_matches`` is below 1.

    Example:
        >>> import torch
        >>> from correspondence_losses.correspond import ViewGrid, location_matches
        >>> large = ViewGrid.from_boxes(torch.tensor([[0, 0, 70, 70]]), (7, 7))
        >>> small = ViewGrid.from_boxes(torch.tensor([[41, 40, 71, 70]]), (3, 3))
        >>> matches = location_matches(small, large, num_matches=4)
        >>> matches.index_a.tolist(), matches.index_b.tolist(), matches.distance.tolist()
        ([[0, 1, 2, 3]], [[32, 33, 34, 39]], [[1.0, 1.0, 1.0, 1.0]])

    Source:
        Equation 2.8; Bardes et al., "VICRegL: Self-Supervised Learning of Local Visual Features", 2022.
    """
    check_grid("grid_a", grid_a)
    check_grid("grid_b", grid_b)
    if len(grid_a.points) != len(grid_b.points):
        raise ValueError(f"grid_b must have the batch size of grid_a, {len(grid_a.points)}, got {len(grid_b.points)}")
    check_same_device("grid_b", grid_b.points, "grid_a", grid_a.points)
    check_count("num_matches", num_matches)
    dtype = torch.promote_types(torch.promote_types(grid_a.points.dtype, grid_b.points.dtype), torch.float32)
    nearest = _nearest_in_crop if grid_b.axis_aligned else _nearest_of_points
    index_b, squared_distance = nearest(grid_a, grid_b, dtype)
    if not grid_a.axis_aligned:
        squared_distance = squared_distance.masked_fill(~grid_a.valid.flatten(1), torch.inf)
    return keep_closest(index_b, squared_distance, num_matches, finite=grid_a.axis_aligned and grid_b.axis_aligned)


def _nearest_in_crop(grid_a: ViewGrid, grid_b: ViewGrid, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    points = grid_a.points.to(dtype)
    columns, rows = grid_b.points[:, 0, :, 0].to(dtype), grid_b.points[:, :, 0, 1].to(dtype)
    if grid_a.axis_aligned:
        column, x_squared = (found.unsqueeze(1) for found in _nearest_of_centres(points[:, 0, :, 0], columns))
        row, y_squared = (found.unsqueeze(2) for found in _nearest_of_centres(points[:, :, 0, 1], rows))
    else:
        column, x_squared = _nearest_on_axis(points[..., 0], columns)
        row, y_squared = _nearest_on_axis(points[..., 1], rows)
    index = torch.add(column, row, alpha=grid_b.valid.shape[2])
    return index.flatten(1), (x_squared + y_squared).flatten(1)


def _nearest_of_centres(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """For each ``x (b, n)`` the index of the nearest of the ``centres (b, m)``, and its (x - c)².

    All n m distances: along one axis they are about as many as a map has cells.
    """
    squared, index = (x.unsqueeze(2) - centres.unsqueeze(1)).square_().min(dim=-1)
    return index, squared


def _nearest_on_axis(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """For each ``x (b, ...)`` the index of the nearest of the evenly spaced ``centres (b, m)``, and its (x - c)²."""
    last = centres.shape[1] - 1
    first_centre, last_centre = centres[:, :1, None], centres[:, -1:, None]
    # Not a number where there is one centre only.
    guess = ((x - first_centre) / (last_centre - first_centre) * last).clamp(0, last).nan_to_num().round().long()
    # The guess is rounded: the centres beside it decide, by their true distances and in the order of their indices.
    candidates = (guess[..., None] + torch.arange(-1, 2, device=x.device)).clamp(0, last)
    values = centres.gather(1, candidates.flatten(1)).view_as(candidates)
    squared, choice = (x[..., None] - values).square().min(dim=-1)
    return candidates.gather(-1, choice[..., None]).squeeze(-1), squared


def _nearest_of_points(grid_a: ViewGrid, grid_b: ViewGrid, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    a = grid_a.points.flatten(1, 2).to(dtype)
    b = grid_b.points.flatten(1, 2).to(dtype)
    blocked = ~grid_b.valid.flatten(1)
    index = torch.empty(a.shape[:2], dtype=torch.int64, device=a.device)
    squared_distance = torch.empty(a.shape[:2], dtype=dtype, device=a.device)
    for samples, cells in pair_blocks(len(a), a.shape[1], b.shape[1], a.device):
        x = a[samples, cells, None, 0] - b[samples, None, :, 0]
        y = a[samples, cells, None, 1] - b[samples, None, :, 1]
        squared = (x.square() + y.square()).masked_fill(blocked[samples, None, :], torch.inf)
        squared_distance[samples, cells], index[samples, cells] = squared.min(dim=-1)
    return index, squared_distance

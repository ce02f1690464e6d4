"""Matches by the distance of the features themselves (equation 2.9)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from correspondence_losses._checks import check_count, check_not_empty
from correspondence_losses._precision import without_autocast
from correspondence_losses._triton import use_triton
from correspondence_losses.correspond._blocks import pair_blocks
from correspondence_losses.correspond.matches import Matches, check_map_pair, keep_closest

_RUN = 64
# The columns of a block of products on a CPU: with fewer, a block has more rows.
_COLUMNS = 2048


@torch.no_grad()
def feature_matches(features_a: Tensor, features_b: Tensor, num_matches: int) -> Matches:
    """Match by feature distance: the nearest neighbour of each vector of ``features_a`` in ``features_b`` (eq. 2.9).

    NN'(z_p) is the vector of z' with the smallest Euclidean distance to z_p. The ``num_matches`` closest of the pairs
    (z_p, NN'(z_p)) of each image are kept.

    The search is a matrix product, ``argmax_q ⟨z_p, z'_q⟩ - ‖z'_q‖² / 2`` over centred vectors, in blocks of bounded
    memory. The distances that rank the pairs, and that are returned, are computed by subtraction. Everything is in
    float32 or better and without gradient. Candidates whose distances agree to the rounding of the product count as
    equally near; of equal values the lowest index wins.

    Args:
        features_a: Feature map, ``(b, d, h, w)``.
        features_b: Feature map, ``(b, d, h', w')``.
        num_matches: Number of match slots ``k``. If ``features_a`` has fewer cells, the remaining slots are invalid.

    Returns:
        ``k`` matches for each image, in row-major order of the cell in ``features_a``. ``distance`` is the Euclidean
        distance of the two vectors.

    Raises:
        TypeError: If a map is not a floating-point tensor, or ``num_matches`` not an integer.
        ValueError: If a map is empty, the maps differ in batch size, channels or device, or ``num_matches`` is
            below 1.

    Example:
        >>> import torch
        >>> a = torch.tensor([0.0, 5.0, 9.0]).view(1, 1, 1, 3)
        >>> b = torch.tensor([8.5, 0.0, 2.0]).view(1, 1, 1, 3)
        >>> matches = feature_matches(a, b, num_matches=2)
        >>> matches.index_a.tolist(), matches.index_b.tolist(), matches.distance.tolist()
        ([[0, 2]], [[1, 0]], [[0.0, 0.5]])

    Source:
        Equation 2.9; Bardes et al., "VICRegL: Self-Supervised Learning of Local Visual Features", 2022.
    """
    check_map_pair(features_a, features_b)
    check_not_empty("features_a", features_a)
    check_not_empty("features_b", features_b)
    check_count("num_matches", num_matches)
    dtype = torch.promote_types(torch.promote_types(features_a.dtype, features_b.dtype), torch.float32)
    a = features_a.flatten(2).to(dtype)
    b = features_b.flatten(2).to(dtype)
    index_b = _nearest(a, b)
    differences = take_vectors(b, index_b).sub_(a)
    return keep_closest(index_b, differences.square_().sum(dim=1), num_matches)


def take_vectors(vectors: Tensor, index: Tensor) -> Tensor:
    """Return a copy of the vectors (b, d, m) at the indices (b, n): (b, d, n), in the layout of the vectors."""
    b, d, m = vectors.shape
    if vectors.stride(1) != 1:
        return vectors.gather(2, index[:, None, :].expand(-1, d, -1))
    rows = (index + m * torch.arange(b, device=index.device)[:, None]).flatten()
    return vectors.mT.reshape(b * m, d).index_select(0, rows).view(b, -1, d).mT


def _nearest(a: Tensor, b: Tensor) -> Tensor:
    # Vectors with a large common mean make ‖a - b‖² cancel in a matrix product: centring avoids it.
    centre = b.mean(dim=2, keepdim=True)
    a = a - centre
    b = b - centre
    squares = b.square().sum(dim=1, keepdim=True)
    if use_triton(a):
        from correspondence_losses.correspond import _triton_nearest

        return _triton_nearest.best_columns(a, b, squares / -2)
    width = min(b.shape[2], _COLUMNS) if b.device.type == "cpu" else b.shape[2]
    parts = list(zip(torch.split(b, width, dim=2), torch.split(squares, width, dim=2), strict=True))
    blocks = list(pair_blocks(a.shape[0], a.shape[2], width, a.device))
    with without_autocast(a.device):
        if len(blocks) == len(parts) == 1:
            return _argmax(torch.baddbmm(squares, a.mT, b, beta=-0.5)).indices
        nearest = torch.empty(a.shape[0], a.shape[2], dtype=torch.int64, device=a.device)
        # All blocks in the memory of the first: the pages of fresh memory would cost a quarter of the search.
        memory = b.new_empty(nearest[blocks[0]].numel() * width)
        for samples, cells in blocks:
            rows = a[samples, :, cells].mT
            best = []
            for columns, bias in parts:
                scores = memory[: rows.shape[0] * rows.shape[1] * columns.shape[2]].view(*rows.shape[:2], -1)
                torch.baddbmm(bias[samples], rows, columns[samples], beta=-0.5, out=scores)
                best.append(_argmax(scores))
            nearest[samples, cells] = _best_of_parts(best, width)
    return nearest


class _Best(NamedTuple):
    """The first maximum of the last dimension."""

    values: Tensor
    indices: Tensor


def _best_of_parts(best: Sequence[_Best], width: int) -> Tensor:
    """The first argmax of all columns from that of each part of so many of them."""
    if len(best) == 1:
        return best[0].indices
    part = torch.stack([found.values for found in best]).max(dim=0, keepdim=True).indices
    index = torch.stack([found.indices for found in best]).gather(0, part)
    return index.add_(part, alpha=width).squeeze(0)


def _argmax(scores: Tensor) -> _Best:
    """The first argmax of the last dimension, and the maximum.

    A maximum vectorises where an argmax does not, so the maximum of each run of columns is taken first, and the
    argmax of the runs and of the columns of the best one after it. ``max`` finds an argmax in half of the time of
    ``argmax``.
    """
    columns = scores.shape[-1]
    if columns < 8 * _RUN:
        return _Best(*scores.max(dim=-1))
    whole = columns // _RUN * _RUN
    maxima = scores[..., :whole].reshape(*scores.shape[:-1], -1, _RUN).amax(dim=-1)
    if whole < columns:
        maxima = torch.cat([maxima, scores[..., whole:].amax(dim=-1, keepdim=True)], dim=-1)
    run = torch.arange(_RUN, device=scores.device)
    candidates = (maxima.max(dim=-1, keepdim=True).indices * _RUN + run).clamp(max=columns - 1)
    best = scores.gather(-1, candidates).max(dim=-1, keepdim=True)
    return _Best(best.values.squeeze(-1), candidates.gather(-1, best.indices).squeeze(-1))

"""Contrast between corresponding features: PatchNCE over matched cells, and over the segments of two views."""

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_bool,
    check_floating,
    check_integer,
    check_not_empty,
    check_positive,
    check_rank,
    check_same_device,
    check_shape,
)
from correspondence_losses._precision import at_least_float32, matmul

__all__ = ["patch_nce_loss", "segment_contrastive_loss"]


def patch_nce_loss(
    queries: Tensor,
    keys: Tensor,
    *,
    temperature: float = 0.07,
    valid: Tensor | None = None,
    key_cells: Tensor | None = None,
) -> Tensor:
    r"""Each query is to be told, by its key, from the other keys of its image.

    .. math:: \mathcal{L} = -\frac{1}{k} \sum_i \log \frac{\exp(q_i \cdot k_i / \tau)}
        {\exp(q_i \cdot k_i / \tau) + \sum_{j \ne i} \exp(q_i \cdot k_j / \tau)}

    with queries and keys scaled to length 1 (a zero vector stays 0). Images have no negatives in common.

    Args:
        queries: (..., k, d), floating point.
        keys: As ``queries``; the i-th belongs to the i-th query.
        temperature: τ, above 0.
        valid: (..., k), bool: which pairs count, as query and as negative. All by default.
        key_cells: (..., k), integer: where each key comes from. Of two keys from one cell, neither is a negative
            for the other's query. By default all come from different cells.

    Returns:
        (...): the mean over the image's queries, in float32 or float64. An image without valid pair has loss 0.

    Raises:
        TypeError: If ``queries`` or ``keys`` is not floating point, ``valid`` not bool or ``key_cells`` not integer.
        ValueError: If shapes or devices do not fit, ``queries`` is empty, or ``temperature`` not above 0.

    Source:
        Park, Efros, Zhang and Zhu, "Contrastive Learning for Unpaired Image-to-Image Translation", 2020, eq. 3.

    Example:
        >>> queries = torch.eye(4)
        >>> round(patch_nce_loss(queries, queries, temperature=0.5).item(), 4)  # log(1 + 3 / e²)
        0.3408
    """
    check_floating("queries", queries)
    check_rank("queries", queries, 2, "(..., k, d)", exact=False)
    check_not_empty("queries", queries)
    check_floating("keys", keys)
    check_shape("keys", keys, queries.shape, "that of queries")
    check_same_device("keys", keys, "queries", queries)
    check_positive("temperature", temperature)
    if valid is None:
        valid = torch.ones(queries.shape[:-1], dtype=torch.bool, device=queries.device)
    _check_mask("valid", valid, "queries", queries)
    excluded = ~valid.unsqueeze(-2)
    if key_cells is not None:
        check_integer("key_cells", key_cells)
        check_shape("key_cells", key_cells, queries.shape[:-1], "that of queries without d")
        check_same_device("key_cells", key_cells, "queries", queries)
        excluded = excluded | (key_cells.unsqueeze(-1) == key_cells.unsqueeze(-2))
    own = torch.eye(queries.shape[-2], dtype=torch.bool, device=queries.device)
    queries, keys = _unit(_stack(queries, keys), valid)
    logits = matmul(queries, keys.mT) / temperature
    losses = logits.masked_fill(excluded & ~own, -torch.inf).logsumexp(-1) - logits.diagonal(dim1=-2, dim2=-1)
    return _mean_of_valid(losses, valid)


def segment_contrastive_loss(
    means_a: Tensor,
    means_b: Tensor,
    *,
    temperature: float = 0.1,
    present_a: Tensor | None = None,
    present_b: Tensor | None = None,
) -> Tensor:
    r"""Each segment's pooled feature is to be told, by that of the same segment in the other view, from all others.

    .. math:: \mathcal{L} = -\sum_{(v, w) \in \{(a, b), (b, a)\}} \frac{1}{|M|} \sum_{m \in M}
        \log \frac{\exp(v_m \cdot w_m / \tau)}
        {\sum_{n} \exp(v_m \cdot w_n / \tau) + \sum_{n \ne m} \exp(v_m \cdot v_n / \tau)}

    over the segments M that both views have, n running over all segments of all images; all features scaled to
    length 1. The two directions are summed, as in the official code.

    Args:
        means_a: Pooled features of the first view, (b, s, d), floating point; row m of both views is one segment.
        means_b: Of the second view, as ``means_a``.
        temperature: τ, above 0.
        present_a: (b, s), bool: which segments the first view has; the others are neither positive nor negative. All
            by default.
        present_b: As ``present_a``, of the second view.

    Returns:
        A scalar in float32 or float64; 0 if no segment is present in both views.

    Raises:
        TypeError: If the means are not floating point, or the masks not bool.
        ValueError: If shapes or devices do not fit, ``means_a`` is empty, or ``temperature`` not above 0.

    Source:
        Hénaff et al., "Efficient Visual Pretraining with Contrastive Detection", 2021, eq. 3 (DetCon_S).

    Example:
        >>> means = torch.eye(3).unsqueeze(0)
        >>> round(segment_contrastive_loss(means, means, temperature=0.5).item(), 4)  # 2 log(1 + 4 / e²)
        0.8653
    """
    check_floating("means_a", means_a)
    check_rank("means_a", means_a, 3, "(b, s, d)")
    check_not_empty("means_a", means_a)
    check_floating("means_b", means_b)
    check_shape("means_b", means_b, means_a.shape, "that of means_a")
    check_same_device("means_b", means_b, "means_a", means_a)
    check_positive("temperature", temperature)
    all_present = torch.ones(means_a.shape[:-1], dtype=torch.bool, device=means_a.device)
    present_a = all_present if present_a is None else present_a
    present_b = all_present if present_b is None else present_b
    _check_mask("present_a", present_a, "means_a", means_a)
    _check_mask("present_b", present_b, "means_a", means_a)

    present = torch.stack((present_a.flatten(), present_b.flatten()))
    a, b = _unit(_stack(means_a.flatten(0, 1), means_b.flatten(0, 1)), present)
    own = torch.eye(len(a), dtype=torch.bool, device=a.device)
    across = matmul(a, b.mT) / temperature
    within = matmul(torch.stack((a, b)), torch.stack((a, b)).mT) / temperature
    # Rows: the segments of a view; columns: those of the other view, then those of its own without itself.
    logits = torch.cat((torch.stack((across, across.mT)), within.masked_fill(own, -torch.inf)), dim=-1)
    absent = ~torch.cat((present.flip(0), present), dim=-1).unsqueeze(-2)
    # Rows that do not count keep their positive, so that no row is without a key.
    absent = absent & ~torch.cat((own, torch.zeros_like(own)), dim=-1)
    losses = logits.masked_fill(absent, -torch.inf).logsumexp(-1) - across.diagonal()
    return _mean_of_valid(losses, present.all(0).expand_as(losses)).sum()


def _stack(a: Tensor, b: Tensor) -> Tensor:
    """Both in float32 or better: autocast refuses to stack what it cannot promote."""
    return torch.stack((at_least_float32(a), at_least_float32(b)))


def _unit(vectors: Tensor, valid: Tensor) -> Tensor:
    """Return the vectors (..., d) at length 1, invalid ones as 0; zero vectors stay and have no gradient."""
    vectors = vectors.masked_fill(~valid.unsqueeze(-1), 0)
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    length = length.masked_fill(length == 0, torch.inf)
    return vectors / length


def _mean_of_valid(losses: Tensor, valid: Tensor) -> Tensor:
    return losses.masked_fill(~valid, 0).sum(-1) / valid.sum(-1).clamp(min=1)


def _check_mask(name: str, mask: Tensor, other_name: str, vectors: Tensor) -> None:
    check_bool(name, mask)
    check_shape(name, mask, vectors.shape[:-1], f"that of {other_name} without d")
    check_same_device(name, mask, other_name, vectors)

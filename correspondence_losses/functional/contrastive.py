"""Contrast between corresponding features: InfoNCE of queries and keys, and DetCon of the segments of two views."""

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
    check_segments,
    check_shape,
)
from correspondence_losses._distributed import gather_across_ranks, num_ranks
from correspondence_losses._precision import at_least_float32, matmul
from correspondence_losses._reduction import Reduction, check_reduction, reduce
from correspondence_losses.functional.segments import segment_statistics

__all__ = ["detcon_loss", "info_nce_loss", "segment_contrastive_loss"]


def info_nce_loss(
    queries: Tensor,
    keys: Tensor,
    *,
    valid: Tensor | None = None,
    key_cells: Tensor | None = None,
    temperature: float = 0.07,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""InfoNCE: classifies, for each query, its own key among all keys of the image.

    .. math:: \mathcal{L}_i = -\log \frac{\exp(q_i \cdot k_i / \tau)}
        {\exp(q_i \cdot k_i / \tau) + \sum_{j \ne i} \exp(q_i \cdot k_j / \tau)}

    Queries and keys are normalised to unit length; a zero vector stays zero. The negatives of a query are the other
    keys of its image. Images share no negatives.

    Args:
        queries: (..., k, d), floating point.
        keys: As ``queries``; the i-th key is the positive of the i-th query.
        valid: (..., k), bool: which pairs count, as query and as negative. All by default.
        key_cells: (..., k), integer: the cell that each key comes from. Keys from one cell are not negatives of each
            other's queries. By default all keys come from different cells.
        temperature: τ, above 0.
        reduction: ``"none"`` returns one value for each query, (..., k), 0 where not valid; ``"mean"`` the mean over
            the valid queries, 0 without any; ``"sum"`` their sum.

    Returns:
        The loss in float32, or float64 for float64 queries.

    Raises:
        TypeError: If ``queries`` or ``keys`` is not floating point, ``valid`` not bool or ``key_cells`` not integer.
        ValueError: If shapes or devices do not fit, ``queries`` is empty, ``temperature`` is not above 0, or the
            reduction is unknown.

    Source:
        Van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018; with the
        negatives of Park, Efros, Zhang and Zhu, "Contrastive Learning for Unpaired Image-to-Image Translation", 2020,
        eq. 3.

    Example:
        >>> queries = torch.eye(4)
        >>> round(info_nce_loss(queries, queries, temperature=0.5).item(), 4)  # log(1 + 3 / e²)
        0.3408
    """
    check_floating("queries", queries)
    check_rank("queries", queries, 2, "(..., k, d)", exact=False)
    check_not_empty("queries", queries)
    check_floating("keys", keys)
    check_shape("keys", keys, queries.shape, "that of queries")
    check_same_device("keys", keys, "queries", queries)
    check_positive("temperature", temperature)
    check_reduction(reduction)
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
    return reduce(losses, reduction, valid)


def detcon_loss(
    means_a: Tensor,
    means_b: Tensor,
    *,
    present_a: Tensor | None = None,
    present_b: Tensor | None = None,
    temperature: float = 0.1,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""DetCon: classifies, for each segment, its pooled feature in the other view among those of all segments.

    .. math:: \mathcal{L} = \frac{1}{|M|} \sum_{m \in M} \ell^{ab}_m + \ell^{ba}_m, \qquad
        \ell^{ab}_m = -\log \frac{\exp(a_m \cdot b_m / \tau)}
        {\sum_n \exp(a_m \cdot b_n / \tau) + \sum_{n \ne m} \exp(a_m \cdot a_n / \tau)}

    with pooled features of unit length. M are the segments of all images that both views show. The negatives of a
    segment are all other segments of both views, of all images of the batch.

    Args:
        means_a: Pooled features of the first view, (b, s, d), floating point. Row m of both views is one segment.
        means_b: Of the second view, as ``means_a``.
        present_a: (b, s), bool: which segments the first view shows. The others are neither positive nor negative. All
            by default.
        present_b: As ``present_a``, of the second view.
        temperature: τ, above 0.
        reduction: ``"none"`` returns both directions' loss for each segment, (b, s), 0 outside M; ``"mean"`` the mean
            over M, 0 if it is empty; ``"sum"`` the sum.

    Returns:
        The loss in float32, or float64 for float64 means.

    Raises:
        TypeError: If the means are not floating point, or the masks not bool.
        ValueError: If shapes or devices do not fit, ``means_a`` is empty, ``temperature`` is not above 0, or the
            reduction is unknown.

    Source:
        Hénaff et al., "Efficient Visual Pretraining with Contrastive Detection", 2021, eq. 3 (DetCon_S).

    Example:
        >>> means = torch.eye(3).unsqueeze(0)
        >>> round(detcon_loss(means, means, temperature=0.5).item(), 4)  # 2 log(1 + 4 / e²)
        0.8653
    """
    check_floating("means_a", means_a)
    check_rank("means_a", means_a, 3, "(b, s, d)")
    check_not_empty("means_a", means_a)
    check_floating("means_b", means_b)
    check_shape("means_b", means_b, means_a.shape, "that of means_a")
    check_same_device("means_b", means_b, "means_a", means_a)
    check_positive("temperature", temperature)
    check_reduction(reduction)
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
    return reduce(losses.sum(0).view_as(present_a), reduction, present_a & present_b)


def segment_contrastive_loss(
    features_a: Tensor,
    segments_a: Tensor,
    features_b: Tensor,
    segments_b: Tensor,
    *,
    temperature: float = 0.1,
    ignore_index: int | None = 0,
    num_segments: int | None = None,
    gather: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """Contrast between the segments of two views: :func:`detcon_loss` of features pooled over each segment.

    Features are pooled as the means of eq. 4.2. In the source a projection stands between pooling and loss: for that,
    pool with :func:`segment_statistics` and call :func:`detcon_loss`.

    Args:
        features_a: Feature maps of the first view, (b, d, H, W), floating point.
        segments_a: Its segments, (b, H, W) integers or (b, s, H, W) bool masks.
        features_b: Feature maps of the second view, of any size.
        segments_b: Its segments; a label means the same segment in both views.
        temperature: τ, above 0.
        ignore_index: The label that means "no segment", or ``None``. Stacks of masks have no such label.
        num_segments: A bound on the labels, which lie in [0, num_segments). By default it is the largest label of the
            call plus one, which synchronises with the device. ``torch.compile`` and ``gather`` need the bound.
        gather: Whether the segments of all ranks' images are contrasted with each other.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``, as in :func:`detcon_loss`.

    Returns:
        The loss in float32, or float64 for float64 features.

    Raises:
        TypeError, ValueError: If the settings, the features or the segments do not fit this.

    Source:
        Hénaff et al., "Efficient Visual Pretraining with Contrastive Detection", 2021, eq. 3; thesis, sec. 4.5.2.

    Example:
        >>> features_a, features_b = torch.randn(2, 2, 16, 8, 8).unbind()
        >>> segments = torch.arange(64).reshape(1, 8, 8).expand(2, -1, -1) // 16  # 0, no segment, to 3
        >>> segment_contrastive_loss(features_a, segments, features_b, segments.flip(-1), reduction="none").shape
        torch.Size([2, 4])
    """
    means, present = pooled_segments(
        features_a,
        segments_a,
        features_b,
        segments_b,
        ignore_index=ignore_index,
        num_segments=num_segments,
        gather=gather,
    )
    return detcon_loss(*means, present_a=present[0], present_b=present[1], temperature=temperature, reduction=reduction)


def pooled_segments(
    features_a: Tensor,
    segments_a: Tensor,
    features_b: Tensor,
    segments_b: Tensor,
    *,
    ignore_index: int | None,
    num_segments: int | None,
    gather: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the means (2, b, s, d) of both views' features over each segment, and which are there (2, b, s).

    The arguments are those of :func:`segment_contrastive_loss`.
    """
    for view, features, segments in (("a", features_a, segments_a), ("b", features_b, segments_b)):
        check_floating(f"features_{view}", features)
        check_rank(f"features_{view}", features, 4, "(b, d, H, W)")
        check_same_device(f"features_{view}", features, "features_a", features_a)
        check_segments(f"segments_{view}", segments, f"features_{view}", features)
    check_shape("features_b", features_b, (*features_a.shape[:2], *features_b.shape[2:]), "b and d of features_a")
    if segments_a.dtype == torch.bool or segments_b.dtype == torch.bool:
        # Stacks of masks say themselves how many there are, and have nothing to ignore.
        num_segments, ignore_index = None, None
    elif num_segments is None:
        num_segments = _count_segments(segments_a, segments_b, gather)
    a = segment_statistics(features_a, segments_a, num_segments, ignore_index=ignore_index)
    b = segment_statistics(features_b, segments_b, num_segments, ignore_index=ignore_index)
    means = torch.stack((a.means, b.means))
    present = torch.stack((a.counts, b.counts)) > 0
    if gather:
        means, present = gather_across_ranks(means, dim=1), gather_across_ranks(present, dim=1)
    return means, present


def _count_segments(segments_a: Tensor, segments_b: Tensor, gather: bool) -> int:
    if torch.compiler.is_compiling():
        raise ValueError("num_segments must be given under torch.compile")
    if gather and num_ranks() > 1:
        raise ValueError("num_segments must be given to gather, so that all ranks count alike")
    return max(int(segments_a.long().max()), int(segments_b.long().max()), 0) + 1


def _stack(a: Tensor, b: Tensor) -> Tensor:
    """Both in float32 or better: autocast refuses to stack what it cannot promote."""
    return torch.stack((at_least_float32(a), at_least_float32(b)))


def _unit(vectors: Tensor, valid: Tensor) -> Tensor:
    """Return the vectors (..., d) at length 1, invalid ones as 0; zero vectors stay and have no gradient."""
    vectors = vectors.masked_fill(~valid.unsqueeze(-1), 0)
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    length = length.masked_fill(length == 0, torch.inf)
    return vectors / length


def _check_mask(name: str, mask: Tensor, other_name: str, vectors: Tensor) -> None:
    check_bool(name, mask)
    check_shape(name, mask, vectors.shape[:-1], f"that of {other_name} without d")
    check_same_device(name, mask, other_name, vectors)

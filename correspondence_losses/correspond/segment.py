"""Matches by segment label (equation 4.1)."""

import torch
from torch import Tensor

from correspondence_losses._checks import check_count, check_integer, check_not_empty, check_rank, check_same_device
from correspondence_losses.correspond.matches import Matches


@torch.no_grad()
def segment_matches(
    segments_a: Tensor,
    segments_b: Tensor,
    num_matches: int,
    generator: torch.Generator | None = None,
    *,
    ignore_index: int | None = 0,
) -> Matches:
    """Match by segment: pairs of cells with the same label, drawn uniformly at random (equation 4.1).

    The pairs (p, p') of equation 4.1 are all those with label(p) = label(p'). Each slot is an independent, uniform
    draw from these pairs, with replacement. All pairs are equally likely, and large segments have more of them. The
    pairs are never listed: time and memory are those of sorting one map.

    Args:
        segments_a: Segment label of each cell, integer, ``(b, h, w)``.
        segments_b: The same of the other view, ``(b, h', w')``. A label means the same segment in both.
        num_matches: Number of match slots ``k``.
        generator: Random generator on the labels' device; the global one by default. ``torch.compile`` supports only
            the global one.
        ignore_index: The label of cells under no segment, which never match, or ``None`` if every label is a segment.

    Returns:
        ``k`` matches for each image, in the order of the draws. An image without a pair of equal labels has no valid
        match. ``distance`` is 0.

    Raises:
        TypeError: If labels are not integers, or ``num_matches`` is not.
        ValueError: If labels are not ``(b, h, w)``, are empty, differ in batch size or device, the generator is on
            another device, or ``num_matches`` is below 1.

    Example:
        >>> import torch
        >>> segments = torch.tensor([[[0, 0, 7], [0, 5, 5]]])
        >>> matches = segment_matches(segments, segments, 100, torch.Generator().manual_seed(0))
        >>> sorted(set(zip(matches.index_a[0].tolist(), matches.index_b[0].tolist())))
        [(2, 2), (4, 4), (4, 5), (5, 4), (5, 5)]

    Source:
        Equation 4.1, section 4.5.1.
    """
    for name, labels in (("segments_a", segments_a), ("segments_b", segments_b)):
        check_integer(name, labels)
        check_rank(name, labels, 3, "(b, h, w)")
        check_not_empty(name, labels)
    if len(segments_a) != len(segments_b):
        raise ValueError(f"segments_b must have the batch size of segments_a, {len(segments_a)}, got {len(segments_b)}")
    check_same_device("segments_b", segments_b, "segments_a", segments_a)
    if generator is not None and generator.device != segments_a.device:
        raise ValueError(f"generator must be on the device of the labels, {segments_a.device}, got {generator.device}")
    check_count("num_matches", num_matches)

    a = segments_a.flatten(1).long().contiguous()
    ordered_b, order_b = segments_b.flatten(1).long().sort(dim=1, stable=True)
    first = torch.searchsorted(ordered_b, a)
    partners = torch.searchsorted(ordered_b, a, right=True) - first
    if ignore_index is not None:
        partners = partners.masked_fill(a == ignore_index, 0)

    # All pairs stand in one line, those of the first cell of a first. A draw is a position in that line; the 62 bits
    # that it is reduced from keep the bias of the remainder below 2^-30 for up to 2^32 pairs.
    last_pair = partners.cumsum(dim=1)
    pairs = last_pair[:, -1:]
    shape = (len(a), num_matches)
    if generator is None:  # torch.compile traces dynamic shapes only where no generator is named
        bits = torch.randint(2**62, shape, device=a.device)
    else:
        bits = torch.randint(2**62, shape, device=a.device, generator=generator)
    draw = bits % pairs.clamp(min=1)
    index_a = torch.searchsorted(last_pair, draw, right=True).clamp(max=a.shape[1] - 1)
    partner = draw - (last_pair - partners).gather(1, index_a)
    index_b = order_b.gather(1, (first.gather(1, index_a) + partner).clamp(max=order_b.shape[1] - 1))
    valid = (pairs > 0).expand(-1, num_matches)
    return Matches(
        index_a=index_a.where(valid, 0),
        index_b=index_b.where(valid, 0),
        valid=valid.clone(),
        distance=torch.zeros(valid.shape, device=a.device).where(valid, torch.inf),
    )

"""Contrastive criteria as modules: PatchNCE over matches, and contrast between the segments of two views."""

import torch
from torch import Tensor, nn

from correspondence_losses._checks import (
    check_bool,
    check_floating,
    check_positive,
    check_rank,
    check_same_device,
    check_segments,
    check_shape,
    check_tensor,
)
from correspondence_losses._distributed import gather_across_ranks, num_ranks
from correspondence_losses.correspond import Matches, gather_matches
from correspondence_losses.functional.contrastive import patch_nce_loss, segment_contrastive_loss
from correspondence_losses.functional.segments import segment_statistics

__all__ = ["PatchNCELoss", "SegmentContrastiveLoss"]


class PatchNCELoss(nn.Module):
    r"""Each matched cell of one map is to be told, by its match, from the other matched cells of the same image.

    See :func:`~correspondence_losses.functional.patch_nce_loss`: queries are the matched vectors of ``map_a``, keys
    those of ``map_b``. Two matches that share a cell of ``map_b`` are no negatives for each other; a match that is
    not valid is neither query nor negative. The features are scaled to length 1; project them before, if at all.

    Args:
        temperature: τ, above 0.
        detach_target: Whether ``map_b`` is a constant target, as in the source, where it comes from the input image
            and ``map_a`` from the translated one.

    Shape:
        map_a (b, d, h, w), map_b (b, d, h', w'), floating point; matches of k slots. Returns a scalar: the mean over
        each image's matches, then over the images that have one; 0 if none has.

    Raises:
        TypeError, ValueError: If the settings, the maps or the matches do not fit this.

    Source:
        Park, Efros, Zhang and Zhu, "Contrastive Learning for Unpaired Image-to-Image Translation", 2020, eq. 3.

    Example:
        >>> from correspondence_losses.correspond import ViewGrid, location_matches
        >>> grid = ViewGrid.from_boxes(torch.tensor([[0.0, 0.0, 64.0, 64.0]]).expand(2, -1), (8, 8))
        >>> map_a, map_b = torch.randn(2, 2, 16, 8, 8).unbind()
        >>> PatchNCELoss()(map_a, map_b, location_matches(grid, grid, num_matches=64)).shape
        torch.Size([])
    """

    def __init__(self, temperature: float = 0.07, *, detach_target: bool = True) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.temperature = temperature
        self.detach_target = detach_target

    def forward(self, map_a: Tensor, map_b: Tensor, matches: Matches) -> Tensor:
        """Return the loss."""
        check_tensor("map_b", map_b)
        queries, keys = gather_matches(map_a, map_b.detach() if self.detach_target else map_b, matches)
        check_bool("matches.valid", matches.valid)
        check_shape("matches.valid", matches.valid, matches.index_a.shape, "that of matches.index_a")
        check_same_device("matches.valid", matches.valid, "map_a", map_a)
        losses = patch_nce_loss(
            queries, keys, temperature=self.temperature, valid=matches.valid, key_cells=matches.index_b
        )
        return losses.sum() / matches.valid.any(-1).sum().clamp(min=1)

    def extra_repr(self) -> str:
        """Show the settings in the module's repr."""
        return f"temperature={self.temperature}, detach_target={self.detach_target}"


class SegmentContrastiveLoss(nn.Module):
    r"""Features pooled over a segment alike in two views of the image, and unlike those of all other segments.

    See :func:`~correspondence_losses.functional.segment_contrastive_loss`, on the segments' means of eq. 4.2. In the
    source a projection stands between pooling and loss: for that, pool with
    :func:`~correspondence_losses.functional.segment_statistics` and call the function.

    Args:
        temperature: τ, above 0.
        ignore_index: The label that means "no segment", or ``None``. Stacks of masks have no such label.
        num_segments: A bound on the labels, which must lie in [0, num_segments). Default: the largest label of each
            call plus one, which waits for the device; give it to avoid that, under ``torch.compile``, or to gather.
        gather: Contrast with the segments of all ranks' images, as in
            :class:`~correspondence_losses.losses.VICRegLoss`.

    Shape:
        features_a, features_b: (b, d, H, W), floating point, of sizes that may differ.
        segments_a, segments_b: their (b, H, W) integer labels, or (b, s, H, W) bool masks; a label means the same in
            both. Returns a scalar.

    Raises:
        TypeError, ValueError: If the settings, the features or the segments do not fit this.

    Source:
        Hénaff et al., "Efficient Visual Pretraining with Contrastive Detection", 2021, eq. 3; thesis, sec. 4.5.2.

    Example:
        >>> features_a, features_b = torch.randn(2, 2, 16, 8, 8).unbind()
        >>> segments = torch.arange(64).reshape(1, 8, 8).expand(2, -1, -1) // 16  # 0, no segment, to 3
        >>> SegmentContrastiveLoss()(features_a, segments, features_b, segments.flip(-1)).shape
        torch.Size([])
    """

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        ignore_index: int | None = 0,
        num_segments: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        self.temperature = temperature
        self.ignore_index = ignore_index
        self.num_segments = num_segments
        self.gather = gather

    def forward(self, features_a: Tensor, segments_a: Tensor, features_b: Tensor, segments_b: Tensor) -> Tensor:
        """Return the loss."""
        for view, features, segments in (("a", features_a, segments_a), ("b", features_b, segments_b)):
            check_floating(f"features_{view}", features)
            check_rank(f"features_{view}", features, 4, "(b, d, H, W)")
            check_same_device(f"features_{view}", features, "features_a", features_a)
            check_segments(f"segments_{view}", segments, f"features_{view}", features)
        channels = (*features_a.shape[:2], *features_b.shape[2:])
        check_shape("features_b", features_b, channels, "b and d of features_a")
        num_segments, ignore_index = self.num_segments, self.ignore_index
        if segments_a.dtype == torch.bool or segments_b.dtype == torch.bool:
            # Stacks of masks say themselves how many there are, and have nothing to ignore.
            num_segments, ignore_index = None, None
        elif num_segments is None:
            num_segments = self._count(segments_a, segments_b)
        a = segment_statistics(features_a, segments_a, num_segments, ignore_index=ignore_index)
        b = segment_statistics(features_b, segments_b, num_segments, ignore_index=ignore_index)
        means = torch.stack((a.means, b.means))
        present = torch.stack((a.counts, b.counts)) > 0
        if self.gather:
            means, present = gather_across_ranks(means, dim=1), gather_across_ranks(present, dim=1)
        return segment_contrastive_loss(
            *means, temperature=self.temperature, present_a=present[0], present_b=present[1]
        )

    def extra_repr(self) -> str:
        """Show the settings in the module's repr."""
        return (
            f"temperature={self.temperature}, ignore_index={self.ignore_index}, "
            f"num_segments={self.num_segments}, gather={self.gather}"
        )

    def _count(self, segments_a: Tensor, segments_b: Tensor) -> int:
        if torch.compiler.is_compiling():
            raise ValueError("num_segments must be given under torch.compile")
        if self.gather and num_ranks() > 1:
            raise ValueError("num_segments must be given to gather, so that all ranks count alike")
        return max(int(segments_a.long().max()), int(segments_b.long().max()), 0) + 1

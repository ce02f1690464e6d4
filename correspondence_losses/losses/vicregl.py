"""VICRegL: VICReg on whole views and on their matched cells, over any number of views (thesis, eq. 2.8 to 2.10)."""

from collections.abc import Sequence
from itertools import product
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from correspondence_losses._checks import (
    check_count,
    check_floating,
    check_not_empty,
    check_rank,
    check_same_device,
    check_shape,
)
from correspondence_losses._distributed import gather_across_ranks
from correspondence_losses._precision import at_least_float32
from correspondence_losses.correspond import ViewGrid, feature_matches, location_matches
from correspondence_losses.correspond.view_grid import check_grid
from correspondence_losses.functional._moments import second_moments
from correspondence_losses.functional.vicreg import (
    COVARIANCE_FACTORS,
    VARIANCE_FACTORS,
    Convention,
    VICRegTerms,
    invariance_loss,
    variance_hinge,
)
from correspondence_losses.losses._vicreg_settings import VICRegModule
from correspondence_losses.losses._view_pairs import CellTable, Direction
from correspondence_losses.losses.matched_vicreg import MatchStatistics, check_match_statistics, matched_terms

__all__ = ["VICRegLLoss", "VICRegLTerms"]


class VICRegLTerms(NamedTuple):
    """The parts of :class:`VICRegLLoss`, coefficients and alpha included: the loss is their sum."""

    global_invariance: Tensor
    global_variance: Tensor
    global_covariance: Tensor
    location_invariance: Tensor
    location_variance: Tensor
    location_covariance: Tensor
    feature_invariance: Tensor
    feature_variance: Tensor
    feature_covariance: Tensor


class VICRegLLoss(VICRegModule):
    r"""VICReg between the views of an image, and between those of their cells that correspond.

    .. math::

        \mathcal{L}(z, z') = \alpha\, \ell(z_\oplus, z'_\oplus) + (1 - \alpha) [\mathcal{L}_s(z, z')
            + \mathcal{L}_s(z', z) + \mathcal{L}_d(z, z') + \mathcal{L}_d(z', z)]

    with :math:`\mathcal{L}_s` of eq. 2.8, over the cells of z and the nearest of z' by location, and
    :math:`\mathcal{L}_d` of eq. 2.9, the nearest by distance of the features; averaged over the pairs of each large
    view with every other view. Two large views form a pair twice, once from either, as in the official code.

    All pairs of equal shapes are matched, and all match slots of equally many vectors computed, in one call, whatever
    the number of views; on a CPU, large batches in a few calls of a size that suits its cache.

    ``convention`` names the source to follow where they differ.

    Its factors of :math:`\ell` are those of :class:`~correspondence_losses.losses.VICRegLoss`; besides,

    ============================== ======================= ======================= ========================
    \                              equations               vicreg                  vicregl
    ============================== ======================= ======================= ========================
    global variance, covariance    mean over pairs         mean over pairs         mean over views
    local, over the match slots    sum                     mean                    mean
    local, the two directions      sum                     mean                    mean
    location matches               by the kind of z        by the kind of z        the first number from the
                                                                                   pair's large view, the
                                                                                   second back to it
    feature matches                as location matches     as location matches     every cell of z
    ============================== ======================= ======================= ========================

    "By the kind of z": the first number of ``num_matches`` if the source view z is large, the second if it is small.
    The rules of "vicregl" differ from it only between two large views.

    Args:
        alpha: Weight of the global loss, in [0, 1]; the local one has 1 - alpha.
        num_matches: How many matches are kept, of large and of small views; each at least 1. Where a view has fewer
            cells, all are kept.
        inv_coeff: λ, at least 0.
        var_coeff: μ, at least 0.
        cov_coeff: ν, at least 0.
        gamma: The standard deviation to keep in each dimension; above 0.
        eps: Added to the variances; above 0.
        gather: Take the statistics over the images of all ranks, as in
            :class:`~correspondence_losses.losses.VICRegLoss`.
        convention: "equations", "vicreg" or "vicregl": see the table.
        statistics: Those of the local loss, as in :class:`~correspondence_losses.losses.MatchedVICRegLoss`: "slots"
            (over the images, for each match slot) or "matches" (over all matches of all images). A batch of one image
            always has "matches". Its global embeddings have no statistics: their variance term is constant, their
            covariance 0.
        num_feature_matches: As ``num_matches``, for the feature matches, or "all" for every cell of the source.
            Default: what the convention says.

    Raises:
        TypeError, ValueError: If the settings or the inputs do not fit this.

    Source:
        Thesis, eq. 2.8 to 2.10, 20 and 4 matches from sec. 4.7; Bardes, Ponce and LeCun, "VICRegL: Self-Supervised
        Learning of Local Visual Features", 2022.

    Example:
        >>> sizes = [(7, 7), (7, 7), (3, 3)]  # two large views and a small one, of four images
        >>> embeddings = [torch.randn(4, 32) for _ in sizes]
        >>> maps = [torch.randn(4, 16, *size) for size in sizes]
        >>> boxes = torch.tensor([[0.0, 0.0, 224.0, 224.0]]).expand(4, -1)
        >>> grids = [ViewGrid.from_boxes(boxes, size) for size in sizes]
        >>> loss = VICRegLLoss()
        >>> terms = loss.terms(embeddings, maps, grids, num_large=2)
        >>> bool(torch.isclose(loss(embeddings, maps, grids, num_large=2), sum(terms)))
        True
    """

    def __init__(
        self,
        alpha: float = 0.75,
        num_matches: tuple[int, int] = (20, 4),
        inv_coeff: float = 25.0,
        var_coeff: float = 25.0,
        cov_coeff: float = 1.0,
        gamma: float = 1.0,
        eps: float = 1e-4,
        gather: bool = False,
        convention: Convention = "vicregl",
        statistics: MatchStatistics = "slots",
        num_feature_matches: tuple[int, int] | Literal["all"] | None = None,
    ) -> None:
        super().__init__(inv_coeff, var_coeff, cov_coeff, gamma, eps, gather, convention)
        check_match_statistics(statistics)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
        if num_feature_matches is None:
            num_feature_matches = "all" if convention == "vicregl" else num_matches
        _check_num_matches("num_matches", num_matches)
        if num_feature_matches != "all":
            _check_num_matches("num_feature_matches", num_feature_matches)
        self.alpha = alpha
        self.num_matches = num_matches
        self.statistics = statistics
        self.num_feature_matches = num_feature_matches

    def forward(
        self,
        global_embeddings: Sequence[Tensor],
        local_maps: Sequence[Tensor],
        grids: Sequence[ViewGrid],
        *,
        num_large: int = 2,
    ) -> Tensor:
        """Return the loss, the sum of :meth:`terms`."""
        return torch.stack(self.terms(global_embeddings, local_maps, grids, num_large=num_large)).sum()

    def terms(
        self,
        global_embeddings: Sequence[Tensor],
        local_maps: Sequence[Tensor],
        grids: Sequence[ViewGrid],
        *,
        num_large: int = 2,
    ) -> VICRegLTerms:
        """Return the nine terms, each a scalar with its coefficients.

        Args:
            global_embeddings: One (b, d) for each view, large views first.
            local_maps: The views' projected feature maps, (b, c, h, w); their sizes may differ.
            grids: Where the cells of each map lie in the seed image.
            num_large: How many of the views are large.
        """
        _check_views(global_embeddings, local_maps, grids, num_large)
        whole = self._global_terms(global_embeddings, num_large)
        local = self._local_terms(local_maps, grids, num_large)
        return VICRegLTerms(
            *(self.alpha * term for term in whole),
            *((1 - self.alpha) * term for terms in local for term in terms),
        )

    def extra_repr(self) -> str:
        """Show the settings in the module's repr."""
        return (
            f"alpha={self.alpha}, num_matches={self.num_matches}, {super().extra_repr()}, "
            f"statistics={self.statistics!r}, num_feature_matches={self.num_feature_matches!r}"
        )

    def _global_terms(self, embeddings: Sequence[Tensor], num_large: int) -> VICRegTerms:
        z = torch.stack([at_least_float32(embedding) for embedding in embeddings])
        if self.gather:
            z = gather_across_ranks(z, dim=1)
        views, n, d = z.shape
        # Each large view with every view: with itself the distance is 0.
        pairs = (num_large, views, n, d)
        invariance = invariance_loss(z[:num_large, None].expand(pairs), z[None].expand(pairs)).sum()
        variances, off_diagonal = second_moments(z)
        hinges = variance_hinge(variances, self.gamma, self.eps)
        num_pairs = num_large * (views - 1)
        return VICRegTerms(
            (self.inv_coeff if self.convention == "equations" else self.inv_coeff / d) / num_pairs * invariance,
            self.var_coeff * VARIANCE_FACTORS[self.convention] * self._sum_over_pair(hinges, num_large),
            self.cov_coeff * COVARIANCE_FACTORS[self.convention] / d * self._sum_over_pair(off_diagonal, num_large),
        )

    def _sum_over_pair(self, values: Tensor, num_large: int) -> Tensor:
        """The sum of both views' values (views,) in a pair, averaged over the pairs, or as if over all views."""
        if self.convention == "vicregl":
            return 2 * values.mean()
        views = len(values)
        appearances_large, appearances_small = views - 1 + num_large - 1, num_large
        total = appearances_large * values[:num_large].sum() + appearances_small * values[num_large:].sum()
        return total / (num_large * (views - 1))

    def _local_terms(self, maps: Sequence[Tensor], grids: Sequence[ViewGrid], num_large: int) -> list[VICRegTerms]:
        """Eq. 2.8 and eq. 2.9, each in both directions, averaged over the pairs of views."""
        cells = CellTable([at_least_float32(view) for view in maps], self.gather)
        num_cells = [view.shape[-2] * view.shape[-1] for view in maps]
        by_location, by_feature = [], []
        for search in cells.plan(self._directions(num_cells, num_large, self.num_matches)):
            z, other = (ViewGrid.cat([grids[view] for view in views]) for views in (search.sources, search.targets))
            nearest = location_matches(z, other, search.num_matches)  # NN(p)
            crops = z.axis_aligned and other.axis_aligned  # whose cells all have a match
            by_location.append(cells.matched(search, nearest, all_valid=crops))
        for search in cells.plan(self._directions(num_cells, num_large, self.num_feature_matches)):
            z, other = cells.maps(search.sources), cells.maps(search.targets)
            nearest = feature_matches(z, other, search.num_matches)  # NN'(z_p)
            by_feature.append(cells.matched(search, nearest, all_valid=True))

        def vicreg(a: Tensor, b: Tensor, valid: Tensor | None) -> Tensor:
            """The three terms of the loss of matched vectors, over their slots."""
            return torch.stack(matched_terms(a, b, valid, self.statistics, self._settings()))

        return [VICRegTerms(*sums) for sums in cells.sum_terms([by_location, by_feature], vicreg)]

    def _directions(
        self, num_cells: Sequence[int], num_large: int, num_matches: tuple[int, int] | Literal["all"]
    ) -> list[Direction]:
        """Both directions of all pairs of each large view with every other view, by the rules of the convention."""
        num_pairs = num_large * (len(num_cells) - 1)
        weight = (1.0 if self.convention == "equations" else 0.5) / num_pairs

        def direction(source: int, target: int, *, back: bool) -> Direction:
            kept = num_cells[source]
            if num_matches != "all":
                second = back if self.convention == "vicregl" else source >= num_large
                kept = min(num_matches[second], kept)
            return Direction(source, target, kept, weight)

        return [
            search
            for large, other in product(range(num_large), range(len(num_cells)))
            if large != other
            for search in (direction(large, other, back=False), direction(other, large, back=True))
        ]


def _check_views(
    embeddings: Sequence[Tensor], maps: Sequence[Tensor], grids: Sequence[ViewGrid], num_large: int
) -> None:
    for name, views in (("local_maps", maps), ("grids", grids)):
        if len(views) != len(embeddings):
            raise ValueError(
                f"{name} must hold one entry for each of the {len(embeddings)} global_embeddings, got {len(views)}"
            )
    if len(embeddings) < 2:
        raise ValueError(f"global_embeddings must hold at least 2 views, got {len(embeddings)}")
    if not 1 <= num_large <= len(embeddings):
        raise ValueError(f"num_large must lie between 1 and the number of views, {len(embeddings)}, got {num_large}")
    for view, (embedding, map_, grid) in enumerate(zip(embeddings, maps, grids, strict=True)):
        check_floating(f"global_embeddings[{view}]", embedding)
        check_rank(f"global_embeddings[{view}]", embedding, 2, "(b, d)")
        check_shape(f"global_embeddings[{view}]", embedding, embeddings[0].shape, "that of global_embeddings[0]")
        check_not_empty(f"global_embeddings[{view}]", embedding)
        check_same_device(f"global_embeddings[{view}]", embedding, "global_embeddings[0]", embeddings[0])
        check_floating(f"local_maps[{view}]", map_)
        check_rank(f"local_maps[{view}]", map_, 4, "(b, c, h, w)")
        images_and_channels = (len(embeddings[0]), maps[0].shape[1])
        wanted = "b of global_embeddings[0] and c of local_maps[0]"
        check_shape(f"local_maps[{view}]", map_, (*images_and_channels, *map_.shape[2:]), wanted)
        check_not_empty(f"local_maps[{view}]", map_)
        check_same_device(f"local_maps[{view}]", map_, "global_embeddings[0]", embeddings[0])
        check_grid(f"grids[{view}]", grid)
        check_shape(f"grids[{view}].valid", grid.valid, (len(map_), *map_.shape[2:]), "one for each cell of the map")


def _check_num_matches(name: str, num_matches: tuple[int, int]) -> None:
    if len(num_matches) != 2:
        raise ValueError(f"{name} must hold two numbers, of large and of small views, got {num_matches}")
    check_count(f"{name}[0]", num_matches[0])
    check_count(f"{name}[1]", num_matches[1])

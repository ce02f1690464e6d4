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
from correspondence_losses.correspond import ViewGrid, location_matches
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
from correspondence_losses.losses.matched_vicreg import MatchStatistics, check_match_statistics

__all__ = ["VICRegLLoss", "VICRegLTerms", "vicregl_loss"]


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
    r"""VICReg between the views of an image, and between their corresponding cells.

    .. math::

        \mathcal{L}(z, z') = \alpha\, \ell(z_\oplus, z'_\oplus) + (1 - \alpha) [\mathcal{L}_s(z, z')
            + \mathcal{L}_s(z', z) + \mathcal{L}_d(z, z') + \mathcal{L}_d(z', z)]

    averaged over the pairs of each large view with every other view. :math:`\mathcal{L}_s`, eq. 2.8, matches the
    cells of z with the nearest cells of z' by location; :math:`\mathcal{L}_d`, eq. 2.9, matches them by feature
    distance. Two large views form two pairs, one in each order, as in the official code.

    Any number of views costs the same few calls: all pairs of views of equal shapes are matched together, and all match
    slots with equally many vectors are computed together. On a CPU, large batches are split into parts that fit its
    cache.

    ``convention`` names the source to follow where they differ. The factors of :math:`\ell` are those of
    :class:`~correspondence_losses.losses.VICRegLoss`. The conventions also differ in


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
    The rule of "vicregl" differs from this only between two large views.

    The function is :func:`vicregl_loss`.

    Args:
        alpha: Weight of the global loss, in [0, 1]; the local one has 1 - alpha.
        num_matches: Numbers of matches to keep, for large and for small views; each at least 1. If a view has fewer
            cells, all its matches are kept.
        inv_coeff: λ, at least 0.
        var_coeff: μ, at least 0.
        cov_coeff: ν, at least 0.
        gamma: The standard deviation to keep in each dimension; above 0.
        eps: Added to the variances; above 0.
        gather: Whether the statistics include the images of all ranks, as in
            :class:`~correspondence_losses.losses.VICRegLoss`.
        convention: "equations", "vicreg" or "vicregl": see the table.
        statistics: Those of the local loss, as in :class:`~correspondence_losses.losses.MatchedVICRegLoss`: "slots"
            (over the images, for each match slot) or "matches" (over all matches of all images). A batch of one image
            always uses "matches". Its global embeddings have no statistics: their variance term is constant, their
            covariance term 0.
        num_feature_matches: As ``num_matches``, for the feature matches, or "all" for every cell of the source.
            Default: what the convention says.

    Shape:
        embeddings: one (b, d) for each view, large views first. features: one projected feature map (b, c, h, w) for
        each view, of sizes that may differ. grids: one grid for each view. num_large: how many of the views are large.
        Returns a scalar.

    Raises:
        TypeError, ValueError: If the settings or the inputs do not fit this.

    Source:
        Thesis, eq. 2.8 to 2.10, 20 and 4 matches from sec. 4.7; Bardes, Ponce and LeCun, "VICRegL: Self-Supervised
        Learning of Local Visual Features", 2022.

    Example:
        >>> sizes = [(7, 7), (7, 7), (3, 3)]  # two large views and a small one, of four images
        >>> embeddings = [torch.randn(4, 32) for _ in sizes]
        >>> features = [torch.randn(4, 16, *size) for size in sizes]
        >>> boxes = torch.tensor([[0.0, 0.0, 224.0, 224.0]]).expand(4, -1)
        >>> grids = [ViewGrid.from_boxes(boxes, size) for size in sizes]
        >>> loss = VICRegLLoss()
        >>> terms = loss.terms(embeddings, features, grids, num_large=2)
        >>> bool(torch.isclose(loss(embeddings, features, grids, num_large=2), sum(terms)))
        True
    """

    def __init__(
        self,
        alpha: float = 0.75,
        num_matches: tuple[int, int] = (20, 4),
        inv_coeff: float = 25.0,
        var_coeff: float = 25.0,
        cov_coeff: float = 1.0,
        *,
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
        embeddings: Sequence[Tensor],
        features: Sequence[Tensor],
        grids: Sequence[ViewGrid],
        *,
        num_large: int = 2,
    ) -> Tensor:
        """Return the loss, the sum of :meth:`terms`."""
        return torch.stack(self.terms(embeddings, features, grids, num_large=num_large)).sum()

    def terms(
        self,
        embeddings: Sequence[Tensor],
        features: Sequence[Tensor],
        grids: Sequence[ViewGrid],
        *,
        num_large: int = 2,
    ) -> VICRegLTerms:
        """Return the nine terms, each a scalar with its coefficients.

        Args:
            embeddings: One (b, d) for each view, large views first.
            features: The projected feature maps of the views, (b, c, h, w); their sizes may differ.
            grids: Where the cells of each map lie in the seed image.
            num_large: How many of the views are large.
        """
        _check_views(embeddings, features, grids, num_large)
        whole = self._global_terms(embeddings, num_large)
        local = self._local_terms(features, grids, num_large)
        return VICRegLTerms(
            *(self.alpha * term for term in whole),
            *((1 - self.alpha) * term for terms in local for term in terms),
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
        by_location = []
        for search in cells.plan(self._directions(num_cells, num_large, self.num_matches)):
            p, other = (ViewGrid.cat([grids[view] for view in views]) for views in (search.sources, search.targets))
            nearest = location_matches(p, other, search.num_matches)  # NN(p)
            crops = p.axis_aligned and other.axis_aligned  # whose cells all have a match
            by_location.append(cells.matched(search, nearest, all_valid=crops))
        match = cells.feature_matcher(num_large)
        by_feature = [
            cells.matched(search, match(search), all_valid=True)  # NN'(z_p)
            for search in cells.plan(self._directions(num_cells, num_large, self.num_feature_matches))
        ]
        return cells.sum_terms([by_location, by_feature], self.statistics, self._settings())

    def _directions(
        self, num_cells: Sequence[int], num_large: int, num_matches: tuple[int, int] | Literal["all"]
    ) -> list[Direction]:
        """Both directions of all pairs of each large view with every other view, by the rules of the convention."""
        num_pairs = num_large * (len(num_cells) - 1)
        weight = (1.0 if self.convention == "equations" else 0.5) / num_pairs

        def direction(source: int, target: int, *, back: bool) -> Direction:
            kept = num_cells[source]
            if num_matches != "all":
                first, second = num_matches
                is_second = back if self.convention == "vicregl" else source >= num_large
                kept = min(second if is_second else first, kept)
            return Direction(source, target, kept, weight)

        return [
            search
            for large, other in product(range(num_large), range(len(num_cells)))
            if large != other
            for search in (direction(large, other, back=False), direction(other, large, back=True))
        ]


def vicregl_loss(
    embeddings: Sequence[Tensor],
    features: Sequence[Tensor],
    grids: Sequence[ViewGrid],
    *,
    num_large: int = 2,
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
) -> Tensor:
    """VICRegL between the views of an image: the function of :class:`VICRegLLoss`, which describes its arguments.

    Returns:
        A scalar in float32, or float64 for float64 embeddings and features.

    Raises:
        TypeError, ValueError: If the settings or the inputs do not fit :class:`VICRegLLoss`.

    Example:
        >>> embeddings = [torch.randn(4, 32) for _ in range(2)]
        >>> features = [torch.randn(4, 16, 7, 7) for _ in range(2)]
        >>> grid = ViewGrid.from_boxes(torch.tensor([[0.0, 0.0, 224.0, 224.0]]).expand(4, -1), (7, 7))
        >>> vicregl_loss(embeddings, features, [grid, grid], alpha=0.5).shape
        torch.Size([])
    """
    criterion = VICRegLLoss(
        alpha,
        num_matches,
        inv_coeff,
        var_coeff,
        cov_coeff,
        gamma=gamma,
        eps=eps,
        gather=gather,
        convention=convention,
        statistics=statistics,
        num_feature_matches=num_feature_matches,
    )
    loss: Tensor = criterion(embeddings, features, grids, num_large=num_large)
    return loss


def _check_views(
    embeddings: Sequence[Tensor], maps: Sequence[Tensor], grids: Sequence[ViewGrid], num_large: int
) -> None:
    for name, views in (("features", maps), ("grids", grids)):
        if len(views) != len(embeddings):
            raise ValueError(
                f"{name} must hold one entry for each of the {len(embeddings)} embeddings, got {len(views)}"
            )
    if len(embeddings) < 2:
        raise ValueError(f"embeddings must hold at least 2 views, got {len(embeddings)}")
    if not 1 <= num_large <= len(embeddings):
        raise ValueError(f"num_large must lie between 1 and the number of views, {len(embeddings)}, got {num_large}")
    for view, (embedding, map_, grid) in enumerate(zip(embeddings, maps, grids, strict=True)):
        check_floating(f"embeddings[{view}]", embedding)
        check_rank(f"embeddings[{view}]", embedding, 2, "(b, d)")
        check_shape(f"embeddings[{view}]", embedding, embeddings[0].shape, "that of embeddings[0]")
        check_not_empty(f"embeddings[{view}]", embedding)
        check_same_device(f"embeddings[{view}]", embedding, "embeddings[0]", embeddings[0])
        check_floating(f"features[{view}]", map_)
        check_rank(f"features[{view}]", map_, 4, "(b, c, h, w)")
        images_and_channels = (len(embeddings[0]), maps[0].shape[1])
        wanted = "b of embeddings[0] and c of features[0]"
        check_shape(f"features[{view}]", map_, (*images_and_channels, *map_.shape[2:]), wanted)
        check_not_empty(f"features[{view}]", map_)
        check_same_device(f"features[{view}]", map_, "embeddings[0]", embeddings[0])
        check_grid(f"grids[{view}]", grid)
        check_shape(f"grids[{view}].valid", grid.valid, (len(map_), *map_.shape[2:]), "one for each cell of the map")


def _check_num_matches(name: str, num_matches: tuple[int, int]) -> None:
    if len(num_matches) != 2:
        raise ValueError(f"{name} must hold two numbers, of large and of small views, got {num_matches}")
    check_count(f"{name}[0]", num_matches[0])
    check_count(f"{name}[1]", num_matches[1])

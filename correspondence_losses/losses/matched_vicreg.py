"""VICReg on matched features: eq. 2.8 and 2.9 by any matches, and eq. 4.1 with those of segments."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from correspondence_losses._checks import check_bool, check_not_empty, check_same_device, check_shape
from correspondence_losses._distributed import gather_across_ranks
from correspondence_losses._precision import at_least_float32
from correspondence_losses._reduction import check_choice
from correspondence_losses.correspond import Matches, gather_matches
from correspondence_losses.functional._pair_moments import pair_moments
from correspondence_losses.functional.vicreg import Convention, VICRegTerms, terms_of_moments
from correspondence_losses.losses._vicreg_settings import VICRegModule, VICRegSettings

__all__ = ["MatchStatistics", "MatchedVICRegLoss", "matched_vicreg_loss"]

MatchStatistics = Literal["slots", "matches"]
"""What the statistics of matched vectors are taken over: the images, for each match slot, or all matches together."""
MATCH_STATISTICS = get_args(MatchStatistics)


def matched_vicreg_loss(
    features_a: Tensor,
    features_b: Tensor,
    matches: Matches,
    *,
    inv_coeff: float = 25.0,
    var_coeff: float = 25.0,
    cov_coeff: float = 1.0,
    gamma: float = 1.0,
    eps: float = 1e-4,
    gather: bool = False,
    convention: Convention = "vicregl",
    statistics: MatchStatistics = "slots",
) -> Tensor:
    """VICReg between the matched vectors of two feature maps: the function of :class:`MatchedVICRegLoss`.

    Args:
        features_a: Feature maps, (b, d, h, w), floating point.
        features_b: Feature maps, (b, d, h', w'), floating point.
        matches: Which cells of ``features_a`` correspond to which of ``features_b``.
        inv_coeff: λ, at least 0.
        var_coeff: μ, at least 0.
        cov_coeff: ν, at least 0.
        gamma: The standard deviation to keep in each dimension; above 0.
        eps: Added to the variances; above 0.
        gather: Whether the statistics include the images of all ranks.
        convention: "equations", "vicreg" or "vicregl": whose factors to use.
        statistics: "slots" or "matches".

    Returns:
        A scalar in float32, or float64 for float64 features; 0 without valid matches.

    Raises:
        TypeError, ValueError: If the settings, the features or the matches do not fit this.

    Source:
        Thesis, eq. 2.8, 2.9 and 4.1; Bardes, Ponce and LeCun, "VICRegL", 2022.

    Example:
        >>> from correspondence_losses.correspond import feature_matches
        >>> features_a, features_b = torch.randn(4, 8, 7, 7), torch.randn(4, 8, 3, 3)
        >>> matches = feature_matches(features_a, features_b, num_matches=20)
        >>> loss = matched_vicreg_loss(features_a, features_b, matches, statistics="matches")
        >>> bool(loss == MatchedVICRegLoss(statistics="matches")(features_a, features_b, matches))
        True
    """
    settings = VICRegSettings(
        inv_coeff=inv_coeff, var_coeff=var_coeff, cov_coeff=cov_coeff, gamma=gamma, eps=eps, convention=convention
    )
    invariance, variance, covariance = _gathered_terms(
        features_a, features_b, matches, gather=gather, statistics=statistics, settings=settings
    )
    return invariance + variance + covariance


class MatchedVICRegLoss(VICRegModule):
    r"""VICReg between the matched feature vectors of two maps.

    .. math:: \mathcal{L} = \sum_{p \in P} \ell(z_p, z'_{p'})

    over the match slots p. For each slot, :math:`\ell` is the loss of
    :class:`~correspondence_losses.losses.VICRegLoss` between the vectors that the images of the batch hold in that
    slot. With location matches this is eq. 2.8, with feature matches eq. 2.9, with segment matches eq. 4.1.

    Invalid matches are left out of the sums and of the counts. Without a single valid match the loss and its gradient
    are 0. The conventions "vicreg" and "vicregl" average over the slots that hold a match; "equations" sums over them,
    as printed.

    The function is :func:`matched_vicreg_loss`.

    Args:
        inv_coeff: λ, at least 0.
        var_coeff: μ, at least 0.
        cov_coeff: ν, at least 0.
        gamma: The standard deviation to keep in each dimension; above 0.
        eps: Added to the variances; above 0.
        gather: Whether the statistics include the images of all ranks, as in
            :class:`~correspondence_losses.losses.VICRegLoss`.
        convention: "equations", "vicreg" or "vicregl": whose factors to use, as in
            :class:`~correspondence_losses.losses.VICRegLoss`.
        statistics: "slots" takes means, variances and covariances over the images, for each match slot, as VICRegL
            does. "matches" takes them over all matches of all images together. A batch of one image has no statistics
            over images, so it always uses "matches".

    Shape:
        features_a (b, d, h, w), features_b (b, d, h', w'), floating point; matches of k slots. Returns a scalar in
        float32, or float64 for float64 features.

    Raises:
        TypeError, ValueError: If the settings, the features or the matches do not fit this.

    Source:
        Thesis, eq. 2.8, 2.9 and 4.1; Bardes, Ponce and LeCun, "VICRegL: Self-Supervised Learning of Local Visual
        Features", 2022.

    Example:
        >>> from correspondence_losses.correspond import feature_matches
        >>> features_a, features_b = torch.randn(4, 8, 7, 7), torch.randn(4, 8, 3, 3)
        >>> loss = MatchedVICRegLoss()
        >>> loss(features_a, features_b, feature_matches(features_a, features_b, num_matches=20)).shape
        torch.Size([])
    """

    def __init__(
        self,
        inv_coeff: float = 25.0,
        var_coeff: float = 25.0,
        cov_coeff: float = 1.0,
        *,
        gamma: float = 1.0,
        eps: float = 1e-4,
        gather: bool = False,
        convention: Convention = "vicregl",
        statistics: MatchStatistics = "slots",
    ) -> None:
        super().__init__(inv_coeff, var_coeff, cov_coeff, gamma, eps, gather, convention)
        check_match_statistics(statistics)
        self.statistics = statistics

    def forward(self, features_a: Tensor, features_b: Tensor, matches: Matches) -> Tensor:
        """Return the loss, the sum of :meth:`terms`."""
        return matched_vicreg_loss(features_a, features_b, matches, **self.settings())

    def terms(self, features_a: Tensor, features_b: Tensor, matches: Matches) -> VICRegTerms:
        """Return the three terms, each a scalar with its coefficient."""
        return _gathered_terms(
            features_a,
            features_b,
            matches,
            gather=self.gather,
            statistics=self.statistics,
            settings=self._settings(),
        )


def _gathered_terms(
    features_a: Tensor,
    features_b: Tensor,
    matches: Matches,
    *,
    gather: bool,
    statistics: MatchStatistics,
    settings: VICRegSettings,
) -> VICRegTerms:
    check_match_statistics(statistics)
    a, b = gather_matches(features_a, features_b, matches)
    valid = matches.valid
    check_bool("matches.valid", valid)
    check_shape("matches.valid", valid, matches.index_a.shape, "that of matches.index_a")
    check_same_device("matches.valid", valid, "features_a", features_a)
    check_not_empty("matches.valid", valid)
    if gather:
        a, b = gather_across_ranks(torch.stack((at_least_float32(a), at_least_float32(b))), dim=1)
        valid = gather_across_ranks(valid)
    a, b, valid = (tensor.transpose(0, 1).unsqueeze(0) for tensor in (a, b, valid))
    sets = matched_sets(a, b, valid, statistics, settings["convention"])
    terms = terms_of_moments(pair_moments(sets.a, sets.b, sets.valid), sets.valid, **settings)
    return VICRegTerms(*((term * sets.weights).sum() for term in terms))


class MatchedSets(NamedTuple):
    """The sets of corresponding vectors that have statistics: s for each of p groups of matches."""

    a: Tensor
    """(p, s, n, ...)"""
    b: Tensor
    """(p, s, n, ...)"""
    valid: Tensor | None
    """(p, s, n): which pairs count, or None if all do."""
    weights: Tensor | float
    """(p, 1), or a number: of the terms of a set in those of its group."""


def matched_sets(
    a: Tensor, b: Tensor, valid: Tensor | None, statistics: MatchStatistics, convention: Convention
) -> MatchedSets:
    """Return the sets of vectors a and b (p, k, n, ...), of which those count that are valid (p, k, n).

    These stand in k match slots of n images; in place of vectors, a and b can be their rows in a table.
    """
    slots = _count_slots(a, valid)
    if statistics == "matches" or a.shape[2] == 1:
        a, b = a.flatten(1, 2).unsqueeze(1), b.flatten(1, 2).unsqueeze(1)
        valid = None if valid is None else valid.flatten(1, 2).unsqueeze(1)
    return MatchedSets(a, b, valid, (slots if convention == "equations" else 1) / _count_slots(a, valid))


def _count_slots(vectors: Tensor, valid: Tensor | None) -> Tensor | int:
    """The number of slots that hold a match, at least 1."""
    return vectors.shape[1] if valid is None else valid.any(-1).sum(-1, keepdim=True).clamp(min=1)


def check_match_statistics(statistics: str) -> None:
    """Raise ``ValueError`` unless ``statistics`` is one that is known."""
    check_choice("statistics", statistics, MATCH_STATISTICS)

"""VICReg on matched features: eq. 2.8 and 2.9 by any matches, and eq. 4.1 with those of segments."""

from typing import Literal

import torch
from torch import Tensor

from correspondence_losses._checks import check_bool, check_not_empty, check_same_device, check_shape
from correspondence_losses._distributed import gather_across_ranks
from correspondence_losses._precision import at_least_float32
from correspondence_losses.correspond import Matches, gather_matches
from correspondence_losses.functional.vicreg import Convention, VICRegTerms, vicreg_terms
from correspondence_losses.losses._vicreg_settings import VICRegModule, VICRegSettings

__all__ = ["MatchedVICRegLoss"]

MatchStatistics = Literal["slots", "matches"]


class MatchedVICRegLoss(VICRegModule):
    r"""The VICReg criterion between the matched feature vectors of two maps.

    .. math:: \mathcal{L} = \sum_{p \in P} \ell(z_p, z'_{p'})

    over the match slots p, with :math:`\ell` of :class:`~correspondence_losses.losses.VICRegLoss` between the vectors
    that the images of the batch hold in that slot. With location matches this is eq. 2.8, with feature matches
    eq. 2.9, with segment matches eq. 4.1. Matches that are not valid contribute nothing, neither to the sums nor to
    the counts; without a single valid one the loss and its gradients are 0.

    The sources of "vicreg" and "vicregl" average over the slots; "equations" sums, as printed. Slots without a valid
    match are left out of either.

    Args:
        inv_coeff: λ, at least 0.
        var_coeff: μ, at least 0.
        cov_coeff: ν, at least 0.
        gamma: The standard deviation to keep in each dimension; above 0.
        eps: Added to the variances; above 0.
        gather: Take the statistics over the images of all ranks, as in
            :class:`~correspondence_losses.losses.VICRegLoss`.
        convention: "equations", "vicreg" or "vicregl": whose factors to use, as in
            :class:`~correspondence_losses.losses.VICRegLoss`.
        statistics: "slots": means, variances and covariances over the images, for each match slot by itself, as
            VICRegL has it. "matches": over all matches of all images together. A batch of one image has no
            statistics over images: there it is always "matches".

    Shape:
        map_a (b, d, h, w), map_b (b, d, h', w'), floating point; matches of k slots. Returns a scalar in float32, or
        float64 for float64 maps.

    Raises:
        TypeError, ValueError: If the settings, the maps or the matches do not fit this.

    Source:
        Thesis, eq. 2.8, 2.9 and 4.1; Bardes, Ponce and LeCun, "VICRegL: Self-Supervised Learning of Local Visual
        Features", 2022.

    Example:
        >>> from correspondence_losses.correspond import feature_matches
        >>> map_a, map_b = torch.randn(4, 8, 7, 7), torch.randn(4, 8, 3, 3)
        >>> loss = MatchedVICRegLoss()
        >>> loss(map_a, map_b, feature_matches(map_a, map_b, num_matches=20)).shape
        torch.Size([])
    """

    def __init__(
        self,
        inv_coeff: float = 25.0,
        var_coeff: float = 25.0,
        cov_coeff: float = 1.0,
        gamma: float = 1.0,
        eps: float = 1e-4,
        gather: bool = False,
        convention: Convention = "vicregl",
        statistics: MatchStatistics = "slots",
    ) -> None:
        super().__init__(inv_coeff, var_coeff, cov_coeff, gamma, eps, gather, convention)
        check_match_statistics(statistics)
        self.statistics = statistics

    def forward(self, map_a: Tensor, map_b: Tensor, matches: Matches) -> Tensor:
        """Return the loss, the sum of :meth:`terms`."""
        invariance, variance, covariance = self.terms(map_a, map_b, matches)
        return invariance + variance + covariance

    def terms(self, map_a: Tensor, map_b: Tensor, matches: Matches) -> VICRegTerms:
        """Return the three terms, each a scalar with its coefficient."""
        a, b = gather_matches(map_a, map_b, matches)
        valid = matches.valid
        check_bool("matches.valid", valid)
        check_shape("matches.valid", valid, matches.index_a.shape, "that of matches.index_a")
        check_same_device("matches.valid", valid, "map_a", map_a)
        check_not_empty("matches.valid", valid)
        if self.gather:
            a, b = gather_across_ranks(torch.stack((at_least_float32(a), at_least_float32(b))), dim=1)
            valid = gather_across_ranks(valid)
        return matched_terms(a.transpose(0, 1), b.transpose(0, 1), valid.mT, self.statistics, self._settings())

    def extra_repr(self) -> str:
        """Show the settings in the module's repr."""
        return f"{super().extra_repr()}, statistics={self.statistics!r}"


def matched_terms(
    a: Tensor, b: Tensor, valid: Tensor | None, statistics: MatchStatistics, settings: VICRegSettings
) -> VICRegTerms:
    """Return the terms (...) of matched vectors a, b (..., k, n, d), valid (..., k, n), of k slots and n images."""
    slots = _count_slots(a, valid)
    if statistics == "matches" or a.shape[-2] == 1:
        a, b = a.flatten(-3, -2).unsqueeze(-3), b.flatten(-3, -2).unsqueeze(-3)
        valid = None if valid is None else valid.flatten(-2).unsqueeze(-2)
    terms = VICRegTerms(
        *(term.sum(-1) / _count_slots(a, valid) for term in vicreg_terms(a, b, valid=valid, **settings))
    )
    return VICRegTerms(*(term * slots for term in terms)) if settings["convention"] == "equations" else terms


def _count_slots(vectors: Tensor, valid: Tensor | None) -> Tensor | int:
    """The number of slots that hold a match, at least 1."""
    return vectors.shape[-3] if valid is None else valid.any(-1).sum(-1).clamp(min=1)


def check_match_statistics(statistics: str) -> None:
    """Raise ``ValueError`` unless ``statistics`` is one that is known."""
    if statistics not in ("slots", "matches"):
        raise ValueError(f'statistics must be "slots" or "matches", got {statistics!r}')

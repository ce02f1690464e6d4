"""The settings that all VICReg losses share."""

from typing import TypedDict

from correspondence_losses._settings import ModuleWithSettings
from correspondence_losses.functional.vicreg import Convention, check_settings


class VICRegSettings(TypedDict):
    """The keyword arguments of :func:`~correspondence_losses.functional.vicreg_terms`."""

    inv_coeff: float
    var_coeff: float
    cov_coeff: float
    gamma: float
    eps: float
    convention: Convention


class VICRegModule(ModuleWithSettings):
    """Holds and checks the settings of eq. 2.6."""

    def __init__(
        self,
        inv_coeff: float,
        var_coeff: float,
        cov_coeff: float,
        gamma: float,
        eps: float,
        gather: bool,
        convention: Convention,
    ) -> None:
        super().__init__()
        check_settings(inv_coeff, var_coeff, cov_coeff, gamma, eps, convention)
        self.inv_coeff = inv_coeff
        self.var_coeff = var_coeff
        self.cov_coeff = cov_coeff
        self.gamma = gamma
        self.eps = eps
        self.gather = gather
        self.convention = convention

    def _settings(self) -> VICRegSettings:
        """Return the keyword arguments of :func:`~correspondence_losses.functional.vicreg_terms`."""
        return VICRegSettings(
            inv_coeff=self.inv_coeff,
            var_coeff=self.var_coeff,
            cov_coeff=self.cov_coeff,
            gamma=self.gamma,
            eps=self.eps,
            convention=self.convention,
        )

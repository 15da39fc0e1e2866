"""Linear inversion that calibrates itself on the field."""

from __future__ import annotations

from torch import Tensor

from qsmprep.qsm.classical import Estimate
from qsmprep.qsm.dipole import Dipole
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.likelihood import INCOHERENT, Likelihood
from qsmprep.qsm.spectrum import estimate_spectra


def wiener(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    incoherent: float = INCOHERENT,
    completions: int = 5,
) -> Estimate:
    """Posterior mean of susceptibility under spectra measured on the field itself.

    The filter D S / (D^2 S + N) is the best linear one for the power S(k) of susceptibility and
    N(k) of the error. Both are estimated from this field, so that nothing is left to be tuned.

    Parameters
    ----------
    field
        Local field [ppm], zero outside the mask.
    mask
        Voxels of the map.
    grid
        Their grid.
    incoherent
        Share of the coloured model error that acts as noise; see
        :class:`~qsmprep.qsm.likelihood.Likelihood`.
    completions
        How often the field outside the mask is completed from the solution; see
        :meth:`~qsmprep.qsm.likelihood.Likelihood.posterior_mean`.

    """
    dipole = Dipole(grid, device=field.device)
    spectra = estimate_spectra(field, mask, dipole)
    likelihood = Likelihood(field, dipole, spectra, incoherent=incoherent)
    chi = likelihood.posterior_mean(mask, iterations=completions)
    return Estimate(chi * mask, {}, sd=likelihood.posterior_sd() * mask)

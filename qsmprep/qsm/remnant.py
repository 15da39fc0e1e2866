"""What background removal left of the background: a smooth field, or that of sources around."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.periodogram import REMNANT_MM, Fit, Periodogram
from qsmprep.qsm.posterior import PosteriorPrecision
from qsmprep.qsm.solvers import conjugate_gradients

STEPS = 100
TOLERANCE = 1e-3
LEAST_REMOVED = 0.02
STRONG = 0.1


def strongest_remnants(
    field: Tensor, mask: Tensor, local: Tensor, periodogram: Periodogram, fit: Fit, weight: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Most likely field of the strongest remnants, and what will be left of them.

    They are those of at least a tenth of the largest variance: beside them the fit of weaker ones
    is leakage. The field of sources around the mask comes before that of smooth ones, as it has
    fewer ways to take the local field along; what is left of it is no stationary field.

    Parameters
    ----------
    field, mask, weight
        See :func:`harmonic_remnant`.
    local
        Power of the field without remnants, on the padded grid [ppm^2].
    periodogram, fit
        What the variances of the remnants were found by.

    Returns
    -------
    tuple of Tensor, or None
        The field of the remnants in the mask [ppm], and the posterior power of smooth ones on the
        padded grid [ppm^2]. None where the field is less than 2 % of the given one.

    """
    dipole, variances = periodogram.dipole, fit.remnants
    least = LEAST_REMOVED * float(field.norm())
    strong = variances >= STRONG * variances.max()
    smooth = np.arange(len(strong)) < len(REMNANT_MM)

    def matter(kinds: np.ndarray) -> bool:
        return variances[kinds].sum() > least**2 / float(mask.sum())

    if matter(strong & ~smooth):
        variance, around = periodogram.outside_variance(fit), periodogram.around
        found = harmonic_remnant(field, mask, dipole, local, around, variance, weight)
        if found.norm() > least:
            return found, torch.zeros_like(local)
    if matter(strong & smooth):
        power, others = (
            periodogram.remnant(fit._replace(remnants=np.where(kinds, variances, 0)))
            for kinds in (strong & smooth, ~(strong & smooth))
        )
        error = local + others
        found = smooth_remnant(field, mask, dipole, error, power, periodogram.taper)
        if found.norm() > least:
            return found, power * error / (power + error)
    return None


def harmonic_remnant(
    field: Tensor,
    mask: Tensor,
    dipole: Dipole,
    error: Tensor,
    around: Tensor,
    variance: float,
    weight: Tensor,
) -> Tensor:
    """Most likely field of white sources around a mask, where all else is a coloured error.

    Projection onto dipole fields once more, but with what a calibration knows: the strength of the
    sources and the spectrum of the local field, which to this fit is an error. In the mask the
    field of such sources is harmonic.

    Solved by plain conjugate gradients, which begin with the strongest sources. Preconditioned by
    the diagonal, or by the precision of plane waves, they need up to three times as many steps.

    Parameters
    ----------
    field
        Local field and remnant (X, Y, Z) [ppm], zero outside the mask.
    mask
        Voxels of tissue.
    dipole
        The dipole operator.
    error
        Power of all other parts of the field on the padded grid [ppm^2].
    around
        Voxels of the padded grid in which the sources may lie.
    variance
        Variance of the sources before the scan [ppm^2].
    weight
        Voxel weights; zero where nothing was measured.

    Returns
    -------
    Tensor
        The field of these sources in the mask [ppm].

    References
    ----------
    Liu T et al. 2011, 10.1002/nbm.1670.

    """
    whole = dipole.on_padded_grid()
    weight = whole.enlarged(weight)
    posterior = PosteriorPrecision(whole, around, _precision(error), 1 / variance, weight)
    target = posterior.data_term(whole.enlarged(field))
    sources = conjugate_gradients(posterior, target, iterations=STEPS, tolerance=TOLERANCE)
    return whole.forward(sources)[tuple(map(slice, mask.shape))] * mask


def smooth_remnant(
    field: Tensor, mask: Tensor, dipole: Dipole, error: Tensor, power: Tensor, weight: Tensor
) -> Tensor:
    """Most likely smooth field in a mask, where all else is a coloured error.

    Solved by conjugate gradients for the field over its standard deviation, preconditioned by its
    precision as if it were measured everywhere.

    Parameters
    ----------
    field, mask, dipole, error
        See :func:`harmonic_remnant`.
    power
        Power of the smooth field on the padded grid [ppm^2].
    weight
        Voxel weights that fall to zero at the edge of the mask, where all else does not end.

    Returns
    -------
    Tensor
        The smooth field in the mask [ppm].

    """
    whole, precision = dipole.on_padded_grid(), _precision(error)
    weight = whole.enlarged(weight)
    root, share = power.sqrt(), weight.square().mean()
    smoothing = 1 / (1 + share * power * precision)

    def explain(image: Tensor) -> Tensor:
        return whole.filter(weight * whole.filter(weight * image, precision), root)

    white = conjugate_gradients(
        lambda white: white + explain(whole.filter(white, root)),
        explain(whole.enlarged(field)),
        precondition=lambda image: whole.filter(image, smoothing),
        iterations=STEPS,
        tolerance=TOLERANCE,
    )
    return whole.filter(white, root)[tuple(map(slice, mask.shape))] * mask


def _precision(error: Tensor) -> Tensor:
    """Precision of a field by its error, which knows nothing of the mean."""
    precision = 1 / error
    precision[0, 0, 0] = 0
    return precision

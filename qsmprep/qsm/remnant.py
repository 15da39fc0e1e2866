"""What background removal left of the background: a smooth field, or that of sources around."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.periodogram import REMNANT_MM, Fit, Periodogram
from qsmprep.qsm.solvers import conjugate_gradients

STEPS = 100
TOLERANCE = 1e-3
LEAST_REMOVED = 0.02
STRONG = 0.1
REWEIGHTINGS = 3
TAIL = 0.1


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
        kinds = np.where(strong & ~smooth, variances, 0)
        variance = periodogram.outside_variance(fit._replace(remnants=kinds))
        found = harmonic_remnant(field, mask, dipole, local, variance, weight)
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
    field: Tensor, mask: Tensor, dipole: Dipole, error: Tensor, variance: Tensor, weight: Tensor
) -> Tensor:
    r"""Most likely field of sources around a mask, where all else is a coloured error.

    Projection onto dipole fields once more, but with what a calibration knows: the strength of the
    sources and the spectrum of the local field, which to this fit is an error. In the mask the
    field of such sources is harmonic.

    Sources of the background, such as cavities or bone, are few and strong. So each has a prior
    with heavy tails, Student's t of :math:`\nu` = 0.1 degrees of freedom, whose scale is the
    variance v that a periodogram tells. The first fit is that of Gaussian sources; in the three
    that follow a source that was found to be x has the variance
    :math:`(\nu v + x^2) / (\nu + 1)`.

    Each is solved by plain conjugate gradients for sources over their standard deviation, which
    begin with the strongest. Preconditioned by the diagonal, or by the precision of plane waves,
    they need up to three times as many steps.

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
    variance
        Variance of the sources on the padded grid [ppm^2], zero where there are none.
    weight
        Voxel weights; zero where nothing was measured.

    Returns
    -------
    Tensor
        The field of these sources in the mask [ppm].

    References
    ----------
    Liu T et al. 2011, 10.1002/nbm.1670 (projection onto dipole fields); Lange et al. 1989,
    10.1080/01621459.1989.10478852 (Student's t by reweighting).

    """
    whole, precision = dipole.on_padded_grid(), _precision(error)
    weight, field = whole.enlarged(weight), whole.enlarged(field)

    def adjoint(image: Tensor) -> Tensor:
        return whole.adjoint(weight * whole.filter(weight * image, precision))

    def gaussian_sources(spread: Tensor) -> Tensor:
        white = conjugate_gradients(
            lambda white: white + spread * adjoint(whole.forward(spread * white)),
            spread * target,
            iterations=STEPS,
            tolerance=TOLERANCE,
        )
        return spread * white

    target = adjoint(field)
    sources = gaussian_sources(variance.sqrt())
    for _ in range(REWEIGHTINGS):
        posterior = (TAIL * variance + sources.square()) / (TAIL + 1)
        sources = gaussian_sources(posterior.sqrt())
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

"""Linear inversion that calibrates itself on the field."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from qsmprep.qsm.calibration import Calibration, calibrate
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.qsm.inversion.reliability import outliers
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.noise import field_roughness

COMPLETIONS = 5


def wiener(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    calibration: Calibration | None = None,
    error_share: float | None = None,
    tolerance: float = 0.06,
    iterations: int = 60,
) -> Estimate:
    """Posterior mean of susceptibility under spectra measured on the field itself.

    Susceptibility of the power S(k) and an error of the power N(k), both estimated from this
    field, leave nothing to be tuned. Where the scan shows no model error, the mean is exact: the
    field outside the mask is unknown, and noisy voxels count less; it is found by conjugate
    gradients. The map is in the mask alone, or where sources are likely outside the mean of one
    that has less power there and of one that has the same
    (:class:`~qsmprep.qsm.posterior.FadingPosterior`). Where the error is that of scans in vivo, for
    which the exact mean is poor, it is the filter D S / (D^2 S + N), and the field outside the mask
    and in noisy voxels is completed from its map; once more with outliers that count less, by what
    the first map leaves (:func:`~qsmprep.qsm.inversion.reliability.outliers`). Between the two,
    maps are mixed by the share of the model error.

    Parameters
    ----------
    field, mask, grid, magnitude, noise, calibration
        See :func:`~qsmprep.qsm.inversion.tv.tv`.
    progress
        Called with the iteration, their greatest number, and the relative residual.
    error_share
        See :func:`~qsmprep.qsm.inversion.tv.tv`.
    tolerance, iterations
        Error, over the standard deviation of the posterior, and number of steps at which the exact
        solution ends.

    Raises
    ------
    ValueError
        If the error share is out of range.

    """
    calibration = calibration or calibrate(
        field, mask, grid, noise=noise, magnitude=magnitude, error_share=error_share
    )
    field, share = calibration.field, calibration.error_share
    least = field_roughness(field, mask) * (1.0 if calibration.known_noise is None else 0.1)
    likelihood = Likelihood(field, calibration, calibration.weight, least_noise=least)
    chi = torch.zeros_like(field)
    if share > 0:
        chi += share * _completed_mean(calibration, mask, grid, least)
    free = calibration.outside_amplitude
    for part, outside in ((1 - free, free), (free, 1.0)):
        if (part := (1 - share) * part) > 0:
            posterior = likelihood.fading(mask, outside)
            spectrum = posterior.mean(
                field,
                start=calibration.sources,
                iterations=iterations,
                tolerance=tolerance / sqrt(part),
                progress=progress,
            )
            chi += part * posterior.map(spectrum) * mask
    return Estimate(chi, calibration.record(), sd=likelihood.posterior_sd() * mask)


def _completed_mean(calibration: Calibration, mask: Tensor, grid: Grid, least: float) -> Tensor:
    """Filtered and completed map, where outliers of a first one count less [ppm]."""
    field, spectra = calibration.field, calibration.seen_through(mask)

    def mean(weight: Tensor | None) -> Tensor:
        likelihood = Likelihood(field, spectra, weight, least_noise=least)
        return likelihood.posterior_mean(mask, iterations=COMPLETIONS)

    residual = (field - calibration.dipole.forward(mean(calibration.weight))) * mask
    noise = calibration.known_noise or field_roughness(field, mask)
    precision = outliers(residual, field, mask, noise, grid)
    return mean(calibration.weights(mask) * precision.sqrt()) * mask

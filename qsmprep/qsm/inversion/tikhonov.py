"""Tikhonov regularisation, its weight chosen on the field."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from qsmprep.qsm.calibration import calibrate
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.estimate import Estimate, check_range
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.noise import data_weight, field_roughness
from qsmprep.qsm.operators import PADDING, Dipole, gradient_power
from qsmprep.qsm.periodogram import LOWEST
from qsmprep.qsm.posterior import PosteriorPrecision

WEIGHTS = (log(1e-5), log(10.0))


def tikhonov(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    regularisation: float | None = None,
    order: int = 0,
    tolerance: float = 1e-3,
    iterations: int = 60,
) -> Estimate:
    """Minimiser of ||W (D x - field)||^2 + regularisation ||R x||^2.

    With neither magnitude nor noise, W is one everywhere and the solution has a closed form; its
    mean over the padded grid, which the gradient leaves open, is zero. Else W is zero outside the
    mask, where the map is zero too, and conjugate gradients find it. In vivo this costs more than
    the weights gain (3 to 4 % NRMSE): the closed form is mixed in by the share of the model
    error that :func:`~qsmprep.qsm.calibration.calibrate` finds.

    Parameters
    ----------
    field, mask, grid
        See :func:`tkd`.
    magnitude, noise
        Magnitude [arbitrary], standard deviation of the field [ppm]; the noise goes first. W falls
        below 1 where the noise is above its median or the magnitude below.
    progress
        Called with the iteration, their greatest number, and the relative residual.
    regularisation
        Weight of the penalty, above zero. By default that of the least expected squared error
        under the spectra of susceptibility and error that the field itself shows.
    order
        R: 0 for the identity, 1 for differences between neighbours divided by their
        distance in units of the mean voxel edge.
    tolerance, iterations
        Relative residual and number of steps at which the iteration ends.

    References
    ----------
    Kressler et al. 2010, 10.1109/TMI.2009.2023787; Bilgic et al. 2014, 10.1002/jmri.24365.

    """
    if order not in (0, 1):
        raise ValueError(f'The order of the penalty is 0 or 1, not {order}.')
    dipole = Dipole(grid, device=field.device, dtype=field.dtype)
    power = torch.ones_like(dipole.kernel) if order == 0 else gradient_power(dipole)
    uneven = magnitude is not None or noise is not None
    if uneven or regularisation is None:
        calibration = calibrate(
            field, mask, grid, padding=PADDING, noise=noise, magnitude=magnitude
        )
        field = calibration.field
    if regularisation is None:
        # in closed form the edge of the mask acts as noise, and the spectra know of none
        least = 0.0 if calibration.known_noise is not None else 2 * field_roughness(field, mask)
        likelihood = Likelihood(field, calibration.seen_through(mask), least_noise=least)
        regularisation = _least_expected_error(likelihood, power)
    check_range('regularisation', regularisation, 0)
    chosen = {'regularisation': regularisation}
    response = dipole.kernel / (dipole.kernel.square() + regularisation * power)
    response[0, 0, 0] = 0
    closed = dipole.filter(field, response) * mask
    share = calibration.error_share if uneven else 1.0
    if share == 1:
        return Estimate(closed, chosen)
    weight = data_weight(mask, magnitude, noise, field_roughness(field, mask))
    # the gradient leaves the mean open, a preconditioner must not
    stiff = (regularisation * power).clamp(min=1e-4 * regularisation)
    precision = PosteriorPrecision(dipole, mask, 1.0, stiff, weight)
    exact = precision.solve(
        precision.data_term(field), iterations=iterations, tolerance=tolerance, progress=progress
    )
    return Estimate(share * closed + (1 - share) * exact, {**chosen, 'error_share': share})


def _least_expected_error(likelihood: Likelihood, power: Tensor) -> float:
    """Weight of a penalty that minimises the expected squared error of the map."""
    kernel = likelihood.dipole.kernel
    use = likelihood.dipole.wavenumber() > LOWEST
    squared, power = kernel.square()[use], power[use]
    prior, error = likelihood.prior[use], likelihood.error[use]

    def expected(log_weight: float) -> float:
        penalty = exp(log_weight) * power
        parts = penalty.square() * prior + squared * error
        return float((parts / (squared + penalty).square()).sum(dtype=torch.float64))

    return exp(minimize_scalar(expected, bounds=WEIGHTS, method='bounded').x)

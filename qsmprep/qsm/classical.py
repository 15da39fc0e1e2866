"""Classical linear dipole inversions, and simple measures of a field."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, pi, prod, sqrt
from typing import NamedTuple

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from qsmprep.qsm.calibration import LOWEST, calibrate, typical_noise
from qsmprep.qsm.dipole import Dipole, frequencies
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.posterior import PosteriorPrecision

LEAST_ROUGHNESS = 1e-9
WEIGHTS = (log(1e-5), log(10.0))


class Estimate(NamedTuple):
    """A susceptibility map [ppm], the values that were chosen on the scan, and its uncertainty.

    The uncertainty is a standard deviation (X, Y, Z) [ppm], None for methods that know none. The
    function gives susceptibility [ppm] on the product of three vectors of positions, in voxels
    from the centre of the first one; None for methods whose map is one of voxels.
    """

    chi: Tensor
    chosen: dict[str, float]
    sd: Tensor | None = None
    function: Callable[[list[Tensor]], Tensor] | None = None


def tkd(field: Tensor, mask: Tensor, grid: Grid, *, threshold: float = 0.25) -> Estimate:
    """Thresholded k-space division.

    Where the response is below the threshold it is replaced by the threshold of the same sign.
    Strong sources come out too weak by a few percent to a fifth; dividing by the height of the
    point spread function would undo that, but raises the error on every scan tried.

    Parameters
    ----------
    field
        Local field [ppm], zero outside the mask.
    mask
        Voxels of the map.
    grid
        Their grid.
    threshold
        Least response that is divided by, between 0 and 2/3.

    References
    ----------
    Shmueli et al. 2009, 10.1002/mrm.22135.

    """
    _check_range('threshold', threshold, 0, 2 / 3)
    dipole = Dipole(grid, device=field.device, dtype=field.dtype)
    response = dipole.kernel
    sign = torch.where(response < 0, -1.0, 1.0)
    inverse = sign / response.abs().clamp(min=threshold)
    return Estimate(dipole.filter(field, inverse) * mask, {})


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
    tolerance: float = 2e-3,
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
        calibration = calibrate(field, mask, dipole, noise=noise, magnitude=magnitude)
    if regularisation is None:
        # in closed form the edge of the mask acts as noise, and the spectra know of none
        least = 0.0 if calibration.known_noise is not None else 2 * field_roughness(field, mask)
        likelihood = Likelihood(field, calibration, least_noise=least)
        regularisation = _least_expected_error(likelihood, power)
    _check_range('regularisation', regularisation, 0)
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
        precision.pull(field), iterations=iterations, tolerance=tolerance, progress=progress
    )
    return Estimate(share * closed + (1 - share) * exact, {**chosen, 'error_share': share})


def _least_expected_error(likelihood: Likelihood, power: Tensor) -> float:
    """Weight of a penalty that minimises the expected squared error of the map."""
    kernel = likelihood.dipole.kernel
    use = likelihood.dipole.wavenumber() > LOWEST
    squared, power = kernel.square()[use], power[use]
    prior, error = likelihood.prior[use], likelihood.error[use]

    def expected(log_weight: float) -> float:
        pull = exp(log_weight) * power
        parts = pull.square() * prior + squared * error
        return float((parts / (squared + pull).square()).sum(dtype=torch.float64))

    return exp(minimize_scalar(expected, bounds=WEIGHTS, method='bounded').x)


def field_roughness(field: Tensor, mask: Tensor) -> float:
    """Robust noise of a field: median of its finest diagonal Haar detail over 0.6745.

    Includes what the anatomy adds at the scale of a voxel, about 1 ppb at 1 mm.

    References
    ----------
    Donoho and Johnstone 1994, 10.1093/biomet/81.3.425.

    """
    detail, inside = field, mask
    for axis, n in enumerate(field.shape):
        detail = detail.diff(dim=axis) / sqrt(2)
        inside = inside.narrow(axis, 0, n - 1) & inside.narrow(axis, 1, n - 1)
    values = detail[inside].abs()
    if not values.numel():
        return max(float(field[mask].std(correction=0)), LEAST_ROUGHNESS)
    return max(float(values.median()) / 0.6745, LEAST_ROUGHNESS)


def data_weight(
    mask: Tensor, magnitude: Tensor | None, noise: Tensor | None, roughness: float
) -> Tensor:
    """Voxel weights between 0 and 1; zero where noise or magnitude are, as nothing was measured."""
    inside = mask.to(torch.float32)
    if noise is not None:
        floor = typical_noise(noise, mask) ** 2 + roughness**2
        return inside * (noise > 0) * (floor / (noise.square() + roughness**2)).sqrt().clamp(max=1)
    if magnitude is not None:
        middle = magnitude[mask].median().clamp(min=1e-12)
        return inside * (magnitude / middle).clamp(0, 1)
    return inside


def gradient_power(dipole: Dipole) -> Tensor:
    """Response of the summed squared forward differences, per mean voxel edge."""
    voxel_size = dipole.grid.voxel_size
    edge = prod(voxel_size) ** (1 / 3)
    k = frequencies(dipole.padded_shape, voxel_size, device=dipole.device, dtype=dipole.dtype)
    parts = zip(k, voxel_size, strict=True)
    return sum((2 * edge / v * torch.sin(pi * v * axis)).square() for axis, v in parts)


def _check_range(name: str, value: float, low: float, high: float = float('inf')) -> None:
    if not low < value < high:
        limits = f'between {low:g} and {high:.3g}' if high < float('inf') else f'above {low:g}'
        raise ValueError(f'The parameter {name} lies {limits}, unlike {value}.')

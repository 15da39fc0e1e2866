"""Total variation on the calibrated likelihood, from white noise to model error as in vivo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from math import pi, prod

import torch
from torch import Tensor

from qsmprep.qsm.calibration import Calibration, calibrate
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.qsm.inversion.penalty import weights_by_anatomy
from qsmprep.qsm.inversion.reliability import reliability
from qsmprep.qsm.inversion.splitting import Problem, Splitting
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.noise import data_weight, field_roughness
from qsmprep.qsm.operators import gradient_power
from qsmprep.qsm.periodogram import LOWEST

STEP_PPM = 0.02
FLAT = 2.0
GAUSSIAN_PART = 0.35
REACH = 5.0
PRECISION = 1.0
LEAST_NOISE = 0.1
LEAST_WEIGHT = 0.1
LEAST_WHITENING = 0.2
AROUND_PPM2_MM3 = 0.6
AROUND_COUPLING = 2e-3


def tv(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
    total_noise: Tensor | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    calibration: Calibration | None = None,
    regularisation: float | None = None,
    error_share: float | None = None,
    tolerance: float = 3e-3,
    iterations: int = 120,
) -> Estimate:
    r"""Total variation, as far as the field is one of a piecewise smooth map.

    Two convex problems and all that lies between them. Where the field has no model error,

    .. math:: \tfrac12 \|W (D x - f)\|^2 + \lambda\, \mathrm{TV}(x), \quad x = 0 \text{ outside}.

    Where the model error is that of scans in vivo, the residual is white noise inside the mask
    plus a coloured error, both of the spectra that the scan shows, and the prior takes the
    differences z of the map after a filter that makes them white, of variance one, under
    the scan's spectrum S(k) of susceptibility:

    .. math:: \tfrac12 \|C^{-1/2} e\|^2 + \tfrac12 \|W (D x + e - f)\|^2 / \sigma^2
        + \sum \left[0.35\, h_5(|z|) + 0.65\, h_1(|z|)\right]

    with Huber's h, half the square up to one or five standard deviations and linear beyond: were
    it the square everywhere this would be the Wiener filter, which halves a calcification of
    -2.5 ppm whatever its field shows. The map is free outside the mask.

    Background removal takes along the part of the local field that sources around the mask could
    make. Where it came before, the probability p of a model error weighs two maps: p times that
    under the second problem, and 1 - p times one under the first together with such sources, which
    put that part back:

    .. math:: \tfrac12 \|W (D (x + b) - f)\|^2 + \lambda\, \mathrm{TV}(x)
        + \tfrac12 \|b\|^2 \sigma^2 / v, \quad x = 0 \text{ outside}, b = 0 \text{ inside},

    with :math:`\sigma` the noise and v a variance of 0.6 ppm^2 mm^3 over the volume of a voxel.

    With the default weight the problem is solved twice: the second time voxels count by the
    residual of the first map, less at the rim and where it is an outlier
    (:func:`~qsmprep.qsm.inversion.reliability.reliability`).

    Under the first problem, tissues have the edges of the magnitude: with one at hand, a difference
    of the map counts twice where the magnitude is flat, once where it differs as much as neighbours
    usually do, and hardly at a boundary
    (:func:`~qsmprep.qsm.inversion.penalty.weights_by_anatomy`).

    Between the two, filters, weights and penalties are interpolated geometrically by the share of
    the model error, at least 0.2: a little of the spectrum is of use to the cleanest field. What
    binds the map outside the mask is loosened by that share, or by most of the square of the
    expected power of sources there where that is more. In vivo total variation alone leaves shadows
    or streaks in any dose, while in simulations the Gaussian prior leaves half of the error.

    Solved by ADMM in the whitened map, over-relaxed by 1.8, at two pairs of Fourier transforms an
    iteration. Weights and mask cost no inner iteration: what the field would be without white noise
    is a variable of its own, coupled by 0.3 of the full weight. At a coupling of one this is
    expectation-maximisation, which takes twice the iterations where voxels weigh little.

    Parameters
    ----------
    field, mask, grid
        See :func:`~qsmprep.qsm.inversion.tkd.tkd`.
    magnitude, noise
        Magnitude [arbitrary], standard deviation of the field [ppm]. W falls below 1 where the
        noise is above its median or, without a noise map, the magnitude below.
    total_noise
        That of the total field [ppm], without what background removal left at the rim: with
        sources around the mask it goes first.
    progress
        Called with the iteration, their greatest number, and the relative change of the map.
    calibration
        That of the scan, if it is at hand.
    regularisation
        Weight :math:`\lambda` of the total variation [ppm]; differences are taken per mean voxel
        edge. By default 0.06 times the median noise or, without a noise map, the white part of the
        calibrated spectra; at least 0.015 times :func:`~qsmprep.qsm.noise.field_roughness`.
        Another value scales the whole prior, with or without model error.
    error_share
        Weight of the model error, 0 to 1; by default as
        :func:`~qsmprep.qsm.calibration.calibrate` measures it. At 0 this is total variation alone.
    tolerance
        Relative change of the whitened map in an iteration that ends them.
    iterations
        The most to take.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Bilgic et al. 2014, 10.1002/mrm.25029; Milovic et al. 2018, 10.1002/mrm.27073; Huber 1964,
    10.1214/aoms/1177703732; over-relaxation: Condat 2013, 10.1007/s10957-012-0245-9.

    """
    calibration = calibration or calibrate(
        field, mask, grid, noise=noise, magnitude=magnitude, error_share=error_share
    )
    field = calibration.field
    roughness = field_roughness(field, mask)
    known = calibration.known_noise
    sd = max(calibration.noise**0.5 if known is None else known, roughness / 4)
    usual = 0.06 * sd
    if regularisation is None:
        regularisation = usual
    if not regularisation > 0:
        raise ValueError(f'The parameter regularisation lies above 0, unlike {regularisation}.')
    strength = regularisation / usual
    share, around, edges = calibration.error_share, 0.0, None
    if error_share is None:
        around = share - calibration.error_probability
        share = max(share, LEAST_WHITENING)
    if magnitude is not None and (share < 1 or around > 0):
        edges = weights_by_anatomy(magnitude, mask)
    white = _white_problem(regularisation, edges)
    parts: list[tuple[float, Problem, Tensor | None]] = []
    if around < 1:
        problem = white
        if share > 0:
            likelihood = Likelihood(
                field, calibration.seen_through(mask), least_noise=LEAST_NOISE * roughness
            )
            problem = _calibrated_problem(white, likelihood, share, calibration.freedom, strength)
        parts.append((1 - around, problem, noise))
    if around > 0:
        ratio = sd**2 * prod(grid.voxel_size) / AROUND_PPM2_MM3
        without_rim = noise if total_noise is None else total_noise
        parts.append((around, _with_sources_around(white, ratio), without_rim))
    steps, total = count(1), len(parts) * (iterations + iterations // 2)

    def tell(change: float) -> None:
        if progress is not None:
            progress(next(steps), total, change)

    def minimum(problem: Problem, voxel_noise: Tensor | None) -> Tensor:
        weight = data_weight(mask, magnitude, voxel_noise, roughness)
        # expectation-maximisation would not reach what weighs less
        weight = torch.where(weight > 0, weight.clamp(min=LEAST_WEIGHT), 0.0)
        splitting = Splitting(calibration.dipole, field, mask, weight.square(), problem)
        chi = splitting.run(iterations, tolerance, tell)
        if strength != 1:
            # a map that is smoother than calibrated leaves what is no sign of an error
            return chi
        # what a calibrated map has outside the mask explains errors
        whole = problem.shape is None
        explained = splitting.prediction() if whole else calibration.dipole.forward(chi)
        residual = (field - explained) * (weight > 0)
        splitting.power *= reliability(residual, field, weight > 0, known or roughness, grid)
        return splitting.run(iterations // 2, tolerance, tell)

    chi = torch.zeros_like(field)
    for part, problem, voxel_noise in parts:
        chi += part * minimum(problem, voxel_noise)
    return Estimate(chi, {'regularisation': regularisation, **calibration.record()})


def _white_problem(regularisation: float, edges: list[Tensor] | None) -> Problem:
    """Total variation for white noise, which edges of the usual size leave as it is."""
    if edges is not None:
        regularisation *= FLAT
    coupling = 50 * regularisation
    return Problem(regularisation, max(coupling, 2.5e-3), max(coupling, 0.01), edges=edges)


def _with_sources_around(white: Problem, ratio: float) -> Problem:
    """Total variation with white sources around the mask, of the noise's variance over a ratio."""
    freedom = AROUND_COUPLING / (AROUND_COUPLING + ratio)
    return replace(white, outside_coupling=AROUND_COUPLING, freedom=freedom)


def _calibrated_problem(
    white: Problem, likelihood: Likelihood, share: float, freedom: float, strength: float
) -> Problem:
    """Problem between that of white noise and that of the calibrated likelihood."""
    dipole, error = likelihood.dipole, likelihood.error
    noise = float(error.min())
    edge = prod(dipole.grid.voxel_size) ** (1 / 3)
    power = gradient_power(dipole).clamp(min=(2 * pi * LOWEST * edge) ** 2)
    shape = ((power * likelihood.prior).sqrt() / STEP_PPM) ** share
    first = dipole.kernel / (dipole.kernel.square() + error / likelihood.prior)
    coupling = noise / STEP_PPM**2
    precision = PRECISION * strength * coupling
    linear = (1 - GAUSSIAN_PART) * precision * STEP_PPM
    return Problem(
        variation=_between(white.variation, linear, share),
        coupling=_between(white.coupling, coupling, share),
        outside_coupling=_between(white.outside_coupling, coupling, freedom),
        knee=share * STEP_PPM,
        smoothness=share * GAUSSIAN_PART * precision,
        reach=REACH * STEP_PPM,
        freedom=freedom,
        edges_outside=freedom,
        edges=_faded(white.edges, share),
        shape=shape,
        colour=error / noise - 1,
        start=first * dipole.transform(likelihood.field) / shape,
    )


def _faded(edges: list[Tensor] | None, share: float) -> list[Tensor] | None:
    """Weights between those given and ones."""
    return None if edges is None or share == 1 else [edge ** (1 - share) for edge in edges]


def _between(low: float, high: float, share: float) -> float:
    """Geometric interpolation."""
    return low ** (1 - share) * high**share

"""A map that is linear between voxels, fitted with edges that go free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import cos, pi

import torch
from torch import Tensor

from qsmprep.qsm.calibration import Calibration, calibrate
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.descent import check_loss, with_retries
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.qsm.inversion.penalty import edge_weights, edges_inside, total_variation
from qsmprep.qsm.inversion.reliability import reweighted
from qsmprep.qsm.inversion.tv import tv
from qsmprep.qsm.noise import noise_level
from qsmprep.qsm.operators import Dipole

UNIT_PPM = 0.1
WEIGHT_PER_NOISE = 0.04
TYPICAL_NOISE_PPM = 5e-4
FINAL_ITERATIONS = 60
WINDOW = 10


def inr(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    calibration: Calibration | None = None,
    regularisation: float | None = None,
    trust: float | None = None,
    lower_percentile: float = 60.0,
    upper_percentile: float = 95.0,
    iterations: int = 200,
    learning_rate: float = 0.1,
    tolerance: float = 0.01,
    phase_noise: float = 0.0,
) -> Estimate:
    r"""Edge-weighted total variation with the physics of the full volume; a continuous map.

    The values at the centres of the voxels are fitted by Adam to minimise

    .. math::
        \tfrac12 \|W (D x - f)\|^2 + \lambda\, \mathrm{TV}_\omega(x).

    The voxel weights W are those of the calibrated likelihood, lower where the warm start, a map
    of :func:`~qsmprep.qsm.inversion.tv.tv`, leaves more of the field than noise
    (:func:`~qsmprep.qsm.inversion.reliability.reweighted`). Its edges have no weight
    :math:`\omega` in the total variation. Full-volume physics is exact, and takes two pairs of
    Fourier transforms. Between the centres the function is linear along each axis.

    That noise is all that a field holds beside susceptibility is true of simulations. As the model
    error that :func:`~qsmprep.qsm.inversion.tv.tv` assumes rises to what it is in vivo,
    the trust t in this loss falls from 1 to 0 and the function becomes t times the fit and 1 - t
    times the warm start (docs/inr.md says why).

    Parameters
    ----------
    field, mask, grid, magnitude, noise, calibration
        See :func:`~qsmprep.qsm.inversion.tv.tv`.
    progress
        Called with the iteration, their greatest number, and the loss in units of the
        discrepancy that the noise leads one to expect.
    regularisation
        Weight of the total variation [ppm], differences per mean voxel edge. By default 0.04
        times the noise, times the fourth root of the noise over 0.5 ppb; the noise is its median
        or, without a noise map, the white part of the field's spectrum.
    trust
        The trust t, 0 to 1; by default 1 less the freedom of the calibration: the fit is
        zero outside the mask.
    lower_percentile, upper_percentile
        Of the absolute differences of the warm start, between which the weights fall from 1 to 0
        (50 and 70 as published).
    iterations
        The most to take. The last 60 lower the learning rate; they begin when the discrepancy
        between field and model falls no further, measured in its expectation under the noise.
    learning_rate
        Of Adam, in units of 0.1 ppm. When the fit diverges it is tried again with a quarter.
    tolerance
        Least fall of the discrepancy in 10 iterations, relative to its expectation.
    phase_noise
        Standard deviation of the phase [rad] that the noise of the field stands for. Above zero
        the fidelity is that of complex signals, ``|W (exp(i D x) - exp(i f))|^2`` in radians, which
        forgives wraps; at zero it is linear.

    References
    ----------
    Zhang et al. 2024, 10.1016/j.media.2024.103173 (susceptibility as a function of coordinates).

    """
    calibration = calibration or calibrate(field, mask, grid, noise=noise, magnitude=magnitude)
    field = calibration.field
    convex = tv(field, mask, grid, noise=noise, magnitude=magnitude, calibration=calibration)
    start = convex.chi
    calibration = reweighted(calibration, start, mask)
    dipole, known = calibration.dipole, calibration.known_noise
    if trust is None:
        trust = 1 - calibration.freedom
    if not 0 <= trust <= 1:
        raise ValueError(f'The trust lies between 0 and 1, unlike {trust}.')
    level = noise_level(field, mask, known, calibration.noise)
    if regularisation is None:
        regularisation = WEIGHT_PER_NOISE * level * (level / TYPICAL_NOISE_PPM) ** 0.25
    if trust > 0:
        edges = edges_inside(mask, grid.voxel_size)
        edges = edge_weights(start, edges, lower_percentile, upper_percentile)
        weights = calibration.weights(mask)
        objective = _Objective(
            dipole, field, weights, mask, edges, level, regularisation, phase_noise
        )

    def fit(rate: float) -> tuple[Tensor, int]:
        values = (start / UNIT_PPM).requires_grad_()
        taken = _descend(values, objective, rate, iterations, tolerance, progress)
        return UNIT_PPM * values.detach(), taken

    chi, taken = with_retries(fit, learning_rate) if trust > 0 else (start, 0)
    chi = trust * chi + (1 - trust) * start
    chosen = {'regularisation': regularisation, 'trust': trust, 'iterations': taken}
    return Estimate(chi * mask, chosen, function=partial(interpolated, chi))


def interpolated(image: Tensor, positions: Sequence[Tensor]) -> Tensor:
    """Image between the centres of its voxels, linear along each axis.

    Parameters
    ----------
    image
        Values at the centres (X, Y, Z).
    positions
        One vector for each axis, in voxels: 0 is the centre of the first voxel. Beyond the
        outermost centres the value there goes on.

    Examples
    --------
    >>> ramp = torch.arange(3.0).reshape(3, 1, 1)
    >>> interpolated(ramp, [torch.tensor([-1, 0.25, 1.5]), torch.zeros(1), torch.zeros(1)])[:, 0, 0]
    tensor([0.0000, 0.2500, 1.5000])

    """
    for axis, position in enumerate(positions):
        inside = position.clamp(0, image.shape[axis] - 1)
        low = inside.floor().long().clamp(max=max(image.shape[axis] - 2, 0))
        high = (low + 1).clamp(max=image.shape[axis] - 1)
        share = (inside - low).reshape([-1 if a == axis else 1 for a in range(3)])
        image = torch.lerp(image.index_select(axis, low), image.index_select(axis, high), share)
    return image


@dataclass(frozen=True)
class _Objective:
    """The loss of :func:`inr` over the variance of the noise, and its gradient [1/ppm]."""

    dipole: Dipole
    field: Tensor
    weight: Tensor
    mask: Tensor
    edges: list[Tensor]
    level: float
    regularisation: float
    phase_noise: float

    def __call__(self, chi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, discrepancy (half the squared residual over the noise), gradient."""
        residual = self.dipole.forward(chi).sub_(self.field).mul_(self.weight / self.level)
        discrepancy = 0.5 * residual.square().sum()
        data = discrepancy
        if self.phase_noise:
            angle = self.phase_noise * residual
            data = (1 - angle.cos()).sum() / self.phase_noise**2
            residual = angle.sin_().div_(self.phase_noise)
        variation, gradient = total_variation(chi, self.edges)
        strength = self.regularisation / self.level**2
        gradient *= strength
        gradient += self.dipole.adjoint(residual.mul_(self.weight / self.level))
        return data + strength * variation, discrepancy, gradient.mul_(self.mask)


def _descend(
    values: Tensor,
    objective: _Objective,
    rate: float,
    iterations: int,
    tolerance: float,
    progress: Callable[[int, int, float], None] | None,
) -> int:
    """Fit the values, in units of UNIT_PPM; return the number of iterations taken."""
    expected = 0.5 * float((objective.weight > 0).sum())
    optimiser = torch.optim.Adam([values], lr=rate, betas=(0.9, 0.99))
    last = min(FINAL_ITERATIONS, iterations)
    falling: int | None = None
    discrepancies: list[float] = []
    losses: list[float] = []
    for iteration in range(1, iterations + 1):
        if falling is None and (
            iteration > iterations - last or _settled(discrepancies, tolerance)
        ):
            falling = iteration
        if falling is not None:
            part = (iteration - falling) / last
            optimiser.param_groups[0]['lr'] = rate * 0.5 * (1 + cos(pi * part))
        loss, discrepancy, gradient = objective(UNIT_PPM * values.detach() * objective.mask)
        values.grad = UNIT_PPM * gradient * objective.mask
        optimiser.step()
        discrepancies.append(float(discrepancy) / expected)
        losses.append(float(loss) / expected)
        check_loss(losses, rate)
        if progress is not None:
            progress(iteration, iterations, losses[-1])
        if falling is not None and iteration == falling + last - 1:
            break
    return iteration


def _settled(values: list[float], tolerance: float) -> bool:
    """Whether the last values are on average no lower than those before, but for a tolerance."""
    if len(values) < 2 * WINDOW:
        return False
    recent = sum(values[-WINDOW:]) / WINDOW
    return recent > sum(values[-2 * WINDOW : -WINDOW]) / WINDOW - tolerance

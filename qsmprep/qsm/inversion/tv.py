"""Total variation on the calibrated likelihood, from white noise to model error as in vivo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from math import pi, prod

import torch
from torch import Tensor

from qsmprep.qsm.calibration import Calibration, calibrate
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.qsm.inversion.reliability import reliability
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.noise import data_weight, field_roughness
from qsmprep.qsm.operators import AXES, Dipole, gradient_power
from qsmprep.qsm.periodogram import LOWEST

STEP_PPM = 0.02
GAUSSIAN_PART = 0.35
REACH = 5.0
PRECISION = 1.0
FIELD_COUPLING = 0.3
LEAST_NOISE = 0.1
RELAXATION = 1.8
LEAST_WEIGHT = 0.1
LEAST_WHITENING = 0.2
SLAB = 100_000
"""Voxels of the slabs in which gradients are updated on a CPU, so that they stay in its cache."""


def tv(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
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

    With the default weight the problem is solved twice: the second time voxels count by the
    residual of the first map, less at the rim and where it is an outlier
    (:func:`~qsmprep.qsm.inversion.reliability.reliability`).

    Between the two, filters, weights and penalties are interpolated geometrically by the share of
    the model error, at least 0.2: a little of the spectrum is of use to the cleanest field. What
    binds the map outside the mask is loosened by that share, or by the square of the expected power
    of sources there where that is more. In vivo total variation alone leaves shadows or streaks in
    any dose, while in simulations the Gaussian prior leaves half of the error.

    Solved by ADMM in the whitened map, over-relaxed by 1.8, at two pairs of Fourier transforms an
    iteration. Weights and mask cost no inner iteration: what the field would be without white noise
    is a variable of its own, coupled by 0.3 of the full weight. At a coupling of one this is
    expectation-maximisation, which takes twice the iterations where voxels weigh little.

    Parameters
    ----------
    field, mask, grid
        See :func:`~qsmprep.qsm.inversion.tkd.tkd`.
    magnitude, noise
        Magnitude [arbitrary], standard deviation of the field [ppm]; the noise goes first. W falls
        below 1 where the noise is above its median or the magnitude below.
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
    problem = _white_problem(regularisation)
    share = calibration.error_share
    if error_share is None:
        share = max(share, LEAST_WHITENING)
    if share > 0:
        likelihood = Likelihood(
            field, calibration.seen_through(mask), least_noise=LEAST_NOISE * roughness
        )
        problem = _calibrated_problem(problem, likelihood, share, calibration.freedom, strength)
    weight = data_weight(mask, magnitude, noise, roughness)
    # expectation-maximisation would not reach what weighs less
    weight = torch.where(weight > 0, weight.clamp(min=LEAST_WEIGHT), 0.0)
    splitting = _Splitting(calibration.dipole, field, mask, weight.square(), problem)
    steps, total = count(1), iterations + iterations // 2

    def tell(change: float) -> None:
        if progress is not None:
            progress(next(steps), total, change)

    chi = splitting.run(iterations, tolerance, tell)
    if strength == 1:
        # a map that is smoother than calibrated leaves what is no sign of an error
        residual = (field - calibration.dipole.forward(chi)) * (weight > 0)
        splitting.power *= reliability(residual, field, weight > 0, known or roughness, grid)
        chi = splitting.run(iterations // 2, tolerance, tell)
    return Estimate(chi, {'regularisation': regularisation, **calibration.record()})


@dataclass(frozen=True)
class _Problem:
    """What is minimised, in the whitened map y [ppm], where the white noise has weight one.

    Parameters
    ----------
    variation
        Weight of the (Huber) total variation [ppm].
    coupling, outside_coupling
        Weights of the splittings of gradient and of the map outside the mask.
    knee
        Length of the gradient up to which it is quadratic [ppm].
    smoothness
        Weight of half the squared gradient, as long as it is shorter than ``reach``.
    reach
        Length of the gradient from which its square goes on as a straight line [ppm].
    shape
        Response that makes the map out of y; None for one.
    colour
        Spectrum of the coloured error over that of white noise; None for zero.
    freedom
        0: the map is zero outside the mask; 1: it is free there, under the same prior.
    start
        Half spectrum of a first y.

    """

    variation: float
    coupling: float
    outside_coupling: float
    knee: float = 0.0
    smoothness: float = 0.0
    reach: float = 0.0
    freedom: float = 0.0
    shape: Tensor | None = None
    colour: Tensor | None = None
    start: Tensor | None = None


def _white_problem(regularisation: float) -> _Problem:
    """Total variation for white noise."""
    return _Problem(
        regularisation, max(50 * regularisation, 2.5e-3), max(50 * regularisation, 0.01)
    )


def _calibrated_problem(
    white: _Problem, likelihood: Likelihood, share: float, freedom: float, strength: float
) -> _Problem:
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
    return _Problem(
        variation=_between(white.variation, linear, share),
        coupling=_between(white.coupling, coupling, share),
        outside_coupling=_between(white.outside_coupling, coupling, freedom),
        knee=share * STEP_PPM,
        smoothness=share * GAUSSIAN_PART * precision,
        reach=REACH * STEP_PPM,
        freedom=freedom,
        shape=shape,
        colour=error / noise - 1,
        start=first * dipole.transform(likelihood.field) / shape,
    )


def slabs(array: Tensor) -> Iterator[slice]:
    """Slabs along the first axis; all at once on a GPU."""
    count = len(array)
    step = max(1, SLAB * count // array.numel()) if array.device.type == 'cpu' else count
    return (slice(first, first + step) for first in range(0, count, step))


def _between(low: float, high: float, share: float) -> float:
    """Geometric interpolation."""
    return low ** (1 - share) * high**share


class _Splitting:
    """State of the alternating directions, in increments that keep two pairs of transforms.

    The map (its whitened ``spectrum``) and the coloured ``error`` are the primal variables, the
    multipliers of the field, of the gradient and of the map outside the mask the dual ones.
    """

    def __init__(
        self, dipole: Dipole, field: Tensor, mask: Tensor, power: Tensor, problem: _Problem
    ) -> None:
        self.dipole, self.field, self.mask = dipole, field, mask
        self.power, self.problem = power, problem
        gradients = gradient_power(dipole)
        self.response = dipole.kernel
        if problem.shape is not None:
            self.response = self.response * problem.shape
        self.adjoint = FIELD_COUPLING * self.response
        self.colour = None
        if problem.colour is not None:
            self.colour = 1 - 1 / (1 + FIELD_COUPLING * problem.colour)
            self.adjoint = (1 - self.colour) * self.adjoint
        self.metric = 1 / (
            self.adjoint * self.response + problem.coupling * gradients + problem.outside_coupling
        )
        if problem.freedom == 1:
            # nothing but the start determines the mean of a map that is free everywhere
            self.metric[0, 0, 0] = 0
        self.outside = torch.ones(dipole.padded_shape, dtype=field.dtype, device=field.device)
        self._grid_part(self.outside).sub_(mask.to(field.dtype))
        self.outside_dual = torch.zeros_like(self.outside)
        self.field_dual = torch.zeros_like(field)
        if problem.start is None:
            kind = torch.result_type(self.response, 1j)
            self.spectrum = torch.zeros_like(self.response, dtype=kind)
        else:
            self.spectrum = problem.start.clone()
        self.error = torch.zeros_like(self.spectrum)
        self.edges = self._edge_weights()
        grid = self.outside if problem.freedom else field
        self.duals = [torch.zeros_like(grid.diff(dim=a)) for a in range(3)]

    def _grid_part(self, padded: Tensor) -> Tensor:
        n0, n1, n2 = self.mask.shape
        return padded[:n0, :n1, :n2]

    def _edge_weights(self) -> list[Tensor | float]:
        """One between neighbours in the mask, per mean voxel edge; outside as far as it is free."""
        inside, free = self.mask, self.problem.freedom
        size = self.dipole.grid.voxel_size
        edge = prod(size) ** (1 / 3)
        if free == 1:
            return [edge / v for v in size]
        if free:
            inside = self.outside == 0
        weights: list[Tensor | float] = []
        for a, (n, v) in enumerate(zip(inside.shape, size, strict=True)):
            both = (inside.narrow(a, 0, n - 1) & inside.narrow(a, 1, n - 1)).to(self.field.dtype)
            weights.append((both * (1 - free) + free) * (edge / v))
        return weights

    def run(
        self,
        iterations: int,
        tolerance: float,
        tell: Callable[[float], None],
    ) -> Tensor:
        """Iterate, on from where the last run ended, until the whitened map stands still.

        ``tell`` is called with the relative change of the map in each iteration.
        """
        dipole, spectrum, error = self.dipole, self.spectrum, self.error
        padded = self._image(spectrum)
        inside = self._grid_part(padded) * self.mask
        for _ in range(iterations):
            wanted = self._field_step((self.response * spectrum).add_(error)).neg_().add_(error)
            step = torch.fft.rfftn(self._image_step(padded), dim=AXES)
            step += self.adjoint * wanted
            step *= self.metric
            if self.colour is not None:
                wanted -= self.response * step
                wanted *= self.colour
                error.lerp_(wanted, RELAXATION)
            spectrum.add_(step, alpha=RELAXATION)
            padded = self._image(spectrum)
            previous, inside = inside, self._grid_part(padded) * self.mask
            change = float(previous.sub_(inside).norm() / inside.norm().clamp(min=1e-12))
            tell(change)
            if change < tolerance:
                break
        if self.problem.shape is None:
            return inside
        return dipole.inverse(self.problem.shape * spectrum) * self.mask

    def _field_step(self, predicted: Tensor) -> Tensor:
        """Update the multiplier of the field; half spectrum of the gradient by the prediction."""
        change = self.dipole.inverse(predicted).sub_(self.field).add_(self.field_dual)
        change *= self.power / (self.power + FIELD_COUPLING)
        change -= self.field_dual
        self.field_dual.add_(change, alpha=RELAXATION)
        return self.dipole.transform(change.mul_(2 - RELAXATION).add_(self.field_dual))

    def _image(self, spectrum: Tensor) -> Tensor:
        return torch.fft.irfftn(spectrum, s=self.dipole.padded_shape, dim=AXES)

    def _dual_share(self, squares: Tensor) -> Tensor:
        """Part of proposed vectors, by their squares, that is dual: what the penalty takes off."""
        problem = self.problem
        linear, square = (w / problem.coupling for w in (problem.variation, problem.smoothness))
        least = (1 + square) * problem.knee + linear
        inverse = squares.clamp_(min=least**2).rsqrt_()
        short = (inverse * (linear / (1 + square))).add_(square / (1 + square))
        return torch.minimum(short, inverse.mul_(linear + square * problem.reach), out=short)

    def _image_step(self, padded: Tensor) -> Tensor:
        """Update both multipliers; minus the gradient of prior and mask by the map."""
        free = self.problem.freedom == 1
        descent = torch.zeros_like(padded) if free else self._outside_step(padded)
        image, target = padded, descent
        if not self.problem.freedom:
            image, target = self._grid_part(padded), self._grid_part(descent)
        for rows in slabs(image):
            self._gradient_step(image, target, rows)
        return descent

    def _gradient_step(self, image: Tensor, target: Tensor, rows: slice) -> None:
        """Update the multiplier of the gradient in a slab, and add its part of the descent."""
        beyond = slice(rows.start, rows.stop + 1)
        reach = [beyond, rows, rows]
        duals = [dual[rows] for dual in self.duals]
        edges = [edge[rows] if isinstance(edge, Tensor) else edge for edge in self.edges]
        changes = [
            image[reach[a]].diff(dim=a).mul_(e).add_(d)
            for a, (e, d) in enumerate(zip(edges, duals, strict=True))
        ]
        squares = torch.zeros_like(image[rows])
        for a, change in enumerate(changes):
            squares.narrow(a, 0, change.shape[a]).addcmul_(change, change)
        share = self._dual_share(squares)
        for a, (change, dual, e) in enumerate(zip(changes, duals, edges, strict=True)):
            n = change.shape[a]
            change.mul_(share.narrow(a, 0, n)).sub_(dual)
            dual.add_(change, alpha=RELAXATION)
            flow = change.mul_(2 - RELAXATION).add_(dual).mul_(e)
            here = target[reach[a]]
            here.narrow(a, 0, n).add_(flow, alpha=self.problem.coupling)
            here.narrow(a, 1, n).sub_(flow, alpha=self.problem.coupling)

    def _outside_step(self, padded: Tensor) -> Tensor:
        """Update the multiplier of the map outside the mask; minus the gradient by the map."""
        change = (padded * self.outside).add_(self.outside_dual)
        change.mul_(1 - self.problem.freedom).sub_(self.outside_dual)
        self.outside_dual.add_(change, alpha=RELAXATION)
        descent = change.mul_(2 - RELAXATION).add_(self.outside_dual)
        return descent.mul_(-self.problem.outside_coupling)

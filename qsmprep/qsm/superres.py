"""Super-resolution: maps on a finer grid that agree with what was measured on a coarse one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qsmprep.qsm.calibration import calibrate
from qsmprep.qsm.diffusion.annealing import anneal
from qsmprep.qsm.diffusion.guidance import SOLVED_TO, Guide
from qsmprep.qsm.diffusion.schedules import sigma_levels
from qsmprep.qsm.diffusion.weights import load_weights
from qsmprep.qsm.diffusion.windows import windowed_denoiser
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.tv import tv
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.noise import field_roughness
from qsmprep.qsm.operators import PADDING, Dipole, KSpaceCrop
from qsmprep.qsm.posterior import PosteriorPrecision
from qsmprep.qsm.resolution import FieldOfView, Resolution
from qsmprep.qsm.solvers import Progress, conjugate_gradients

LEVELS = (6, 0.08, 0.01)
"""Noise levels: their number, the first and the last [ppm]."""
FRESH = 0.5
"""Share of the noise level that is added to the map before it is denoised.

At 1 the result is a sample, whose detail is as uncertain as it is sharp. At 0 the step from a field
loses texture. On a head of the training set 0.5 was the best for both together.
"""
MAP_ITERATIONS, FIELD_ITERATIONS = 5, 100
MAP_NOISE_PPM = 0.002
FALL_OFF = 3.0
LEAST_POWER = 1e-8
FARTHEST = 1.0
"""A fine map whose part in the measured band is farther from the native map is nearer to none."""


@dataclass(frozen=True)
class SuperResolution:
    """A susceptibility map on a finer grid and how it was made.

    Parameters
    ----------
    chi_ppm
        Susceptibility [ppm], float32, zero outside the mask.
    mask
        Voxels of the map.
    grid
        The finer grid; it fills the field of view of the coarse one.
    parameters
        All that the result depends on, for a sidecar.

    """

    chi_ppm: np.ndarray
    mask: np.ndarray
    grid: Grid
    parameters: dict[str, Any]


def super_resolve(
    chi_ppm: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    resolution_mm: Resolution,
    *,
    noise_ppm: float = MAP_NOISE_PPM,
    prior: str | None = None,
    seed: int = 0,
    device: str = 'cpu',
    progress: Progress | None = None,
) -> SuperResolution | None:
    """Finer map that agrees with a coarse susceptibility map.

    A scanner of the given resolution would see the coarse map, but for its noise; what lies beyond
    its band comes from the diffusion prior.

    Parameters
    ----------
    chi_ppm
        Susceptibility [ppm].
    mask
        Voxels of the map.
    grid
        Their grid.
    resolution_mm
        Longest edge of a voxel [mm], or ``'iso'``.
    noise_ppm
        Standard deviation of the noise of the map [ppm]: how closely the measured band is followed.
    prior
        File with the weights of the prior; those that come with the package by default.
    seed
        Seed of the noise of the sampler.
    device
        Torch device.
    progress
        Called with the step, their number and the relative change of the map.

    Returns
    -------
    SuperResolution or None
        None where the map is as fine already.

    Raises
    ------
    ValueError
        If shapes differ, the mask is empty, or the weights cannot be used.

    """
    view = FieldOfView.of(mask, grid, resolution_mm, device)
    if view is None:
        return None
    chi, operator = view.cropped('map', chi_ppm), view.operator
    guide = CoarseMap(operator, chi, noise_ppm, view.mask, view.support)
    start = view.support * operator.zero_filled(chi)
    record = {'Source': 'susceptibility map', 'NoiseSD': noise_ppm}
    return _refine(view, guide, start, record, prior, seed, progress)


def super_resolve_field(
    field_ppm: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    resolution_mm: Resolution,
    *,
    noise_ppm: np.ndarray | None = None,
    prior: str | None = None,
    seed: int = 0,
    device: str = 'cpu',
    progress: Progress | None = None,
) -> SuperResolution | None:
    """Fine susceptibility map of a coarse local field: inversion and super-resolution in one.

    Parameters
    ----------
    field_ppm
        Local field [ppm].
    noise_ppm
        Standard deviation of its noise (X, Y, Z) [ppm], for voxel weights.
    mask, grid, resolution_mm, prior, seed, device, progress
        See :func:`super_resolve`.

    Returns
    -------
    SuperResolution or None
        None where the field is as fine already. The mean of the map is arbitrary.

    Raises
    ------
    ValueError
        If shapes differ, the mask is empty, the field is zero, the weights cannot be used, or the
        map departs too far from that of total variation on the coarse grid.

    """
    view = FieldOfView.of(mask, grid, resolution_mm, device)
    if view is None:
        return None
    field = view.cropped('field', field_ppm)
    noise = None if noise_ppm is None else view.cropped('noise', noise_ppm)
    guide, start = coarse_field(view, field, noise)
    return _refine(view, guide, start, {'Source': 'local field'}, prior, seed, progress)


class CoarseMap:
    """Guide by a coarse susceptibility map: a finer one whose crop in k-space it is.

    Parameters
    ----------
    operator
        From the fine to the coarse grid.
    chi
        Coarse map [ppm].
    noise_ppm
        Standard deviation of its white noise [ppm].
    mask
        Coarse voxels that count.
    support
        Voxels of the fine map; it is zero elsewhere.
    iterations
        Steps of conjugate gradients.

    """

    def __init__(
        self,
        operator: KSpaceCrop,
        chi: Tensor,
        noise_ppm: float,
        mask: Tensor,
        support: Tensor,
        *,
        iterations: int = MAP_ITERATIONS,
    ) -> None:
        self.operator, self.chi, self.noise_ppm = operator, chi, noise_ppm
        self.mask, self.support, self.iterations = mask, support, iterations

    def prox(self, expected: Tensor, sigma: float, *, start: Tensor) -> Tensor:
        """Minimiser of |y - A x|^2 / (2 noise^2) + |x - expected|^2 / (2 sigma^2).

        Without masks only the measured band changes, in closed form; from there, with ``start``
        for what was not measured, go conjugate gradients.
        """
        operator = self.operator
        ratio = (sigma / self.noise_ppm) ** 2
        completed = torch.where(self.mask, self.chi, operator.forward(start))
        trust = operator.share * ratio / (1 + operator.share * ratio)
        closed = expected + trust * operator.zero_filled(completed - operator.forward(expected))

        def normal(x: Tensor) -> Tensor:
            measured = operator.adjoint(self.mask * operator.forward(x))
            return self.support * (x + ratio * measured)

        target = expected + ratio * operator.adjoint(self.mask * self.chi)
        return conjugate_gradients(
            normal,
            self.support * target,
            start=self.support * closed,
            iterations=self.iterations,
            tolerance=1e-4,
        )


class CoarseField:
    """Guide by a coarse local field: a finer map whose crop in k-space has that field.

    Crop and dipole commute. So the map is cropped first, and its field is compared with the
    measured one on the coarse grid, where it is known which voxels were measured and how well.

    Parameters
    ----------
    operator
        From the fine to the coarse grid.
    likelihood
        Of coarse maps.
    fine
        Fine grid.
    support
        Voxels of the fine map; it is zero elsewhere.
    iterations
        Steps of conjugate gradients.

    Attributes
    ----------
    dipole
        The dipole operator on the fine grid.
    prior
        Expected power of susceptibility there, continued beyond the band [ppm^2].

    """

    def __init__(
        self,
        operator: KSpaceCrop,
        likelihood: Likelihood,
        fine: Grid,
        support: Tensor,
        *,
        iterations: int = FIELD_ITERATIONS,
    ) -> None:
        self.operator, self.likelihood, self.support = operator, likelihood, support
        self.dipole = Dipole(fine, device=support.device)
        self.iterations = iterations
        wavenumber = self.dipole.wavenumber()
        beyond = (wavenumber / likelihood.dipole.wavenumber().max()).clamp(min=1) ** -FALL_OFF
        prior = self.carried(likelihood.prior) * beyond / operator.share
        self.prior = prior.clamp(min=LEAST_POWER * float(prior.max()))

    def carried(self, spectrum: Tensor) -> Tensor:
        """Spectrum of the coarse grid on the fine one, by the length of k."""
        known, order = self.likelihood.dipole.wavenumber().flatten().sort()
        index = torch.searchsorted(known, self.dipole.wavenumber().clamp(max=known[-1]))
        return spectrum.flatten()[order][index]

    def stiffness(self, sigma: float) -> Tensor:
        """See :func:`~qsmprep.qsm.diffusion.guidance.stiffness`, with a tolerance of one."""
        return 1 / self.prior + 1 / sigma**2

    def prox(self, expected: Tensor, sigma: float, *, start: Tensor) -> Tensor:
        """See :class:`~qsmprep.qsm.diffusion.guidance.Guide`."""
        stiff = self.stiffness(sigma)
        precision = CoarsePrecision(self, stiff)
        target = precision.data_term(self.likelihood.field)
        target += self.support * self.dipole.filter(self.support * expected, stiff)
        return precision.solve(target, start=start, iterations=self.iterations, tolerance=SOLVED_TO)


class CoarsePrecision(PosteriorPrecision):
    """Precision of a fine map whose field was measured on a coarse grid, A' D w N^-1 w D A + Q^-1.

    Parameters
    ----------
    guide
        The measurement.
    prior
        Q^-1 [1/ppm^2], a spectrum on the padded fine grid.

    """

    def __init__(self, guide: CoarseField, prior: Tensor) -> None:
        likelihood, self.operator = guide.likelihood, guide.operator
        everywhere = torch.ones_like(likelihood.field)
        self.coarse = likelihood.posterior(everywhere, 0.0)
        # for the preconditioner, which takes crop and weights for a response
        weight = self.coarse.weight
        trust = self.operator.share * weight[weight > 0].square().mean()
        data = self.operator.band(guide.dipole) * trust / guide.carried(likelihood.error)
        super().__init__(guide.dipole, guide.support, data, prior)

    def data_term(self, field: Tensor) -> Tensor:
        """Right-hand side of a coarse field [ppm], on the fine grid [1/ppm]."""
        return self.inside * self.operator.adjoint(self.coarse.data_term(field))

    def __call__(self, chi: Tensor) -> Tensor:
        """Apply to a fine map that is zero outside the mask [ppm]; the result is so too [1/ppm]."""
        measured = self.operator.adjoint(self.coarse(self.operator.forward(chi)))
        smooth = self.dipole.inverse(self.prior * self.dipole.transform(chi))
        return self.inside * (measured + smooth)


def coarse_field(
    view: FieldOfView, field: Tensor, noise: Tensor | None = None
) -> tuple[CoarseField, Tensor]:
    """Guide by a coarse field, calibrated on itself, and a map to start from.

    Parameters
    ----------
    view
        Both grids and the mask.
    field
        Coarse local field [ppm], zero outside the mask.
    noise
        Standard deviation of the coarse field [ppm], for voxel weights.

    Returns
    -------
    CoarseField
        Of maps on the fine grid.
    Tensor
        The map of total variation on the coarse grid, zero-filled [ppm].

    """
    mask = view.mask
    calibration = calibrate(field, mask, view.grid, padding=PADDING, noise=noise)
    chi = tv(calibration.field, mask, view.grid, noise=noise, calibration=calibration).chi
    calibration = calibration.seen_through(mask)
    weight = calibration.weights(mask)
    least = field_roughness(field, mask) / 2 if noise is None else 0.0
    likelihood = Likelihood(calibration.field, calibration, weight, least_noise=least)
    guide = CoarseField(view.operator, likelihood, view.fine, view.support)
    return guide, view.support * view.operator.zero_filled(chi)


def _refine(
    view: FieldOfView,
    guide: Guide,
    start: Tensor,
    record: dict[str, Any],
    prior: str | None,
    seed: int,
    progress: Progress | None,
) -> SuperResolution:
    """Anneal a map on the fine grid; refuse what no longer is the map that it started from."""
    loaded = load_weights(prior, view.device)
    denoise = windowed_denoiser(loaded.denoiser, view.fine, view.support)
    levels = sigma_levels(*LEVELS, rho=math.inf).tolist()
    generator = torch.Generator().manual_seed(seed)
    chi = anneal(
        denoise, guide, start, levels, generator, paired=False, fresh=FRESH, progress=progress
    )
    departure = _departure(*(view.operator.forward(x)[view.mask] for x in (chi, start)))
    if not departure < FARTHEST:
        raise ValueError(
            f'Super-resolution from the {record["Source"]} departs from the map of the native grid '
            f'by {100 * departure:.3g} % in the band that both hold (most accepted: '
            f'{100 * FARTHEST:.0f} %) and is refused; take the susceptibility map as its source, '
            'or check field and mask.'
        )
    record = record | {
        'PriorSHA256': loaded.sha256, 'NoiseLevels': levels, 'DepartureFromNative': departure,
    }  # fmt: skip
    support = view.uncropped(view.support) > 0
    return SuperResolution(view.uncropped(chi * view.support), support, view.whole_fine, record)


def _departure(chi: Tensor, native: Tensor) -> float:
    """Standard deviation of the difference of two maps over the size of the second.

    A map that is smaller than the last noise level counts as large as that.
    """
    size = native.square().mean().sqrt().clamp(min=LEVELS[-1])
    return float((chi - native).std(correction=0) / size)

"""Super-resolution: maps on a finer grid that agree with what was measured on a coarse one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qsmprep.qsm.calibration import Calibration, calibrate
from qsmprep.qsm.diffusion.annealing import anneal
from qsmprep.qsm.diffusion.guidance import Guide, Posterior
from qsmprep.qsm.diffusion.schedules import sigma_levels
from qsmprep.qsm.diffusion.weights import load_weights
from qsmprep.qsm.diffusion.windows import windowed_denoiser
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.operators import Dipole, KSpaceCrop
from qsmprep.qsm.resolution import FieldOfView, Resolution, resized
from qsmprep.qsm.solvers import Progress, conjugate_gradients

LEVELS = (6, 0.08, 0.01)
"""Noise levels: their number, the first and the last [ppm]."""
FRESH = 0.5
"""Share of the noise level that is added to the map before it is denoised.

At 1 the result is a sample, whose detail is as uncertain as it is sharp. At 0 the step from a field
loses texture. On a head of the training set 0.5 was the best for both together.
"""
ITERATIONS = 5
MAP_NOISE_PPM = 0.002
FALL_OFF = 3.0
LEAST_POWER = 1e-8


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
        If shapes differ, the mask is empty, the field is zero, or the weights cannot be used.

    """
    view = FieldOfView.of(mask, grid, resolution_mm, device)
    if view is None:
        return None
    field = view.cropped('field', field_ppm)
    noise = None if noise_ppm is None else view.cropped('noise', noise_ppm)
    likelihood, start = coarse_field(
        field, view.mask, view.grid, view.operator, view.support, view.fine, noise=noise
    )
    guide = Posterior(likelihood, view.support, iterations=ITERATIONS)
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
        iterations: int = ITERATIONS,
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


def coarse_field(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    operator: KSpaceCrop,
    support: Tensor,
    fine: Grid,
    *,
    noise: Tensor | None = None,
) -> tuple[Likelihood, Tensor]:
    """Likelihood, on a finer grid, of a field that was measured on a coarse one.

    The likelihood is calibrated on the coarse field, and its precision is zero outside the measured
    band. So that zero-filling does not ring at the edge of the mask, the field is first continued
    there by that of the linear solution.

    Parameters
    ----------
    field
        Coarse local field [ppm], zero outside the mask.
    mask
        Coarse voxels that were measured.
    grid
        Coarse grid.
    operator
        From the fine to the coarse grid.
    support
        Voxels of the fine map.
    fine
        Fine grid.
    noise
        Standard deviation of the coarse field [ppm], for voxel weights.

    Returns
    -------
    Likelihood
        Of maps on the fine grid.
    Tensor
        The linear solution on the coarse grid, zero-filled [ppm].

    """
    dipole = Dipole(grid, device=field.device)
    calibration = calibrate(field, mask, dipole, noise=noise)
    field, weight = calibration.field, calibration.weight
    linear = Likelihood(field, calibration.seen_through(mask)).posterior_mean(mask, iterations=5)
    completed = torch.where(mask, field, dipole.forward(linear))
    fine_dipole = Dipole(fine, device=field.device)
    if weight is not None:
        weight = support * resized(weight, fine.shape)
    carried = _carry(calibration, support * operator.zero_filled(completed), fine_dipole, operator)
    likelihood = Likelihood(carried.field, carried, weight)
    return likelihood, support * operator.zero_filled(linear * mask)


def _carry(coarse: Calibration, field: Tensor, fine: Dipole, operator: KSpaceCrop) -> Calibration:
    """Calibration of a coarse field for the zero-filled field on the fine grid."""
    known, order = coarse.dipole.wavenumber().flatten().sort()
    wanted = fine.wavenumber()
    index = torch.searchsorted(known, wanted.clamp(max=known[-1]))
    beyond = (wanted / known[-1]).clamp(min=1) ** -FALL_OFF / operator.share

    def carried(spectrum: Tensor) -> Tensor:
        return spectrum.flatten()[order][index] * beyond

    susceptibility = carried(coarse.susceptibility)
    return Calibration(
        field,
        fine,
        susceptibility.clamp(min=LEAST_POWER * float(susceptibility.max())),
        torch.where(operator.band(fine), carried(coarse.model_error), math.inf),
        coarse.noise / operator.share,
    )


def _refine(
    view: FieldOfView,
    guide: Guide,
    start: Tensor,
    record: dict[str, Any],
    prior: str | None,
    seed: int,
    progress: Progress | None,
) -> SuperResolution:
    """Anneal a map on the fine grid."""
    loaded = load_weights(prior, view.device)
    denoise = windowed_denoiser(loaded.denoiser, view.fine, view.support)
    levels = sigma_levels(*LEVELS, rho=math.inf).tolist()
    generator = torch.Generator().manual_seed(seed)
    chi = anneal(
        denoise, guide, start, levels, generator, paired=False, fresh=FRESH, progress=progress
    )
    record = record | {'PriorSHA256': loaded.sha256, 'NoiseLevels': levels}
    support = view.uncropped(view.support) > 0
    return SuperResolution(view.uncropped(chi * view.support), support, view.whole_fine, record)

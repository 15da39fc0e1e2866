"""What a field is worth: spectra of susceptibility and of its error, measured on the field itself.

The field in the mask is read as f = D x + h + e + n: susceptibility x of the power S(k), a smooth
remnant h of the background, a model error e of the power r S(k), and white noise n.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import log, pi, prod, sqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from qsmprep.qsm.grid import depth_mm
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.posterior import PosteriorPrecision

LOWEST = 0.012
CORNER = 0.03
REFERENCE = 0.1
POWERS = (2, 3, 4, 6)
REMNANT_MM = (6.0, 10.0, 16.0, 26.0)
OUTSIDE_MM = (3.0, 20.0)
DRAWS = 2
ERROR_RATIO = (0.035, 0.7)
TISSUE_POWER = (0.015, 0.8)
OFF_CONE = 0.2
LEAST_LEFT = 3e-4
LEAST_POWER = 1e-9
TAPER_MM = 3.0
CELLS = (36, 10)
BANDS = (0.03, 0.05, 0.08, 0.12)
STEPS = 8
ON_CONE = 0.1
PROFILES = (
    'wavenumber',
    *(f'{kind}_{side}_cone' for side in ('on', 'off') for kind in ('measured', 'expected')),
)


@dataclass(frozen=True)
class Calibration:
    """Power per voxel of what makes a field, on the padded grid of a dipole operator [ppm^2].

    Parameters
    ----------
    dipole
        The dipole operator.
    susceptibility
        S(k) of the susceptibility.
    remnant
        Smooth part of the field that background removal left.
    noise
        Variance of the white part [ppm^2].
    error_ratio
        Power of the model error over that of susceptibility, r.
    error_share
        How far the spectra count, 0 to 1: what sources in the mask leave of the field.
    known_noise
        Standard deviation of the noise [ppm] where it was given, else None.
    unexplained
        Variance that sources in the mask leave of the field [ppm^2].
    weight
        Voxel weights, or None where nothing tells voxels apart.
    cells
        Measured and expected power, for a plot of how well the model fits.

    """

    dipole: Dipole
    susceptibility: Tensor
    remnant: Tensor
    noise: float
    error_ratio: float = 0.0
    error_share: float = 0.0
    known_noise: float | None = None
    unexplained: float = 0.0
    weight: Tensor | None = None
    cells: Cells | None = None

    @property
    def model_error(self) -> Tensor:
        """Power of all that is neither susceptibility nor white [ppm^2]."""
        return self.error_ratio * self.susceptibility + self.remnant

    def white(self, least: float = 0.0) -> float:
        """Variance of the white part [ppm^2].

        Where the noise is known: it, or twice what sources leave, as far as the share is below
        one; and what the spectra show above it by the share.

        Parameters
        ----------
        least
            Least standard deviation [ppm].

        """
        white = self.noise
        if self.known_noise is not None:
            known, share = self.known_noise**2, self.error_share
            white = known + share * max(white - known, 0.0)
            white = max(white, (1 - share) * 2 * self.unexplained)
        return max(white, least**2)

    def seen_through(self, mask: Tensor) -> Calibration:
        """Calibration of the masked field, into which the remnant leaks through the mask's edge."""
        if not self.remnant.any():
            return self
        window = self.dipole.transform(mask.to(self.remnant.dtype)).abs().square()
        spread = torch.fft.irfftn(window / mask.sum() + 0j, s=self.dipole.padded_shape)
        covariance = torch.fft.irfftn(self.remnant + 0j, s=self.dipole.padded_shape)
        remnant = torch.fft.rfftn(covariance * spread).real.clamp(min=0)
        return replace(self, remnant=remnant)

    def record(self) -> dict[str, Any]:
        """What was estimated, for a sidecar: powers as standard deviations [ppm]."""
        k = REFERENCE
        return {
            'error_share': self.error_share,
            'error_ratio': self.error_ratio,
            'remnant_ppm': sqrt(float(self.remnant.mean())),
            'white_noise_ppm': sqrt(self.noise),
            'misfit': 0.0 if self.cells is None else self.cells.misfit(),
        } | (
            {}
            if self.cells is None
            else {'chi_power_ppm2': self.cells.power_at(k), 'spectra': self.cells.profiles()}
        )


class Cells(NamedTuple):
    """Mean periodogram over cells of |k| and |D|.

    ``wavenumber`` [cycles/mm] and ``response``, the size of D, of each cell; ``measured`` and
    ``expected`` power [ppm^2], number of independent ``samples``, and the power S(k) there.
    """

    wavenumber: np.ndarray
    response: np.ndarray
    measured: np.ndarray
    expected: np.ndarray
    samples: np.ndarray
    susceptibility: np.ndarray

    def misfit(self) -> float:
        """Mean Itakura-Saito divergence of measured from expected power; 0 for a perfect fit."""
        ratio = self.measured / self.expected
        return float(np.average(ratio - 1 - np.log(ratio), weights=self.samples))

    def profiles(self, bins: int = 16) -> dict[str, list[float]]:
        r"""Power over \|k\| near the cone (\|D\| < 0.1) and far from it, for a plot.

        Parameters
        ----------
        bins
            Number of wavenumbers, evenly spaced in their logarithm; empty ones are left out.

        Returns
        -------
        dict
            ``wavenumber`` [cycles/mm], and ``measured`` and ``expected`` power [ppm^2] as
            ``..._on_cone`` and ``..._off_cone``; four digits of each.

        """
        edges = np.geomspace(self.wavenumber.min(), 1.0001 * self.wavenumber.max(), bins + 1)
        found: dict[str, list[float]] = {name: [] for name in PROFILES}
        for low, high in pairwise(edges):
            here = (self.wavenumber >= low) & (self.wavenumber < high)
            near = self.response < ON_CONE
            sides = {'on': here & near, 'off': here & ~near}
            if not all(side.any() for side in sides.values()):
                continue
            found['wavenumber'].append(sqrt(low * high))
            for name, side in sides.items():
                for kind in ('measured', 'expected'):
                    power = np.average(getattr(self, kind)[side], weights=self.samples[side])
                    found[f'{kind}_{name}_cone'].append(power)
        return {name: [float(f'{x:.4g}') for x in values] for name, values in found.items()}

    def power_at(self, wavenumber: float) -> float:
        """S [ppm^2] at the cell nearest to a wavenumber [cycles/mm]."""
        return float(self.susceptibility[np.abs(self.wavenumber - wavenumber).argmin()])


def calibrate(
    field: Tensor,
    mask: Tensor,
    dipole: Dipole,
    *,
    noise: Tensor | None = None,
    magnitude: Tensor | None = None,
    error_share: float | None = None,
) -> Calibration:
    r"""Calibration of a field.

    The periodogram of the tapered field is averaged over cells of \|k\| and \|D\|; its expectation
    is a sum of components of fixed shape and free power, each convolved with the spectrum of the
    taper, so that leakage is part of the model:

    .. math::
        (D^2 + r) \sum_p a_p (k^2 + 0.03^2)^{-p/2} + \sum_s h_s R_s(k) + n

    with p = 2, 3, 4, 6. The remnants R of the background are smooth fields (Gaussians in k of 6 to
    26 mm) and the field of white sources 3 to 20 mm outside the mask, whose periodogram is
    computed with this mask. The powers and r maximise the Whittle likelihood under two priors, both
    log-normal: r is about 0.035, the ratio of the model error to susceptibility in four people,
    with a standard deviation of 0.7 of its logarithm; S at 0.1 cycles/mm is about 0.015 ppm^2 mm^3
    over the volume of a voxel, as in heads, with one of 0.8.

    Remnants are part of the model where Schwarz's criterion admits them and sources in the mask
    cannot stand for them. Susceptibility with p = 6 cannot be told from them and gives way.

    How far the spectra count, from 0 to 1, is told by what a few steps towards the best sources in
    the mask leave of the field: its power over S, q, gives the weight q^2 / (q^2 + 0.0003^2).
    Simulated heads have q below 1e-4, those whose voxels average over finer structures 1e-4 to
    4e-4, scans in vivo 4e-3, noise that drowns the sources and remnants of the background more. The
    error that acts off the cone is 0.2 times that on it, as measured in vivo.

    Parameters
    ----------
    field
        Local field (X, Y, Z) [ppm], zero outside the mask.
    mask
        Voxels of tissue.
    dipole
        The dipole operator on whose padded grid the spectra are made.
    noise
        Standard deviation of the field [ppm]; zero where nothing was measured.
    magnitude
        Magnitude [arbitrary]; where no noise is given it is taken as the inverse of the magnitude.
    error_share
        Weight of the model error, if it shall not be measured.

    Raises
    ------
    ValueError
        If the field is zero everywhere in the mask, or the share is not between 0 and 1.

    References
    ----------
    Whittle 1953, 10.1007/BF02590998 (the likelihood of a power spectrum); Schwarz 1978,
    10.1214/aos/1176344136.

    """
    if error_share is not None and not 0 <= error_share <= 1:
        raise ValueError(f'The error_share lies between 0 and 1, unlike {error_share}.')
    known, relative = None, noise
    if noise is not None:
        known = typical_noise(noise, mask)
    elif magnitude is not None:
        relative = torch.where(magnitude > 0, 1 / magnitude.clamp(min=1e-30), 0.0) * mask
    periodogram = _Periodogram(field, mask, dipole, relative)
    plain, free = (periodogram.fit(None, remnants=remnants) for remnants in (False, True))
    if not periodogram.earns_its_parameters(free, plain):
        free = plain
    left, unexplained = _left_by_sources(field, mask, dipole, periodogram, free, relative, known)
    if left < LEAST_LEFT / 3:
        free = plain
    remnants = free is not plain
    if error_share is None:
        error_share = 1.0 if remnants else round(left**2 / (left**2 + LEAST_LEFT**2), 1)
    ratio = OFF_CONE * error_share * free.ratio
    fitted = periodogram.fit(ratio, remnants=remnants and error_share > 0)
    # half of what eight steps leave is taken for noise where the spectra show less
    spectra = Calibration(
        dipole,
        fitted.susceptibility(dipole),
        fitted.remnant(periodogram.remnants),
        max(fitted.white, unexplained / 4),
        ratio,
        error_share,
        known,
        unexplained,
        cells=periodogram.cells(free),
    )
    if relative is None:
        return spectra
    sd = (
        relative
        if known is not None
        else relative * (sqrt(spectra.noise) / typical_noise(relative, mask))
    )
    weight = _voxel_weights(sd, mask, spectra)
    return replace(spectra, weight=weight)


def typical_noise(noise: Tensor, mask: Tensor) -> float:
    """Median of a noise map [ppm] over the voxels of a mask that were measured."""
    return float(noise[mask & (noise > 0)].median())


class _Fit(NamedTuple):
    """Powers of the components: susceptibility at 0.1 cycles/mm, remnants and noise [ppm^2].

    ``ratio`` is r, ``cost`` the negative logarithm of likelihood and priors.
    """

    powers: np.ndarray
    remnants: np.ndarray
    white: float
    ratio: float
    cost: float

    def susceptibility(self, dipole: Dipole) -> Tensor:
        power = sum(a * s for a, s in zip(self.powers.tolist(), _tissue(dipole), strict=True))
        return power.clamp(min=LEAST_POWER * float(power.max()))

    def remnant(self, shapes: list[Tensor]) -> Tensor:
        return sum(a * h for a, h in zip(self.remnants.tolist(), shapes, strict=True))


def _tissue(dipole: Dipole) -> list[Tensor]:
    """Shapes of S(k), one at 0.1 cycles/mm."""
    k = dipole.wavenumber()
    return [((k**2 + CORNER**2) / (REFERENCE**2 + CORNER**2)) ** (-p / 2) for p in POWERS]


def _remnants(dipole: Dipole) -> list[Tensor]:
    """Power of smooth fields of the correlation lengths of :data:`REMNANT_MM`, one at k = 0."""
    k = dipole.wavenumber()
    return [torch.exp(-0.5 * (k * 2 * pi * s / 1.4) ** 2) for s in REMNANT_MM]


class _Periodogram:
    """Cell means of a field's periodogram and of the components that make its expectation."""

    def __init__(self, field: Tensor, mask: Tensor, dipole: Dipole, noise: Tensor | None) -> None:
        self.dipole = dipole
        self.taper = _taper(mask, dipole.grid.voxel_size)
        if noise is not None:
            measured = mask & (noise > 0)
            even = (typical_noise(noise, mask) / noise.clamp(min=1e-30)).clamp(max=1)
            self.taper = self.taper * torch.where(measured, even, 0.0)
        self.energy = float(self.taper.square().sum())
        self._cell, self._count = self._cells()
        self.measured = self._mean(self.power(field))
        if not self.measured.max() > 0:
            raise ValueError(
                'The local field is zero everywhere in the mask: nothing to calibrate on.'
            )
        spread = dipole.transform(self.taper).abs().square() / self.energy
        self._spread = torch.fft.irfftn(spread, s=dipole.padded_shape)
        tissue, squared = _tissue(dipole), dipole.kernel.square()
        self.signal = np.stack([self._leaked(squared * s) for s in tissue])
        self.error = np.stack([self._leaked(s) for s in tissue])
        white = np.ones_like(self.measured)
        smooth = _remnants(dipole)
        rest = [self._leaked(h) for h in smooth]
        if (power := self._harmonic(mask)) is not None:
            smooth.append(self._radial(power))
            rest.append(self._mean(power))
        self.remnants, self.rest = smooth, np.stack([*rest, white])
        self.samples = self._count * self.energy / prod(dipole.padded_shape)

    def power(self, image: Tensor) -> Tensor:
        """Periodogram of a tapered image on the padded grid."""
        return self.dipole.transform(image * self.taper).abs().square() / self.energy

    def _harmonic(self, mask: Tensor) -> Tensor | None:
        """Periodogram of the field of white sources around the mask, with a mean of one."""
        outside = torch.ones(self.dipole.padded_shape, device=mask.device)
        n0, n1, n2 = mask.shape
        outside[:n0, :n1, :n2] = (~mask).float()
        distance = depth_mm(outside.cpu().numpy() > 0, self.dipole.grid.voxel_size)
        around = (distance > OUTSIDE_MM[0]) & (distance <= OUTSIDE_MM[1])
        if not around.any():
            return None
        shell = torch.from_numpy(around.astype(np.float32)).to(mask.device)
        generator = torch.Generator().manual_seed(0)
        power = torch.zeros_like(self.dipole.kernel)
        for _ in range(DRAWS):
            sources = torch.randn(shell.shape, generator=generator).to(mask.device) * shell
            field = self.dipole.inverse(self.dipole.kernel * torch.fft.rfftn(sources)) * mask
            power += self.power((field - field[mask].mean()) * mask)
        return power / power.mean()

    def _radial(self, power: Tensor) -> Tensor:
        """Power that depends on |k| alone, from its means over |k|."""
        k = self.dipole.wavenumber()
        position = (k.clamp(min=LOWEST) / LOWEST).log() * (CELLS[0] / log(float(k.max()) / LOWEST))
        shell = position.long().clamp(max=CELLS[0] - 1).flatten()
        sums = [
            torch.zeros(CELLS[0], device=k.device).index_add_(0, shell, a).cpu().numpy()
            for a in (
                torch.ones(shell.numel(), device=k.device),
                position.flatten(),
                power.flatten(),
            )
        ]
        filled = sums[0] > 0
        centre, mean = (total[filled] / sums[0][filled] for total in sums[1:])
        profile = np.interp(position.cpu().numpy(), centre, np.log(np.maximum(mean, 1e-30)))
        return torch.from_numpy(np.exp(profile).astype(np.float32)).to(k.device)

    def _cells(self) -> tuple[Tensor, np.ndarray]:
        """Cell of every frequency, -1 where there is none, and the frequencies in each."""
        k, response = self.dipole.wavenumber(), self.dipole.kernel.abs()
        radial = (k.clamp(min=LOWEST) / LOWEST).log() / log(float(k.max()) / LOWEST)
        cell = (radial * CELLS[0]).long().clamp(max=CELLS[0] - 1) * CELLS[1]
        cell += (response * 1.5 * CELLS[1]).long().clamp(max=CELLS[1] - 1)
        cell[k <= LOWEST] = CELLS[0] * CELLS[1]
        count = torch.bincount(cell.flatten(), minlength=CELLS[0] * CELLS[1] + 1)
        self._filled = count[:-1] > 0
        return cell.flatten(), count[:-1][self._filled].cpu().numpy()

    def _mean(self, spectrum: Tensor) -> np.ndarray:
        total = torch.zeros(CELLS[0] * CELLS[1] + 1, dtype=torch.float64, device=spectrum.device)
        total.index_add_(0, self._cell, spectrum.flatten().double())
        return total[:-1][self._filled].cpu().numpy() / self._count

    def _leaked(self, spectrum: Tensor) -> np.ndarray:
        """Expected periodogram, in cells, of a stationary field of a power spectrum."""
        covariance = torch.fft.irfftn(spectrum + 0j, s=self.dipole.padded_shape)
        return self._mean(torch.fft.rfftn(covariance.mul_(self._spread)).real.clamp(min=0))

    def fit(self, ratio: float | None, *, remnants: bool) -> _Fit:
        """Most likely powers, and ratio r if it is None; what is smooth is remnant or tissue."""
        n, measured = self.samples, self.measured
        typical = np.average(measured, weights=n)
        tissue = len(POWERS) - remnants
        signal, error = self.signal[:tissue], self.error[:tissue]
        rest = self.rest if remnants else self.rest[-1:]
        scale = np.concatenate([signal, rest])
        usual = log(TISSUE_POWER[0] / prod(self.dipole.grid.voxel_size))
        start = np.log(0.1 * typical / np.average(scale, axis=1, weights=n))
        if ratio is None:
            start = np.r_[start, log(ERROR_RATIO[0])]

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
            powers = np.exp(x[: len(scale)])
            r = float(np.exp(x[-1])) if ratio is None else ratio
            parts = np.concatenate([signal + r * error, rest])
            expected = powers @ parts
            weight = n * (1 - measured / expected) / expected
            value = (n * (np.log(expected) + measured / expected)).sum()
            gradient = powers * (parts @ weight)
            total = powers[:tissue].sum()
            distance = (log(total) - usual) / TISSUE_POWER[1]
            value += 0.5 * distance**2
            gradient[:tissue] += distance / TISSUE_POWER[1] * powers[:tissue] / total
            if ratio is None:
                distance = (x[-1] - log(ERROR_RATIO[0])) / ERROR_RATIO[1]
                value += 0.5 * distance**2
                slope = r * ((powers[:tissue] @ error) @ weight) + distance / ERROR_RATIO[1]
                gradient = np.r_[gradient, slope]
            return value, gradient

        bounds = [(x - 40, x + 20) for x in start]
        options = {'maxiter': 3000, 'maxfun': 4000, 'ftol': 1e-13, 'gtol': 1e-7}
        best = minimize(
            objective, start, jac=True, method='L-BFGS-B', bounds=bounds, options=options
        )
        powers = np.exp(best.x[: len(scale)])
        found = float(np.exp(best.x[-1])) if ratio is None else ratio
        smooth = powers[tissue:-1] if remnants else np.zeros(len(self.rest) - 1)
        tissue_powers = np.pad(powers[:tissue], (0, len(POWERS) - tissue))
        return _Fit(tissue_powers, smooth, float(powers[-1]), found, float(best.fun))

    def earns_its_parameters(self, richer: _Fit, plain: _Fit) -> bool:
        """Whether a fit with remnants is the more plausible one by Schwarz's criterion."""
        more = len(self.rest) - 2
        return plain.cost - richer.cost > 0.5 * more * log(float(self.samples.sum()))

    def cells(self, fit: _Fit) -> Cells:
        """Measured power beside what a fit expects."""
        expected = fit.powers @ (self.signal + fit.ratio * self.error)
        expected = expected + np.r_[fit.remnants, fit.white] @ self.rest
        return Cells(
            self._mean(self.dipole.wavenumber()),
            self._mean(self.dipole.kernel.abs()),
            self.measured,
            expected,
            self.samples,
            self._mean(fit.susceptibility(self.dipole)),
        )


def _left_by_sources(
    field: Tensor,
    mask: Tensor,
    dipole: Dipole,
    periodogram: _Periodogram,
    fit: _Fit,
    noise: Tensor | None,
    known: float | None,
) -> tuple[float, float]:
    """What sources in the mask leave of the field, above the noise.

    Returns
    -------
    left
        Its power over that of susceptibility, geometric mean over four bands of wavenumbers.
    unexplained
        Its variance, with the noise [ppm^2].

    """
    inside = mask.to(field.dtype)
    weight = inside
    if noise is not None:
        even = (typical_noise(noise, mask) / noise.clamp(min=1e-30)).clamp(max=1)
        weight = inside * torch.where(noise > 0, even, 0.0)
    power = fit.susceptibility(dipole)
    white = fit.white if known is None else known**2
    white = max(white, LEAST_POWER * float((dipole.kernel.square() * power).max()))
    precision = PosteriorPrecision(dipole, mask, 1 / white, 1 / power, weight)
    chi = precision.solve(precision.pull(field), iterations=STEPS, tolerance=1e-3)
    residual = (field - dipole.forward(chi)) * inside
    unexplained = float((residual * periodogram.taper).square().sum()) / periodogram.energy
    left, k = periodogram.power(residual), dipole.wavenumber()
    ratios = []
    for centre in BANDS:
        band = (k - centre).abs() < 0.15 * centre
        if band.any():
            ratios.append(float(left[band].mean() / power[band].mean()))
    return float(np.exp(np.log(ratios).mean())) if ratios else 0.0, unexplained


def _taper(mask: Tensor, voxel_size: tuple[float, ...]) -> Tensor:
    """Window that falls to zero over the last millimetres of a mask, against leakage."""
    depth = depth_mm(mask.cpu().numpy(), voxel_size)
    window = np.sin(0.5 * np.pi * np.clip(depth / TAPER_MM, 0, 1)) ** 2
    return torch.from_numpy(window.astype(np.float32)).to(mask.device)


def _voxel_weights(noise: Tensor, mask: Tensor, spectra: Calibration) -> Tensor:
    """Weights that even out the variance of noise and model error together.

    The model error is taken as equally strong everywhere: where it dominates the weights are one
    whatever the noise, and where the noise dominates they fall with its inverse.
    """
    measured = mask & (noise > 0)
    coloured = spectra.model_error.clone()
    coloured[0, 0, 0] = 0
    variance = noise.square()
    white = max(spectra.noise - float(variance[measured].median()), 0.0)
    total = variance + float(coloured.mean()) + spectra.error_share * white + 1e-12
    typical = total[measured].median()
    return torch.where(measured, (typical / total).sqrt().clamp(max=3.0), 0.0)

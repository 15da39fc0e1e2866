"""Periodogram of a field in cells of |k| and |D|, and the powers that are likeliest to make it."""

from __future__ import annotations

from itertools import pairwise
from math import log, pi, prod
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.fft import fftfreq

from qsmprep.qsm.cells import Cells
from qsmprep.qsm.grid import depth_mm
from qsmprep.qsm.noise import even_weights
from qsmprep.qsm.operators import Dipole, even_image, even_spectrum, frequencies

LOWEST = 0.012
CORNER = 0.03
REFERENCE = 0.1
POWERS = (2, 3, 4, 6)
REMNANT_MM = (6.0, 10.0, 16.0, 26.0, 1e4)
OUTSIDE_MM = (20.0, 8.0, 3.0, 0.0)
NO_REMNANT, ALL_REMNANTS = slice(0), slice(None)
CONSTANT = slice(len(REMNANT_MM) - 1, len(REMNANT_MM))
NOT_NEAR = slice(len(REMNANT_MM) + len(OUTSIDE_MM) - 2)
DRAWS = 2
ERROR_RATIO = (0.035, 0.7)
TISSUE_POWER = (0.015, 0.8)
LEAST_POWER = 1e-9
SHAPE_ERROR = 0.15
LEAST_DISPERSION = 0.75
TISSUE_MEAN = 0.3
TAPER_MM = 3.0
EDGE_VOXELS = 5
STEEPEST = 4
CELLS = (36, 10)
RESTARTS = 10
VANISHED, LEAST_GAIN = 4.0, 0.01


class Fit(NamedTuple):
    """Powers of the components [ppm^2]: susceptibility at 0.1 cycles/mm, remnants and noise.

    Those of remnants and noise are variances. ``ratio`` is r, ``cost`` the negative logarithm of
    likelihood and priors.
    """

    powers: np.ndarray
    remnants: np.ndarray
    white: float
    ratio: float
    cost: float
    voxel_mm3: float


def _parameters(fit: Fit) -> int:
    """Powers of tissue and remnants that were free in a fit: those that were not are zero."""
    return int(np.count_nonzero(fit.powers) + np.count_nonzero(fit.remnants))


def tissue_power(fit: Fit, dipole: Dipole) -> Tensor:
    """S(k) of a fit, per voxel of the grid of an operator [ppm^2]."""
    powers = fit.powers * fit.voxel_mm3 / prod(dipole.grid.voxel_size)
    power = _weighted_sum(powers, _tissue(dipole))
    return power.clamp(min=LEAST_POWER * float(power.max()))


def remnant_power(fit: Fit, dipole: Dipole) -> Tensor:
    """Power of the smooth remnants of a fit, per voxel of the grid of an operator [ppm^2]."""
    return _weighted_sum(fit.remnants[: len(REMNANT_MM)], _remnants(dipole))


def _tissue(dipole: Dipole) -> list[Tensor]:
    """Shapes of S(k), one at 0.1 cycles/mm."""
    k = dipole.wavenumber()
    return [((k**2 + CORNER**2) / (REFERENCE**2 + CORNER**2)) ** (-p / 2) for p in POWERS]


def _remnants(dipole: Dipole) -> list[Tensor]:
    """Power of smooth fields of the correlation lengths of :data:`REMNANT_MM`, of variance one."""
    shape, size = dipole.padded_shape, dipole.grid.voxel_size
    axes = frequencies(shape, size, device=dipole.device, dtype=dipole.dtype)
    found = []
    for length in REMNANT_MM:
        width = 0.5 * (2 * pi * length / 1.4) ** 2
        ways = [fftfreq(n, v) for n, v in zip(shape, size, strict=True)]
        variance = prod(float(torch.exp(-width * k**2).mean()) for k in ways)
        x, y, z = (torch.exp(-width * k**2) for k in axes)
        found.append(x * y * (z / variance))
    return found


class Periodogram:
    """Cell means of a field's periodogram and of the components that make its expectation.

    Sources around the mask are left out after background removal, which took what they can make.
    """

    def __init__(
        self,
        field: Tensor,
        mask: Tensor,
        dipole: Dipole,
        noise: Tensor | None,
        *,
        after_background: bool = False,
    ) -> None:
        self.dipole = dipole
        depth = _depth(mask, dipole)
        self.taper = _taper(depth, TAPER_MM)
        if noise is not None:
            self.taper = self.taper * even_weights(noise, mask)
            if (known := mask & (noise > 0)).sum() < mask.sum():
                depth = _depth(known, dipole)
        self.energy = float(self.taper.square().sum())
        self._cell, self._count = self._cells(_acquired(field, depth, dipole))
        self.measured = self._mean(self.power(field))
        if not self.measured.max() > 0:
            raise ValueError(
                'The local field is zero everywhere in the mask: nothing to calibrate on.'
            )
        inside = field[self.taper > 0]
        variance = inside.var(correction=0).clamp(min=LEAST_POWER * inside.square().mean())
        self._most_mean = TISSUE_MEAN**2 * float(variance)
        spread = dipole.transform(self.taper).abs().square() / self.energy
        self._spread = even_image(spread, dipole.padded_shape[2])
        self._tissue, squared = _tissue(dipole), dipole.kernel.square()
        self.signal = np.stack([self._leaked(squared * s) for s in self._tissue])
        self.error = np.stack([self._leaked(s) for s in self._tissue])
        white = np.ones_like(self.measured)
        smooth = _remnants(dipole)
        rest = [self._leaked(h) for h in smooth]
        self._around = []
        for shell in [] if after_background else self._shells(mask):
            power = self._harmonic(shell, mask)
            gain = float(power.mean())
            power /= gain
            self._around.append(shell / gain)
            smooth.append(self._radial(power))
            rest.append(self._mean(power))
        self._smooth, self.rest = smooth, np.stack([*rest, white])
        self.samples = self._count * self.energy / prod(dipole.padded_shape)

    def power(self, image: Tensor) -> Tensor:
        """Periodogram of a tapered image on the padded grid."""
        return self.dipole.transform(image * self.taper).abs().square() / self.energy

    def _shells(self, mask: Tensor) -> list[Tensor]:
        """Voxels of the padded grid around the mask in which sources of the background may lie."""
        outside = torch.ones(self.dipole.padded_shape, dtype=torch.bool)
        n0, n1, n2 = mask.shape
        outside[:n0, :n1, :n2] = ~mask.cpu()
        distance = depth_mm(outside.numpy(), self.dipole.grid.voxel_size)
        shells = [(distance > least) & (distance <= most) for most, least in pairwise(OUTSIDE_MM)]
        return [torch.from_numpy(shell).to(mask.device) for shell in shells if shell.any()]

    def _harmonic(self, around: Tensor, mask: Tensor) -> Tensor:
        """Mean periodogram of the field of white sources of variance one in some voxels."""
        generator = torch.Generator().manual_seed(0)
        power = torch.zeros_like(self.dipole.kernel)
        for _ in range(DRAWS):
            sources = torch.randn(around.shape, generator=generator).to(mask.device)
            spectrum = torch.fft.rfftn(sources * around)
            field = self.dipole.inverse(self.dipole.kernel * spectrum) * mask
            power += self.power((field - field[mask].mean()) * mask)
        return power / DRAWS

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

    def _cells(self, acquired: Tensor) -> tuple[Tensor, np.ndarray]:
        """Cell of every frequency, a last one where there is none, and the frequencies in each."""
        k, response = self.dipole.wavenumber(), self.dipole.kernel.abs()
        radial = (k.clamp(min=LOWEST) / LOWEST).log() / log(float(k.max()) / LOWEST)
        cell = (radial * CELLS[0]).long().clamp(max=CELLS[0] - 1) * CELLS[1]
        cell += (response * 1.5 * CELLS[1]).long().clamp(max=CELLS[1] - 1)
        cell[(k <= LOWEST) | ~acquired] = CELLS[0] * CELLS[1]
        count = torch.bincount(cell.flatten(), minlength=CELLS[0] * CELLS[1] + 1)
        self._filled = count[:-1] > 0
        return cell.flatten(), count[:-1][self._filled].cpu().numpy()

    def _mean(self, spectrum: Tensor) -> np.ndarray:
        total = torch.zeros(CELLS[0] * CELLS[1] + 1, dtype=torch.float64, device=spectrum.device)
        total.index_add_(0, self._cell, spectrum.flatten().double())
        return total[:-1][self._filled].cpu().numpy() / self._count

    def _leaked(self, spectrum: Tensor) -> np.ndarray:
        """Expected periodogram, in cells, of a stationary field of a power spectrum."""
        n0, _, n2 = self.dipole.padded_shape
        covariance = even_image(spectrum, n2).mul_(self._spread)
        return self._mean(even_spectrum(covariance, n0).clamp_(min=0))

    @property
    def certain(self) -> np.ndarray:
        """Samples that each cell counts as.

        No shape meets the power of real tissue to better than 15 %, however many samples a cell
        has: n count as n / (1 + 0.15^2 n). In full, the many cells of high frequencies would
        drown the few in which remnants lie and the size of S is seen.
        """
        return self.samples / (1 + self.samples * SHAPE_ERROR**2)

    def fit(self, ratio: float | None, *, remnants: slice) -> Fit:
        """Most likely powers, and ratio r if it is None, with some of the remnants or none.

        Tissue alone makes fields of a mean of at most 0.3 of their standard deviation; beside
        smooth remnants what is smooth is no tissue.

        By a quasi-Newton method in the logarithms. A step too long makes a power vanish, which it
        then never leaves: where the likelihood would rise with that power it starts again.
        """
        n, measured = self.certain, self.measured
        typical = np.average(measured, weights=n)
        kinds = np.arange(len(self.rest) - 1)[remnants]
        tissue = len(POWERS) - (len(kinds) > 1)
        signal, error = self.signal[:tissue], self.error[:tissue]
        rest = self.rest[[*(kinds if len(kinds) else [CONSTANT.start]), -1]]
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
        if not len(kinds):
            most = log(self._most_mean)
            start[tissue] = min(start[tissue], most)
            bounds[tissue] = (most - 40, most)
        options = {'maxiter': 3000, 'maxfun': 4000, 'ftol': 1e-13, 'gtol': 1e-7}
        x = start
        for _ in range(RESTARTS):
            best = minimize(
                objective, x, jac=True, method='L-BFGS-B', bounds=bounds, options=options
            )
            # the logarithm of a power that has all but vanished has no slope, wanted or not
            slope = best.jac * np.exp(start - best.x)
            wanted = (best.x < start - VANISHED) & (slope < -LEAST_GAIN)
            if not wanted.any():
                break
            x = np.where(wanted, start, best.x)
        powers = np.exp(best.x[: len(scale)])
        found = float(np.exp(best.x[-1])) if ratio is None else ratio
        smooth = np.zeros(len(self.rest) - 1)
        smooth[kinds] = powers[tissue:-1][: len(kinds)]
        tissue_powers = np.pad(powers[:tissue], (0, len(POWERS) - tissue))
        return Fit(
            tissue_powers,
            smooth,
            float(powers[-1]),
            found,
            float(best.fun),
            prod(self.dipole.grid.voxel_size),
        )

    def evidence(self, plain: Fit, free: Fit) -> float:
        """Logarithm of how much likelier a fit with remnants is than one without.

        By Schwarz's criterion, with two corrections. What scatter is left of the cells about the
        richer fit, their dispersion, divides the gain in likelihood, but counts as at least 0.75.
        And powers that cannot fall below zero gain nothing half of the time: each counts as half a
        parameter.
        """
        more = _parameters(free) - _parameters(plain)
        degrees = max(len(self.measured) - _parameters(free) - 2, 1)
        divergence = self.cells(free)._replace(samples=self.certain).misfit()
        dispersion = max(2 * self.certain.sum() * divergence / degrees, LEAST_DISPERSION)
        return (plain.cost - free.cost) / dispersion - 0.25 * more * log(self.certain.sum())

    def with_remnants(self, tissue: Fit) -> tuple[float, Fit, slice]:
        """The fit with remnants that counts, its evidence, and which remnants they are.

        All but the nearest sources, or a constant alone. Sources within 3 mm of the mask look like
        voxels that average over its edge: they are part of it only beside others.

        Parameters
        ----------
        tissue
            The fit without remnants.

        """
        choice = [NOT_NEAR, CONSTANT] if self._around else [NOT_NEAR]
        fits = [self.fit(None, remnants=kinds) for kinds in choice]
        found = [self.evidence(tissue, fit) for fit in fits]
        evidence, fit, kinds = max(zip(found, fits, choice, strict=True), key=itemgetter(0))
        if self._around and kinds is NOT_NEAR and evidence > 0:
            nearest = self.fit(None, remnants=ALL_REMNANTS)
            if self.evidence(fit, nearest) > 0:
                return evidence, nearest, ALL_REMNANTS
        return evidence, fit, kinds

    def cells(self, fit: Fit) -> Cells:
        """Measured power beside what a fit expects."""
        expected = fit.powers @ (self.signal + fit.ratio * self.error)
        expected = expected + np.r_[fit.remnants, fit.white] @ self.rest
        return Cells(
            self._mean(self.dipole.wavenumber()),
            self._mean(self.dipole.kernel.abs()),
            self.measured,
            expected,
            self.samples,
            self._mean(self.susceptibility(fit)),
        )

    def tissue_share(self, fit: Fit) -> float:
        """Share of the power of a fit, without noise, that susceptibility and its error have."""
        tissue = self.samples @ (fit.powers @ (self.signal + fit.ratio * self.error))
        remnant = self.samples @ (fit.remnants @ self.rest[:-1])
        return float(tissue / (tissue + remnant))

    def susceptibility(self, fit: Fit) -> Tensor:
        """S(k) of a fit [ppm^2]."""
        power = _weighted_sum(fit.powers, self._tissue)
        return power.clamp(min=LEAST_POWER * float(power.max()))

    def outside_variance(self, fit: Fit) -> Tensor:
        """Variance of the sources around the mask in a fit, on the padded grid [ppm^2]."""
        return _weighted_sum(fit.remnants[len(REMNANT_MM) :], self._around)

    def remnant(self, fit: Fit) -> Tensor:
        """Power of the remnant of the background in a fit [ppm^2]."""
        return _weighted_sum(fit.remnants, self._smooth)


def _depth(mask: Tensor, dipole: Dipole) -> Tensor:
    """Depth in a mask [mm]."""
    depth = depth_mm(mask.cpu().numpy(), dipole.grid.voxel_size)
    return torch.from_numpy(depth.astype(np.float32)).to(mask.device)


def _taper(depth: Tensor, width_mm: float) -> Tensor:
    """Window that falls to zero over the last millimetres of a mask, against leakage."""
    return torch.sin(0.5 * pi * (depth / width_mm).clamp(max=1)).square()


def _acquired(field: Tensor, depth: Tensor, dipole: Dipole) -> Tensor:
    """Frequencies that a scan acquired, of all in its voxels: zero filling adds empty ones.

    Summed over two axes, the power of the steepest susceptibility falls as k^-4 along the third.
    The matrix ends where the power times k^4 is for the last time half of its largest.
    """
    size = dipole.grid.voxel_size
    tapered = field * _taper(depth, EDGE_VOXELS * max(size))
    power = dipole.transform(tapered).abs().square()
    acquired = torch.ones_like(power, dtype=torch.bool)
    axes = frequencies(dipole.padded_shape, size, device=power.device, dtype=power.dtype)
    for axis, k in enumerate(axes):
        profile = power.mean(tuple({0, 1, 2} - {axis}), keepdim=True) * k**STEEPEST
        acquired &= k.abs() <= k[profile >= 0.5 * profile.max()].abs().max()
    return acquired


def _weighted_sum(weights: np.ndarray, spectra: list[Tensor]) -> Tensor:
    total = torch.zeros_like(spectra[0])
    for weight, spectrum in zip(weights.tolist(), spectra, strict=True):
        total += weight * spectrum
    return total

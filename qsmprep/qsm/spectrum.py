"""Power spectra of susceptibility and of the model error, measured on the field itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.polynomial.chebyshev import chebvander
from scipy.ndimage import distance_transform_edt
from scipy.optimize import minimize
from torch import Tensor

from qsmprep.qsm.dipole import Dipole

TAPER_MM = 3.0
LOWEST = 0.012
REFERENCE = 0.1
LEAST_POWER = 1e-9
HELD_BELOW = 0.05
ORDER = 3
MODEL_ERROR_SLOPE = (2.2, 0.3)
BINS = (36, 10)


@dataclass(frozen=True)
class Spectra:
    """Power per voxel of what makes a field, on the padded grid of a dipole operator [ppm^2].

    Parameters
    ----------
    susceptibility
        S(k) of the susceptibility.
    model_error
        C(k): coloured part of the field that no isotropic susceptibility explains.
    noise
        White part.
    slope
        C(k) falls as \\|k\\| to minus this power.

    """

    susceptibility: Tensor
    model_error: Tensor
    noise: float
    slope: float

    def at_error_share(self, share: float, noise: float | None, least: float) -> Spectra:
        """Spectra with a share of the model error.

        Where the noise is known, white power beyond it is model error as well.

        Parameters
        ----------
        share
            Part of the model error that is left, 0 to 1.
        noise
            Known standard deviation of the white part [ppm], or None.
        least
            Least standard deviation of the white part [ppm].

        """
        white = self.noise
        if noise is not None:
            white = noise**2 + share * max(self.noise - noise**2, 0.0)
        return replace(self, model_error=share * self.model_error, noise=max(white, least**2))


@dataclass(frozen=True)
class _Bins:
    """Mean periodogram over cells of |k| and |D|, and the independent samples in each."""

    power: np.ndarray
    kernel_power: np.ndarray
    wavenumber: np.ndarray
    samples: np.ndarray


def estimate_spectra(
    field: Tensor, mask: Tensor, dipole: Dipole, noise: Tensor | None = None
) -> Spectra:
    """Spectra that make the power of a field most likely.

    The field is read as f = D x + e with independent Gaussian coefficients, so that its power at
    the frequency k is exponentially distributed about D(k)^2 S(k) + C(k) + noise. On the cone of
    the dipole the first term vanishes and the power is all error; away from it the rest is
    susceptibility. Smooth curves are fitted to the tapered periodogram by the Whittle
    likelihood: log S is a cubic in log |k|, S at least a billionth of its largest value, C a power
    law, the noise white. Below 0.05 cycles/mm, where a head has few samples, the ratio C / S is
    held.

    Parameters
    ----------
    field
        Local field (X, Y, Z) [ppm].
    mask
        Voxels that were measured.
    dipole
        The dipole operator of the grid.
    noise
        Standard deviation of the field, in any unit: voxels noisier than the median count less, so
        that the white part is the noise of the better half.

    Raises
    ------
    ValueError
        If the field is zero everywhere in the mask.

    References
    ----------
    Whittle 1953, 10.1007/BF02590998 (the likelihood of a power spectrum).

    """
    bins = _periodogram(field, mask, dipole, noise)
    if not bins.power.max() > 0:
        raise ValueError('The local field is zero everywhere in the mask: nothing to calibrate on.')
    highest = float(bins.wavenumber.max())
    basis = chebvander(_scaled(bins.wavenumber, highest), ORDER)
    log_s, log_c, slope, log_noise = _maximise(bins, basis)

    wavenumber = dipole.wavenumber().clamp(min=LOWEST)
    axis = np.geomspace(LOWEST, float(wavenumber.max()) * 1.001, 256)
    scaled = np.minimum(_scaled(axis, highest), 1.05)
    curve_s = chebvander(scaled, ORDER) @ log_s
    curve_c = log_c - slope * np.log(axis / REFERENCE)
    held = np.searchsorted(axis, HELD_BELOW)
    curve_s[:held] = curve_c[:held] - (curve_c - curve_s)[held]
    curve_s = np.maximum(curve_s, curve_s.max() + np.log(LEAST_POWER))
    return Spectra(
        _interpolate(wavenumber, axis, curve_s),
        _interpolate(wavenumber, axis, curve_c),
        float(np.exp(log_noise)),
        float(slope),
    )


def _periodogram(field: Tensor, mask: Tensor, dipole: Dipole, noise: Tensor | None) -> _Bins:
    taper = _taper(mask, dipole.grid.voxel_size)
    if noise is not None:
        measured = mask & (noise > 0)
        typical = noise[measured].median()
        taper *= torch.where(measured, (typical / noise.clamp(min=1e-30)).clamp(max=1), 0.0)
    energy = float(taper.square().sum())
    power = (dipole.transform(field * taper).abs().square() / energy).cpu().numpy().ravel()
    kernel = dipole.kernel.abs().cpu().numpy().ravel()
    wavenumber = dipole.wavenumber().cpu().numpy().ravel()
    use = wavenumber > LOWEST
    power, kernel, wavenumber = power[use], kernel[use], wavenumber[use]
    radial = np.log(wavenumber / LOWEST) / np.log(wavenumber.max() / LOWEST)
    cell = np.minimum((radial * BINS[0]).astype(int), BINS[0] - 1) * BINS[1]
    cell += np.minimum((kernel * 1.5 * BINS[1]).astype(int), BINS[1] - 1)
    count = np.bincount(cell, minlength=BINS[0] * BINS[1])
    filled = count > 0

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell, values, minlength=count.size)[filled] / count[filled]

    samples = count[filled] * energy / np.prod(dipole.padded_shape)
    return _Bins(mean(power), mean(kernel**2), np.exp(mean(np.log(wavenumber))), samples)


def _taper(mask: Tensor, voxel_size: tuple[float, float, float]) -> Tensor:
    """Window that falls to zero over the last millimetres of a mask, against leakage."""
    padded = np.pad(mask.cpu().numpy() > 0, 1)
    depth = distance_transform_edt(padded, sampling=voxel_size)[1:-1, 1:-1, 1:-1]
    window = np.sin(0.5 * np.pi * np.clip(depth / TAPER_MM, 0, 1)) ** 2
    return torch.from_numpy(window.astype(np.float32)).to(mask.device)


def _scaled(wavenumber: np.ndarray, highest: float) -> np.ndarray:
    return 2 * np.log(wavenumber / LOWEST) / np.log(highest / LOWEST) - 1


def _maximise(bins: _Bins, basis: np.ndarray) -> tuple[np.ndarray, float, float, float]:
    """Coefficients of log S, log C at 0.1 cycles/mm, slope of C and log noise power."""
    log_k = np.log(bins.wavenumber / REFERENCE)
    n, (mean_slope, sd_slope) = basis.shape[1], MODEL_ERROR_SLOPE
    floor = float(bins.power[bins.power > 0].min())
    root = np.sqrt(bins.samples)
    guess = np.log(np.maximum(bins.power, floor) / np.maximum(bins.kernel_power, 0.01))
    start_s = np.linalg.lstsq(basis * root[:, None], guess * root, rcond=None)[0]
    start_c = np.log(0.01 * bins.power[np.abs(log_k).argsort()[: BINS[1]]].mean() + floor)
    start = np.r_[start_s, start_c, mean_slope, np.log(0.5 * floor)]

    def objective(p: np.ndarray) -> tuple[float, np.ndarray]:
        s, c, noise = np.exp(basis @ p[:n]), np.exp(p[n] - p[n + 1] * log_k), np.exp(p[n + 2])
        expected = bins.kernel_power * s + c + noise
        ratio = bins.power / expected
        residual = (p[n + 1] - mean_slope) / sd_slope
        weight = bins.samples * (1 - ratio) / expected
        slope = -(weight * c * log_k).sum() + residual / sd_slope
        gradient = np.r_[
            basis.T @ (weight * bins.kernel_power * s),
            (weight * c).sum(),
            slope,
            weight.sum() * noise,
        ]
        value = (bins.samples * (np.log(expected) + ratio)).sum() + 0.5 * residual**2
        return value, gradient

    bounds = [(None, None)] * n + [(start_c - 25, None), (0.5, 4.0), (np.log(floor) - 25, None)]
    options = {'maxiter': 500}
    p = minimize(objective, start, jac=True, method='L-BFGS-B', bounds=bounds, options=options).x
    return p[:n], p[n], p[n + 1], p[n + 2]


def _interpolate(wavenumber: Tensor, axis: np.ndarray, log_values: np.ndarray) -> Tensor:
    """Log-log interpolation of a curve, given on a geometric axis, over the padded grid."""
    table = torch.from_numpy(log_values.astype(np.float32)).to(wavenumber.device)
    step = float(np.log(axis[1] / axis[0]))
    position = ((wavenumber / float(axis[0])).log() / step).clamp(0, len(axis) - 1.001)
    index = position.long()
    fraction = position - index
    return (table[index] * (1 - fraction) + table[index + 1] * fraction).exp()

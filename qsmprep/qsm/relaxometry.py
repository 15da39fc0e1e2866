"""Relaxometry: R2*, T2* and S0 from the decay of the magnitude over echoes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

T2STAR_MAX_S = 0.5
"""Longest T2* told apart from no decay [s]; R2* is bounded by its inverse from below."""

ITERATIONS = 30
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Relaxometry:
    """Mono-exponential decay, zero outside the mask.

    Parameters
    ----------
    r2star_hz
        Effective transverse relaxation rate [1/s].
    t2star_s
        Its inverse [s].
    s0
        Magnitude at echo time zero, in units of the magnitude.

    """

    r2star_hz: np.ndarray
    t2star_s: np.ndarray
    s0: np.ndarray


def fit_r2star(
    magnitude: np.ndarray, echo_times_s: tuple[float, ...], mask: np.ndarray
) -> Relaxometry:
    """Fit S0 exp(-R2* TE) to the magnitudes of each voxel by nonlinear least squares.

    S0 is eliminated (it is linear), which leaves one unknown per voxel; its Gauss-Newton
    iteration starts at the log-linear fit, weighted by the squared magnitude, and is held within
    [1 / 0.5 s, 20 / (TE_last - TE_first)]. Two echoes are met exactly.

    Parameters
    ----------
    magnitude
        ``(X, Y, Z, E)`` with E >= 2.
    echo_times_s
        Echo times [s].
    mask
        Voxels to fit.

    Raises
    ------
    ValueError
        If there are fewer than two echoes, or the echo times do not match them or do not increase.

    """
    times = np.atleast_1d(np.asarray(echo_times_s, dtype=np.float64))
    if magnitude.ndim != 4 or magnitude.shape[3] < 2:
        raise ValueError(
            f'R2* needs two or more echoes, not a magnitude of shape {magnitude.shape}.'
        )
    if times.shape != magnitude.shape[3:] or np.any(np.diff(times) <= 0):
        raise ValueError(
            f'{magnitude.shape[3]} echoes need as many increasing echo times, '
            f'not {times.tolist()} s.'
        )
    inside = np.asarray(mask, dtype=bool)
    samples = np.maximum(np.nan_to_num(magnitude[inside].astype(np.float64)), 0)
    fitted = _fit_decay(samples, times, 1 / T2STAR_MAX_S, 20 / (times[-1] - times[0]))
    r2star, s0 = fitted.T
    t2star = np.divide(1, r2star, out=np.zeros_like(r2star), where=r2star > 0)
    maps = []
    for values in (r2star, t2star, s0):
        volume = np.zeros(inside.shape, dtype=np.float32)
        volume[inside] = values
        maps.append(volume)
    return Relaxometry(*maps)


@njit(cache=True)
def _fit_decay(samples, times, low, high):  # pragma: no cover (compiled)
    fitted = np.zeros((samples.shape[0], 2))
    for voxel in range(samples.shape[0]):
        s = samples[voxel]
        if s.max() <= 0:
            continue
        rate = min(max(_log_linear(s, times), low), high)
        amplitude, cost = _profile(s, times, rate)
        for _ in range(ITERATIONS):
            step = _gauss_newton_step(s, times, rate, amplitude)
            trial = rate
            while abs(step) > TOLERANCE * rate:
                trial = min(max(rate + step, low), high)
                trial_amplitude, trial_cost = _profile(s, times, trial)
                if trial_cost <= cost:
                    break
                trial = rate
                step *= 0.5
            if trial == rate:
                break
            rate, amplitude, cost = trial, trial_amplitude, trial_cost
        fitted[voxel, 0] = rate
        fitted[voxel, 1] = amplitude
    return fitted


@njit(cache=True)
def _log_linear(s, times):  # pragma: no cover (compiled)
    w = wt = wtt = wy = wty = 0.0
    for e in range(times.size):
        if s[e] > 0:
            weight = s[e] * s[e]
            y = np.log(s[e])
            w += weight
            wt += weight * times[e]
            wtt += weight * times[e] ** 2
            wy += weight * y
            wty += weight * times[e] * y
    determinant = w * wtt - wt * wt
    if determinant <= 1e-12 * w * wtt:
        return 1e9
    return -(w * wty - wt * wy) / determinant


@njit(cache=True)
def _profile(s, times, rate):  # pragma: no cover (compiled)
    se = ee = ss = 0.0
    for e in range(times.size):
        decay = np.exp(-rate * (times[e] - times[0]))
        se += s[e] * decay
        ee += decay * decay
        ss += s[e] * s[e]
    return se / ee * np.exp(rate * times[0]), ss - se * se / ee


@njit(cache=True)
def _gauss_newton_step(s, times, rate, amplitude):  # pragma: no cover (compiled)
    aa = ar = rr = ay = ry = 0.0
    for e in range(times.size):
        decay = np.exp(-rate * times[e])
        slope = -amplitude * times[e] * decay
        residual = s[e] - amplitude * decay
        aa += decay * decay
        ar += decay * slope
        rr += slope * slope
        ay += decay * residual
        ry += slope * residual
    determinant = aa * rr - ar * ar
    if determinant <= 0:
        return 0.0
    return (aa * ry - ar * ay) / determinant

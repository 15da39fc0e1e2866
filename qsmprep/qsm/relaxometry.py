"""Relaxometry: R2*, T2* and S0 from the decay of the magnitude over echoes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.special import hyp1f1

T2STAR_MAX_S = 0.5
"""Longest T2* that is distinguished from no decay [s]; R2* is bounded by its inverse from below."""

ITERATIONS = 30
TOLERANCE = 1e-6
LEAST_SIGNAL = 0.5
"""Signal of the second echo, in units of the noise, up to which rates can be distinguished."""
TABLE_END, TABLE_STEP = 20.0, 0.02
"""Signals, in units of the noise, at which the mean magnitude is tabulated."""


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
    magnitude: np.ndarray,
    echo_times_s: tuple[float, ...],
    mask: np.ndarray,
    noise_sd: float = 0.0,
    coils: int = 1,
) -> Relaxometry:
    """Fit a decay S0 exp(-R2* TE) and its noise floor to the magnitudes of each voxel.

    A magnitude does not fall to zero with its signal: its mean is that of a noncentral chi
    distribution (:func:`mean_magnitude`). That mean is fitted to the magnitudes by nonlinear least
    squares (Levenberg-Marquardt), with any echo times, from a start that is log-linear in the
    signals freed of their noise in the mean square. R2* stays within
    [1 / 0.5 s, 20 / (TE_last - TE_first)], and below the rate at which the second echo falls to
    half of the noise: faster decays cannot be distinguished. Two echoes are met exactly within
    that.

    Parameters
    ----------
    magnitude
        ``(X, Y, Z, E)`` with E >= 2.
    echo_times_s
        Echo times [s].
    mask
        Voxels to fit.
    noise_sd
        Noise of the real or imaginary part of one coil, in units of the magnitude; 0 for a
        magnitude without floor.
    coils
        Coils whose sum of squares the magnitude is the root of; 1 for images that the scanner
        combined.

    Raises
    ------
    ValueError
        If there are fewer than two echoes, or the echo times do not match them or do not increase.

    References
    ----------
    Feng Y et al., Magn Reson Med 70 (2013) 1765, 10.1002/mrm.24607.

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
    table = mean_magnitude(np.arange(0, TABLE_END + TABLE_STEP, TABLE_STEP), coils)
    limits = (1 / T2STAR_MAX_S, 20 / (times[-1] - times[0]))
    r2star, s0 = _fit_decay(samples, times, *limits, float(noise_sd), float(coils), table).T
    t2star = np.divide(1, r2star, out=np.zeros_like(r2star), where=r2star > 0)
    maps = []
    for values in (r2star, t2star, s0):
        volume = np.zeros(inside.shape, dtype=np.float32)
        volume[inside] = values
        maps.append(volume)
    return Relaxometry(*maps)


def mean_magnitude(signal: np.ndarray, coils: int = 1) -> np.ndarray:
    """Mean of a magnitude, both in units of the noise's SD: noncentral chi, Rician for one coil.

    Examples
    --------
    >>> mean_magnitude(np.array([0.0, 10.0])).round(3).tolist()
    [1.253, 10.05]

    """
    floor = np.sqrt(np.pi / 2) * np.prod((2 * np.arange(1, coils) + 1) / (2 * np.arange(1, coils)))
    return floor * hyp1f1(-0.5, coils, -(np.asarray(signal, dtype=np.float64) ** 2) / 2)


@njit(cache=True)
def _fit_decay(samples, times, low, high, noise, coils, table):  # pragma: no cover (compiled)
    fitted = np.zeros((samples.shape[0], 2))
    for voxel in range(samples.shape[0]):
        s = samples[voxel]
        if s.max() <= 0:
            continue
        top = high
        if noise > 0:
            signal = np.sqrt(max(s[0] * s[0] - 2 * coils * noise * noise, 0.0))
            known = np.log(max(signal / (LEAST_SIGNAL * noise), np.e)) / (times[1] - times[0])
            top = max(low, min(high, known))
        first, rate = _start(s, times, low, top, 2 * coils * noise * noise)
        aa, ar, rr, ga, gr, cost = _normal(s, times, first, rate, noise, coils, table)
        damping = 1e-3
        for _ in range(ITERATIONS):
            pa, pr = aa * (1 + damping), rr * (1 + damping)
            determinant = pa * pr - ar * ar
            bound = (rate <= low and gr < 0) or (rate >= top and gr > 0)
            if bound or determinant <= 0:
                da, dr = (ga / pa if pa > 0 else 0.0), 0.0
            else:
                da = (pr * ga - ar * gr) / determinant
                dr = (pa * gr - ar * ga) / determinant
            trial_first = max(first + da, 0.0)
            trial_rate = min(max(rate + dr, low), top)
            step = abs(trial_first - first) / (first + 1e-30) + abs(trial_rate - rate) / rate
            if step < TOLERANCE:
                break
            trial = _normal(s, times, trial_first, trial_rate, noise, coils, table)
            if trial[5] <= cost:
                first, rate = trial_first, trial_rate
                aa, ar, rr, ga, gr, cost = trial
                damping *= 0.1
            else:
                damping *= 10
        fitted[voxel, 0] = rate
        fitted[voxel, 1] = first * np.exp(rate * times[0])
    return fitted


@njit(cache=True)
def _start(s, times, low, high, floor):  # pragma: no cover (compiled)
    """Signal of the first echo and rate, log-linear in the signals without their noise."""
    w = wt = wtt = wy = wty = 0.0
    for e in range(times.size):
        square = s[e] * s[e] - floor
        if square > 0:
            t, y = times[e] - times[0], 0.5 * np.log(square)
            w += square
            wt += square * t
            wtt += square * t * t
            wy += square * y
            wty += square * t * y
    determinant = w * wtt - wt * wt
    if determinant <= 1e-12 * w * wtt:
        return s[0], high
    rate = min(max(-(w * wty - wt * wy) / determinant, low), high)
    return np.exp((wy + rate * wt) / w), rate


@njit(cache=True)
def _normal(s, times, first, rate, noise, coils, table):  # pragma: no cover (compiled)
    """Normal equations of signal and rate, and the sum of squared misfits."""
    aa = ar = rr = ga = gr = cost = 0.0
    for e in range(times.size):
        t = times[e] - times[0]
        decay = np.exp(-rate * t)
        signal = first * decay
        mean, slope = signal, 1.0
        if noise > 0:
            place = signal / (noise * TABLE_STEP)
            if place < table.size - 1:
                i = int(place)
                slope = (table[i + 1] - table[i]) / TABLE_STEP
                mean = noise * (table[i] + (place - i) * TABLE_STEP * slope)
            else:
                mean = np.sqrt(signal * signal + (2 * coils - 1) * noise * noise)
                slope = signal / mean
        by_first, by_rate = slope * decay, -slope * signal * t
        misfit = s[e] - mean
        aa += by_first * by_first
        ar += by_first * by_rate
        rr += by_rate * by_rate
        ga += by_first * misfit
        gr += by_rate * misfit
        cost += misfit * misfit
    return aa, ar, rr, ga, gr, cost

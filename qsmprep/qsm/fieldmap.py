"""The field map [Hz] from the unwrapped echoes, and what it is worth.

Phase is in radians and echo times are in seconds throughout; arrays are ``(X, Y, Z)`` for one echo
and ``(X, Y, Z, E)`` for several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.optimize import nnls

from qsmprep.qsm.phase import TWO_PI, check_echo_times, strong_voxels, turn

RANDOM_PHASE_SD = np.pi / np.sqrt(3)
"""Standard deviation of a phase that is uniform over the circle [rad]: no phase is worth less."""
SIGNAL_SHIFT = 0.1
"""How far the signal of a voxel lies off its middle, in units of the relative change of the
magnitude to the next voxel. A linear change shifts it by 1/12; what the voxel does not resolve
shifts it a little more. 0.1 makes the error likeliest where few errors are large, as around
lesions (benchmarks/fieldmap.py); 0.3 fits the largest alone, and writes off good voxels around."""
SAMPLE = 400_000
"""Voxels of an image that medians are taken of."""
CONTRADICTION = 3.0
"""Misfit over noise above which later echoes are left out, the last first: a voxel around a strong
source loses the signal of its steepest part, and its phase leaves the mean field with time."""
NOISY = 3.0
"""Noise of an echo over that of the others above which it counts by its own (motion, spikes); clean
echoes differ by a factor of 2 at most where voxels do not resolve the field, else by 1.1."""
EMPTY = 0.03
"""Power of k-space over that of the ring further in, one of 16, below which it was filled with
zeros; measured rings, but for the innermost, have 0.3 and more."""
NOISE_FLOOR = 1e-6
"""Least noise, as a fraction of the largest magnitude: simulations may have none."""


@dataclass(frozen=True)
class FieldMap:
    """One field for all echoes.

    Parameters
    ----------
    field_hz
        Off-resonance frequency [Hz], ``(X, Y, Z)``.
    noise_hz
        Standard deviation of the field [Hz], finite everywhere: thermal noise, more where the
        echoes contradict each other by more than it explains, and where field and magnitude change
        within a voxel, whose signal then does not have the mean field.
    misfit
        Root of the reduced chi-square of the echoes against the field: misfit over noise, 1 where
        there is noise alone; zero for a single echo. Large where echoes contradict each other
        (flow, voxels that are aliased at late echoes, wrong unwrapping, bipolar readout).
    noise_sd
        Noise of the real or imaginary part, in units of the magnitude.
    excess
        Noise of each echo over that: 1, but for those that are far noisier than the others.

    """

    field_hz: np.ndarray
    noise_hz: np.ndarray
    misfit: np.ndarray
    noise_sd: float
    excess: tuple[float, ...]


def align_echoes(
    unwrapped: np.ndarray,
    magnitude: np.ndarray,
    echo_times_s: tuple[float, ...],
    mask: np.ndarray | None = None,
    parts: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Remove the whole-volume multiples of 2 pi by which unwrapped echoes contradict one field.

    Spatial unwrapping leaves every echo a free multiple of 2 pi. The phase offset must have been
    removed: then the phase is proportional to the echo time, and of all multiples for the first
    echo the one is taken for which the other echoes fit best; where several fit alike (evenly
    spaced echoes), the one with the smallest field.

    Parameters
    ----------
    unwrapped
        Spatially unwrapped phase [rad], ``(X, Y, Z, E)``, or ``(X, Y, Z)`` for a single echo.
    magnitude
        Magnitude of the same shape.
    echo_times_s
        Echo times [s].
    mask
        Voxels to compare; all with signal when None.
    parts
        Objects that do not touch, which have multiples of 2 pi of their own.

    Returns
    -------
    aligned
        The input plus one multiple of 2 pi for each echo, and each part; itself where all of them
        are zero.

    """
    if parts:
        aligned = align_echoes(unwrapped, magnitude, echo_times_s, mask)
        for part in parts:
            own = align_echoes(unwrapped, magnitude, echo_times_s, part)
            inside = part.reshape(part.shape + (1,) * (own.ndim - 3))
            aligned = np.where(inside, own, aligned)
        return aligned
    times = check_echo_times(echo_times_s, unwrapped)
    volumes = unwrapped if unwrapped.ndim == 4 else unwrapped[..., np.newaxis]
    weights = magnitude if magnitude.ndim == 4 else magnitude[..., np.newaxis]
    every = max(1, round((volumes[..., 0].size / SAMPLE) ** (1 / 3)))
    every = (slice(None, None, every),) * 3
    strong = strong_voxels(weights[every][..., -1], None if mask is None else mask[every])
    samples = volumes[every][strong].astype(np.float64) / TWO_PI
    first = np.median(samples[:, 0])
    ratio = times / times[0]
    excess = np.median(samples - samples[:, :1] * ratio, axis=0)

    nearest = int(-np.round(first))
    candidates = np.arange(nearest - 4, nearest + 5)
    shift = np.round(candidates[:, np.newaxis] * ratio - excess)
    misfit = (excess + shift - candidates[:, np.newaxis] * ratio) / ratio
    cost = np.sqrt(np.mean(misfit**2, axis=1)) + 1e-2 * np.abs(first + candidates)
    turns = shift[np.argmin(cost)].astype(np.float32)
    if not turns.any():
        return unwrapped
    aligned = volumes.astype(np.float32) + np.float32(TWO_PI) * turns
    return aligned.reshape(unwrapped.shape)


def combine_echoes(
    unwrapped: np.ndarray,
    magnitude: np.ndarray,
    echo_times_s: tuple[float, ...],
    noise_sd: float | None = None,
) -> FieldMap:
    """Field of least variance: the weighted mean of the echoes' fields, weights (TE x magnitude)^2.

    An echo that is far noisier than the others (:func:`echo_noise`) weighs the less. Where echoes
    contradict each other by three times their noise, the early ones count alone. Where the first
    two do, the first counts alone, and their difference is part of the noise.

    A nonlinear fit of the complex signal is no better in the core of the brain and worse at its
    rim, where phase is wrong rather than noisy (benchmarks/fieldmap.py).

    Parameters
    ----------
    unwrapped
        Aligned phase without offset [rad], ``(X, Y, Z, E)`` or ``(X, Y, Z)`` for a single echo.
    magnitude
        Magnitude of the same shape.
    echo_times_s
        Echo times [s].
    noise_sd
        Noise of the real or imaginary part in units of the magnitude; when None, the smaller of
        :func:`magnitude_noise` and :func:`phase_noise`, which both hold some anatomy too.

    """
    times = check_echo_times(echo_times_s, unwrapped)
    volumes = unwrapped if unwrapped.ndim == 4 else unwrapped[..., np.newaxis]
    magnitudes = magnitude if magnitude.ndim == 4 else magnitude[..., np.newaxis]
    excess = np.ones(len(times))
    if noise_sd is None:
        steps = measured_steps(magnitudes[..., 0] * turn(volumes[..., 0]))
        noise_sd = magnitude_noise(magnitudes[..., 0], steps)
        if len(times) > 1:
            noise_sd = min(noise_sd, phase_noise(volumes, magnitudes, times, steps))
        if len(times) > 2:
            own, usual = echo_noise(volumes, magnitudes, times, steps)
            if own.max() > NOISY * usual > 0:
                noise_sd = min(noise_sd, usual)
                excess = np.where(own > NOISY * usual, own / usual, excess)
    noise_sd = float(max(noise_sd, NOISE_FLOOR * float(magnitudes.max())) or 1.0)

    shape = volumes.shape[:3]
    slope, information, chi_square, spread = (
        np.empty(shape, dtype=np.float32, order='F') for _ in range(4)
    )
    _weighted_slope(
        volumes.T.reshape(len(times), -1),
        magnitudes.T.reshape(len(times), -1),
        times,
        noise_sd * excess,
        slope.T.reshape(-1),
        information.T.reshape(-1),
        chi_square.T.reshape(-1),
        spread.T.reshape(-1),
    )
    field_hz = slope / np.float32(TWO_PI)
    chi_square /= max(len(times) - 1, 1)
    variance = spread / np.float32(TWO_PI**2)
    np.sqrt(information, out=information)
    variance += SIGNAL_SHIFT**2 * _shift_of_field(field_hz, information)
    return FieldMap(field_hz, np.sqrt(variance), np.sqrt(chi_square), noise_sd, tuple(excess))


@njit(cache=True)
def _weighted_slope(
    phase, magnitude, times, noise, slope, information, chi_square, spread
):  # pragma: no cover (compiled)
    """Slope of the phase over the echo times, information and misfit of all echoes over the noise,
    and the variance of the slope."""
    floor = 1 / RANDOM_PHASE_SD
    for n in range(slope.size):
        for used in range(times.size, 0, -1):
            moment = power = 0.0
            for e in range(used):
                weight = max(magnitude[e, n] / noise[e], floor) ** 2
                moment += times[e] * weight * phase[e, n]
                power += times[e] ** 2 * weight
            best = moment / power
            misfit = 0.0
            for e in range(used):
                weight = max(magnitude[e, n] / noise[e], floor) ** 2
                misfit += weight * (phase[e, n] - times[e] * best) ** 2
            if used == times.size:
                information[n], chi_square[n] = power, misfit
            reduced = misfit / max(used - 1, 1)
            # a single echo that is left has none to confirm it
            change = (best - slope[n]) ** 2 if used == 1 and times.size > 1 else 0.0
            slope[n], spread[n] = best, max(reduced, 1.0) / power + change
            if reduced <= CONTRADICTION**2:
                break


def _shift_of_field(field: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """Sum over the axes of (change of the field x relative change of the signal)^2, by voxel."""
    total = np.zeros_like(field)
    for axis, count in enumerate(field.shape):
        if count > 1:
            change = np.gradient(field, axis=axis)
            change *= np.gradient(signal, axis=axis)
            total += np.square(change, out=change)
    return total / np.square(signal)


def measured_steps(signal: np.ndarray) -> tuple[int, ...]:
    """Voxels along each axis that hold one measurement: several where k-space was zero-filled.

    Scanners interpolate so (ZIP, reconstruction matrix). Neighbours then share their noise, and
    their differences tell too little of it.

    Parameters
    ----------
    signal
        Complex signal of an echo, (X, Y, Z).

    """
    steps = []
    for axis, count in enumerate(signal.shape):
        lines = np.moveaxis(signal, axis, -1)[::2, ::2]
        power = (np.abs(np.fft.fft(lines, axis=-1)) ** 2).sum(axis=(0, 1))
        rings = np.array_split(power[: count // 2] + power[::-1][: count // 2], min(16, count // 2))
        means = np.array([ring.mean() for ring in rings])
        empty = [n for n in range(3, len(means)) if means[n:].max() <= EMPTY * means[n - 1]]
        steps.append(math.ceil(len(means) / empty[0] - 0.2) if empty else 1)
    return tuple(steps)


def phase_noise(
    unwrapped: np.ndarray,
    magnitude: np.ndarray,
    times: np.ndarray,
    steps: tuple[int, ...] = (1, 1, 1),
) -> float:
    """Standard deviation of the noise in the real or imaginary part, from the phase of two echoes.

    The fields of the last two echoes differ by noise, by a remainder of the phase offset, which
    is smooth, and by what voxels do not resolve. The finest diagonal details of the difference
    are taken as in :func:`magnitude_noise`.

    Parameters
    ----------
    unwrapped
        Aligned phase without offset [rad], ``(X, Y, Z, E)``, two echoes at least.
    magnitude
        Magnitude of the same shape.
    times
        Echo times [s].
    steps
        :func:`measured_steps`.

    """
    return _pair_noise(unwrapped, magnitude, times, steps, (-1, -2))[0]


def echo_noise(
    unwrapped: np.ndarray,
    magnitude: np.ndarray,
    times: np.ndarray,
    steps: tuple[int, ...] = (1, 1, 1),
) -> tuple[np.ndarray, float]:
    """Noise of each echo, in units of the magnitude, by the fields in which pairs of them differ.

    The variance of a difference is the sum of two; three pairs of three echoes leave none open (a
    three-cornered hat). Each echo is compared with the next two.

    Parameters
    ----------
    unwrapped, magnitude, times, steps
        Three echoes at least, as for :func:`phase_noise`.

    Returns
    -------
    noise_sd
        Of each echo; ones where a pair differs by nothing.
    usual
        That of the pair that differs least.

    References
    ----------
    Gray JE, Allan DW, Proc 28th Freq Control Symp (1974) 243, 10.1109/FREQ.1974.200027.

    """
    count = len(times)
    pairs = [(e, other) for e in range(count) for other in range(e + 1, min(e + 3, count))]
    found = [_pair_noise(unwrapped, magnitude, times, steps, pair) for pair in pairs]
    usual = min(noise for noise, _ in found)
    if usual <= 0:
        return np.ones(count), 1.0
    shares = np.zeros((len(pairs), count))
    for row, (pair, (noise, share)) in enumerate(zip(pairs, found, strict=True)):
        shares[row, pair] = np.array([share, 1 - share]) / noise**2
    return np.sqrt(nnls(shares, np.ones(len(pairs)))[0]), usual


def _pair_noise(
    unwrapped: np.ndarray,
    magnitude: np.ndarray,
    times: np.ndarray,
    steps: tuple[int, ...],
    pair: tuple[int, int],
) -> tuple[float, float]:
    """Noise that the fields of two echoes differ by, and the share of the first one in it."""
    first, second = (np.float32(times[e]) * magnitude[..., e] for e in pair)
    one, other = pair
    difference = unwrapped[..., one] / times[one] - unwrapped[..., other] / times[other]
    spread = np.hypot(first, second)
    inverse = np.divide(first * second, spread, out=np.zeros_like(spread), where=spread > 0)
    signal = np.minimum(magnitude[..., one], magnitude[..., other])
    noise = _detail_noise((difference * inverse)[..., np.newaxis], signal[..., np.newaxis], steps)
    share = np.square(np.divide(second, spread, out=np.zeros_like(spread), where=spread > 0))
    return noise, float(np.median(share[_strong(signal)])) if signal.any() else 0.5


def magnitude_noise(magnitude: np.ndarray, steps: tuple[int, ...] = (1, 1, 1)) -> float:
    """Standard deviation of the noise in the real or imaginary part, from the magnitude alone.

    The finest diagonal (HHH) Haar coefficients of a magnitude hold hardly any anatomy; where the
    signal is strong, the noise of the magnitude is that of the real part. Their median absolute
    deviation is taken over the cubes of 2 x 2 x 2 voxels with signal, so neither a background
    that was set to zero nor its Rayleigh statistics matter.

    Parameters
    ----------
    magnitude
        ``(X, Y, Z)`` or ``(X, Y, Z, E)`` with at least two voxels along each axis.
    steps
        :func:`measured_steps`: voxels so far apart are compared.

    Returns
    -------
    noise_sd
        In units of the magnitude.

    References
    ----------
    Coupe P et al., Med Image Anal 14 (2010) 483, 10.1016/j.media.2010.03.001.

    """
    echoes = magnitude if magnitude.ndim == 4 else magnitude[..., np.newaxis]
    return _detail_noise(echoes, echoes, steps)


def _detail_noise(values: np.ndarray, signal: np.ndarray, steps: tuple[int, ...]) -> float:
    """Spread of the finest diagonal Haar coefficients where the signal is strong."""
    apart = tuple(slice(None, None, step) for step in steps)
    even = tuple(slice(0, n - n % 2) for n in values[apart].shape[:3])
    detail, signal = (image[apart][even].astype(np.float32) for image in (values, signal))
    for axis in range(3):
        index = [slice(None)] * 4
        index[axis] = slice(0, None, 2)
        other = index.copy()
        other[axis] = slice(1, None, 2)
        detail = (detail[tuple(index)] - detail[tuple(other)]) / np.float32(np.sqrt(2))
        signal = np.minimum(signal[tuple(index)], signal[tuple(other)])
    if not (signal > 0).any():
        return 0.0
    details = detail[_strong(signal)]
    return float(np.median(np.abs(details - np.median(details))) / 0.6745)


def _strong(signal: np.ndarray) -> np.ndarray:
    """Where there is half of the signal of bright voxels or more."""
    return signal > 0.5 * np.percentile(signal[signal > 0], 80)

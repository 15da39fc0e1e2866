"""The field map [Hz] from the unwrapped echoes, and what it is worth.

Phase is in radians and echo times are in seconds throughout; arrays are ``(X, Y, Z)`` for one echo
and ``(X, Y, Z, E)`` for several.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qsmprep.qsm.phase import TWO_PI, check_echo_times, strong_voxels

RANDOM_PHASE_SD = np.pi / np.sqrt(3)
"""Standard deviation of a phase that is uniform over the circle [rad]: no phase is worth less."""
TOLERATED_MISFIT = 2
"""Misfit of the echoes, in units of that expected from noise, above which the noise is raised."""
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
        Standard deviation of the field [Hz], finite everywhere: that of the thermal noise, and
        more where the echoes contradict each other by more than noise explains.
    residual_rad
        Magnitude-weighted root mean square over echoes of phase minus the phase of the field
        [rad]; zero for a single echo. Large where echoes contradict each other (flow, voxels
        that are aliased at late echoes, wrong unwrapping).

    """

    field_hz: np.ndarray
    noise_hz: np.ndarray
    residual_rad: np.ndarray


def align_echoes(
    unwrapped: np.ndarray,
    magnitude: np.ndarray,
    echo_times_s: tuple[float, ...],
    mask: np.ndarray | None = None,
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

    Returns
    -------
    aligned
        The input plus one multiple of 2 pi for each echo.

    """
    times = check_echo_times(echo_times_s, unwrapped)
    volumes = unwrapped if unwrapped.ndim == 4 else unwrapped[..., np.newaxis]
    weights = magnitude if magnitude.ndim == 4 else magnitude[..., np.newaxis]
    strong = strong_voxels(weights[..., -1], mask)
    samples = volumes[strong].astype(np.float64) / TWO_PI
    first = np.median(samples[:, 0])
    ratio = times / times[0]
    excess = np.median(samples - samples[:, :1] * ratio, axis=0)

    nearest = int(-np.round(first))
    candidates = np.arange(nearest - 4, nearest + 5)
    shift = np.round(candidates[:, np.newaxis] * ratio - excess)
    misfit = (excess + shift - candidates[:, np.newaxis] * ratio) / ratio
    cost = np.sqrt(np.mean(misfit**2, axis=1)) + 1e-2 * np.abs(first + candidates)
    turns = shift[np.argmin(cost)].astype(np.float32)
    aligned = volumes.astype(np.float32) + np.float32(TWO_PI) * turns
    return aligned.reshape(unwrapped.shape)


def combine_echoes(
    unwrapped: np.ndarray,
    magnitude: np.ndarray,
    echo_times_s: tuple[float, ...],
    noise_sd: float | None = None,
) -> FieldMap:
    """Field of least variance: the weighted mean of the echoes' fields, weights (TE x magnitude)^2.

    Parameters
    ----------
    unwrapped
        Aligned phase without offset [rad], ``(X, Y, Z, E)`` or ``(X, Y, Z)`` for a single echo.
    magnitude
        Magnitude of the same shape.
    echo_times_s
        Echo times [s].
    noise_sd
        Noise of the real or imaginary part in units of the magnitude; :func:`magnitude_noise`
        when None.

    """
    times = check_echo_times(echo_times_s, unwrapped).astype(np.float32)
    volumes = unwrapped if unwrapped.ndim == 4 else unwrapped[..., np.newaxis]
    magnitudes = magnitude if magnitude.ndim == 4 else magnitude[..., np.newaxis]
    if noise_sd is None:
        noise_sd = magnitude_noise(magnitude)
    noise_sd = max(noise_sd, NOISE_FLOOR * float(magnitude.max())) or 1.0

    shape = volumes.shape[:3]
    moment, information, power = (np.zeros(shape, dtype=np.float32) for _ in range(3))
    floor = np.float32(noise_sd / RANDOM_PHASE_SD)
    for echo, time in enumerate(times):
        squared = np.maximum(magnitudes[..., echo], floor).astype(np.float32) ** 2
        moment += time * squared * volumes[..., echo]
        information += time**2 * squared
        power += squared
    slope = moment / information
    misfit = np.zeros(shape, dtype=np.float32)
    for echo, time in enumerate(times):
        squared = np.maximum(magnitudes[..., echo], floor).astype(np.float32) ** 2
        misfit += squared * (volumes[..., echo] - time * slope) ** 2
    thermal = np.float32(noise_sd) / (np.float32(TWO_PI) * np.sqrt(information))
    expected = np.float32(noise_sd) * np.sqrt(max(len(times) - 1, 1))
    return FieldMap(
        field_hz=slope / np.float32(TWO_PI),
        noise_hz=thermal * np.maximum(1, np.sqrt(misfit) / (TOLERATED_MISFIT * expected)),
        residual_rad=np.sqrt(misfit / power),
    )


def magnitude_noise(magnitude: np.ndarray) -> float:
    """Standard deviation of the noise in the real or imaginary part, from the magnitude alone.

    The finest diagonal (HHH) Haar coefficients of a magnitude hold hardly any anatomy; where the
    signal is strong, the noise of the magnitude is that of the real part. Their median absolute
    deviation is taken over the cubes of 2 x 2 x 2 voxels with signal, so neither a background
    that was set to zero nor its Rayleigh statistics matter.

    Parameters
    ----------
    magnitude
        ``(X, Y, Z)`` or ``(X, Y, Z, E)`` with at least two voxels along each axis.

    Returns
    -------
    noise_sd
        In units of the magnitude. Images that were interpolated (zero-filled k-space) have too
        little noise at this scale, and the value is then too low by a factor common to all voxels.

    References
    ----------
    Coupe P et al., Med Image Anal 14 (2010) 483, 10.1016/j.media.2010.03.001.

    """
    even = tuple(slice(0, n - n % 2) for n in magnitude.shape[:3])
    echoes = magnitude[even].astype(np.float32).reshape(*(n.stop for n in even), -1)
    signal, detail = echoes, echoes
    for axis in range(3):
        index = [slice(None)] * 4
        index[axis] = slice(0, None, 2)
        other = index.copy()
        other[axis] = slice(1, None, 2)
        detail = (detail[tuple(index)] - detail[tuple(other)]) / np.float32(np.sqrt(2))
        signal = np.minimum(signal[tuple(index)], signal[tuple(other)])
    present = signal > 0
    if not present.any():
        return 0.0
    strong = signal > 0.5 * np.percentile(signal[present], 80)
    details = detail[strong]
    return float(np.median(np.abs(details - np.median(details))) / 0.6745)

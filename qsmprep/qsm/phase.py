"""Phase: scaling to radians, receive offsets (MCPC-3D-S), and the field map [Hz] with its noise.

Phase is in radians and echo times are in seconds throughout; arrays are ``(X, Y, Z)`` for one echo
and ``(X, Y, Z, E)`` for several. The exact spatial unwrapping lies between these steps and is done
by ROMEO, outside this module.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter

from qsmprep.qsm.grid import Grid

PI = np.float32(np.pi)
TWO_PI = 2 * np.pi
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


def wrap(phase: np.ndarray) -> np.ndarray:
    """Wrap into [-pi, pi); values that lie in it are returned bit for bit.

    Examples
    --------
    >>> wrap(np.float32([0.0, 3.0, 4.0])).round(3).tolist()
    [0.0, 3.0, -2.2829999923706055]

    """
    phase = np.asarray(phase)
    outside = (phase < -PI) | (phase >= PI)
    cycles = np.where(outside, np.floor((phase.astype(np.float64) + np.pi) / TWO_PI), 0)
    wrapped = np.where(outside, phase - cycles * TWO_PI, phase).astype(np.float32)
    return np.where(wrapped >= PI, -PI, wrapped)


def scale_phase(raw: np.ndarray, low: float, high: float, sign: int = 1) -> np.ndarray:
    """Stored phase to radians: [low, high] maps linearly to [-pi, pi], then wraps into [-pi, pi).

    Parameters
    ----------
    raw
        Phase as stored, any shape.
    low, high
        The *nominal* range of a full turn, for instance -4096 and 4096 (not the extremes that
        happen to occur).
    sign
        1 or -1: the vendor's sense of rotation.

    Raises
    ------
    ValueError
        If the range is empty or the sign is neither 1 nor -1.

    Examples
    --------
    >>> scale_phase(np.array([-4096, 0, 2048, 4096]), -4096, 4096).round(4).tolist()
    [-3.1415998935699463, 0.0, 1.5707999467849731, -3.1415998935699463]

    """
    if not (np.isfinite(low) and np.isfinite(high) and high > low):
        raise ValueError(
            f'The nominal phase range runs from {low} to {high}; give a low end below the high end.'
        )
    if sign not in (1, -1):
        raise ValueError(f'The phase sign is 1 or -1, not {sign}.')
    turns = (np.asarray(raw, dtype=np.float64) - low) / (high - low) - 0.5
    return wrap(sign * TWO_PI * turns)


def correct_alternate_slices(phase: np.ndarray, axis: int = 2) -> np.ndarray:
    """Undo the missing FFT shift of GE reconstructions: pi is added to every second slice.

    Parameters
    ----------
    phase
        Wrapped phase [rad].
    axis
        The slice axis.

    """
    index = [np.newaxis] * phase.ndim
    index[axis] = slice(None)
    odd = (np.arange(phase.shape[axis]) % 2).astype(bool)[tuple(index)]
    return wrap(np.where(odd, phase + PI, phase))


def phase_difference(phase: np.ndarray, magnitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hermitian inner product of the first two echoes.

    Parameters
    ----------
    phase
        Wrapped phase [rad], ``(X, Y, Z, E)`` with E >= 2.
    magnitude
        Magnitude of the same shape.

    Returns
    -------
    difference
        Phase of echo 2 minus echo 1, in [-pi, pi) [rad].
    weight
        Product of the two magnitudes: the magnitude to unwrap the difference with.

    Raises
    ------
    ValueError
        If there are fewer than two echoes.

    """
    _require_echoes(phase, 'A phase difference')
    difference = wrap(phase[..., 1].astype(np.float32) - phase[..., 0])
    return difference, (magnitude[..., 0] * magnitude[..., 1]).astype(np.float32)


def phase_offset(
    unwrapped_difference: np.ndarray,
    phase: np.ndarray,
    magnitude: np.ndarray,
    echo_times_s: tuple[float, ...],
    grid: Grid,
    sigma_mm: float = 7.0,
) -> np.ndarray:
    """Phase at echo time zero, that of coils and reconstruction (MCPC-3D-S).

    The first two echoes give the field, and with it the phase that the first echo has beyond it.
    That remainder is smoothed as a complex number, since it wraps; the voxels are weighted by the
    inverse of the noise it has there. Smoothing is done twice, the second time on what the first
    left over, so that the slope of the offset is kept at the rim of the head, where the kernel
    sees one side only.

    Parameters
    ----------
    unwrapped_difference
        :func:`phase_difference` after spatial unwrapping [rad].
    phase, magnitude
        All echoes, phase wrapped [rad].
    echo_times_s
        Echo times [s] of a monopolar readout.
    grid
        The grid, for its voxel size.
    sigma_mm
        Standard deviation of the Gaussian [mm].

    Returns
    -------
    offset
        Phase offset in [-pi, pi) [rad], common to all echoes.

    Raises
    ------
    ValueError
        If there are fewer than two echoes or the first two echo times do not increase.

    References
    ----------
    Eckstein K et al., Magn Reson Med 79 (2018) 2996, 10.1002/mrm.26963.

    """
    _require_echoes(phase, 'A phase offset')
    first, second = _echo_times(echo_times_s, phase)[:2]
    ratio = first / (second - first)
    turns = _global_turns(unwrapped_difference, magnitude[..., 0] * magnitude[..., 1])
    field_phase = np.float32(ratio) * (unwrapped_difference - np.float32(TWO_PI * turns))
    remainder = np.exp(1j * (phase[..., 0] - field_phase)).astype(np.complex64)

    m1, m2 = (magnitude[..., echo].astype(np.float32) for echo in (0, 1))
    noise = np.sqrt(((1 + ratio) * m2) ** 2 + (ratio * m1) ** 2)
    weight = np.divide(m1 * m2, noise, out=np.zeros_like(m1), where=noise > 0)
    sigma = tuple(sigma_mm / size for size in grid.voxel_size)
    offset = _smooth_angle(weight * remainder, sigma)
    return wrap(offset + _smooth_angle(weight * remainder * np.exp(-1j * offset), sigma))


def remove_offset(phase: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Phase without the offset that all echoes share, wrapped again [rad]."""
    if phase.ndim == offset.ndim + 1:
        offset = offset[..., np.newaxis]
    return wrap(phase - offset)


def laplacian_unwrap(phase: np.ndarray, grid: Grid) -> np.ndarray:
    """Unwrap in the least-squares sense, from the Laplacian of the phase.

    Solves Poisson's equation for the divergence of the wrapped differences of neighbours, with
    reflecting borders (cosine transform). The result is smooth but *not* the input plus multiples
    of 2 pi: around poles of the phase it is wrong over a distance. It is meant for phase that an
    exact method cannot unwrap.

    Parameters
    ----------
    phase
        Wrapped phase [rad], ``(X, Y, Z)`` or ``(X, Y, Z, E)``; echoes are unwrapped one by one.
    grid
        The grid, for its voxel size.

    References
    ----------
    Ghiglia DC, Romero LA, J Opt Soc Am A 11 (1994) 107; Schofield MA, Zhu Y, Opt Lett 28 (2003)
    1194.

    """
    if phase.ndim == 4:
        return np.stack([laplacian_unwrap(echo, grid) for echo in np.moveaxis(phase, 3, 0)], axis=3)
    phase = phase.astype(np.float32)
    laplacian = np.zeros_like(phase)
    eigenvalue = np.zeros(phase.shape, dtype=np.float32)
    for axis, (count, size) in enumerate(zip(phase.shape, grid.voxel_size, strict=True)):
        step = wrap(np.diff(phase, axis=axis)) / np.float32(size**2)
        pad = [(0, 0)] * 3
        pad[axis] = (1, 1)
        laplacian += np.diff(np.pad(step, pad), axis=axis)
        shape = [1, 1, 1]
        shape[axis] = count
        wave = 2 * np.cos(np.pi * np.arange(count) / count) - 2
        eigenvalue += (wave / size**2).reshape(shape).astype(np.float32)
    spectrum = fft.dctn(laplacian, norm='ortho')
    eigenvalue[0, 0, 0] = 1
    spectrum /= eigenvalue
    spectrum[0, 0, 0] = 0
    unwrapped = fft.idctn(spectrum, norm='ortho')
    constant = np.angle(np.mean(np.exp(1j * (phase - unwrapped))))
    return (unwrapped + np.float32(constant)).astype(np.float32)


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
    times = _echo_times(echo_times_s, unwrapped)
    volumes = unwrapped if unwrapped.ndim == 4 else unwrapped[..., np.newaxis]
    weights = magnitude if magnitude.ndim == 4 else magnitude[..., np.newaxis]
    strong = _strong_voxels(weights[..., -1], mask)
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
    times = _echo_times(echo_times_s, unwrapped).astype(np.float32)
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


def _echo_times(echo_times_s: tuple[float, ...], data: np.ndarray) -> np.ndarray:
    times = np.atleast_1d(np.asarray(echo_times_s, dtype=np.float64))
    count = data.shape[3] if data.ndim == 4 else 1
    if times.shape != (count,):
        raise ValueError(f'{count} echoes need as many echo times, not {times.tolist()} s.')
    if not np.all(np.isfinite(times)) or times[0] <= 0 or np.any(np.diff(times) <= 0):
        raise ValueError(f'Echo times must be positive and increasing, not {times.tolist()} s.')
    return times


def _require_echoes(phase: np.ndarray, what: str) -> None:
    if phase.ndim != 4 or phase.shape[3] < 2:
        raise ValueError(f'{what} needs two or more echoes, not an array of shape {phase.shape}.')


def _strong_voxels(magnitude: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    inside = magnitude > 0 if mask is None else np.asarray(mask, dtype=bool)
    if not inside.any():
        return np.ones(magnitude.shape, dtype=bool)
    return inside & (magnitude >= np.median(magnitude[inside]))


def _global_turns(unwrapped: np.ndarray, weight: np.ndarray) -> float:
    return float(np.round(np.median(unwrapped[_strong_voxels(weight, None)]) / TWO_PI))


def _smooth_angle(values: np.ndarray, sigma_voxels: tuple[float, ...]) -> np.ndarray:
    parts = (
        gaussian_filter(part.astype(np.float32), sigma_voxels, mode='constant', truncate=3.0)
        for part in (values.imag, values.real)
    )
    return np.arctan2(*parts)

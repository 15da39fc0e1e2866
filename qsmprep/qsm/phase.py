"""Phase: scaling to radians, receive offsets (MCPC-3D-S), and unwrapping by its Laplacian.

Phase is in radians and echo times are in seconds throughout; arrays are ``(X, Y, Z)`` for one echo
and ``(X, Y, Z, E)`` for several. The exact spatial unwrapping is done by ROMEO, outside this
module; what comes after it is in :mod:`qsmprep.qsm.fieldmap`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from qsmprep.qsm.grid import Grid

PI = np.float32(np.pi)
TWO_PI = 2 * np.pi
LONGEST_ECHO_S = 0.5
"""Above it echo times are in milliseconds."""
OFFSET_SIGMA = 0.175
"""Width of the Gaussian that smooths a phase offset, in units of the object's size."""


def wrap(phase: ArrayLike) -> np.ndarray:
    """Wrap into [-pi, pi); values that lie in it are returned bit for bit.

    Examples
    --------
    >>> wrap(np.float32([0.0, 3.0, 4.0])).round(3).tolist()
    [0.0, 3.0, -2.2829999923706055]

    """
    phase = np.asarray(phase)
    kind = np.float64 if phase.dtype == np.float64 else np.float32
    turns = np.rint(phase * kind(1 / TWO_PI), dtype=kind)
    turns *= kind(TWO_PI)
    wrapped = np.subtract(phase, turns, dtype=kind).astype(np.float32, copy=False)
    return np.where((wrapped >= PI) | (wrapped < -PI), -PI, wrapped)


def turn(angle: np.ndarray) -> np.ndarray:
    """exp(i angle) in single precision, for an angle [rad] of any shape."""
    turned = np.empty_like(angle, dtype=np.complex64)
    np.cos(angle, out=turned.real)
    np.sin(angle, out=turned.imag)
    return turned


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
    raw = np.asarray(raw)
    kind = np.float64 if raw.dtype.itemsize > 4 else np.float32
    scale = sign * TWO_PI / (high - low)
    stored: np.ndarray = raw.astype(kind)
    return wrap(stored * kind(scale) - kind(scale * (low + high) / 2))


def masked_voxels(phase: np.ndarray, least: float = 0.05) -> np.ndarray:
    """
    Voxels whose phase was masked: in each echo they hold the value that its first corner holds.

    Parameters
    ----------
    phase
        Wrapped phase [rad], ``(X, Y, Z, E)``.
    least
        Part of the volume below which there is no such mask.

    Examples
    --------
    >>> phase = np.arange(24.0).reshape(2, 3, 2, 2)
    >>> phase[0] = 7.0
    >>> masked_voxels(phase)[:, 0, 0]
    array([ True, False])

    """
    masked = np.all(phase == phase[0, 0, 0], axis=-1)
    return masked if masked.mean() > least else np.zeros_like(masked)


def correct_alternate_slices(phase: np.ndarray, axis: int = 2) -> np.ndarray:
    """Undo the missing FFT shift of GE reconstructions: pi is added to every second slice.

    Parameters
    ----------
    phase
        Wrapped phase [rad].
    axis
        The slice axis.

    """
    index: list[slice | None] = [np.newaxis] * phase.ndim
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
    sigma_mm: float | None = None,
    mask: np.ndarray | None = None,
    parts: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Phase at echo time zero, that of coils and reconstruction (MCPC-3D-S).

    The first two echoes give the field, and with it the phase that the first echo has beyond it.
    Of that remainder, what a whole slice has beyond its neighbour is kept as it is, along each
    axis: neither a slope nor slices with an offset of their own may be smoothed. What is left is
    smoothed as a complex number, since it wraps; the voxels are weighted by the inverse of the
    noise it has there. Smoothing is done twice, the second time on what the first left over, so
    that the slope of the offset is kept at the rim of the head, where the kernel sees one side
    only.

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
        Standard deviation of the Gaussian [mm]; when None, ``OFFSET_SIGMA`` times the size of the
        object (:func:`object_size_mm`): 7 mm in a head, half a millimetre in that of a mouse.
    mask
        Voxels to estimate it from, as those of the brain: fat turns against water, and what the
        scalp then seems to have at time zero would be smoothed into the brain. All when None.
    parts
        Objects that do not touch: the difference of each has a multiple of 2 pi of its own, and the
        one is taken for which it is least.

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
    first, second = check_echo_times(echo_times_s, phase)[:2]
    inside = np.float32(1) if mask is None else mask.astype(np.float32)
    m1, m2 = (inside * magnitude[..., echo].astype(np.float32) for echo in (0, 1))
    for part in parts:
        turns = np.round(np.median(unwrapped_difference[part]) / TWO_PI)
        unwrapped_difference = unwrapped_difference - np.float32(TWO_PI * turns) * part
    field = field_phase(unwrapped_difference, m1 * m2, first, second)
    return offset_beyond(field, phase[..., 0], m1, m2, first, second, grid, sigma_mm)


def field_phase(
    unwrapped_difference: np.ndarray, weight: np.ndarray, first_s: float, second_s: float
) -> np.ndarray:
    """Phase that the field has made until the first echo [rad], from the unwrapped difference.

    Of the multiples of 2 pi that the difference as a whole may hold, the one is taken for which
    it is least where the signal is strong.
    """
    turns = float(np.round(np.median(unwrapped_difference[strong_voxels(weight)]) / TWO_PI))
    ratio = np.float32(first_s / (second_s - first_s))
    return ratio * (unwrapped_difference - np.float32(TWO_PI * turns))


def offset_beyond(
    field: np.ndarray,
    phase: np.ndarray,
    m1: np.ndarray,
    m2: np.ndarray,
    first_s: float,
    second_s: float,
    grid: Grid,
    sigma_mm: float | None = None,
) -> np.ndarray:
    """Smooth part of the phase that the first echo has beyond that of the field [rad].

    Parameters
    ----------
    field
        :func:`field_phase` [rad].
    phase
        Wrapped phase of the first echo [rad].
    m1, m2
        Magnitudes of the first two echoes.
    first_s, second_s
        Their echo times [s].
    grid, sigma_mm
        See :func:`phase_offset`.

    """
    ratio = first_s / (second_s - first_s)
    noise = np.sqrt((np.float32(1 + ratio) * m2) ** 2 + (np.float32(ratio) * m1) ** 2)
    weight = np.divide(m1 * m2, noise, out=np.zeros_like(m1), where=noise > 0)
    remainder = np.asfortranarray(weight * turn(phase - field))
    if sigma_mm is None:
        sigma_mm = OFFSET_SIGMA * object_size_mm(m1 * m2, grid)
    sigma = tuple(max(1.0, sigma_mm / size) for size in grid.voxel_size)

    steps = (slice_steps(remainder, axis)[0] for axis in range(3))
    x, y, z = (np.concatenate([[0.0], np.cumsum(step)]) for step in steps)
    offset = turn(np.add.outer(np.add.outer(x, y), z).astype(np.float32, order='F'))
    for _ in range(2):
        smoothed = smooth(remainder * offset.conj(), sigma)
        offset *= smoothed / np.maximum(np.abs(smoothed), np.finfo(np.float32).tiny)
    return wrap(np.angle(offset))


def object_size_mm(weight: np.ndarray, grid: Grid) -> float:
    """Size of an object: geometric mean over the axes of the SD of its signal's position [mm].

    Parameters
    ----------
    weight
        Signal, any unit, ``(X, Y, Z)``.
    grid
        The grid, for its voxel size.

    Examples
    --------
    >>> round(object_size_mm(np.ones((12, 12, 12)), Grid((12, 12, 12), (0.1, 0.1, 0.1))), 2)
    0.35

    """
    sizes = []
    for axis, length in enumerate(grid.voxel_size):
        profile = np.sum(weight, axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        if not profile.any():
            return length
        place = length * np.arange(profile.size)
        mean = np.average(place, weights=profile)
        sizes.append(np.average((place - mean) ** 2, weights=profile))
    return float(np.prod(sizes) ** (1 / 6))


def slice_steps(signal: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Phase step from each slice to the next along an axis [rad], and its weight.

    Parameters
    ----------
    signal
        Complex signal, ``(X, Y, Z)``.
    axis
        Across the slices.

    """
    every = [slice(None, None, max(1, n // 64)) for n in signal.shape]
    every[axis] = slice(None)
    slices = np.moveaxis(signal[tuple(every)], axis, 0)
    product = np.einsum('kij,kij->k', slices[1:], slices[:-1].conj())
    return np.angle(product), np.abs(product)


def remove_offset(phase: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Phase without the offset that all echoes share, wrapped again [rad]."""
    if phase.ndim == offset.ndim + 1:
        offset = offset[..., np.newaxis]
    return wrap(phase - offset)


def check_echo_times(echo_times_s: tuple[float, ...], data: np.ndarray) -> np.ndarray:
    """
    Echo times [s] as an array, one for each echo of ``data``.

    Parameters
    ----------
    echo_times_s
        Echo times [s].
    data
        ``(X, Y, Z)`` for one echo, ``(X, Y, Z, E)`` for several.

    Raises
    ------
    ValueError
        If their number is not that of the echoes, or they are not positive and increasing, or look
        like milliseconds.

    """
    times = np.atleast_1d(np.asarray(echo_times_s, dtype=np.float64))
    count = data.shape[3] if data.ndim == 4 else 1
    if times.shape != (count,):
        raise ValueError(f'{count} echoes need as many echo times, not {times.tolist()} s.')
    if not np.all(np.isfinite(times)) or times[0] <= 0 or np.any(np.diff(times) <= 0):
        raise ValueError(f'Echo times must be positive and increasing, not {times.tolist()} s.')
    if times[-1] > LONGEST_ECHO_S:
        raise ValueError(
            f'Echo times are in seconds, and {times.tolist()} look like milliseconds; divide them '
            'by 1000.'
        )
    return times


def strong_voxels(magnitude: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """
    Voxels of a mask (all with signal when None) whose magnitude is at least the median there.

    Parameters
    ----------
    magnitude
        Any unit, ``(X, Y, Z)``.
    mask
        Voxels to choose from; where there are none, all voxels are returned.

    """
    inside = magnitude > 0 if mask is None else np.asarray(mask, dtype=bool)
    if not inside.any():
        return np.ones(magnitude.shape, dtype=bool)
    return inside & (magnitude >= np.median(magnitude[inside]))


def _require_echoes(phase: np.ndarray, what: str) -> None:
    if phase.ndim != 4 or phase.shape[3] < 2:
        raise ValueError(f'{what} needs two or more echoes, not an array of shape {phase.shape}.')


def smooth(values: np.ndarray, sigma_voxels: tuple[float, ...]) -> np.ndarray:
    """
    Gaussian smoothing, up to a factor, by way of a grid of sigma / 3 (a voxel at least).

    Parameters
    ----------
    values
        ``(X, Y, Z)``, real or complex; zero beyond the image.
    sigma_voxels
        Standard deviation along each axis [voxels].

    """
    back = []
    for axis, sigma in enumerate(sigma_voxels):
        voxels = np.arange(values.shape[axis])
        spacing = max(1.0, sigma / 3)
        nodes = spacing * np.arange(int(np.ceil((len(voxels) - 1) / spacing)) + 1)
        apart = nodes[:, np.newaxis] - voxels
        back.append(np.maximum(0, 1 - np.abs(apart.T) / spacing))
        values = _along(np.exp(-(apart**2) / (2 * sigma**2)), values, axis)
    for axis, lines in enumerate(back):
        values = _along(lines, values, axis)
    return values


def _along(matrix: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    """Multiply a matrix with each line of an array along an axis; the result has its layout."""
    if values.flags.f_contiguous and not values.flags.c_contiguous:
        return _along(matrix, values.T, values.ndim - 1 - axis).T
    lines = matrix.astype(values.dtype)
    if axis == values.ndim - 1:
        return values @ lines.T
    if axis == 0:
        return (lines @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])
    return lines @ values

"""Wrapped phase: scaling to radians, steps from slice to slice, echo times, smoothing.

Phase is in radians and echo times are in seconds throughout; arrays are ``(X, Y, Z)`` for one echo
and ``(X, Y, Z, E)`` for several. The exact spatial unwrapping is done by ROMEO, outside this
module; what comes after it is in :mod:`qsmprep.qsm.fieldmap`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

PI = np.float32(np.pi)
TWO_PI = 2 * np.pi
LONGEST_ECHO_S = 0.5
"""Above it echo times are in milliseconds."""


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


def masked_voxels(phase: np.ndarray) -> np.ndarray:
    """
    Voxels whose phase was masked: in each echo they hold the value that its first corner holds.

    Where they are less than a twentieth of the volume there is no such mask.

    Parameters
    ----------
    phase
        Wrapped phase [rad], ``(X, Y, Z, E)``.

    Examples
    --------
    >>> phase = np.arange(24.0).reshape(2, 3, 2, 2)
    >>> phase[0] = 7.0
    >>> masked_voxels(phase)[:, 0, 0]
    array([ True, False])

    """
    masked = np.all(phase == phase[0, 0, 0], axis=-1)
    return masked if masked.mean() > 0.05 else np.zeros_like(masked)


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

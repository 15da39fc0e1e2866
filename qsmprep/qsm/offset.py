"""The phase offset that all echoes share, by their first two (MCPC-3D-S)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.phase import (
    TWO_PI,
    check_echo_times,
    slice_steps,
    smooth,
    strong_voxels,
    turn,
    wrap,
)

OFFSET_SIGMA = 0.175
"""Width of the Gaussian that smooths a phase offset, in units of the object's size."""


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


def remove_offset(phase: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Phase without the offset that all echoes share, wrapped again [rad]."""
    if phase.ndim == offset.ndim + 1:
        offset = offset[..., np.newaxis]
    return wrap(phase - offset)


def _require_echoes(phase: np.ndarray, what: str) -> None:
    if phase.ndim != 4 or phase.shape[3] < 2:
        raise ValueError(f'{what} needs two or more echoes, not an array of shape {phase.shape}.')

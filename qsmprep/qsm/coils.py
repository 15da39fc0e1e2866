"""Images of single coils combined into one: MCPC-3D-S for the phase, sum of squares for the rest.

Phase is in radians and echo times are in seconds throughout; a coil's arrays are ``(X, Y, Z, E)``.
Coils come one after another, so that no more than one is in memory.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.offset import field_phase, offset_beyond
from qsmprep.qsm.phase import check_echo_times


def coil_difference(
    coils: Iterable[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Hermitian inner product of the first two echoes, summed over the coils.

    Parameters
    ----------
    coils
        Magnitude and wrapped phase [rad] of each coil.

    Returns
    -------
    difference
        Phase of echo 2 minus echo 1 [rad], free of the phase that each coil has of its own.
    weight
        Magnitude of the sum: the magnitude to unwrap the difference with.

    References
    ----------
    Eckstein K et al., Magn Reson Med 79 (2018) 2996, 10.1002/mrm.26963.

    """
    product: np.ndarray = np.zeros((), dtype=np.float32)
    for magnitude, phase in coils:
        product = product + (
            magnitude[..., 0] * magnitude[..., 1] * np.exp(1j * (phase[..., 1] - phase[..., 0]))
        )
    return np.angle(product).astype(np.float32), np.abs(product).astype(np.float32)


def combine_coils(
    coils: Iterable[tuple[np.ndarray, np.ndarray]],
    unwrapped_difference: np.ndarray,
    weight: np.ndarray,
    echo_times_s: tuple[float, ...],
    grid: Grid,
) -> tuple[np.ndarray, np.ndarray]:
    """Combine coils, the phase offset of each removed.

    Parameters
    ----------
    coils
        Magnitude and wrapped phase [rad] of each coil.
    unwrapped_difference, weight
        :func:`coil_difference`, the former after spatial unwrapping [rad].
    echo_times_s
        Echo times [s].
    grid
        The grid, for its voxel size.

    Returns
    -------
    magnitude
        Root of the sum of squares.
    phase
        Argument of the sum over the coils of squared magnitude times exp(i (phase - offset)),
        wrapped [rad].

    Raises
    ------
    ValueError
        If there are fewer than two echoes or the first two echo times do not increase.

    """
    power: np.ndarray = np.zeros((), dtype=np.float32)
    total: np.ndarray = np.zeros((), dtype=np.float32)
    common = None
    for magnitude, phase in coils:
        first, second = check_echo_times(echo_times_s, phase)[:2]
        if common is None:
            common = field_phase(unwrapped_difference, weight, first, second)
        offset = offset_beyond(
            common, phase[..., 0], magnitude[..., 0], magnitude[..., 1], first, second, grid
        )
        squared = np.square(magnitude)
        power = power + squared
        total = total + squared * np.exp(1j * (phase - offset[..., np.newaxis]))
    return np.sqrt(power).astype(np.float32), np.angle(total).astype(np.float32)

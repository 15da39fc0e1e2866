"""Susceptibility-weighted images: magnitude, darkened where the local field is paramagnetic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, minimum_filter1d

from qsmprep.qsm.grid import Grid

STRENGTH = 4.0
BIAS_MM = 15.0
SLAB_MM = 8.0
TYPICAL = (0.6, 1.5)
"""Magnitude of tissue over its smooth mean that counts for the receive bias."""


@dataclass(frozen=True)
class SusceptibilityWeighted:
    """A susceptibility-weighted image and its projection, zero outside the mask.

    Parameters
    ----------
    swi
        Magnitude, even over the brain and about 1, times the phase mask.
    minimum
        Least value over a slab of slices about each slice.
    parameters
        How they were made.

    """

    swi: np.ndarray
    minimum: np.ndarray
    parameters: dict[str, float | int | str]


def susceptibility_weighted(
    magnitude: np.ndarray,
    local_field_hz: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    echo_times_s: tuple[float, ...],
    *,
    strength: float = STRENGTH,
    slab_mm: float = SLAB_MM,
) -> SusceptibilityWeighted:
    r"""Susceptibility-weighted image of all echoes.

    The phase is that of the local field, :math:`\varphi = 2 \pi f \,TE` at the mean echo time, so
    that it is unwrapped, free of offsets and of the background. The magnitude is multiplied by

    .. math:: \tfrac12 [1 + \tanh(1 - \varphi / m)], \quad m = 10 / s \cdot
        \mathrm{median}(\varphi > 0)

    for the strength s: a smooth step that is .88 at zero phase and falls for paramagnetic sources.
    The phase is measured by its own median, so that the echo time cancels.

    Parameters
    ----------
    magnitude
        Root of the sum of squares over the echoes (X, Y, Z).
    local_field_hz
        Local field [Hz].
    mask
        Voxels of the images; where the field is zero the phase mask is that of no phase.
    grid
        Their grid.
    echo_times_s
        Echo times [s].
    strength
        Exponent s; larger values darken veins more.
    slab_mm
        Thickness of the minimum intensity projection [mm], an odd number of slices and at
        least three, along the array axis nearest to B0.

    Raises
    ------
    ValueError
        If the mask is empty, or no field in it is above zero.

    References
    ----------
    Eckstein et al. 2021, 10.1016/j.neuroimage.2021.118175 (CLEAR-SWI).

    """
    inside = np.asarray(mask) > 0
    phase = 2 * np.pi * float(np.mean(echo_times_s)) * np.where(inside, local_field_hz, 0)
    positive = phase[inside & (phase > 0)]
    if not positive.size:
        raise ValueError('The local field is nowhere above zero in the mask; check both.')
    scale = 10 / strength * float(np.median(positive))
    even = magnitude / np.where(inside, receive_bias(magnitude, inside, grid), 1)
    swi = np.where(inside, even * (1 + np.tanh(1 - phase / scale)) / 2, 0).astype(np.float32)
    axis = int(np.argmax(np.abs(grid.b0_direction)))
    slices = max(3, 2 * round((slab_mm / grid.voxel_size[axis] - 1) / 2) + 1)
    minimum = minimum_filter1d(np.where(inside, swi, np.inf), slices, axis=axis)
    return SusceptibilityWeighted(
        swi,
        np.where(inside, minimum, 0).astype(np.float32),
        {
            'Method': 'CLEAR-SWI: tanh of the local phase of all echoes',
            'EchoTimeOfPhaseInS': float(np.mean(echo_times_s)),
            'Strength': strength,
            'PhaseScaleInRad': scale,
            'BiasSmoothingInMm': BIAS_MM,
            'ProjectedSlices': slices,
            'ProjectedInMm': slices * grid.voxel_size[axis],
            'ProjectionAxis': 'ijk'[axis],
        },
    )


def receive_bias(magnitude: np.ndarray, mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Smooth part of a magnitude: its mean over 15 mm in a mask, without what stands out.

    Examples
    --------
    >>> grid, mask = Grid((20, 20, 20), (2, 2, 2)), np.ones((20, 20, 20), dtype=bool)
    >>> bool(np.allclose(receive_bias(np.full(grid.shape, 3.0), mask, grid), 3))
    True

    """
    sigma = [BIAS_MM / v for v in grid.voxel_size]

    def mean(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
        total = gaussian_filter(weight.astype(np.float32), sigma, mode='constant')
        summed = gaussian_filter((weight * image).astype(np.float32), sigma, mode='constant')
        return summed / np.maximum(total, 1e-6)

    first = np.maximum(mean(magnitude, mask), 1e-30)
    # at the rim a mean lies to one side; that of what is left over takes it back
    ratio = magnitude / first
    typical = mask & (ratio > TYPICAL[0]) & (ratio < TYPICAL[1])
    return np.maximum(first * mean(ratio, typical), 1e-30)

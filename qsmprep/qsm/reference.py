"""Referencing: a susceptibility map is defined up to a constant, which a region's mean fixes."""

from __future__ import annotations

import numpy as np


def reference_chi(
    chi: np.ndarray, mask: np.ndarray, region: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Take the mean of a region off a susceptibility map.

    Parameters
    ----------
    chi
        Susceptibility [ppm].
    mask
        Voxels of the map; the result is zero elsewhere.
    region
        Voxels whose mean becomes zero, those outside the mask ignored; the whole mask by default.

    Returns
    -------
    referenced : ndarray
        Map [ppm], float32.
    value
        What was taken off [ppm].

    Raises
    ------
    ValueError
        If shapes differ or the region has no voxel in the mask.

    Examples
    --------
    >>> chi, value = reference_chi(np.array([[[1.0, 3.0, 9.0]]]), np.array([[[1, 1, 0]]]))
    >>> chi.tolist(), value
    ([[[-1.0, 1.0, 0.0]]], 2.0)

    """
    inside = np.asarray(mask) > 0
    chosen = inside if region is None else inside & (np.asarray(region) > 0)
    if chosen.shape != chi.shape:
        raise ValueError(
            f'The reference region has the shape {chosen.shape}, but the susceptibility map '
            f'{chi.shape}; resample the region to the map.'
        )
    if not chosen.any():
        raise ValueError(
            'The reference region has no voxel inside the mask; choose another region.'
        )
    value = float(np.mean(chi[chosen], dtype=np.float64))
    return np.where(inside, chi - value, 0).astype(np.float32), value

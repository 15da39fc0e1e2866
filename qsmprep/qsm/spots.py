"""Dark spots of the magnitude, and the sign of the susceptibility in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from qsmprep.qsm.grid import Grid, block_means, bounding_box, depth_mm

DARK = 0.5
"""Signal below which a voxel is dark, over the mean of its surroundings."""
SURROUNDINGS_MM, BLOCK_MM = 15.0, 4.0
"""Standard deviation of the Gaussian of that mean, and edge of the blocks that it is taken on."""
SMALLEST_MM3, LARGEST_MM3 = 15.0, 20000.0
RIM_MM = 4.0
"""Distance from the edge of the map within which air makes the signal dark."""
NEAR_MM = 3.0
"""Distance around a spot in which its source is looked for."""
CLEAR_PPM = 0.1
"""Susceptibility, against the surroundings, above which a sign is stated."""
MOST = 8
"""Number of spots that are listed."""


@dataclass(frozen=True)
class Spot:
    """
    A dark spot of the magnitude.

    Parameters
    ----------
    centre
        Index of its middle.
    volume_mm3
        Volume of its dark voxels.
    lowest_ppm, highest_ppm
        Extremes of the susceptibility within 3 mm, against the median around (3 to 9 mm).
    estimated_percent
        Part of its dark voxels without a field of their own.

    """

    centre: tuple[float, float, float]
    volume_mm3: float
    lowest_ppm: float
    highest_ppm: float
    estimated_percent: float

    @property
    def sign(self) -> int:
        """1 for paramagnetic, -1 for diamagnetic, 0 where it is undetermined.

        It is determined where one of the extremes is beyond 0.1 ppm, and twice the other.

        Examples
        --------
        >>> Spot((0, 0, 0), 30.0, -0.5, 0.1, 0.0).sign
        -1

        """
        low, high = -self.lowest_ppm, self.highest_ppm
        if max(low, high) < CLEAR_PPM or 0.5 < low / max(high, 1e-9) < 2:
            return 0
        return 1 if high > low else -1


def dark_spots(
    magnitude: np.ndarray,
    chi_ppm: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    estimated: np.ndarray | None = None,
) -> list[Spot]:
    """
    Find dark spots of a magnitude, and what the susceptibility is there.

    Calcium and blood are both dark in the magnitude of a gradient echo; the susceptibility of
    calcium is negative, that of blood products positive (Schweser et al. 2010,
    10.1118/1.3481505). Spots of which more than half lies within 4 mm of the edge of the map are
    left out: air makes them.

    Parameters
    ----------
    magnitude
        Magnitude of a late echo (X, Y, Z) [arbitrary].
    chi_ppm
        Susceptibility [ppm].
    mask
        Voxels of the map.
    grid
        Their grid.
    estimated
        Voxels without a field of their own.

    Returns
    -------
    list of Spot
        The eight with the strongest sources, these first.

    """
    if not np.any(mask):
        return []
    whole = bounding_box(mask)
    magnitude, chi_ppm, inside = (x[whole] for x in (magnitude, chi_ppm, np.asarray(mask, bool)))
    estimated = np.zeros_like(inside) if estimated is None else estimated[whole]
    dark_voxels = inside & (magnitude < DARK * _surroundings(magnitude, inside, grid))
    labels, _ = ndimage.label(dark_voxels, np.ones((3, 3, 3)))
    deep = depth_mm(inside, grid.voxel_size) > RIM_MM
    voxel_mm3 = 1000 * grid.voxel_volume_ml
    margin = [int(np.ceil(3 * NEAR_MM / edge)) for edge in grid.voxel_size]
    spots = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        dark = labels[box] == number
        volume = np.count_nonzero(dark) * voxel_mm3
        if not SMALLEST_MM3 <= volume <= LARGEST_MM3 or deep[box][dark].mean() < 0.5:
            continue
        wide = tuple(
            slice(max(side.start - n, 0), side.stop + n)
            for side, n in zip(box, margin, strict=True)
        )
        away = ndimage.distance_transform_edt(labels[wide] != number, sampling=grid.voxel_size)
        chi, there = chi_ppm[wide], inside[wide]
        around = chi[there & (away > NEAR_MM) & (away <= 3 * NEAR_MM)]
        near = chi[there & (away <= NEAR_MM)] - (np.median(around) if around.size else 0.0)
        i, j, k = (
            float(x + side.start + (crop.start or 0))
            for x, side, crop in zip(ndimage.center_of_mass(dark), box, whole, strict=True)
        )
        spots.append(
            Spot(
                (i, j, k),
                float(volume),
                float(near.min()),
                float(near.max()),
                float(100 * np.mean(estimated[box][dark])),
            )
        )
    spots.sort(key=lambda spot: -max(-spot.lowest_ppm, spot.highest_ppm) * spot.volume_mm3)
    return spots[:MOST]


def _surroundings(magnitude: np.ndarray, mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Smooth mean of a magnitude over a mask, in steps of blocks of voxels."""
    steps = [max(1, round(BLOCK_MM / edge)) for edge in grid.voxel_size]
    widths = [SURROUNDINGS_MM / (n * v) for n, v in zip(steps, grid.voxel_size, strict=True)]
    total, weight = (
        ndimage.gaussian_filter(block_means(image.astype(np.float32), steps), widths)
        for image in (magnitude * mask, mask)
    )
    mean = total / np.maximum(weight, 1e-6)
    for axis, step in enumerate(steps):
        mean = np.repeat(mean, step, axis=axis)
    return mean[tuple(slice(0, n) for n in magnitude.shape)]

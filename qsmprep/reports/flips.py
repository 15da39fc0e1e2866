"""Whether phase and magnitude, or a field that was given, are flipped against each other."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from qsmprep.qsm.grid import Grid, bounding_box

DETAIL_MM = 5.0
"""Gaussian (SD) of what both halves of a brain share, which is taken off."""
LARGEST_SD = 6.0
"""Value at which details are cut, in units of their robust SD: one lesion must not decide."""


def flip_gain(r2star_hz: np.ndarray, chi_ppm: np.ndarray, mask: np.ndarray, grid: Grid) -> float:
    """
    Correlation of R2* with susceptibility flipped along the likeliest axis, less that as it is.

    Iron raises both, so that their details correlate where both are of one head in one place: 0.1
    to 0.3 in simulated heads from 1.5 T on, and less than 0.13 where one is flipped from left to
    right. One below zero, as in low fields, where R2* is not that of iron, counts as none.

    Parameters
    ----------
    r2star_hz
        R2* [1/s].
    chi_ppm
        Susceptibility [ppm].
    mask
        Voxels with both.
    grid
        Their grid.

    """
    if not mask.any():
        return math.nan
    middle = bounding_box(mask)  # flips are those of whole volumes: their middle stays
    box = tuple(
        slice(min(x.start, n - x.stop), n - min(x.start, n - x.stop))
        for x, n in zip(middle, mask.shape, strict=True)
    )
    inside = mask[box]
    chi, rate = (_details(image[box], inside, grid) for image in (chi_ppm, r2star_hz))
    found = []
    for axes in ((), (0,), (1,), (2,)):
        both = inside & np.flip(inside, axes)
        one, other = np.flip(chi, axes)[both], rate[both]
        spread = float(one.std() * other.std()) if one.size > 1 else 0.0
        found.append(float(np.cov(one, other)[0, 1]) / spread if spread > 0 else math.nan)
    return max(found[1:]) - max(found[0], 0.0)


def _details(image: np.ndarray, inside: np.ndarray, grid: Grid) -> np.ndarray:
    """What an image has beyond its local mean within a mask, cut where it is large."""
    widths = [DETAIL_MM / edge for edge in grid.voxel_size]
    kept = np.where(inside, image, 0).astype(np.float32)
    share = ndimage.gaussian_filter(inside.astype(np.float32), widths)
    local = ndimage.gaussian_filter(kept, widths) / np.maximum(share, 1e-3)
    detail = np.where(inside, kept - local, 0)
    limit = LARGEST_SD * 1.4826 * float(np.median(np.abs(detail[inside])))
    return np.clip(detail, -limit, limit)

"""Whether phase, magnitude and mask are flipped or turned against each other."""

from __future__ import annotations

import math

import numpy as np
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from qsmprep.qsm.grid import Grid, block_means, bounding_box

DETAIL_MM = 5.0
"""Gaussian (SD) of what both halves of a brain share, which is taken off."""
LARGEST_SD = 6.0
"""Value at which details are cut, in units of their robust SD: one lesion must not decide."""
APART_MM = (15.0, 30.0)
"""Shifts at which details belong to other places, three to six of their widths."""
TURNS_DEG = (5.0, 10.0, 15.0)
"""Angles by which a mask is turned, in both directions about each axis."""
EDGE_MM = 20.0
"""How far from the edge of a mask the magnitude is compared with it."""
BLOCK_MM = 3.0
"""Edge of the blocks of voxels that are taken for one there, where voxels are smaller."""


def flip_gain(r2star_hz: np.ndarray, chi_ppm: np.ndarray, mask: np.ndarray, grid: Grid) -> float:
    """
    Gain in correlation of R2* with susceptibility by the likeliest flip, in standard errors.

    Iron raises both, so that their details correlate where both are of one head in one place. What
    correlation details have that do not belong together, by noise and as anatomy repeats itself, is
    measured on the scan: of mean zero, its variance is the mean square over all shifts by 15 to
    30 mm. The gain is that of the best flip along an axis over none, and its variance twice that.
    A correlation below zero as it is counts as none: in low fields R2* is not that of iron.

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
    error = math.sqrt(2) * _chance(chi, rate, inside, grid)
    return (max(found[1:]) - max(found[0], 0.0)) / error if error > 0 else math.nan


def _chance(one: np.ndarray, other: np.ndarray, inside: np.ndarray, grid: Grid) -> float:
    """Root mean square of the correlation of details over all shifts to other places."""
    room = [math.ceil(APART_MM[1] / edge) for edge in grid.voxel_size]
    shape = [fft.next_fast_len(n + r, real=True) for n, r in zip(inside.shape, room, strict=True)]
    images = (one, other, one**2, other**2, inside)
    spectra = [fft.rfftn(image.astype(np.float32), shape) for image in images]

    def shifted(first: int, second: int) -> np.ndarray:
        """Sum of products of two images at all shifts."""
        return fft.irfftn(np.conj(spectra[first]) * spectra[second], shape)

    power = np.maximum(shifted(2, 4), 0) * np.maximum(shifted(4, 3), 0)
    away = sum(
        np.square(edge * fft.fftfreq(n, 1 / n)).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, edge) in enumerate(zip(shape, grid.voxel_size, strict=True))
    )
    apart = (away > APART_MM[0] ** 2) & (away < APART_MM[1] ** 2) & (power > 0)
    # of all voxels, where the shifted images share but some
    share = shifted(4, 4)[apart] / np.count_nonzero(inside)
    squares = share * shifted(0, 1)[apart] ** 2 / power[apart]
    return float(np.sqrt(squares.mean())) if squares.size else 0.0


def _details(image: np.ndarray, inside: np.ndarray, grid: Grid) -> np.ndarray:
    """What an image has beyond its local mean within a mask, cut where it is large."""
    widths = [DETAIL_MM / edge for edge in grid.voxel_size]
    kept = np.where(inside, image, 0).astype(np.float32)
    share = ndimage.gaussian_filter(inside.astype(np.float32), widths)
    local = ndimage.gaussian_filter(kept, widths) / np.maximum(share, 1e-3)
    detail = np.where(inside, kept - local, 0)
    limit = LARGEST_SD * 1.4826 * float(np.median(np.abs(detail[inside])))
    return np.clip(detail, -limit, limit)


def turn_gain(signal: np.ndarray, mask: np.ndarray, grid: Grid) -> float:
    """
    Gain in correlation of a brain mask with the signal around its edge if it is turned.

    The mask is turned by 5, 10 and 15 degrees about each axis through its centre, and compared with
    the signal within 20 mm of its edge. One that lies on its brain fits best as it is; what one
    that is too wide gains by a turn either way does not count.

    Parameters
    ----------
    signal
        Magnitude in units of that of tissue.
    mask
        Brain mask.
    grid
        Their grid.

    Returns
    -------
    float
        Correlation of the mask turned the best way, less that of the mask as it is or turned the
        other way, whichever is more; NaN where there is no edge.

    """
    steps = [max(1, int(BLOCK_MM / edge)) for edge in grid.voxel_size]
    level, share = (block_means(x.astype(np.float32), steps) for x in (signal, mask))
    edges = np.array([n * edge for n, edge in zip(steps, grid.voxel_size, strict=True)])
    brain = share > 0.5
    if brain.all() or not brain.any():
        return math.nan
    depth = ndimage.distance_transform_edt(brain, sampling=edges)
    depth -= ndimage.distance_transform_edt(~brain, sampling=edges)
    places = np.argwhere(np.abs(depth) < EDGE_MM)
    level = np.minimum(level[tuple(places.T)], 1.5)  # vessels and fat are brighter than tissue
    centre = np.argwhere(brain).mean(axis=0)

    def fit(turn: Rotation) -> float:
        moved = turn.apply((places - centre) * edges) / edges + centre
        there = ndimage.map_coordinates(depth, moved.T, order=1, mode='nearest') > 0
        return float(np.corrcoef(level, there)[0, 1])

    as_is = fit(Rotation.identity())
    gains = []
    for turn in np.outer(TURNS_DEG, np.eye(3)).reshape(-1, 3):
        ways = [fit(Rotation.from_rotvec(sign * turn, degrees=True)) for sign in (1, -1)]
        gains.append(max(ways) - max(as_is, min(ways)))
    return max(gains)

"""Whether echoes, masks, field and map fit one another: the parts of the quality measures."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import ndimage

from qsmprep.qsm.distance import squared_distance
from qsmprep.qsm.grid import Grid, block_means, bounding_box, depth_mm
from qsmprep.reports.measure import RIM_MM

DARK = 0.2
"""Signal of tissue, in units of the median over the mask, is above this."""
BRIGHT = 0.6
"""Signal that may be that of a brain, in the same units, is above this."""
SHELL_MM = 6.0
"""How far around a mask brain is looked for."""
TAPER_MM = 6.0
OUTLIER_SD = 4.0
"""Where the field is bounded before its direction is looked for, in robust standard deviations."""
BAND = (0.03, 0.12)
"""Spatial frequencies at which the direction of B0 is looked for [cycles/mm]."""
AS_WELL = 0.95
"""Share of the best correlation at which the direction of the header is trusted."""
WAVES_MM = (3.0, 5.0, 10.0)
"""Gaussians (SD) between which a field is fine, with waves of about 25 mm, and coarse, 45 mm."""
BLOCK_MM = 2.0
"""Edge of the blocks of voxels that are taken for one there, where voxels are smaller."""
WIDE_MM = 50.0
"""Extent along each axis that a mask needs for that: the field of a thin slab says too little."""
STRONG_PERCENT = 2.0
"""Share of the map, with the largest susceptibility, that is compared with R2*."""


def signal_of(magnitude: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Magnitude of the first echo in units of its median over a mask."""
    first = np.asarray(magnitude[..., 0] if magnitude.ndim == 4 else magnitude, dtype=np.float64)
    median = float(np.median(first[mask])) if mask.any() else 0.0
    return first / median if median > 0 else np.zeros_like(first)


def dark_percent(signal: np.ndarray, mask: np.ndarray) -> float:
    """
    Part of a mask without the signal of tissue [%].

    Parameters
    ----------
    signal
        From :func:`signal_of`.
    mask
        Brain mask.

    Examples
    --------
    >>> dark_percent(np.array([1.0, 1.1, 0.9, 0.0])[:, None, None], np.ones((4, 1, 1), bool))
    25.0

    """
    return float(100 * np.mean(signal[mask] < DARK)) if mask.any() else math.nan


def brain_beyond_percent(signal: np.ndarray, mask: np.ndarray, grid: Grid) -> float:
    """
    Part of a shell around a mask that has the signal of the brain inside [%].

    Parameters
    ----------
    signal
        From :func:`signal_of`.
    mask
        Brain mask.
    grid
        Its grid.

    """
    if not mask.any():
        return math.nan
    box = bounding_box(mask, SHELL_MM, grid.voxel_size)
    away = np.sqrt(squared_distance(~mask[box], grid.voxel_size))
    shell = (away > 0) & (away <= SHELL_MM)
    return float(100 * np.mean(signal[box][shell] > BRIGHT)) if shell.any() else math.nan


def holes_percent(mask: np.ndarray) -> float:
    """
    Volume that a mask encloses, relative to that of the mask [%].

    Examples
    --------
    >>> mask = np.ones((3, 3, 3), dtype=bool)
    >>> mask[1, 1, 1] = False
    >>> round(holes_percent(mask), 2)
    3.85

    """
    filled = np.count_nonzero(ndimage.binary_fill_holes(mask))
    size = np.count_nonzero(mask)
    return float(100 * (filled - size) / size) if size else math.nan


def jumps_percent(unwrapped: np.ndarray, mask: np.ndarray) -> float:
    """
    Neighbouring voxels whose unwrapped phase differs by more than pi [%].

    Where the field is sampled finely enough there is none (Itoh 1982, 10.1364/AO.21.002470); a
    wrap that was left is a sheet of them.

    Parameters
    ----------
    unwrapped
        Unwrapped phase of one echo, or of one against another [rad].
    mask
        Where to look: both neighbours lie inside.

    """
    jumps = pairs = 0
    for axis in range(3):
        ones, others = (
            tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))
            for start, stop in ((1, None), (None, -1))
        )
        both = mask[ones] & mask[others]
        pairs += np.count_nonzero(both)
        jumps += np.count_nonzero(np.abs(unwrapped[ones] - unwrapped[others])[both] > np.pi)
    return 100 * jumps / pairs if pairs else math.nan


def echo_shift_voxels(magnitude: np.ndarray, mask: np.ndarray, grid: Grid) -> float:
    """
    Largest displacement of an echo against the one before it, in units of the longest voxel edge.

    Both magnitudes are divided by their local mean, so that decay is not taken for motion, and the
    displacement is found by least squares on the gradient (Lucas and Kanade 1981), reweighted
    against what changes otherwise. Where all steps of three echoes or more have one sign along an
    axis, their lower median is no motion, and does not count: a field that takes the signal away
    from one side, above the sinuses, lets every echo end a little higher than the one before.

    Parameters
    ----------
    magnitude
        (X, Y, Z, E).
    mask
        Brain mask.
    grid
        Its grid.

    """
    edge, box = max(grid.voxel_size), bounding_box(mask)
    details = [_detail(magnitude[(*box, e)], grid) for e in range(magnitude.shape[3])]
    shifts = np.array(
        [_displacement(a, b, mask[box], grid) / edge for a, b in itertools.pairwise(details)]
    )
    if len(shifts) > 1:
        one_way = (np.sign(shifts) == np.sign(shifts[0])).all(axis=0)
        usual = np.quantile(np.abs(shifts), 0.5, axis=0, method='lower')
        shifts -= np.where(one_way, np.sign(shifts[0]) * usual, 0)
    return float(np.linalg.norm(shifts, axis=1).max()) if len(shifts) else math.nan


def _detail(image: np.ndarray, grid: Grid) -> np.ndarray:
    """An image over its local mean, both smoothed by voxels of the longest edge."""
    edge = max(grid.voxel_size)
    fine = ndimage.gaussian_filter(image.astype(np.float32), [edge / v for v in grid.voxel_size])
    coarse = ndimage.gaussian_filter(fine, [4 * edge / v for v in grid.voxel_size])
    return fine / (coarse + 0.05 * max(float(coarse.max()), 1e-30))


def _displacement(
    first: np.ndarray, second: np.ndarray, mask: np.ndarray, grid: Grid
) -> np.ndarray:
    """Displacement between two images along the axes [mm]."""
    slopes = np.stack([g[mask] for g in np.gradient(first, *grid.voxel_size)])
    change = (first - second)[mask]
    change = change - np.median(change)
    weight, shift = np.ones_like(change), np.zeros(3)
    for _ in range(10):
        weighted = slopes * weight
        normal = weighted @ slopes.T
        shift = np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(3), weighted @ change)
        left = change - shift.astype(change.dtype) @ slopes
        spread = 1.4826 * np.median(np.abs(left))
        weight = 1 / (1 + (left / max(2 * spread, 1e-12)) ** 2)
    return shift


def b0_angle_deg(local_field: np.ndarray, mask: np.ndarray, grid: Grid) -> tuple[float, float]:
    """
    Angle between the direction of B0 and the one that the local field shows [degrees].

    A field of susceptibility has the power D(k)^2 S(|k|): within a shell of spatial frequency it
    is largest along B0 and vanishes on the cone at the magic angle. The direction is the one whose
    D^2 correlates best with the power of the field, shell by shell, or that of the grid where this
    correlates as well within 5 %, which is the standard error of a correlation of 0.3 between
    some 4,000 independent frequencies. The rim, where background is left that has no such power,
    is left out, and the field is bounded by four robust standard deviations: a vein or a
    haemorrhage, whose power has a direction of its own, would decide else.

    Parameters
    ----------
    local_field
        Local field, in any unit.
    mask
        Voxels that have one.
    grid
        Grid with the direction of B0 that is to be tested.

    Returns
    -------
    angle
        Between 0 and 90 degrees; NaN where the mask holds too little.
    correlation
        Of the power with the D^2 of the direction that was found.

    References
    ----------
    Salomir et al. 2003, 10.1002/cmr.b.10083; Marques and Bowtell 2005, 10.1002/cmr.b.20034 (D).

    """
    depth = depth_mm(mask, grid.voxel_size) - RIM_MM
    taper = np.sin(0.5 * np.pi * np.clip(depth / TAPER_MM, 0, 1)) ** 2
    if taper.sum() < 1000:
        return math.nan, math.nan
    middle = np.median(local_field[mask])
    # none where most of the field is one number
    bound = OUTLIER_SD * 1.4826 * np.median(np.abs(local_field[mask] - middle)) or np.inf
    field = np.clip(local_field, middle - bound, middle + bound)
    tapered = (field - np.average(field, weights=taper)) * taper
    power = np.abs(np.fft.rfftn(tapered.astype(np.float32))) ** 2
    k = np.stack(np.broadcast_arrays(*_frequencies(grid)))
    radius = np.sqrt((k**2).sum(0))
    low, high = BAND[0], min(BAND[1], 0.5 / max(grid.voxel_size))
    shells = ((radius > low) & (radius < high)).nonzero()
    radius, power = radius[shells], power[shells]
    unit = k[(slice(None), *shells)] / radius
    shell = ((radius - low) / (high - low) * 8).astype(int)
    power = power * (np.bincount(shell) / np.bincount(shell, power).clip(1e-30))[shell]
    # a few strong frequencies must not decide
    power = np.minimum(power, 8.0)
    power -= power.mean()

    directions = np.concatenate([[grid.b0_direction], _hemisphere(1000)]).astype(np.float32)
    unit, power = unit.astype(np.float32), power.astype(np.float32)
    scores = np.concatenate(
        [_correlations(some, unit, power) for some in np.array_split(directions, 10)]
    )
    best = 0 if scores[0] >= AS_WELL * scores.max() else int(scores.argmax())
    cosine = abs(float(directions[best] @ directions[0]))
    return math.degrees(math.acos(min(cosine, 1.0))), float(scores[best])


def _correlations(directions: np.ndarray, unit: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Correlation of a power, its mean taken off, with the D^2 of directions."""
    squared = (1 / 3 - (directions @ unit) ** 2) ** 2
    squared -= squared.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(squared, axis=1) * np.linalg.norm(power)
    return squared @ power / np.maximum(norms, 1e-30)


def _frequencies(grid: Grid) -> list[np.ndarray]:
    """Spatial frequencies along the axes [cycles/mm], for a real transform."""
    (nx, ny, nz), (dx, dy, dz) = grid.shape, grid.voxel_size
    axes = [np.fft.fftfreq(nx, dx), np.fft.fftfreq(ny, dy), np.fft.rfftfreq(nz, dz)]
    return list(np.meshgrid(*axes, indexing='ij', sparse=True))


def _hemisphere(count: int) -> np.ndarray:
    """Directions that cover a hemisphere evenly (golden spiral), ``(count, 3)``."""
    index = np.arange(count) + 0.5
    z = index / count
    angle, radius = np.pi * (1 + np.sqrt(5)) * index, np.sqrt(1 - z**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def coarse_to_fine(field: np.ndarray, mask: np.ndarray, grid: Grid) -> float:
    """
    Spread of the coarse waves of a field over that of its fine ones.

    The field of sources outside a mask is harmonic inside, so that its fine waves are lost on the
    way in, while tissue makes waves of either kind: a total field is the coarser one. Spreads are
    half the distance between percentiles 16 and 84. A field that depends on both air and tissue
    has 3 to 4, and tissue alone, all that is left by a high-pass filter, 1.1 to 1.5.

    Parameters
    ----------
    field
        Total field, in any unit.
    mask
        Voxels that have one.
    grid
        Their grid.

    Returns
    -------
    float
        NaN where the part deeper than 4 mm is shorter than 50 mm along an axis.

    """
    box = bounding_box(mask)
    deep = depth_mm(mask, grid.voxel_size)[box] > RIM_MM
    place = np.argwhere(deep) * np.array(grid.voxel_size)
    if not len(place) or np.ptp(place, axis=0).min() < WIDE_MM:
        return math.nan
    values = np.where(deep, field[box] - np.median(field[box][deep]), 0)
    steps = [max(1, int(BLOCK_MM / edge)) for edge in grid.voxel_size]
    values, weight = (block_means(image.astype(np.float32), steps) for image in (values, deep))
    used = weight > 0.5

    def smooth(width_mm: float) -> np.ndarray:
        widths = [width_mm / (n * edge) for n, edge in zip(steps, grid.voxel_size, strict=True)]
        both = (ndimage.gaussian_filter(image, widths)[used] for image in (values, weight))
        return np.divide(*both)

    fine, middle, coarse = (smooth(width) for width in WAVES_MM)
    spreads = [np.ptp(np.percentile(waves, [16, 84])) for waves in (middle - coarse, fine - middle)]
    return float(spreads[0] / spreads[1]) if spreads[1] > 0 else math.nan


def tail_asymmetry(chi_ppm: np.ndarray, mask: np.ndarray, percent: float = 0.5) -> float:
    """
    Length of the paramagnetic tail of a map against the diamagnetic one, from -1 to 1.

    Veins and deep grey nuclei are paramagnetic, and nothing as large is as diamagnetic in a brain
    without calcification: the upper tail is the longer one. Tails are taken from the median to
    two percentiles (Bowley's quantile skewness).

    Parameters
    ----------
    chi_ppm, mask
        The map and where it is given.
    percent
        Part of the map beyond each percentile [%].

    Examples
    --------
    >>> values = np.array([-1.0, 0.0, 0.0, 0.0, 3.0])[:, None, None]
    >>> round(tail_asymmetry(values, np.ones(values.shape, bool)), 1)
    0.5

    """
    low, middle, high = np.percentile(chi_ppm[mask], [percent, 50, 100 - percent])
    return float((high + low - 2 * middle) / (high - low)) if high > low else math.nan


def relaxation_per_chi(
    r2star_hz: np.ndarray, chi_ppm: np.ndarray, mask: np.ndarray, field_strength_t: float
) -> float:
    """
    Rise of R2* with susceptibility, over the field strength [1/s/ppm/T].

    The medians of R2* and susceptibility over the 2 % of the map with the largest susceptibility
    are compared with those over the other voxels.

    Parameters
    ----------
    r2star_hz
        R2* [1/s].
    chi_ppm
        Susceptibility [ppm].
    mask
        Voxels with both.
    field_strength_t
        Field strength [T].

    """
    inside = mask & (r2star_hz > 0)
    if np.count_nonzero(inside) < 1000:
        return math.nan
    chi, rate = chi_ppm[inside], r2star_hz[inside]
    high = chi >= np.percentile(chi, 100 - STRONG_PERCENT)
    rise = np.median(chi[high]) - np.median(chi[~high])
    excess = np.median(rate[high]) - np.median(rate[~high])
    return float(excess / rise / field_strength_t) if rise > 0 else math.nan


def usual_r2star_hz(field_strength_t: float) -> float:
    """
    R2* of grey and white matter at a field strength, their mean [1/s].

    Between the values at 1.5, 3 and 7 T of Peters et al. 2007, 10.1016/j.mri.2007.02.014 (T2* of
    84, 66 and 33.2 ms in grey, 66.2, 53.2 and 26.8 ms in white matter), and in proportion beyond.
    Below, on the line through the first two: R2 stays as the field goes.

    Examples
    --------
    >>> round(usual_r2star_hz(3.0), 1)
    17.0

    """
    fields = (0.0, 1.5, 3.0, 7.0)
    rates = [500 / grey + 500 / white for grey, white in ((84, 66.2), (66, 53.2), (33.2, 26.8))]
    rates = [2 * rates[0] - rates[1], *rates]
    if field_strength_t > fields[-1]:
        return rates[-1] * field_strength_t / fields[-1]
    return float(np.interp(field_strength_t, fields, rates))

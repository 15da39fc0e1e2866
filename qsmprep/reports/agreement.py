"""Whether the echoes agree on one field."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qsmprep.qsm.grid import Grid, bounding_box, depth_mm
from qsmprep.reports.measure import RIM_MM

LARGEST_SD = 6.0
"""Value at which a field is cut, in units of its robust SD: vessels and wraps must not decide."""
APART = 2
"""Voxels between neighbours: noise is not shared so far, where k-space was filtered or filled with
zeros to twice the matrix either."""


def disagreement_percent(
    unwrapped: np.ndarray,
    magnitude: np.ndarray,
    echo_times_s: Sequence[float],
    total_field_hz: np.ndarray,
    local_field_hz: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
) -> float:
    """
    What the echoes contradict their field by beyond noise, over the local field [%].

    Each echo has a field of its own, which differs from the combined one by noise, which
    neighbours do not share, and by what is wrong with the scan, which they do: motion, ghosts, eddy
    currents, wrong echo times. The covariance of neighbours is the variance of the latter alone;
    what noise makes of it by chance, two standard errors, is taken off. A constant and a ramp count
    for nothing: background removal takes them off.

    Parameters
    ----------
    unwrapped
        Phase of the echoes without offset [rad], (X, Y, Z, E).
    magnitude
        Their magnitude.
    echo_times_s
        Echo times [s].
    total_field_hz, local_field_hz
        Field of all echoes, and that of tissue [Hz].
    mask
        Voxels that have one; the rim is left out.
    grid
        Their grid.

    Returns
    -------
    float
        Standard deviation of an echo's field around the combined one (the median of the echoes by
        their weights in it, so that one that is spoilt alone does not count), over that of the
        local field, both without noise; NaN where that is none.

    """
    core = mask & (depth_mm(mask, grid.voxel_size) > RIM_MM)
    if not core.any():
        return math.nan
    box = bounding_box(core)
    core, total_hz = core[box], total_field_hz[box]
    places = np.argwhere(core) * np.array(grid.voxel_size)
    ramp = np.column_stack([places - places.mean(axis=0), np.ones(len(places))])
    weights, variances = [], []
    for echo, time_s in enumerate(echo_times_s):
        turns = unwrapped[(*box, echo)] / (2 * np.pi) - total_hz * time_s
        left = _cut((turns - np.rint(turns))[core])
        left = left - ramp @ np.linalg.lstsq(ramp, left)[0]
        variances.append(_shared_variance(left / time_s, core))
        weights.append(float(np.mean(np.square(magnitude[(*box, echo)][core] * time_s))))
    tissue = _shared_variance(local_field_hz[box][core], core)
    order = np.argsort(variances)
    below = np.cumsum(np.array(weights)[order])
    middle = variances[order[np.searchsorted(below, below[-1] / 2)]]
    return 100 * math.sqrt(max(middle, 0.0) / tissue) if tissue > 0 else math.nan


def _cut(values: np.ndarray) -> np.ndarray:
    """Values about their median, cut where they are large."""
    values = values - np.median(values)
    limit = LARGEST_SD * 1.4826 * float(np.median(np.abs(values)))
    return np.clip(values, -limit, limit)


def _shared_variance(values: np.ndarray, mask: np.ndarray) -> float:
    """Covariance of neighbours, without what is large, less two standard errors of it by noise."""
    values = _cut(values)
    image = np.zeros(mask.shape, dtype=np.float32)
    image[mask] = values
    products = pairs = 0.0
    for axis in range(3):
        one, inside = (np.moveaxis(x, axis, 0) for x in (image, mask))
        both = inside[APART:] & inside[:-APART]
        products += float(np.sum(one[APART:] * one[:-APART], where=both, dtype=np.float64))
        pairs += np.count_nonzero(both)
    return (products - 2 * np.mean(values**2) * math.sqrt(pairs)) / pairs if pairs else math.nan

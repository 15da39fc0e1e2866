"""What maps hold in the regions of a segmentation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from qsmprep.qsm.grid import depth_mm

EROSION_MM = 1.0
"""Distance from a region's border beyond which its core begins; a voxel's edge at least."""
FEWEST = 5
"""Voxels below which a region is not described."""


@dataclass(frozen=True)
class Region:
    """
    A region of a segmentation, or several that are one.

    Parameters
    ----------
    name, hemisphere
        Name, and ``L``, ``R`` or ``n/a``.
    numbers
        Its labels.

    """

    name: str
    hemisphere: str
    numbers: tuple[int, ...]

    @property
    def label(self) -> str:
        """Its labels, joined by a plus sign."""
        return '+'.join(map(str, self.numbers))


@dataclass(frozen=True)
class RegionMap:
    """
    A map to be described.

    Parameters
    ----------
    name, unit
        Suffix and description as in its file name, and its unit.
    data, mask
        The map, and where it holds values.
    reference
        What has the value zero; empty where zero is absolute.

    """

    name: str
    unit: str
    data: np.ndarray
    mask: np.ndarray
    reference: str = ''


def place_labels(
    weights: Iterable[np.ndarray], numbers: Sequence[int], shape: Sequence[int]
) -> np.ndarray:
    """
    Labels from how much of each voxel every region has: the largest share, if all have one half.

    Parameters
    ----------
    weights
        Share of the voxel [0-1] for each region, after interpolation.
    numbers
        Label of each.
    shape
        Of the grid.

    Examples
    --------
    >>> place_labels([np.array([0.9, 0.4]), np.array([0.1, 0.3])], [7, 8], (2,))
    array([7, 7], dtype=int32)

    """
    labels = np.zeros(shape, np.int32)
    best, total = np.zeros((2, *shape), np.float32)
    for share, number in zip(weights, numbers, strict=True):
        wins = share > best
        labels[wins] = number
        best[wins] = share[wins]
        total += share
    return np.where(total > 0.5, labels, 0)


def measure_regions(
    labels: np.ndarray,
    regions: Sequence[Region],
    maps: Sequence[RegionMap],
    voxel_size: Sequence[float],
    estimated: np.ndarray | None = None,
) -> list[dict]:
    """
    Describe each map in each region, as a whole and in its core.

    Parameters
    ----------
    labels
        Segmentation on the grid of the maps.
    regions
        Regions to describe.
    maps
        The maps.
    voxel_size
        Edge lengths of a voxel [mm].
    estimated
        Voxels whose value was estimated without data of their own.

    Returns
    -------
    list of dict
        One row for each region, erosion and map; unknown values are NaN.

    """
    rows = []
    volume_mm3 = math.prod(voxel_size)
    for region in regions:
        inside = np.isin(labels, region.numbers)
        if not inside.any():
            continue
        box = tuple(slice(max(int(i.min()) - 1, 0), int(i.max()) + 2) for i in np.nonzero(inside))
        whole = inside[box]
        shortest = min(voxel_size)
        # the border lies half a voxel beyond the outermost voxels, which always go
        core = depth_mm(whole, voxel_size) > max(EROSION_MM + 0.5 * shortest, shortest)
        for erosion_mm, part in ((0.0, whole), (EROSION_MM, core)):
            for chosen in maps:
                used = part & chosen.mask[box]
                count = int(used.sum())
                row = {
                    'label': region.label,
                    'name': region.name,
                    'hemisphere': region.hemisphere,
                    'erosion_mm': erosion_mm,
                    'map': chosen.name,
                    'unit': chosen.unit,
                    'voxels': count,
                    'volume_mm3': count * volume_mm3,
                    'coverage_percent': 100 * count / part.sum() if part.any() else math.nan,
                }
                rows.append(row | _describe(chosen.data[box][used]))
                share = math.nan
                if estimated is not None and count:
                    share = float(estimated[box][used].mean())
                rows[-1]['estimated_percent'] = 100 * share
                rows[-1]['reference'] = chosen.reference
    return rows


def _describe(values: np.ndarray) -> dict[str, float]:
    keys = ('median', 'mean', 'sd', 'percentile_5', 'percentile_95')
    if len(values) < FEWEST:
        return dict.fromkeys(keys, math.nan)
    values = np.asarray(values, np.float64)
    low, middle, high = np.percentile(values, (5, 50, 95))
    return dict(zip(keys, (middle, values.mean(), values.std(), low, high), strict=True))

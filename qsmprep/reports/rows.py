"""Which slices of an image a panel shows, and in which window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike

import numpy as np

from qsmprep.reports.sheet import PLANES, Tile, Volume, cut, load_volume, positions, slice_ranges

MAX_ECHOES = 8
INNER = {'axial': (0.14, 0.9), 'coronal': (0.2, 0.82), 'sagittal': (0.22, 0.8)}
"""Of each plane: the part of the mask in which slices are shown."""

Box = tuple[tuple[int, int], ...]


def support_of(volume: Volume, mask: str | PathLike | None) -> np.ndarray:
    """Where there is something to look at: the mask, else voxels that are not next to nothing."""
    if mask:
        return load_volume(mask, like=volume).data > 0.5
    size = np.abs(np.nan_to_num(volume.echo(0).data, posinf=0.0, neginf=0.0))
    return size > 0.1 * percentile(size, size > 0, 99)


def percentile(values: np.ndarray, support: np.ndarray, percent: float) -> float:
    """Percentile of the finite values in a mask, never zero, so that it can end a window."""
    inside = values[support]
    inside = inside[np.isfinite(inside)]
    top = float(np.percentile(inside, percent)) if inside.size else 0.0
    return top if top > 0 else 1.0


def round_up(value: float) -> float:
    """Next number with two digits.

    >>> round_up(73.2), round_up(0.0412)
    (74.0, 0.042)
    """
    digits = 1 - math.floor(math.log10(value))
    return round(math.ceil(round(value * 10**digits, 6)) / 10**digits, 12)


def one_row(
    volume: Volume,
    box: Box,
    slices: Mapping[str, Sequence[int]],
    outlines: Sequence[tuple[np.ndarray, str, float]] = (),
) -> list[Tile]:
    """Slices side by side; the first of each plane carries the marks."""
    return [
        cut(volume, plane, index, box, marked=index == indices[0], outlines=outlines)
        for plane, indices in slices.items()
        for index in indices
    ]


def two_rows(
    volume: Volume,
    support: np.ndarray,
    box: Box | None = None,
    outlines: Sequence[tuple[np.ndarray, str, float]] = (),
) -> list[list[Tile]]:
    """A row of axial slices, and one of coronal and sagittal slices."""
    tight = slice_ranges(support, margin=0)
    box = box or slice_ranges(support)
    counts = ({'axial': 7}, {'coronal': 4, 'sagittal': 3})
    return [
        one_row(
            volume,
            box,
            {
                plane: positions(tight[PLANES[plane][2]], n, INNER[plane])
                for plane, n in row.items()
            },
            outlines,
        )
        for row in counts
    ]


def echo_rows(
    volume: Volume, support: np.ndarray, echo_times_s: Sequence[float], box: Box | None = None
) -> list[list[Tile]]:
    """Middle slices of each echo: three planes for a few echoes, two rows of planes for many."""
    count = volume.data.shape[3] if volume.data.ndim == 4 else 1
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_ECHOES)).round().astype(int))
    tight = slice_ranges(support, margin=0)
    box = box or tuple((0, size) for size in support.shape)
    planes = (('axial', 'coronal', 'sagittal'),) if count <= 3 else (('axial',), ('coronal',))
    rows = []
    for row in planes:
        tiles = []
        for echo in chosen:
            time = f', {1000 * echo_times_s[echo]:.3g} ms' if len(echo_times_s) == count else ''
            for plane in row:
                index = positions(tight[PLANES[plane][2]], 1)[0]
                title = f'Echo {echo + 1}{time}' if plane == row[0] == planes[0][0] else ''
                tiles.append(
                    cut(
                        volume.echo(echo),
                        plane,
                        index,
                        box,
                        title=title,
                        marked=echo == 0,
                    )
                )
        rows.append(tiles)
    return rows

"""Panels of susceptibility maps: the map, its uncertainty, a finer one, and the truth.

Arguments as in :mod:`qsmprep.reports.echoes`.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from qsmprep.reports.rows import (
    INNER,
    one_row,
    percentile,
    round_up,
    support_of,
    two_rows,
)
from qsmprep.reports.sheet import (
    PLANES,
    Strip,
    Volume,
    draw_sheet,
    load_volume,
    positions,
    slice_ranges,
)

CHI_WINDOW_PPM = 0.1
"""Largest susceptibility that the pictures distinguish [ppm]."""


def plot_chi(
    chi: str | PathLike, out_path: str | PathLike, *, mask: str | PathLike | None = None
) -> Path:
    """
    Draw the susceptibility in the fixed window of +-0.1 ppm, more slices than the other panels.

    Parameters
    ----------
    chi
        Susceptibility [ppm].
    mask
        Chooses the slices.

    """
    volume = load_volume(chi)
    support = support_of(volume, mask)
    box, tight = slice_ranges(support), slice_ranges(support, margin=0)
    axial = positions(tight[2], 14)
    rows = [
        one_row(volume, box, {'axial': axial[:7]}),
        one_row(volume, box, {'axial': axial[7:]}),
        *two_rows(volume, support)[1:],
    ]
    window = (-CHI_WINDOW_PPM, CHI_WINDOW_PPM)
    return draw_sheet([Strip('Susceptibility', rows, window, 'ppm')], out_path)


def plot_uncertainty(
    uncertainty: str | PathLike, out_path: str | PathLike, *, mask: str | PathLike | None = None
) -> Path:
    """
    Draw the standard deviation of the susceptibility from 0 to what 98 % of the voxels stay below.

    Parameters
    ----------
    uncertainty
        Standard deviation [ppm].
    mask
        Nothing is shown outside.

    """
    volume = load_volume(uncertainty)
    support = support_of(volume, mask)
    top = round_up(percentile(volume.data, support, 98))
    rows = two_rows(volume.masked(support if mask else None), support)
    strip = Strip('Uncertainty of the susceptibility (SD)', rows, (0.0, top), 'ppm', 'viridis')
    return draw_sheet([strip], out_path)


def plot_superres(coarse: str | PathLike, fine: str | PathLike, out_path: str | PathLike) -> Path:
    """
    Draw a susceptibility map and a finer one of the same field of view, to one scale.

    Parameters
    ----------
    coarse, fine
        Susceptibility [ppm], zero outside the mask.

    """
    strips = []
    for title, path in (('As measured', coarse), ('Super-resolved', fine)):
        volume = load_volume(path)
        support = volume.data != 0
        tight = slice_ranges(support, margin=0)
        few = {
            plane: positions(tight[PLANES[plane][2]], 2, INNER[plane])
            for plane in ('axial', 'coronal', 'sagittal')
        }
        row = one_row(volume, slice_ranges(support, margin=0), few)
        strips.append(Strip(title, [row], (-CHI_WINDOW_PPM, CHI_WINDOW_PPM), 'ppm'))
    return draw_sheet(strips, out_path)


def plot_truth(
    truth: str | PathLike, result: str | PathLike, mask: str | PathLike, out_path: str | PathLike
) -> Path:
    """
    Draw true susceptibility, result and their difference, with the error (simulated data).

    Parameters
    ----------
    truth, result
        Susceptibility [ppm].
    mask
        Where they are compared; the mean of each is taken off there.

    """
    expected = load_volume(truth)
    found = load_volume(result, like=expected)
    inside = load_volume(mask, like=expected).data > 0.5
    maps = []
    for volume in (expected, found):
        mean = volume.data[inside].mean() if inside.any() else 0.0
        maps.append(np.where(inside, volume.data - mean, 0.0))
    difference = maps[1] - maps[0]
    norm = float(np.linalg.norm(maps[0]))
    error = f'NRMSE {100 * float(np.linalg.norm(difference)) / norm:.1f} %' if norm else 'truth 0'
    window = (-CHI_WINDOW_PPM, CHI_WINDOW_PPM)
    tight = slice_ranges(inside, margin=0)
    few = {
        'axial': positions(tight[2], 4),
        'coronal': positions(tight[1], 2),
        'sagittal': positions(tight[0], 1),
    }
    titles = ('Truth', 'Result', f'Result \u2212 truth, {error} (means taken off)')
    strips = []
    for title, data in zip(titles, (*maps, difference), strict=True):
        row = one_row(Volume(data, expected.affine), slice_ranges(inside), few)
        strips.append(Strip(title, [row], window, 'ppm'))
    return draw_sheet(strips, out_path)

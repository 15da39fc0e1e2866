"""Panels of the fields: total field with its noise, and local field.

Arguments as in :mod:`qsmprep.reports.echoes`.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from qsmprep.reports.rows import percentile, round_up, support_of, two_rows
from qsmprep.reports.sheet import Strip, draw_sheet, load_volume


def plot_total_field(
    field: str | PathLike,
    out_path: str | PathLike,
    *,
    noise: str | PathLike | None = None,
    mask: str | PathLike | None = None,
) -> Path:
    """
    Draw the total field and its noise.

    Parameters
    ----------
    field, noise
        Field and its standard deviation [Hz].
    mask
        Nothing is shown outside.

    """
    volume = load_volume(field)
    support = support_of(volume, mask)
    outside = support if mask else None
    limit = round_up(percentile(np.abs(volume.data), support, 99))
    strips = [
        Strip(
            'Total field',
            two_rows(volume.masked(outside), support),
            (-limit, limit),
            'Hz',
            'RdBu_r',
        )
    ]
    if noise:
        spread = load_volume(noise, like=volume)
        top = round_up(percentile(spread.data, support, 98))
        rows = two_rows(spread.masked(outside), support)
        strips.append(Strip('Noise of the field (SD)', rows, (0, top), 'Hz', 'viridis'))
    return draw_sheet(strips, out_path)


def plot_local_field(
    field: str | PathLike, out_path: str | PathLike, *, mask: str | PathLike | None = None
) -> Path:
    """
    Draw the local field in a symmetric window that holds 98 % of the voxels.

    Parameters
    ----------
    field
        Local field [Hz].
    mask
        Chooses the slices.

    """
    volume = load_volume(field)
    support = support_of(volume, mask)
    limit = round_up(percentile(np.abs(volume.data), support, 98))
    strip = Strip('Local field', two_rows(volume, support), (-limit, limit), 'Hz')
    return draw_sheet([strip], out_path)

"""Panels of what was measured: echoes, their unwrapped phase, and masks over them.

All functions take paths of images (3-D or 4-D; echoes may also come as a sequence of 3-D images)
and the path of the PNG to write, which they return. Images are turned, not resampled; the
patient's left is on the left. Masks have to lie on the grid of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from qsmprep.reports.rows import echo_rows, percentile, round_up, support_of, two_rows
from qsmprep.reports.sheet import Paths, Strip, draw_sheet, load_volume, slice_ranges

OUTLINES = (('#56b4e9', 3.4), ('#f0e442', 2.0), ('#ff5a1f', 1.1), ('#cc79a7', 1.1))
"""Colours that colour-blind readers tell apart, and widths [pt]: lines that lie on one another
stay visible as stripes."""
ZERO_TICK = {0.0: '0'}
PI_TICKS = {-math.pi: '\u2212\u03c0', 0.0: '0', math.pi: '\u03c0'}


def plot_echoes(
    magnitude: Paths,
    phase: Paths,
    out_path: str | PathLike,
    *,
    mask: str | PathLike | None = None,
    echo_times_s: Sequence[float] = (),
) -> Path:
    """
    Draw magnitude and wrapped phase of each echo (at most eight of them).

    Parameters
    ----------
    magnitude, phase
        Echoes; arbitrary units and rad. Magnitudes share one window; phase is shown from -pi to
        pi, so that a wrong scaling shows as missing contrast or as saturation.
    mask
        Centres the slices; the whole field of view is shown.
    echo_times_s
        Echo times [s].

    """
    volume = load_volume(magnitude)
    wrapped = load_volume(phase, like=volume)
    support = support_of(volume, mask)
    window = (0.0, percentile(volume.data, support, 99.5))
    return draw_sheet(
        [
            Strip(
                'Magnitude',
                echo_rows(volume, support, echo_times_s),
                window,
                'a.u.',
                ticks=ZERO_TICK,
            ),
            Strip(
                'Phase as measured',
                echo_rows(wrapped, support, echo_times_s),
                (-math.pi, math.pi),
                'rad',
                ticks=PI_TICKS,
            ),
        ],
        out_path,
    )


def plot_unwrapped(
    unwrapped: Paths,
    out_path: str | PathLike,
    *,
    mask: str | PathLike | None = None,
    echo_times_s: Sequence[float] = (),
) -> Path:
    """
    Draw the unwrapped phase of each echo (at most eight of them).

    Parameters
    ----------
    unwrapped
        Echoes [rad]; all share one symmetric window.
    mask
        Nothing is shown outside.
    echo_times_s
        Echo times [s].

    """
    volume = load_volume(unwrapped)
    support = support_of(volume, mask)
    volume = volume.masked(support if mask else None)
    limit = round_up(max(percentile(np.abs(volume.data), support, 99), math.pi))
    rows = echo_rows(volume, support, echo_times_s, slice_ranges(support))
    return draw_sheet([Strip('Unwrapped phase', rows, (-limit, limit), 'rad', 'RdBu_r')], out_path)


def plot_masks(magnitude: Paths, out_path: str | PathLike, **masks: str | PathLike) -> Path:
    """
    Draw the outlines of masks over the magnitude, with their volumes.

    Parameters
    ----------
    magnitude
        The first echo is shown.
    **masks
        Names and images of at most four masks, the widest first.

    Raises
    ------
    ValueError
        If there are more than four masks.

    """
    if len(masks) > len(OUTLINES):
        raise ValueError(f'At most {len(OUTLINES)} masks can be distinguished, not {len(masks)}.')
    volume = load_volume(magnitude).echo(0)
    inside = {name: load_volume(path, like=volume).data > 0.5 for name, path in masks.items()}
    support = np.logical_or.reduce(list(inside.values()))
    if not support.any():
        support = support_of(volume, None)
    outlines = [
        (mask, colour, points)
        for mask, (colour, points) in zip(inside.values(), OUTLINES, strict=False)
    ]
    voxel_ml = float(np.prod(volume.voxel_size)) / 1000
    volumes = {name: mask.sum() * voxel_ml for name, mask in inside.items()}
    first = next(iter(volumes.values()))
    legend = []
    for (name, size), (colour, _) in zip(volumes.items(), OUTLINES, strict=False):
        share = f' ({100 * size / first:.1f} %)' if legend and first else ''
        legend.append((colour, f'{name}: {size:.0f} ml{share}' if size else f'{name}: empty'))
    window = (0.0, percentile(volume.data, support, 99.5))
    box = slice_ranges(support, margin=8)
    rows = two_rows(volume, support, box=box, outlines=outlines)
    return draw_sheet(
        [Strip('Masks over the magnitude', rows, window, 'a.u.', ticks=ZERO_TICK)],
        out_path,
        legend,
    )

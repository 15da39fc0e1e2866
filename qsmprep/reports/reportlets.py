"""Panels of the report: each draws images of one stage as one picture.

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

from qsmprep.reports.rows import (
    INNER,
    echo_rows,
    one_row,
    percentile,
    round_up,
    support_of,
    two_rows,
)
from qsmprep.reports.sheet import (
    PLANES,
    Paths,
    Strip,
    Volume,
    draw_sheet,
    load_volume,
    positions,
    slice_ranges,
)

CHI_WINDOW_PPM = 0.1
R2STAR_WINDOW_AT_3T = 50.0
OUTLINES = (('#56b4e9', 3.4), ('#f0e442', 2.0), ('#ff5a1f', 1.1), ('#cc79a7', 1.1))
"""Colours that colour-blind readers tell apart, and widths [pt]: lines that lie on one another
stay visible as stripes."""
ZERO_TICK = {0.0: '0'}
PI_TICKS = {-math.pi: '\u2212\u03c0', 0.0: '0', math.pi: '\u03c0'}

PathLikeStr = str | PathLike


def plot_echoes(
    magnitude: Paths,
    phase: Paths,
    out_path: PathLikeStr,
    *,
    mask: PathLikeStr | None = None,
    echo_times_s: Sequence[float] = (),
) -> Path:
    """
    Draw magnitude and wrapped phase of each echo (at most eight of them).

    Parameters
    ----------
    magnitude, phase
        Echoes; arbitrary units and rad. Magnitudes share one window; phase is shown from -pi to
        pi, so that a wrong scaling shows as missing contrast or as saturation.
    out_path
        PNG to write.
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
    out_path: PathLikeStr,
    *,
    mask: PathLikeStr | None = None,
    echo_times_s: Sequence[float] = (),
) -> Path:
    """
    Draw the unwrapped phase of each echo (at most eight of them).

    Parameters
    ----------
    unwrapped
        Echoes [rad]; all share one symmetric window.
    out_path
        PNG to write.
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


def plot_total_field(
    field: PathLikeStr,
    out_path: PathLikeStr,
    *,
    noise: PathLikeStr | None = None,
    mask: PathLikeStr | None = None,
) -> Path:
    """
    Draw the total field and its noise.

    Parameters
    ----------
    field, noise
        Field and its standard deviation [Hz].
    out_path
        PNG to write.
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


def plot_masks(magnitude: Paths, out_path: PathLikeStr, **masks: PathLikeStr) -> Path:
    """
    Draw the outlines of masks over the magnitude, with their volumes.

    Parameters
    ----------
    magnitude
        The first echo is shown.
    out_path
        PNG to write.
    **masks
        Names and images of at most four masks, the widest first.

    Raises
    ------
    ValueError
        If there are more than four masks.

    """
    if len(masks) > len(OUTLINES):
        raise ValueError(f'At most {len(OUTLINES)} masks can be told apart, not {len(masks)}.')
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


def plot_local_field(
    field: PathLikeStr, out_path: PathLikeStr, *, mask: PathLikeStr | None = None
) -> Path:
    """
    Draw the local field in a symmetric window that holds 98 % of the voxels.

    Parameters
    ----------
    field
        Local field [Hz].
    out_path
        PNG to write.
    mask
        Chooses the slices.

    """
    volume = load_volume(field)
    support = support_of(volume, mask)
    limit = round_up(percentile(np.abs(volume.data), support, 98))
    strip = Strip('Local field', two_rows(volume, support), (-limit, limit), 'Hz')
    return draw_sheet([strip], out_path)


def plot_chi(chi: PathLikeStr, out_path: PathLikeStr, *, mask: PathLikeStr | None = None) -> Path:
    """
    Draw the susceptibility in the fixed window of +-0.1 ppm, more slices than the other panels.

    Parameters
    ----------
    chi
        Susceptibility [ppm].
    out_path
        PNG to write.
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
    uncertainty: PathLikeStr, out_path: PathLikeStr, *, mask: PathLikeStr | None = None
) -> Path:
    """
    Draw the standard deviation of the susceptibility from 0 to what 98 % of the voxels stay below.

    Parameters
    ----------
    uncertainty
        Standard deviation [ppm].
    out_path
        PNG to write.
    mask
        Nothing is shown outside.

    """
    volume = load_volume(uncertainty)
    support = support_of(volume, mask)
    top = round_up(percentile(volume.data, support, 98))
    rows = two_rows(volume.masked(support if mask else None), support)
    strip = Strip('Uncertainty of the susceptibility (SD)', rows, (0.0, top), 'ppm', 'viridis')
    return draw_sheet([strip], out_path)


def plot_superres(coarse: PathLikeStr, fine: PathLikeStr, out_path: PathLikeStr) -> Path:
    """
    Draw a susceptibility map and a finer one of the same field of view, to one scale.

    Parameters
    ----------
    coarse, fine
        Susceptibility [ppm], zero outside the mask.
    out_path
        PNG to write.

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


def plot_r2star(
    r2star: PathLikeStr,
    out_path: PathLikeStr,
    *,
    mask: PathLikeStr | None = None,
    field_strength_t: float = 3.0,
) -> Path:
    """
    Draw R2* from 0 to 50 1/s at 3 T, and in proportion at other field strengths.

    Parameters
    ----------
    r2star
        R2* [1/s].
    out_path
        PNG to write.
    mask
        Chooses the slices.
    field_strength_t
        Field strength [T].

    """
    volume = load_volume(r2star)
    support = support_of(volume, mask)
    top = R2STAR_WINDOW_AT_3T * field_strength_t / 3.0
    return draw_sheet([Strip('R2*', two_rows(volume, support), (0.0, top), '1/s')], out_path)


def plot_swi(
    swi: PathLikeStr,
    minimum: PathLikeStr,
    out_path: PathLikeStr,
    *,
    mask: PathLikeStr | None = None,
) -> Path:
    """
    Draw a susceptibility-weighted image and its minimum intensity projection.

    Parameters
    ----------
    swi, minimum
        Arbitrary units; one window.
    out_path
        PNG to write.
    mask
        Chooses the slices.

    """
    volume = load_volume(swi)
    support = support_of(volume, mask)
    window = (0.0, percentile(volume.data, support, 99.5))
    projected = load_volume(minimum, like=volume)
    strips = [
        Strip('Susceptibility-weighted', two_rows(volume, support), window, 'a.u.'),
        Strip('Minimum intensity projection', two_rows(projected, support), window, 'a.u.'),
    ]
    return draw_sheet(strips, out_path)


def plot_separation(
    paramagnetic: PathLikeStr,
    diamagnetic: PathLikeStr,
    out_path: PathLikeStr,
    *,
    mask: PathLikeStr | None = None,
) -> Path:
    """
    Draw the susceptibility of either sign, both as sizes from 0 to 0.1 ppm.

    Parameters
    ----------
    paramagnetic, diamagnetic
        Susceptibility [ppm], from 0 up and from 0 down.
    out_path
        PNG to write.
    mask
        Chooses the slices.

    """
    positive = load_volume(paramagnetic)
    support = support_of(positive, mask)
    negative = load_volume(diamagnetic, like=positive)
    size = Volume(-negative.data, negative.affine)
    window = (0.0, CHI_WINDOW_PPM)
    strips = [
        Strip('Paramagnetic', two_rows(positive, support), window, 'ppm'),
        Strip('Diamagnetic (size)', two_rows(size, support), window, 'ppm'),
    ]
    return draw_sheet(strips, out_path)


def plot_truth(
    truth: PathLikeStr, result: PathLikeStr, mask: PathLikeStr, out_path: PathLikeStr
) -> Path:
    """
    Draw true susceptibility, result and their difference, with the error (simulated data).

    Parameters
    ----------
    truth, result
        Susceptibility [ppm].
    mask
        Where they are compared; the mean of each is taken off there.
    out_path
        PNG to write.

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

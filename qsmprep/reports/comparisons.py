"""Panels that hold two images of one scan against each other, and the map in k-space.

Arguments as in :mod:`qsmprep.reports.echoes`. A picture of halves is one image above another of
the same size, between which the page changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from qsmprep.reports.rows import percentile, round_up, support_of, two_rows
from qsmprep.reports.sheet import Strip, Volume, draw_sheet, load_volume

MAGIC = math.atan(math.sqrt(2))
"""Angle between B0 and the cone on which the dipole kernel vanishes [rad]."""


def plot_unwrapping(
    phase: str | PathLike,
    unwrapped: str | PathLike,
    out_path: str | PathLike,
    *,
    mask: str | PathLike,
    echo_times_s: Sequence[float] = (),
) -> Path:
    """
    Draw the phase of the last echo as measured, and unwrapped: a picture of halves.

    Parameters
    ----------
    phase, unwrapped
        Echoes [rad].
    mask
        Nothing is shown outside.
    echo_times_s
        Echo times [s].

    """
    last = len(echo_times_s) - 1
    before, after = (load_volume(path).echo(last) for path in (phase, unwrapped))
    support = support_of(before, mask)
    # whole turns of a whole echo mean nothing
    middle = 2 * math.pi * round(float(np.median(after.data[support])) / (2 * math.pi))
    after = Volume(after.data - middle, after.affine)
    limit = round_up(max(percentile(np.abs(after.data), support, 99), math.pi))
    time = f', {1000 * echo_times_s[last]:.3g} ms' if echo_times_s else ''
    strips = [
        Strip(title + time, two_rows(volume.masked(support), support), window, 'rad', 'RdBu_r')
        for title, volume, window in (
            ('Before: phase of the last echo as measured', before, (-math.pi, math.pi)),
            ('After: unwrapped', after, (-limit, limit)),
        )
    ]
    return draw_halves(strips, Path(out_path))


def plot_background(
    total: str | PathLike, local: str | PathLike, out_path: str | PathLike, *, mask: str | PathLike
) -> Path:
    """
    Draw the total field and the local field, each in its window: a picture of halves.

    Parameters
    ----------
    total, local
        Fields [Hz].
    mask
        Nothing is shown outside.

    """
    strips = []
    for title, path in (('Before: total field', total), ('After: local field', local)):
        volume = load_volume(path)
        support = support_of(volume, mask)
        centred = Volume(volume.data - np.median(volume.data[support]), volume.affine)
        limit = round_up(percentile(np.abs(centred.data), support, 98))
        rows = two_rows(centred.masked(support), support)
        strips.append(Strip(title, rows, (-limit, limit), 'Hz'))
    return draw_halves(strips, Path(out_path))


def plot_residual(
    field: str | PathLike, residual: str | PathLike, out_path: str | PathLike, *, mask: str
) -> Path:
    """
    Draw the local field and what the map leaves of it, in one window.

    Parameters
    ----------
    field, residual
        Local field, and field of the map minus it [Hz].
    mask
        Nothing is shown outside.

    """
    volume = load_volume(field)
    support = support_of(volume, mask)
    limit = round_up(percentile(np.abs(volume.data), support, 98))
    strips = [
        Strip(title, two_rows(image.masked(support), support)[:1], (-limit, limit), 'Hz')
        for title, image in (
            ('Local field', volume),
            ('Field of the map minus local field', load_volume(residual, like=volume)),
        )
    ]
    return draw_sheet(strips, out_path)


def plot_kspace(chi: str | PathLike, out_path: str | PathLike, *, mask: str | PathLike) -> Path:
    """
    Draw the power of the map in three planes of k-space, with the cone of the dipole kernel.

    Parameters
    ----------
    chi
        Susceptibility [ppm].
    mask
        Where the map is given.

    """
    import nibabel as nib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from qsmprep.qsm.grid import Grid
    from qsmprep.reports.sheet import _save

    image = nib.load(chi)
    grid = Grid.from_affine(image.shape, image.affine)
    inside = np.asarray(nib.load(mask).dataobj) > 0
    values = np.asarray(image.dataobj, dtype=np.float32)
    values = np.where(inside, values - values[inside].mean() if inside.any() else 0, 0)
    top = _decades(np.percentile(np.abs(np.fft.rfftn(values)), 99.9))
    figure = Figure(figsize=(12, 4.4), dpi=90, facecolor='black')
    FigureCanvasAgg(figure)
    reach = 0.5 / max(grid.voxel_size)
    for number, (across, up) in enumerate(((0, 2), (1, 2), (0, 1))):
        through = 3 - across - up
        # a plane through the middle of k-space is the transform of the sum across it
        plane = _decades(np.fft.fftshift(np.abs(np.fft.fft2(values.sum(axis=through)))))
        axes = figure.add_subplot(1, 3, number + 1)
        ends = [0.5 / grid.voxel_size[a] for a in (across, up)]
        axes.imshow(
            plane.T, 'magma', origin='lower', vmin=top - 4, vmax=top,
            extent=(-ends[0], ends[0], -ends[1], ends[1]),
        )  # fmt: skip
        _draw_cone(axes, grid.b0_direction, across, up, reach)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
        axes.set_xlabel(f'k{"ijk"[across]} [cycles/mm]', color='white')
        axes.set_ylabel(f'k{"ijk"[up]}', color='white')
        axes.tick_params(colors='white', labelsize=8)
    figure.subplots_adjust(0.06, 0.13, 0.99, 0.97, 0.2)
    return _save(figure, Path(out_path), ['magma'])


def _decades(amplitude: np.ndarray) -> np.ndarray:
    """Decadic logarithm of the power."""
    return 2 * np.log10(np.maximum(amplitude, 1e-15))


def _draw_cone(axes, b0_direction: Sequence[float], across: int, up: int, reach: float) -> None:
    """Where the cone of the dipole kernel meets a plane through the middle of k-space."""
    angle = np.linspace(0, 2 * np.pi, 721)
    unit = np.zeros((721, 3))
    unit[:, across], unit[:, up] = np.cos(angle), np.sin(angle)
    off = np.abs(unit @ np.array(b0_direction)) - math.cos(MAGIC)
    for at in np.flatnonzero(off[:-1] * off[1:] < 0):
        x, y = 1.5 * reach * np.cos(angle[at]), 1.5 * reach * np.sin(angle[at])
        axes.plot([0.25 * x, x], [0.25 * y, y], color='#7fd7ff', lw=0.9, ls=(0, (4, 4)))


def draw_halves(strips: Sequence[Strip], path: Path) -> Path:
    """Draw two strips as pictures of one size, and put one above the other."""
    from PIL import Image

    pictures = []
    for strip in strips:
        draw_sheet([strip], path)
        with Image.open(path) as picture:
            pictures.append(picture.convert('RGB'))
    width, height = pictures[0].size
    both = Image.new('RGB', (width, 2 * height))
    for number, picture in enumerate(pictures):
        both.paste(picture, (0, number * height))
    both.quantize(200, dither=Image.Dither.NONE).save(path, format='PNG')
    return path

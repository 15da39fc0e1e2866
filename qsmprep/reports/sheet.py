"""Slices of volumes laid out to one scale on a dark sheet, with marks, as a small PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from qsmprep.qsm.grid import bounding_box

PLANES = {'axial': (0, 1, 2), 'coronal': (0, 2, 1), 'sagittal': (1, 2, 0)}
"""Of each plane: the axis (R, A, S) to the right, the axis upwards and the axis through it."""

MARKS = (('L', 'R'), ('P', 'A'), ('I', 'S'))
DPI = 100
WIDTH_PX, HEIGHT_PX = 1400, 1300
GAP_PX, TITLE_PX, HEAD_PX, BAR_PX = 6, 34, 20, 118

Paths = str | PathLike | Sequence[str | PathLike]


@dataclass(frozen=True)
class Volume:
    """An image whose array axes point to the patient's right, front and head, as near as can be.

    Parameters
    ----------
    data
        Values, float32, (X, Y, Z), or (X, Y, Z, E) with echoes.
    affine
        4 x 4, voxel indices to scanner mm.

    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def voxel_size(self) -> np.ndarray:
        """Edge lengths of a voxel [mm]."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def echo(self, index: int) -> Volume:
        """One echo as a volume; a volume without echoes is its own first echo."""
        return Volume(self.data[..., index], self.affine) if self.data.ndim == 4 else self

    def masked(self, mask: np.ndarray | None) -> Volume:
        """The same with nothing (NaN) outside a mask."""
        if mask is None:
            return self
        inside = mask[..., None] if self.data.ndim == 4 else mask
        return Volume(np.where(inside, self.data, np.nan), self.affine)

    def position_mm(self, axis: int, index: int) -> float:
        """Scanner coordinate of the middle of a slice across an axis [mm]."""
        voxel = (np.array(self.data.shape[:3]) - 1) / 2
        voxel[axis] = index
        return float(self.affine[axis, :3] @ voxel + self.affine[axis, 3])


def load_volume(path: Paths, like: Volume | None = None) -> Volume:
    """
    Read an image and turn its axes, without resampling, nearest to right, front and head.

    Parameters
    ----------
    path
        A 3-D or 4-D image; or a sequence of 3-D images, which are stacked as echoes.
    like
        Volume on whose grid the image has to lie.

    Raises
    ------
    ValueError
        If the image is neither 3-D nor 4-D, or not on the grid of ``like``.

    """
    import nibabel as nib

    if not isinstance(path, str | PathLike):
        echoes = [load_volume(item, like) for item in path]
        if len(echoes) == 1:
            return echoes[0]
        return Volume(np.stack([echo.data for echo in echoes], axis=-1), echoes[0].affine)
    image = nib.as_closest_canonical(nib.load(path))
    data = np.asanyarray(image.dataobj).astype(np.float32)
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim not in (3, 4):
        raise ValueError(f'{path} has the shape {data.shape}; a picture needs a 3-D or 4-D image.')
    if like is not None and data.shape[:3] != like.data.shape[:3]:
        raise ValueError(
            f'{path} has the shape {data.shape[:3]} (axes turned to right, front, head), not '
            f'{like.data.shape[:3]}; give images on one grid.'
        )
    return Volume(data, np.asarray(image.affine, dtype=np.float64))


@dataclass(frozen=True)
class Tile:
    """One slice: picture elements (rows upwards, columns to the right) and its size in mm."""

    pixels: np.ndarray
    size_mm: tuple[float, float]
    plane: str
    note: str = ''
    title: str = ''
    marked: bool = False
    outlines: tuple[tuple[np.ndarray, str, float], ...] = ()


@dataclass(frozen=True)
class Strip:
    """Rows of tiles that share one grey or colour scale."""

    title: str
    rows: list[list[Tile]]
    window: tuple[float, float]
    unit: str = ''
    colours: str = 'gray'
    ticks: dict[float, str] = field(default_factory=dict)


def slice_ranges(support: np.ndarray, margin: int = 3) -> tuple[tuple[int, int], ...]:
    """
    First and last-plus-one index of a mask along each axis, widened by a margin.

    Parameters
    ----------
    support
        (X, Y, Z) bool. Where it is empty, the whole volume is meant.
    margin
        Voxels on each side.

    Examples
    --------
    >>> support = np.zeros((9, 9, 9), bool)
    >>> support[4, 2:5, 8] = True
    >>> slice_ranges(support, margin=1)
    ((3, 6), (1, 6), (7, 9))

    """
    box = bounding_box(support if support.any() else np.ones_like(support))
    return tuple(
        (max(side.start - margin, 0), min(side.stop + margin, size))
        for side, size in zip(box, support.shape, strict=True)
    )


def positions(
    span: tuple[int, int], count: int, inner: tuple[float, float] = (0.14, 0.9)
) -> list[int]:
    """
    Indices of evenly spaced slices that leave out the ends of a span.

    Parameters
    ----------
    span
        First and last-plus-one index.
    count
        Number of slices; one is put in the middle.
    inner
        Where the first and the last slice lie, as parts of the span.

    Examples
    --------
    >>> positions((10, 110), 3)
    [24, 62, 100]

    """
    first, last = span
    fractions = np.linspace(*inner, count) if count > 1 else [0.52]
    return [min(first + int(f * (last - first)), last - 1) for f in fractions]


def cut(
    volume: Volume,
    plane: str,
    index: int,
    box: tuple[tuple[int, int], ...],
    *,
    title: str = '',
    marked: bool = False,
    outlines: Sequence[tuple[np.ndarray, str, float]] = (),
) -> Tile:
    """
    Cut one slice out of a volume.

    Parameters
    ----------
    volume
        Of three axes.
    plane
        Key of :data:`PLANES`.
    index
        Of the slice.
    box
        From :func:`slice_ranges`.
    title
        Text above the slice.
    marked
        Mark the patient's directions.
    outlines
        Masks (X, Y, Z), the colour and the width [pt] of their outlines.

    """
    across, up, through = PLANES[plane]
    window: list[slice | int] = [slice(*span) for span in box]
    window[through] = index
    outline_pixels = tuple((m[tuple(window)].T, colour, pt) for m, colour, pt in outlines)
    pixels = volume.data[tuple(window)].T
    size = (pixels.shape[1] * volume.voxel_size[across], pixels.shape[0] * volume.voxel_size[up])
    note = f'{"xyz"[through]} {volume.position_mm(through, index):.0f} mm'.replace('-', '\u2212')
    return Tile(pixels, size, plane, note, title, marked, outline_pixels)


def draw_sheet(
    strips: Sequence[Strip], out_path: str | PathLike, legend: Sequence[tuple[str, str]] = ()
) -> Path:
    """
    Draw strips below one another and write them.

    Parameters
    ----------
    strips
        All are drawn to one scale (pixels per mm).
    legend
        Colour and text of entries below the strips.

    Returns
    -------
    pathlib.Path
        ``out_path``.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for strip in strips for row in strip.rows]
    wide = WIDTH_PX - BAR_PX - 2 * GAP_PX
    heads = sum(HEAD_PX for row in rows if any(tile.title for tile in row))
    fixed_px = (len(strips) + bool(legend)) * TITLE_PX + (len(rows) + 1) * GAP_PX + heads
    high_mm = sum(max(tile.size_mm[1] for tile in row) for row in rows)
    scale = min(
        *((wide - GAP_PX * len(row)) / sum(tile.size_mm[0] for tile in row) for row in rows),
        (HEIGHT_PX - fixed_px) / high_mm,
    )
    left_px = max(sum(tile.size_mm[0] * scale + GAP_PX for tile in row) for row in rows)
    width = int(max(left_px + BAR_PX + 2 * GAP_PX, WIDTH_PX / 2))
    height = int(fixed_px + scale * high_mm)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor='black')
    FigureCanvasAgg(figure)
    axes = _pixel_axes(figure, width, height)
    top = 0.0
    for strip in strips:
        figure.text(
            GAP_PX / width, 1 - (top + TITLE_PX - 8) / height, strip.title, color='white', size=12
        )
        top += TITLE_PX
        start = top
        for row in strip.rows:
            left = GAP_PX
            top += HEAD_PX * any(tile.title for tile in row)
            for tile in row:
                w, h = (scale * mm for mm in tile.size_mm)
                _draw_tile(axes, tile, strip, (left, height - top - h, w, h))
                left += w + GAP_PX
            top += max(tile.size_mm[1] for tile in row) * scale + GAP_PX
        _draw_bar(figure, strip, (left_px + 3 * GAP_PX) / width, start, top - GAP_PX)
    _draw_legend(figure, legend)
    return _save(figure, Path(out_path), [strip.colours for strip in strips])


def _pixel_axes(figure, width: int, height: int):
    """Axes over the whole figure, in pixels from its lower left corner."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.autoscale(False)
    axes.set(xlim=(0, width), ylim=(0, height))
    return axes


def _draw_tile(axes, tile: Tile, strip: Strip, box_px: tuple[float, float, float, float]) -> None:
    """Draw a tile into its box: left, bottom, width and height."""
    from matplotlib import colormaps
    from matplotlib.patheffects import withStroke

    left, bottom, width, height = box_px
    extent = (left, left + width, bottom, bottom + height)
    axes.imshow(
        tile.pixels,
        origin='lower',
        extent=extent,
        aspect='auto',
        cmap=colormaps[strip.colours].with_extremes(bad='black'),
        vmin=strip.window[0],
        vmax=strip.window[1],
        interpolation='nearest',
    )
    for mask, colour, points in tile.outlines:
        if mask.any() and not mask.all():
            axes.contour(
                mask.astype(np.float32), [0.5],
                origin='lower', extent=extent, colors=[colour], linewidths=points,
            )  # fmt: skip

    def write(across: float, up: float, text: str, **style) -> None:
        style['path_effects'] = [withStroke(linewidth=2.5, foreground='black')]
        axes.text(left + across * width, bottom + up * height, text, color='white', **style)

    if width > 60:
        write(0.02, 0.015, tile.note, size=9.5, va='bottom')
    write(0, 1.01, tile.title, size=10.5, va='bottom')
    if tile.marked:
        (low_x, high_x), (_, high_y) = (MARKS[axis] for axis in PLANES[tile.plane][:2])
        bold = {'size': 11, 'weight': 'bold'}
        write(0.015, 0.5, low_x, va='center', **bold)
        write(0.985, 0.5, high_x, va='center', ha='right', **bold)
        write(0.5, 0.985, high_y, va='top', ha='center', **bold)


def _draw_bar(figure, strip: Strip, left: float, top_px: float, bottom_px: float) -> None:
    """Scale of a strip, at most 260 pixels high, with its unit above."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    width, height = (size * DPI for size in figure.get_size_inches())
    length = min(bottom_px - top_px - 40, 260)
    axes = figure.add_axes((left, 1 - (top_px + 34 + length) / height, 16 / width, length / height))
    ticks = strip.ticks or {
        value: f'{value:.3g}'.replace('-', '\u2212')
        for value in (strip.window[0], sum(strip.window) / 2, strip.window[1])
    }
    bar = figure.colorbar(ScalarMappable(Normalize(*strip.window), strip.colours), cax=axes)
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    bar.ax.tick_params(colors='white', labelsize=10.5, length=3)
    bar.outline.set_edgecolor('0.6')
    figure.text(left, 1 - (top_px + 14) / height, strip.unit, color='white', size=11)


def _draw_legend(figure, legend: Sequence[tuple[str, str]]) -> None:
    width, height = (size * DPI for size in figure.get_size_inches())
    left = 2.0 * GAP_PX
    for colour, text in legend:
        figure.text(left / width, 10 / height, '\u25ac', color=colour, size=15)
        drawn = figure.text((left + 30) / width, 11 / height, text, color='white', size=11.5)
        left += 30 + drawn.get_window_extent().width + 36


def _save(figure, path: Path, colours: Sequence[str]) -> Path:
    """Write a figure as a PNG of one byte a pixel without metadata: the same bytes each time."""
    from PIL import Image

    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert('RGB')
    channels = np.asarray(picture)
    grey = (np.ptp(channels, axis=-1) == 0).all()
    if grey:
        picture = picture.convert('L').point(lambda level: level & ~1)  # 128 levels: smaller
    else:
        picture = _with_palette(picture, colours)
    picture.save(path, format='PNG')
    return path


def _with_palette(picture, colours: Sequence[str]):
    """Reduce a picture to the colour maps, greys and the most frequent other colours in it."""
    from matplotlib import colormaps
    from PIL import Image

    maps = sorted(set(colours) - {'gray'})
    count = 152 // max(len(maps), 1)
    palette = [colormaps[name](np.linspace(0, 1, count), bytes=True)[:, :3] for name in maps]
    palette.append(np.repeat(np.linspace(0, 255, 56).round()[:, None], 3, axis=1))
    other = picture.quantize(256 - count * len(maps) - 56, method=Image.Quantize.MEDIANCUT)
    palette.append(np.reshape(other.getpalette(), (-1, 3)))
    table = Image.new('P', (1, 1))
    table.putpalette(np.concatenate(palette).astype(np.uint8).tobytes())
    return picture.quantize(palette=table, dither=Image.Dither.NONE)

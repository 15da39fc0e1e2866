"""Pictures of where regions lie and what the maps hold there, beside published values."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from qsmprep.reports.comparisons import draw_halves
from qsmprep.reports.rows import percentile, support_of, two_rows
from qsmprep.reports.sheet import Strip, draw_sheet, load_volume, slice_ranges

PathLikeStr = str | PathLike
ATLAS_GROUPS = (
    ('Putamen', (1, 101), '#56b4e9'),
    ('Caudate', (2, 102), '#f0e442'),
    ('Pallidum', (5, 6, 105, 106), '#ff5a1f'),
    ('Red nucleus, substantia nigra, subthalamic nucleus', (7, 8, 9, 16, 107, 108, 109, 116),
     '#cc79a7'),
)  # fmt:skip


@dataclass(frozen=True)
class Published:
    """
    Susceptibility of a region that was published.

    Parameters
    ----------
    mean_ppb
        Mean over healthy people, paramagnetic and diamagnetic share together.
    with_age
        What is known of its course with age.

    """

    mean_ppb: float
    with_age: str


NORMAL = {
    'caudate nucleus': Published(39.4, 'rises to the late thirties'),
    'putamen': Published(66.8, 'rises through life'),
    'globus pallidus': Published(119.3, 'rises in youth'),
    'nucleus accumbens': Published(22.0, ''),
    'substantia nigra': Published(104.5, 'rises with age'),
    'red nucleus': Published(101.8, 'rises with age'),
    'subthalamic nucleus': Published(96.8, ''),
}
"""Region -> published value; source and people in ``NORMAL_SOURCE``."""
NORMAL_SOURCE = (
    'Published: Min 2024 (10.1002/nbm.5226), 106 healthy people of 27-85 years, mean 62. With age: '
    'Treit 2021 (10.1002/hbm.25569), Li 2021 (10.3389/fnins.2020.607705)'
)
NORMAL_AGES = (27.0, 85.0)


def plot_registration(magnitude: PathLikeStr, t1w: PathLikeStr, out_path: PathLikeStr) -> Path:
    """
    Draw the magnitude of the echoes and the T1-weighted image on one grid: a picture of halves.

    Parameters
    ----------
    magnitude
        Magnitude, brought to the grid of the T1-weighted image.
    t1w
        T1-weighted image; the outline is that of its bright tissue.

    """
    anatomy = load_volume(t1w).echo(0)
    moved = load_volume(magnitude, like=anatomy).echo(0)
    support = moved.data > 0.1 * percentile(moved.data, moved.data > 0, 99)
    values = anatomy.data[support]
    bright = anatomy.data > (np.percentile(values, 60) if values.size else 0)
    box = slice_ranges(support if support.any() else support_of(anatomy, None), margin=2)
    outlines = [(bright & support, '#ff5a1f', 0.7)]
    strips = []
    for title, volume in (('Magnitude, brought to the T1w image', moved), ('T1w image', anatomy)):
        window = (0.0, percentile(volume.data, support, 99.5))
        rows = two_rows(volume, support, box=box, outlines=outlines)
        strips.append(Strip(title, rows, window, 'a.u.', ticks={0.0: '0'}))
    return draw_halves(strips, Path(out_path))


def plot_regions(chi: PathLikeStr, labels: PathLikeStr, out_path: PathLikeStr) -> Path:
    """
    Draw the nuclei of the atlas as outlines over the susceptibility.

    Parameters
    ----------
    chi
        Susceptibility [ppm].
    labels
        Labels of the CIT168 atlas on its grid.

    """
    volume = load_volume(chi)
    found = np.rint(load_volume(labels, like=volume).data)
    groups = [(name, np.isin(found, numbers), colour) for name, numbers, colour in ATLAS_GROUPS]
    support = np.logical_or.reduce([mask for _, mask, _ in groups])
    if not support.any():
        support = support_of(volume, None)
    outlines = [(mask, colour, 1.0) for _, mask, colour in groups]
    rows = two_rows(volume, support, box=slice_ranges(support, margin=12), outlines=outlines)
    legend = [(colour, name) for name, _, colour in groups]
    strip = Strip('Nuclei of the atlas over the susceptibility', rows, (-0.1, 0.15), 'ppm')
    return draw_sheet([strip], out_path, legend)


def plot_region_values(table: PathLikeStr, out_path: PathLikeStr) -> Path:
    """
    Draw median and 5th to 95th percentile of the susceptibility of each nucleus, left and right.

    Parameters
    ----------
    table
        Table of the regions of the CIT168 atlas.

    """
    rows = [
        row for row in read_table(table) if row['map'] == 'Chimap' and float(row['erosion_mm']) == 0
    ]
    names = [name for name in NORMAL if any(row['name'] == name for row in rows)]
    doubtful = any(row['placement'] == 'doubtful' for row in rows)
    figure, axes = _figure(len(names))
    for place, name in enumerate(names):
        _draw_published(axes, place, name)
        for side, shift in (('L', -0.17), ('R', 0.17)):
            for row in rows:
                values = [row[k] for k in ('percentile_5', 'median', 'percentile_95')]
                if (row['name'], row['hemisphere']) != (name, side) or 'n/a' in values:
                    continue
                low, middle, high = (1000 * float(value) for value in values)
                axes.plot([low, high], [place + shift] * 2, color=SIDES[side], lw=1.5)
                axes.plot(middle, place + shift, 'o', color=SIDES[side], ms=5)
                volume = float(row['volume_mm3'])
                text = f'{side} {round(middle)} ppb, {volume:.0f} mm³'.replace('-', '−')
                axes.annotate(text, (1.01, place + shift), xycoords=('axes fraction', 'data'),
                              va='center', fontsize=9, color=SIDES[side])  # fmt:skip
    title = 'Susceptibility of deep nuclei: median, 5th to 95th percentile; left and right'
    if doubtful:
        title += '\nDOUBTFUL: the registration did not pass its checks'
    return _finish(figure, axes, names, title, out_path)


SIDES = {'L': '#0072b2', 'R': '#d55e00', 'n/a': '#444444'}


def plot_group_regions(
    rows: Sequence[dict], out_path: PathLikeStr, ages: dict[str, float] | None = None
) -> Path:
    """
    Draw the median susceptibility of each nucleus of all participants, beside published values.

    Parameters
    ----------
    rows
        Rows of the tables of all acquisitions, with ``participant_id``.
    ages
        Age of participants [years]; those outside of the ages of the published values are drawn
        hollow.

    """
    ages = ages or {}
    rows = [
        row
        for row in rows
        if row['segmentation'] == 'CIT168'
        and row['map'] == 'Chimap'
        and float(row['erosion_mm']) == 0
        and row['median'] != 'n/a'
    ]
    names = [name for name in NORMAL if any(row['name'] == name for row in rows)]
    figure, axes = _figure(len(names))
    people = sorted({row['participant_id'] for row in rows})
    spread = {who: (index + 0.5) / len(people) - 0.5 for index, who in enumerate(people)}
    hollow = 0
    for place, name in enumerate(names):
        _draw_published(axes, place, name)
        for row in rows:
            if row['name'] != name:
                continue
            age = ages.get(row['participant_id'])
            outside = age is not None and not NORMAL_AGES[0] <= age <= NORMAL_AGES[1]
            hollow += outside
            height = place + (-0.17 if row['hemisphere'] == 'L' else 0.17)
            height += 0.25 * spread[row['participant_id']]
            mark = 'x' if row['placement'] == 'doubtful' else 'o'
            colour = SIDES[row['hemisphere']]
            axes.plot(1000 * float(row['median']), height, mark, ms=4, color=colour,
                      mfc='none' if outside else colour)  # fmt:skip
    known = sum(who in ages for who in people)
    title = (
        f'Median susceptibility of deep nuclei; participants: {len(people)} (left blue, right '
        f'orange; x: registration doubtful)\nAge known of {known}; {"hollow: " if hollow else ""}'
        f'{hollow} values of people outside {NORMAL_AGES[0]:g}-{NORMAL_AGES[1]:g} years, with '
        'whom the published values must not be compared'
    )
    return _finish(figure, axes, names, title, out_path)


def read_table(path: PathLikeStr) -> list[dict[str, str]]:
    """Rows of a table with tabs."""
    with open(path, encoding='utf-8', newline='') as stream:
        return list(csv.DictReader(stream, delimiter='\t'))


def _figure(count: int):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.6 + 0.55 * max(count, 1)), dpi=110)
    return figure, figure.add_axes((0.2, 0.85 / figure.get_figheight(), 0.62, 0.55 * max(
        count, 1) / figure.get_figheight()))  # fmt:skip


def _draw_published(axes, place: int, name: str) -> None:
    value = NORMAL[name]
    axes.plot([value.mean_ppb] * 2, [place - 0.32, place + 0.32], color='#999999', lw=5, zorder=0,
              solid_capstyle='butt')  # fmt:skip
    if value.with_age:
        axes.annotate(value.with_age, (value.mean_ppb, place + 0.46), fontsize=7.5, color='#666666',
                      ha='center', va='center')  # fmt:skip


def _finish(figure, axes, names: Sequence[str], title: str, out_path: PathLikeStr) -> Path:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axvline(0, color='#cccccc', lw=0.8, zorder=0)
    axes.set_xlabel(f'Susceptibility [ppb]; grey: published mean\n{NORMAL_SOURCE}', fontsize=8)
    axes.set_title(title, fontsize=10)
    axes.spines[['top', 'right']].set_visible(False)
    figure.savefig(out_path, format='png', bbox_inches='tight')
    return Path(out_path)

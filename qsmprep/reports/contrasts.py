"""Panels of what else the echoes hold: R2*, susceptibility-weighted images, separated sources.

Arguments as in :mod:`qsmprep.reports.echoes`.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from qsmprep.reports.maps import CHI_WINDOW_PPM
from qsmprep.reports.rows import percentile, support_of, two_rows
from qsmprep.reports.sheet import Strip, Volume, draw_sheet, load_volume

R2STAR_WINDOW_AT_3T = 50.0


def plot_r2star(
    r2star: str | PathLike,
    out_path: str | PathLike,
    *,
    mask: str | PathLike | None = None,
    field_strength_t: float = 3.0,
) -> Path:
    """
    Draw R2* from 0 to 50 1/s at 3 T, and in proportion at other field strengths.

    Parameters
    ----------
    r2star
        R2* [1/s].
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
    swi: str | PathLike,
    minimum: str | PathLike,
    out_path: str | PathLike,
    *,
    mask: str | PathLike | None = None,
) -> Path:
    """
    Draw a susceptibility-weighted image and its minimum intensity projection.

    Parameters
    ----------
    swi, minimum
        Arbitrary units; one window.
    mask
        Chooses the slices.

    """
    volume = load_volume(swi)
    support = support_of(volume, mask)
    window = (0.0, percentile(volume.data, support, 99.5))
    projected = load_volume(minimum, like=volume)
    strips = [
        Strip(title, two_rows(image, support), window, 'a.u.', ticks={0.0: '0'})
        for title, image in (
            ('Susceptibility-weighted', volume),
            ('Minimum intensity projection', projected),
        )
    ]
    return draw_sheet(strips, out_path)


def plot_separation(
    paramagnetic: str | PathLike,
    diamagnetic: str | PathLike,
    out_path: str | PathLike,
    *,
    mask: str | PathLike | None = None,
) -> Path:
    """
    Draw the susceptibility of either sign, both as sizes from 0 to 0.1 ppm.

    Parameters
    ----------
    paramagnetic, diamagnetic
        Susceptibility [ppm], from 0 up and from 0 down.
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

"""Values of all participants on one line: places of the dots, outliers, numbers as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qsmprep.reports.measure import Measure

WIDTH, MARGIN = 300.0, 12.0
"""Size of a plot and of its empty ends [user units of the SVG]."""
FAR = 3.5
"""Modified z-score beyond which a value is an outlier (Iglewicz and Hoaglin 1993)."""
ENOUGH = 5
"""Values that a site needs to be judged by itself."""


@dataclass(frozen=True)
class Distribution:
    """
    Strip plot of one measure.

    Parameters
    ----------
    measure
        The measure.
    values
        One for each row, NaN where there is none.
    names
        One for each row.
    span
        Values at the ends of the plot.
    scores
        Modified z-score of each value within its site; NaN where it has none.

    """

    measure: Measure
    values: tuple[float, ...]
    names: tuple[str, ...]
    span: tuple[float, float]
    scores: tuple[float, ...]

    def side(self, index: int) -> str:
        """Whether a row is an outlier of its site: ``'high'``, ``'low'`` or nothing."""
        score = self.scores[index]
        return '' if not abs(score) > FAR else 'high' if score > 0 else 'low'

    def position(self, value: float) -> float:
        """Place of a value on the line [user units of the SVG]."""
        low, high = self.span
        part = (value - low) / (high - low)
        return round(MARGIN + min(max(part, 0.0), 1.0) * (WIDTH - 2 * MARGIN), 1)

    @property
    def median(self) -> float:
        """Median of the values."""
        return float(np.nanmedian(self.values))

    @property
    def dots(self) -> list[dict]:
        """Place, height, name and row of each value, spread so that equal ones do not hide."""
        return [
            {
                'x': self.position(value),
                'y': 20 + (index * 7) % 12,
                'name': f'{self.names[index]}: {format_value(value)} {self.measure.unit}'.strip(),
                'far': self.side(index),
                'row': index,
            }
            for index, value in enumerate(self.values)
            if math.isfinite(value)
        ]

    @property
    def path(self) -> str:
        """All dots that are no outliers as one path: a thousand of them draw at once."""
        return ''.join(f'M{dot["x"]} {dot["y"]}h0' for dot in self.dots if not dot['far'])

    @property
    def ends(self) -> tuple[str, str]:
        """The span as text."""
        return format_value(self.span[0]), format_value(self.span[1])

    @property
    def outliers(self) -> list[dict]:
        """Dots that are outliers."""
        return [dot for dot in self.dots if dot['far']]


def distributions(rows: Sequence[Mapping], measures: Sequence[Measure]) -> list[Distribution]:
    """
    Strip plots of the measures that at least one row has.

    Parameters
    ----------
    rows
        Values by key of the measures, ``acquisition``, and ``site``, within which outliers are
        looked for where it has five values or more.
    measures
        Measures to look for.

    """
    names = tuple(str(row.get('acquisition') or row.get('participant_id') or '') for row in rows)
    sites = [str(row.get('site') or '') for row in rows]
    plots = []
    for measure in measures:
        values = tuple(_number(row.get(measure.key)) for row in rows)
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            low, high = min(finite), max(finite)
            pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
            span = (low - pad, high + pad)
            plots.append(
                Distribution(measure, values, names, span, modified_z_scores(values, sites))
            )
    return plots


def format_value(value: object) -> str:
    """
    A number with three digits that count, anything else as text.

    Examples
    --------
    >>> format_value(1412.3), format_value(0.01234), format_value(None)
    ('1412', '0.0123', '')

    """
    if value is None:
        return ''
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return 'not a number'
    text = f'{value:.0f}' if abs(value) >= 1000 else f'{value:.3g}'
    return text.replace('-', '\u2212')


def _number(value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else math.nan


def modified_z_scores(values: Sequence[float], sites: Sequence[str]) -> tuple[float, ...]:
    """
    Distance of each value from the median of its site, over the spread of the site.

    The spread is 1.4826 times the median absolute deviation, or 1.2533 times the mean one where
    more than half of the values are equal (Iglewicz and Hoaglin 1993). Sites with fewer than five
    values are judged by all values together; with fewer than five in all there are no scores.

    Of few values the median absolute deviation is itself uncertain: of ten normal values one in 60
    would lie beyond 3.5 spreads. For n values the spread is therefore widened by 1 + 8/n + 40/n^2,
    with which it is one in 1,000 or fewer for any n from 10 on.

    Parameters
    ----------
    values
        Values; those that are not finite have no score.
    sites
        Site of each.

    Examples
    --------
    >>> scores = modified_z_scores([10, 11, 12, 13, 14, 40], [''] * 6)
    >>> [round(score, 1) for score in scores]
    [-0.3, -0.2, -0.1, 0.1, 0.2, 3.6]

    """
    data, where = np.asarray(values, dtype=float), np.asarray(sites, dtype=object)
    finite = np.isfinite(data)
    scores = np.full(data.shape, math.nan)
    for site in set(sites):
        here = finite & (where == site)
        usual = data[here if np.count_nonzero(here) >= ENOUGH else finite]
        if usual.size >= ENOUGH:
            distance = np.abs(usual - np.median(usual))
            few = 1 + 8 / usual.size + 40 / usual.size**2
            spread = 1.4826 * few * np.median(distance) or 1.2533 * distance.mean()
            if spread > 0:
                scores[here] = (data[here] - np.median(usual)) / spread
    return tuple(scores.tolist())

"""Values of all participants on one line: positions of the dots, outliers, numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qsmprep.reports.measure import Measure

WIDTH, MARGIN = 300.0, 12.0
"""Size of a plot and of its empty ends [user units of the SVG]."""


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
    fences
        Tukey's fences, None with fewer than five values.

    """

    measure: Measure
    values: tuple[float, ...]
    names: tuple[str, ...]
    span: tuple[float, float]
    fences: tuple[float, float] | None

    def side(self, index: int) -> str:
        """Whether a row lies beyond the fences: ``'high'``, ``'low'`` or nothing."""
        value = self.values[index]
        if self.fences is None or math.isnan(value):
            return ''
        return 'high' if value > self.fences[1] else 'low' if value < self.fences[0] else ''

    def position(self, value: float) -> float:
        """Place of a value on the line [user units of the SVG]."""
        low, high = self.span
        part = (value - low) / (high - low)
        return round(MARGIN + min(max(part, 0.0), 1.0) * (WIDTH - 2 * MARGIN), 2)

    @property
    def median(self) -> float:
        """Median of the values."""
        return float(np.nanmedian(self.values))

    @property
    def dots(self) -> list[dict]:
        """Place, height, name and text of each value, spread so that equal ones do not hide."""
        return [
            {
                'x': self.position(value),
                'y': 20 + (index * 7) % 12,
                'name': f'{self.names[index]}: {format_value(value)} {self.measure.unit}'.strip(),
                'far': self.side(index),
            }
            for index, value in enumerate(self.values)
            if math.isfinite(value)
        ]

    @property
    def ends(self) -> tuple[str, str]:
        """The span as text."""
        return format_value(self.span[0]), format_value(self.span[1])

    @property
    def outliers(self) -> list[str]:
        """Names and values beyond the fences."""
        return [dot['name'] for dot in self.dots if dot['far']]


def distributions(rows: Sequence[Mapping], measures: Sequence[Measure]) -> list[Distribution]:
    """
    Strip plots of the measures that at least one row has.

    Parameters
    ----------
    rows
        Values by key of the measures, and ``acquisition``.
    measures
        Measures to look for.

    """
    names = tuple(str(row.get('acquisition') or row.get('participant_id') or '') for row in rows)
    plots = []
    for measure in measures:
        values = tuple(_number(row.get(measure.key)) for row in rows)
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            low, high = min(finite), max(finite)
            pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
            span = (low - pad, high + pad)
            plots.append(Distribution(measure, values, names, span, tukey_fences(finite)))
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


def tukey_fences(values: Iterable[float]) -> tuple[float, float] | None:
    """
    Tukey's fences: 1.5 interquartile ranges beyond the quartiles.

    Parameters
    ----------
    values
        At least five finite ones are needed; else None is returned.

    Examples
    --------
    >>> tukey_fences([1, 2, 3, 4, 5])
    (-1.0, 7.0)

    """
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 5:
        return None
    low, high = np.percentile(finite, [25, 75])
    reach = 1.5 * (high - low)
    return float(low - reach), float(high + reach)

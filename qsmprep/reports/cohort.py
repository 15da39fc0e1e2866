"""The page of all participants: strip plots, outliers by site, and a table to sort and filter."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.distribution import Distribution, distributions, format_value
from qsmprep.reports.measure import Measure
from qsmprep.reports.render import write_page
from qsmprep.reports.text import plain_text

COLUMNS = {
    'session': 'Session',
    'site': 'Site',
    'scanner': 'Scanner',
    'field_strength_t': 'Field strength [T]',
    'status': 'Status',
}
"""Columns by which the table can be filtered."""


def write_group_page(
    output_dir: Path, rows: Sequence[Mapping], measures: Sequence[Measure] = MEASURES
) -> Path:
    """
    Assemble the page of all participants.

    Parameters
    ----------
    output_dir
        Root of the derivatives dataset.
    rows
        One for each acquisition: ``participant_id``, ``acquisition``, those of :data:`COLUMNS`,
        the count of ``warnings``, and values by key of the measures.
    measures
        Measures to show; outliers of their site are marked.

    Returns
    -------
    pathlib.Path
        The page, ``group.html``.

    """
    output_dir = Path(output_dir)
    plots = distributions(rows, measures)
    pages = {path.name for path in output_dir.glob('sub-*.html')}
    table = [_row(row, index, plots, pages) for index, row in enumerate(rows)]
    values = {
        plot.measure.key: [None if math.isnan(x) else float(f'{x:.4g}') for x in plot.values]
        for plot in plots
    }
    return write_page(
        output_dir / 'group.html',
        'group.html',
        script='group.js',
        title='All participants',
        plots=plots,
        table=table,
        regions=_picture(output_dir / 'group_regions.png'),
        filters=[
            (key, label, sorted({row[key] for row in table} - {''}))
            for key, label in COLUMNS.items()
        ],
        columns=COLUMNS,
        values=json.dumps(values).replace('<', '\\u003c'),
    )


def _picture(path: Path) -> str:
    """A picture as a data URI; empty where there is none."""
    if not path.is_file():
        return ''
    return 'data:image/png;base64,' + base64.b64encode(path.read_bytes()).decode('ascii')


def _row(row: Mapping, index: int, plots: Sequence[Distribution], pages: set[str]) -> dict:
    """All that the table shows of one acquisition."""
    name, acquisition = (plain_text(row.get(key)) for key in ('participant_id', 'acquisition'))
    session = re.search('_ses-([^_/]+)', acquisition)
    own = f'{name}{session[0]}.html' if session else ''
    page = next((page for page in (f'{name}.html', own) if page in pages), '')
    return {
        'participant': name,
        'acquisition': acquisition.removeprefix(f'{name}_'),
        'page': quote(page),
        'session': session[1] if session else '',
        **{key: _told(row.get(key)) for key in COLUMNS if key != 'session'},
        'warnings': _told(row.get('warnings')),
        'far': [
            (plot.side(index), f'{plot.measure.label} {format_value(plot.values[index])}')
            for plot in plots
            if plot.side(index)
        ],
    }


def _told(value: object) -> str:
    """A value as text; nothing where a table says that there is none."""
    text = format_value(value) if isinstance(value, int | float) else plain_text(value)
    return '' if text in ('n/a', 'not given') else text

"""Pages of the report: one file for each participant, and one for the group.

Pages load nothing: pictures are part of the file, there is no script, and a content security
policy forbids both. All that comes from names and records is escaped by the template.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import qsmprep
from qsmprep.reports.distribution import distributions, format_value
from qsmprep.reports.quality import MEASURES, Measure, quality_warnings

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'


@dataclass(frozen=True)
class Panel:
    """Title of a picture, what to look for in it, and whether each acquisition has one."""

    title: str
    caption: str
    expected: bool = True


PANELS = {
    'echoes': Panel(
        'Echoes: magnitude and phase',
        'Phase must wrap from \u2212\u03c0 (black) to \u03c0 (white) in smooth bands that get '
        'closer with the echo time. A few grey levels only, or late echoes that never reach '
        'black and white, mean a wrong phase range; stripes from slice to slice a fault of '
        'reconstruction; blurred edges or ghosts motion. Outside the head there is only noise.',
    ),
    'unwrapped': Panel(
        'Unwrapped phase',
        'Smooth within the brain, and growing with the echo time. Sharp steps between blue and '
        'red are wraps that are left; an echo with another overall colour has a wrong offset.',
    ),
    'totalfield': Panel(
        'Total field and its noise',
        'Smooth apart from anatomy: strongest above the sinuses and the ear canals. The noise is '
        'low and even inside the brain and high next to air; a bright patch deep inside is a '
        'region in which susceptibility cannot be trusted.',
    ),
    'mask': Panel(
        'Masks',
        'The outlines follow the brain: skull inside the mask makes streaks, cortex outside is '
        'lost. Holes near sinuses and large veins are voxels of unreliable phase. The final mask '
        'lies inside the others.',
    ),
    'localfield': Panel(
        'Local field',
        'Veins and deep grey nuclei stand out with dark and bright lobes along B0. Broad shading '
        'towards the edge is background field that is left.',
    ),
    'chi': Panel(
        'Susceptibility',
        'Window \u00b10.1 ppm, bright is paramagnetic. Veins, pallidum, putamen, red nucleus, '
        'substantia nigra and dentate nucleus are bright, white matter is dark. Look for streaks '
        'that leave veins at about 55\u00b0 to B0, for dark or bright rims at the edge of the '
        'mask, and for broad shadows. All contrast inverted means a wrong sign of the phase.',
    ),
    'uncertainty': Panel(
        'Uncertainty of the susceptibility',
        'Standard deviation of the map. It is higher where the field is noisy, near veins and at '
        'the edge of the mask; a contrast of the map that is smaller than this is not to be '
        'trusted. What the model of the field leaves out is not in it.',
        expected=False,
    ),
    'superres': Panel(
        'Super-resolution',
        'The map as measured, and the finer one that agrees with it. Edges and thin veins get '
        'sharper; what only the lower row shows was not measured, but is what the prior expects.',
        expected=False,
    ),
    'r2star': Panel(
        'R2*',
        'Iron-rich nuclei and veins are bright. Bright regions above the sinuses come from field '
        'gradients through the slice, not from tissue.',
        expected=False,
    ),
    'truth': Panel(
        'Truth and result',
        'Simulated data: the difference shows noise only where the result is right; structures '
        'that are left show over- or underestimated susceptibility.',
        expected=False,
    ),
}


def write_participant_pages(output_dir: Path, label: str, aggregate: int = 4) -> list[Path]:
    """
    Assemble one page of a participant, or one for each session where there are many.

    Parameters
    ----------
    output_dir, label
        See :func:`write_participant_page`.
    aggregate
        Number of sessions up to which they share a page.

    Returns
    -------
    list of pathlib.Path
        The pages.

    """
    record, _ = _read_record(Path(output_dir) / 'logs' / f'sub-{label}.json')
    stems = [_text(acquisition.get('stem')) for acquisition in _dicts(record.get('acquisitions'))]
    sessions = sorted({match[1] for stem in stems if (match := re.search('_ses-([^_]+)_', stem))})
    if len(sessions) <= aggregate:
        return [write_participant_page(output_dir, label)]
    return [write_participant_page(output_dir, label, session) for session in sessions]


def write_participant_page(output_dir: Path, label: str, session: str | None = None) -> Path:
    """
    Assemble the page of one participant from what lies in the output folder.

    Nothing has to be there: what is missing or cannot be read is said on the page.

    Parameters
    ----------
    output_dir
        Root of the derivatives dataset; ``logs/sub-<label>.json``, ``logs/CITATION.md`` and
        ``sub-<label>/figures/*.png`` are read.
    label
        Label of the participant, without ``sub-``.
    session
        Label of the one session that the page is about; all by default.

    Returns
    -------
    pathlib.Path
        The page, ``sub-<label>.html`` or ``sub-<label>_ses-<session>.html``.

    Raises
    ------
    ValueError
        If the label cannot be part of a file name.

    """
    if not label or '/' in label or '\0' in label:
        raise ValueError(
            f'{label!r} cannot be the label of a participant; give letters and digits.'
        )
    output_dir = Path(output_dir)
    record, problem = _read_record(output_dir / 'logs' / f'sub-{label}.json')
    name = f'sub-{label}' if session is None else f'sub-{label}_ses-{session}'
    figures = sorted((output_dir / f'sub-{label}' / 'figures').glob(f'{name}_*.png'))
    acquisitions = [
        _acquisition_view(acquisition, figures)
        for acquisition in _dicts(record.get('acquisitions'))
        if session is None or _text(acquisition.get('stem')).startswith(f'{name}_')
    ]
    shown = {path for view in acquisitions for path in view.pop('paths')}
    return _write(
        output_dir / f'{name}.html',
        kind='participant',
        title=name,
        problem=problem,
        run=_run_facts(record),
        acquisitions=acquisitions,
        others=[_picture(path, path.stem, '') for path in figures if path not in shown],
        methods=_methods(output_dir / 'logs' / 'CITATION.md'),
        errors=[
            {key: _text(error.get(key)) for key in ('node', 'message', 'traceback')}
            for error in _dicts(record.get('errors'))
        ],
    )


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
        One for each acquisition: ``participant_id``, ``acquisition``, ``status``, and values by
        key of the measures.
    measures
        Measures to show; values beyond Tukey's fences are marked.

    Returns
    -------
    pathlib.Path
        The page, ``group.html``.

    """
    output_dir = Path(output_dir)
    plots = distributions(rows, measures)
    table = []
    for index, row in enumerate(rows):
        name = _text(row.get('participant_id'))
        session = re.search('_ses-[^_/]+', _text(row.get('acquisition')))
        page = output_dir / f'{name}.html'
        if session and not page.is_file():
            page = output_dir / f'{name}{session[0]}.html'
        table.append(
            {
                'participant': name,
                'page': quote(page.name) if '/' not in name and page.is_file() else '',
                'acquisition': _text(row.get('acquisition')),
                'status': _text(row.get('status')),
                'cells': [
                    {'value': format_value(row.get(plot.measure.key)), 'far': plot.side(index)}
                    for plot in plots
                ],
            }
        )
    return _write(
        output_dir / 'group.html', kind='group', title='All participants', plots=plots, table=table
    )


def _write(path: Path, **context) -> Path:
    """Fill the template and replace the page at once."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    source = resources.files('qsmprep.data').joinpath('report.html').read_text(encoding='utf-8')
    page = environment.from_string(source).render(version=qsmprep.__version__, **context)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{path.name}.part')
    unfinished.write_bytes(page.encode('utf-8', errors='replace'))
    os.replace(unfinished, path)
    return path


def _read_record(path: Path) -> tuple[dict, str]:
    """Record of a participant and, where it cannot be read, a sentence that says so."""
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return {}, f'There is no record of this participant ({path.name}): it was not processed.'
    except (OSError, ValueError) as error:
        return {}, f'The record {path.name} cannot be read: {error}.'
    if not isinstance(record, dict):
        return {}, f'The record {path.name} is not a JSON object.'
    return record, ''


def _run_facts(record: Mapping) -> list[tuple[str, str]]:
    labels = {
        'participant': 'Participant',
        'qsmprep_version': 'qsmprep version',
        'started': 'Started',
        'finished': 'Finished',
        'command': 'Command',
        'settings_file': 'Settings',
        'run_uuid': 'Run',
    }
    facts = [(name, _text(record.get(key))) for key, name in labels.items() if key in record]
    return [(name, value or 'not finished') for name, value in facts]


def _acquisition_view(acquisition: Mapping, figures: Sequence[Path]) -> dict:
    """All that the template shows of one acquisition."""
    stem, status = _text(acquisition.get('stem')), _text(acquisition.get('status'))
    quality = acquisition.get('quality')
    quality = quality if isinstance(quality, dict) else {}
    prefix = stem.rpartition('_')[0] + '_desc-'
    found = {}
    for path in figures:
        if path.name.startswith(prefix):
            found[path.name.removeprefix(prefix).partition('_')[0]] = path
    order = [*PANELS, *sorted(set(found) - set(PANELS))]
    pictures, missing = [], []
    for name in order:
        panel = PANELS.get(name, Panel(name, '', expected=False))
        if name in found:
            pictures.append(_picture(found[name], panel.title, panel.caption))
        elif status == 'completed' and (panel.expected or _has_measure(name, quality)):
            missing.append(panel.title)
    warnings = acquisition.get('warnings')
    return {
        'stem': stem,
        'status': status,
        'error': _text(acquisition.get('error')),
        'inputs': [_text(x) for x in acquisition.get('inputs') or [] if isinstance(x, str)],
        'parameters': _pairs(acquisition.get('parameters')),
        'rules': _pairs(acquisition.get('rules')),
        'warnings': [_text(x) for x in (warnings if isinstance(warnings, list) else [])],
        'unexpected': quality_warnings(quality),
        'pictures': pictures,
        'missing': missing,
        'quality': _quality_rows(quality),
        'paths': list(found.values()),
    }


def _has_measure(panel: str, quality: Mapping) -> bool:
    return panel == 'r2star' and 'r2star_median_hz' in quality


def _quality_rows(quality: Mapping) -> list[dict]:
    """Measures in their order, then values that the table of measures does not know."""
    rows = []
    for measure in MEASURES:
        if measure.key in quality:
            value = quality[measure.key]
            number = isinstance(value, int | float)
            rows.append(
                {
                    'label': measure.label,
                    'value': format_value(value),
                    'unit': measure.unit,
                    'band': measure.band,
                    'good': number and measure.accepts(value),
                    'description': measure.description,
                }
            )
    known = {measure.key for measure in MEASURES}
    for key, value in quality.items():
        if key not in known:
            rows.append(
                {
                    'label': _text(key),
                    'value': format_value(value),
                    'unit': '',
                    'band': '',
                    'good': True,
                    'description': '',
                }
            )
    return rows


def _picture(path: Path, title: str, caption: str) -> dict:
    """A picture as a data URI with its size, or a sentence on why it cannot be shown."""
    view = {'title': title, 'caption': caption, 'name': path.name, 'source': '', 'problem': ''}
    try:
        content = path.read_bytes()
    except OSError as error:
        return view | {'problem': f'{path.name} cannot be read: {error.strerror}.'}
    if not content.startswith(PNG_SIGNATURE) or len(content) < 24:
        return view | {'problem': f'{path.name} is not a PNG picture.'}
    return view | {
        'source': 'data:image/png;base64,' + base64.b64encode(content).decode('ascii'),
        'width': int.from_bytes(content[16:20], 'big'),
        'height': int.from_bytes(content[20:24], 'big'),
    }


def _methods(path: Path) -> list[dict]:
    """Headings, list items and paragraphs of the methods text; links are parts of their text."""
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return []
    blocks = []
    for chunk in re.split(r'\n\s*\n', text):
        lines = [line.strip() for line in chunk.strip().splitlines()]
        paragraph: list[str] = []
        for line in lines:
            mark = re.match(r'(#{1,6}|[-*+]|\d+\.)\s+(.*)', line)
            if mark is None:
                paragraph.append(line)
                continue
            if paragraph:
                blocks.append({'kind': 'paragraph', 'parts': _links(' '.join(paragraph))})
                paragraph = []
            kind = 'heading' if mark[1].startswith('#') else 'item'
            blocks.append({'kind': kind, 'parts': _links(mark[2])})
        if paragraph:
            blocks.append({'kind': 'paragraph', 'parts': _links(' '.join(paragraph))})
    return blocks


def _links(text: str) -> list[tuple[str, str]]:
    """
    Split a text into pieces and the address that each leads to, if any.

    Examples
    --------
    >>> _links('See [the paper](https://doi.org/1) and <b>')
    [('See ', ''), ('the paper', 'https://doi.org/1'), (' and <b>', '')]
    >>> _links('*all* of R2\\*, T2\\*')
    [('all of R2*, T2*', '')]

    """
    text = re.sub(r'(?<!\\)(\*\*?|__?)(?=\S)([^*_\n]+?)(?<=[^\s\\])\1(?!\w)', r'\2', _text(text))
    text = re.sub(r'\\([*_])', r'\1', text)
    pattern = r'\[([^\]]+)\]\((https?://[^\s)]+)\)|(https?://[^\s<>"\')\]]*[^\s<>"\')\].,;])'
    pieces, end = [], 0
    for link in re.finditer(pattern, text):
        pieces.append((text[end : link.start()], ''))
        pieces.append((link[1] or link[3], link[2] or link[3]))
        end = link.end()
    pieces.append((text[end:], ''))
    return [piece for piece in pieces if piece[0]]


def _text(value: object) -> str:
    """A value of a record as text, without terminal colours and control characters."""
    if value is None:
        return ''
    if isinstance(value, list | tuple):
        return ', '.join(_text(item) for item in value)
    plain = re.sub(r'\x1b\[[0-9;]*[A-Za-z]', '', str(value))
    return re.sub(r'[\x00-\x08\x0b-\x1f\x7f]', '', plain)


def _pairs(mapping: object) -> list[tuple[str, str]]:
    items = mapping.items() if isinstance(mapping, dict) else ()
    return [(_text(key), _text(value)) for key, value in items]


def _dicts(items: object) -> list[dict]:
    return [x for x in items if isinstance(x, dict)] if isinstance(items, list) else []

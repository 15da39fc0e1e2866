"""Pages of the report, one file for each participant.

They load nothing: pictures are part of the file, there is no script, and a content security
policy forbids both. All that comes from names and records is escaped by the template.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.distribution import format_value
from qsmprep.reports.measures import problems
from qsmprep.reports.panels import PANELS, Panel
from qsmprep.reports.render import write_page
from qsmprep.reports.spectra import spectra_plot
from qsmprep.reports.text import dicts, pairs, plain_text, read_methods, read_text, texts
from qsmprep.reports.viewer import viewer_name

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
SIGNS = {
    'paramagnetic': 'paramagnetic: blood products, iron, or a vein',
    'diamagnetic': 'diamagnetic: calcium',
    'not told': 'cannot be told: neither sign stands out',
}
"""Sign of a dark spot -> what it means."""
PNG_END = b'IEND\xaeB`\x82'


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
    stems = [
        plain_text(acquisition.get('stem')) for acquisition in dicts(record.get('acquisitions'))
    ]
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
        _acquisition_view(acquisition, figures, output_dir)
        for acquisition in dicts(record.get('acquisitions'))
        if session is None or plain_text(acquisition.get('stem')).startswith(f'{name}_')
    ]
    shown = {path for view in acquisitions for path in view.pop('paths')}
    logs = output_dir / 'logs'
    sources = {
        'Methods text in Markdown': read_text(logs / 'CITATION.md'),
        'Methods text in LaTeX': read_text(logs / 'CITATION.tex'),
        'References in BibTeX': read_text(logs / 'CITATION.bib'),
    }
    return write_page(
        output_dir / f'{name}.html',
        'participant.html',
        title=name,
        problem=problem,
        run=_run_facts(record),
        acquisitions=acquisitions,
        others=[_picture(path, path.stem, '') for path in figures if path not in shown],
        methods=read_methods(logs / 'CITATION.md'),
        sources=[(title, text) for title, text in sources.items() if text],
        errors=[
            {key: plain_text(error.get(key)) for key in ('node', 'message', 'traceback')}
            for error in dicts(record.get('errors'))
        ],
    )


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
        'peak_memory_gb': 'Most memory of one process [GB]',
    }
    facts = {key: plain_text(record.get(key)) for key in labels if key in record}
    for key in facts.keys() & {'started', 'finished'}:
        facts[key] = facts[key].replace('T', ' ').replace('+00:00', ' UTC')
    return [(labels[key], value or 'not finished') for key, value in facts.items()]


def _acquisition_view(acquisition: Mapping, figures: Sequence[Path], output_dir: Path) -> dict:
    """All that the template shows of one acquisition."""
    stem, status = plain_text(acquisition.get('stem')), plain_text(acquisition.get('status'))
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
            view = _picture(found[name], panel.title, panel.caption)
            pictures.append(view | {'key': name, 'halves': panel.halves})
        elif status == 'completed' and (panel.expected or _has_measure(name, quality)):
            missing.append(panel.title)
    viewer = viewer_name(stem.rpartition('_')[0])
    there = '/' not in viewer and (output_dir / viewer).is_file()
    steps = _steps(acquisition.get('steps'))
    rows = _quality_rows(quality)
    return {
        'stem': stem,
        'status': status,
        'error': plain_text(acquisition.get('error')),
        'inputs': texts(acquisition.get('inputs')),
        'parameters': pairs(acquisition.get('parameters')),
        'rules': pairs(acquisition.get('rules')),
        'warnings': texts(acquisition.get('warnings')),
        'notes': texts(acquisition.get('notes')),
        'problems': problems(quality, acquisition.get('infant', False)),
        'viewer': quote(viewer) if there else '',
        'spectra': spectra_plot(acquisition.get('spectra')),
        'sentence': _sentence(quality, plain_text(acquisition.get('reference'))),
        'steps': steps,
        'total': f'{sum(seconds for _, seconds, _ in steps):.0f}',
        'pictures': pictures,
        'missing': missing,
        'quality': rows,
        'spots': _spots(acquisition.get('spots')),
        'outside': sum(not row['good'] for row in rows),
        'paths': list(found.values()),
    }


def _steps(steps: object) -> list[tuple[str, float, str]]:
    """Name, time [s] and most memory [GB], where it is known, of each step."""
    rows = []
    for name, step in steps.items() if isinstance(steps, dict) else ():
        took, used = (
            step.get(key) if isinstance(step, dict) else None for key in ('seconds', 'memory_gb')
        )
        if _is_number(took):
            rows.append((plain_text(name), took, f'{used:.2f}' if _is_number(used) else ''))
    return rows


def _spots(spots: object) -> list[dict]:
    """Dark spots of the last echo; those that are not as they were written are left out."""
    rows = []
    for spot in dicts(spots):
        numbers = [spot.get(k) for k in ('Volume_mm3', 'Lowest_ppm', 'Highest_ppm')]
        estimated, place = spot.get('Estimated_percent'), spot.get('Position_mm')
        if not all(map(_is_number, [*numbers, estimated])) or not isinstance(place, list):
            continue
        volume, low, high = (format_value(x) for x in numbers)
        sign = plain_text(spot.get('Sign'))
        words = SIGNS.get(sign, sign)
        if estimated >= 1:
            words += (
                f'; {estimated:.0f} % of it has no field of its own, so that its sign comes from '
                'the field around, and its size is less certain'
            )
        shown = ', '.join(format_value(x) for x in place)
        rows.append({'place': shown, 'volume': volume, 'low': low, 'high': high, 'words': words})
    return rows


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sentence(quality: Mapping, reference: str) -> str:
    """What the consensus (Bilgic 2024, 10.1002/mrm.30006) asks a paper to say of each map."""
    if not reference or not _is_number(quality.get('map_volume_ml')):
        return ''
    parts = [f'Susceptibility is given for {quality["map_volume_ml"]:.0f} ml']
    for key, words in (
        ('lost_to_phase_quality_percent', 'of the brain mask was excluded for unreliable phase'),
        ('lost_to_background_percent', 'of the rest with the background field'),
        ('map_estimated_ml', 'of the map was estimated without a field of its own'),
    ):
        value = quality.get(key)
        if _is_number(value):
            unit = 'ml' if key.endswith('ml') else '%'
            parts.append(f'{value:.1f} {unit} {words}')
    referred = {
        'brain': 'its mean over the brain',
        'none': 'no region (no reference was subtracted)',
    }.get(reference, f'its mean over the region {reference}')
    return (
        f'{"; ".join(parts)}. Maps were computed on the grid of the scan and not resampled. '
        f'Susceptibility is in ppm, relative to {referred}.'
    )


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
                    'band': measure.band + ' †' * measure.tried,
                    'good': number and measure.accepts(value),
                    'description': measure.description,
                    'source': measure.source,
                }
            )
    known = {measure.key for measure in MEASURES}
    for key, value in quality.items():
        if key not in known:
            rows.append(
                {
                    'label': plain_text(key),
                    'value': format_value(value),
                    'unit': '',
                    'band': '',
                    'good': True,
                    'description': '',
                    'source': '',
                }
            )
    return rows


def _picture(path: Path, title: str, caption: str) -> dict:
    """A picture as a data URI with its size, or a sentence on why it cannot be shown."""
    view = {'title': title, 'caption': caption, 'name': path.name, 'source': '', 'problem': ''}
    view |= {'key': '', 'halves': False}
    try:
        content = path.read_bytes()
    except OSError as error:
        return view | {'problem': f'{path.name} cannot be read: {error.strerror}.'}
    if not content.startswith(PNG_SIGNATURE) or len(content) < 24:
        return view | {'problem': f'{path.name} is not a PNG picture.'}
    if not content.endswith(PNG_END):
        return view | {'problem': f'{path.name} is cut short.'}
    return view | {
        'source': 'data:image/png;base64,' + base64.b64encode(content).decode('ascii'),
        'width': int.from_bytes(content[16:20], 'big'),
        'height': int.from_bytes(content[20:24], 'big'),
    }

"""The group level: quality measures of all participants in one table and one page."""

from __future__ import annotations

import csv
import io
import logging
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from qsmprep.bids.derivatives import write_json
from qsmprep.bids.errors import InputError
from qsmprep.bids.files import write_whole
from qsmprep.cli import exit_codes
from qsmprep.cli.group_regions import gather_regions
from qsmprep.cli.records import read_record
from qsmprep.reports.measures import problems

LOGGER = logging.getLogger('qsmprep')
COLUMNS = {
    'acquisition': 'Name of the acquisition.',
    'participant_id': 'Participant.',
    'status': 'How processing ended: completed, failed, rejected.',
    'site': 'Site, from participants.tsv.',
    'scanner': 'Manufacturer and model.',
    'field_strength_t': 'Field strength [T].',
    'warnings': 'Number of warnings of the report.',
}
"""Column of the table -> what it holds, before the measures."""
METHODS = (
    'start_from', 'unwrapping', 'brain_extraction', 'background', 'background_parameters',
    'inversion', 'inversion_parameters', 'reference', 'sloppy',
)  # fmt: skip
"""Settings that make other maps."""


def run_group(output_dir: Path, participants: Sequence[str] = ()) -> int:
    """
    Gather the participants' quality measures.

    Parameters
    ----------
    output_dir
        Root of a derivatives dataset with results of the participant level.
    participants
        Labels that were asked for: all are gathered nevertheless, and a warning says so.

    Returns
    -------
    int
        ``OK``, or ``FAILURE`` when there is nothing to gather.

    """
    from qsmprep.reports.catalogue import MEASURES
    from qsmprep.reports.cohort import write_group_page

    rows = collect_quality(output_dir)
    if not rows:
        LOGGER.error(
            'No record of a participant in %s; run the participant level first.',
            output_dir / 'logs',
        )
        return exit_codes.FAILURE
    if participants:
        LOGGER.warning(
            '--participant-label has no effect at the group level: all participants of %s are '
            'gathered. Pick rows of its table.',
            output_dir,
        )
    for sentence in made_unlike(output_dir):
        LOGGER.warning('%s', sentence)
    names = [measure.key for measure in MEASURES]
    table = output_dir / 'group_qsm.tsv'
    text = io.StringIO(newline='')
    writer = csv.DictWriter(
        text,
        [*COLUMNS, *names],
        delimiter='\t',
        restval='n/a',
        extrasaction='ignore',
    )
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode(errors='replace')
    write_whole(table, lambda stream: stream.write(content))
    dictionary = {key: {'Description': text} for key, text in COLUMNS.items()}
    dictionary |= {m.key: {'Description': m.description, 'Units': m.unit} for m in MEASURES}
    write_json(output_dir / 'group_qsm.json', dictionary)
    print(table)
    print(*gather_regions(output_dir), sep='\n')
    print(write_group_page(output_dir, rows, MEASURES))
    unreadable = any(row['status'] == 'unreadable' for row in rows)
    return exit_codes.FAILURE if unreadable else exit_codes.OK


def made_unlike(output_dir: Path) -> list[str]:
    """
    Sentences on what the participants of a dataset were not processed alike by.

    Parameters
    ----------
    output_dir
        Root of a derivatives dataset.

    """
    found: dict[str, Counter[str]] = {}
    for path in sorted((output_dir / 'logs').glob('sub-*.json')):
        try:
            record = read_record(output_dir, path.stem.removeprefix('sub-'))
            text = (output_dir / str(record.get('settings_file'))).read_text()
            processing = tomllib.loads(text)['processing']
            ways = {name: processing.get(name) for name in METHODS}
        except (InputError, OSError, ValueError, KeyError, AttributeError):
            continue  # not written by qsmprep
        ways['qsmprep_version'] = record.get('qsmprep_version')
        for name, way in ways.items():
            found.setdefault(name, Counter())[str(way)] += 1
    return [
        f'Participants were not processed alike by {name}: '
        + ', '.join(f'{way} ({count})' for way, count in ways.most_common())
        + '; compare those that were, or process all again by one.'
        for name, ways in found.items()
        if len(ways) > 1
    ]


def collect_quality(output_dir: Path) -> list[dict]:
    """
    One row for each acquisition that was met.

    Parameters
    ----------
    output_dir
        Root of a derivatives dataset.

    """
    rows = []
    for path in sorted((output_dir / 'logs').glob('sub-*.json')):
        try:
            record = read_record(output_dir, path.stem.removeprefix('sub-'))
        except InputError as error:
            LOGGER.error('%s', error)
            rows.append({'participant_id': path.stem, 'acquisition': 'n/a', 'status': 'unreadable'})
            continue
        for acquisition in record['acquisitions']:
            quality = acquisition.get('quality', {})
            parameters = acquisition.get('parameters')
            scan = parameters if isinstance(parameters, dict) else {}
            warnings = acquisition.get('warnings')
            rows.append(
                {
                    **quality,
                    'site': record.get('site') or 'n/a',
                    'scanner': scan.get('Scanner', 'n/a'),
                    'field_strength_t': scan.get('Field strength [T]', 'n/a'),
                    'warnings': len(problems(quality, acquisition.get('infant', False)))
                    + (len(warnings) if isinstance(warnings, list) else 0),
                    'acquisition': acquisition['stem'],
                    'participant_id': path.stem,
                    'status': acquisition['status'],
                }
            )
    return rows

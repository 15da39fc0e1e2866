"""The group level: quality measures of all participants in one table and one page."""

from __future__ import annotations

import csv
import io
import logging
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


def run_group(output_dir: Path) -> int:
    """
    Gather the participants' quality measures.

    Parameters
    ----------
    output_dir
        Root of a derivatives dataset with results of the participant level.

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
                    'warnings': len(problems(quality))
                    + (len(warnings) if isinstance(warnings, list) else 0),
                    'acquisition': acquisition['stem'],
                    'participant_id': path.stem,
                    'status': acquisition['status'],
                }
            )
    return rows

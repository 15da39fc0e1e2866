"""Tables of regions of all participants, in one."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path

from qsmprep.bids.derivatives import RAW, write_json
from qsmprep.bids.errors import InputError
from qsmprep.bids.files import read_json_object, write_whole
from qsmprep.cli.stated import unit_of_age
from qsmprep.reports.regions import plot_group_regions, read_table

LOGGER = logging.getLogger('qsmprep')


def gather_regions(output_dir: Path) -> list[Path]:
    """
    Write ``group_regions.tsv``, its dictionary and a picture of it.

    Parameters
    ----------
    output_dir
        Root of a derivatives dataset.

    Returns
    -------
    list of pathlib.Path
        Table and picture; empty where no participant has a table of regions.

    """
    from qsmprep.interfaces.regions import dictionary

    rows = []
    for path in sorted(output_dir.glob('sub-*/**/anat/*_regions.tsv')):
        labels = dict(part.split('-', 1) for part in path.name.split('_') if '-' in part)
        who = {
            'participant_id': f'sub-{labels["sub"]}',
            'session_id': f'ses-{labels["ses"]}' if 'ses' in labels else 'n/a',
            'acquisition': path.name.partition('_seg-')[0],
            'segmentation': labels.get('seg', 'n/a'),
        }
        found = read_table(path)
        if found and set(found[0]) != set(dictionary()):
            LOGGER.error('%s is left out: its columns are not those of qsmprep.', path)
            continue
        rows += [who | row for row in found]
    if not rows:
        return []
    text = io.StringIO(newline='')
    writer = csv.DictWriter(text, list(rows[0]), delimiter='\t', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode(errors='replace')
    table = output_dir / 'group_regions.tsv'
    write_whole(table, lambda stream: stream.write(content))
    columns = {
        'participant_id': {'Description': 'Participant.'},
        'session_id': {'Description': 'Session.'},
        'acquisition': {'Description': 'Acquisition, as in the names of its maps.'},
        'segmentation': {'Description': 'Label of seg- in the names of the tables.'},
    }
    write_json(output_dir / 'group_regions.json', columns | dictionary())
    picture = plot_group_regions(rows, output_dir / 'group_regions.png', read_ages(output_dir))
    return [table, picture]


def read_ages(output_dir: Path) -> dict[str, float]:
    """Age of participants [years], where the raw dataset's ``participants.tsv`` has it."""
    try:
        links = read_json_object(output_dir / 'dataset_description.json').get('DatasetLinks', {})
        bids_dir = output_dir / str(links[RAW])
        rows = read_table(bids_dir / 'participants.tsv')
    except (InputError, OSError, KeyError):
        return {}
    ages, unit = {}, unit_of_age(bids_dir / 'participants')
    for row in rows:
        try:
            ages[row['participant_id']] = unit * float(row['age'])
        except (KeyError, ValueError, TypeError):
            continue
    return ages

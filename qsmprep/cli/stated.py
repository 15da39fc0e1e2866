"""What ``participants.tsv`` states of participants, and ``sessions.tsv`` of their sessions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qsmprep.bids.errors import InputError
from qsmprep.bids.files import read_json_object

INFANT_YEARS = 2.0
"""Age below which R2* and iron are far from those of adults."""
YEARS = {'m': 1 / 12, 'w': 7 / 365.25, 'd': 1 / 365.25}
"""Years of a month, a week and a day, by the first letter."""


def stated(bids_dir: Path, participant: str, *names: str) -> str:
    """
    What ``participants.tsv`` states of a participant.

    Parameters
    ----------
    bids_dir
        Root of the raw dataset.
    participant
        Label.
    *names
        Names that the column may have.

    Returns
    -------
    str
        Empty where it states nothing.

    """
    return _cell(bids_dir / 'participants.tsv', f'sub-{participant}', names)


def is_infant(bids_dir: Path, participant: str, session: str = '') -> bool:
    """Whether an age below two years is stated, of the session or else of the participant."""
    name = f'sub-{participant}'
    of_sessions = bids_dir / name / f'{name}_sessions.tsv'
    ages = (
        (_cell(of_sessions, f'ses-{session}', ['age']), [of_sessions, bids_dir / 'sessions']),
        (stated(bids_dir, participant, 'age'), [bids_dir / 'participants']),
    )
    for age, tables in ages:
        try:
            return float(age) * unit_of_age(*tables) < INFANT_YEARS
        except ValueError:
            continue
    return False


def unit_of_age(*tables: Path) -> float:
    """Unit of the ages in tables [years]: what the first sidecar of them states, or years."""
    for table in tables:
        try:
            columns = read_json_object(table.with_suffix('.json'))
            unit = {name.lower(): column for name, column in columns.items()}['age']['Units']
        except (InputError, OSError, KeyError, TypeError):
            continue
        return YEARS.get(str(unit).strip().lower()[:1], 1.0)
    return 1.0


def _cell(table: Path, row: str, columns: Iterable[str]) -> str:
    """What a table has in a row, by its first cell, and in the first of some columns."""
    try:
        lines = table.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, ValueError):
        return ''
    rows = [line.split('\t') for line in lines if line.strip()]
    header = [name.strip().lower() for name in rows[0]] if rows else []
    column = next((header.index(name) for name in columns if name in header), None)
    for cells in rows[1:]:
        if cells[0].strip() == row and column is not None and column < len(cells):
            value = cells[column].strip()
            return '' if value == 'n/a' else value
    return ''

"""What ``participants.tsv`` states of participants."""

from __future__ import annotations

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
    try:
        lines = (bids_dir / 'participants.tsv').read_text(encoding='utf-8-sig').splitlines()
    except (OSError, ValueError):
        return ''
    rows = [line.split('\t') for line in lines if line.strip()]
    header = [name.strip().lower() for name in rows[0]] if rows else []
    column = next((header.index(name) for name in names if name in header), None)
    for row in rows[1:]:
        if row[0].strip() == f'sub-{participant}' and column is not None and column < len(row):
            value = row[column].strip()
            return '' if value == 'n/a' else value
    return ''


def is_infant(bids_dir: Path, participant: str) -> bool:
    """Whether ``participants.tsv`` states an age below two years."""
    try:
        age = float(stated(bids_dir, participant, 'age'))
    except ValueError:
        return False
    return age * unit_of_age(bids_dir) < INFANT_YEARS


def unit_of_age(bids_dir: Path) -> float:
    """Unit of the ages [years]: what ``participants.json`` states, or years."""
    try:
        columns = read_json_object(bids_dir / 'participants.json')
        unit = {name.lower(): column for name, column in columns.items()}['age']['Units']
    except (InputError, OSError, KeyError, TypeError):
        return 1.0
    return YEARS.get(str(unit).strip().lower()[:1], 1.0)

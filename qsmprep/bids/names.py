"""Names of images: entities and their labels."""

from __future__ import annotations

import re

from qsmprep.bids.errors import InputError

LABEL = re.compile(r'[0-9A-Za-z+]+')
LONG_NAMES = {
    'sub': 'subject',
    'ses': 'session',
    'task': 'task',
    'acq': 'acquisition',
    'ce': 'ceagent',
    'trc': 'tracer',
    'rec': 'reconstruction',
    'dir': 'direction',
    'run': 'run',
    'mod': 'modality',
    'echo': 'echo',
    'coil': 'coil',
    'flip': 'flip',
    'inv': 'inv',
    'mt': 'mt',
    'part': 'part',
    'chunk': 'chunk',
}
"""Entities of raw images: short name in a file's name -> long name in queries and records."""
NAME = re.compile(r'(?P<entities>(?:[A-Za-z]+-[0-9A-Za-z+]+_)*)(?P<suffix>[0-9A-Za-z]+)')
IMAGE = re.compile(r'(?P<stem>.+?)(?P<extension>\.nii(?:\.gz)?)')
PHASE = re.compile(r'phase(?!diff)|part-ph|_ph[._]', re.IGNORECASE)
"""What names of phase images hold."""


def normalise_label(label: str, prefix: str) -> str:
    """
    Label without its prefix.

    Raises
    ------
    InputError
        If the label holds anything but letters, digits and ``+``.

    Examples
    --------
    >>> normalise_label('sub-01', 'sub-')
    '01'

    """
    bare = str(label).removeprefix(prefix)
    if not LABEL.fullmatch(bare):
        raise InputError(
            f'{label!r} is no valid label for {prefix}; labels hold letters, digits and + alone.'
        )
    return bare


def parse_name(stem: str) -> tuple[dict[str, str], str] | None:
    """Entities by long names and suffix of a name without extension; None where it breaks BIDS."""
    match = NAME.fullmatch(stem)
    if match is None:
        return None
    parts = [part.split('-') for part in match['entities'].rstrip('_').split('_') if part]
    entities = {LONG_NAMES.get(key, key): label for key, label in parts}
    return (entities, match['suffix']) if len(entities) == len(parts) else None

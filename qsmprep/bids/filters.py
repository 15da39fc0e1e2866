"""Choosing images by their entities: BIDS filter files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from qsmprep.bids.errors import InputError
from qsmprep.bids.files import read_json
from qsmprep.bids.layout import ImageFile
from qsmprep.bids.names import LONG_NAMES

LOGGER = logging.getLogger('qsmprep')


def load_filters(path: str | Path) -> dict[str, dict]:
    """
    Read a BIDS filter file.

    The file maps queries to entities, ``{"megre": {"acquisition": "qsm"}}``. ``null`` asks for
    the absence of an entity, ``"*"`` for its presence. Queries other than ``megre`` (all
    gradient echoes) are ignored, except that where ``megre`` is missing and all others agree on
    a session, the gradient echoes are restricted to that session: runners that split a study by
    session write such files without knowing our queries.

    Parameters
    ----------
    path
        A JSON file.

    Raises
    ------
    InputError
        If the file is missing, no JSON or of another form.

    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'The filter file {path} does not exist; check --bids-filter-file.')
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise InputError(
            f'{path} must map queries to entities, such as {{"megre": {{"acquisition": "qsm"}}}}.'
        )
    queries = {name.lower(): _query(entities) for name, entities in content.items()}
    sessions = [entities.get('session') for entities in queries.values()]
    if 'megre' not in queries and sessions and sessions[0] is not None:
        if all(session == sessions[0] for session in sessions):
            queries['megre'] = {'session': sessions[0]}
        else:
            LOGGER.warning('%s has no query megre: all gradient echoes are used.', path)
    return {'megre': queries['megre']} if 'megre' in queries else {}


def check_query(query: Mapping[str, object]) -> None:
    """
    Refuse a query that names an unknown entity, or asks for what no label can be.

    Raises
    ------
    InputError
        With the entity.

    """
    known = {*LONG_NAMES.values(), 'suffix', 'extension', 'datatype'}
    for key, wanted in query.items():
        if key not in known:
            raise InputError(
                f'The filter for megre cannot be used: {key!r} is no entity; in '
                '--bids-filter-file entities go by their long names, such as session, '
                'acquisition, reconstruction, run and echo.'
            )
        for item in wanted if isinstance(wanted, list) else [wanted]:
            if isinstance(item, bool) or not isinstance(item, str | int | None):
                raise InputError(
                    f'The filter for megre cannot be used: {key} is {item!r}, but a label, a list '
                    'of labels, null or "*" is expected; correct --bids-filter-file.'
                )


def matches(image: ImageFile, query: Mapping[str, object]) -> bool:
    """
    Whether an image is what a query asks for; ``1`` and ``01`` are the same label.

    Parameters
    ----------
    image
        The image.
    query
        Long names of entities with a label, a list of labels, None (absent) or ``'*'`` (present).

    """
    return all(_is_wanted(image.entities.get(key), wanted) for key, wanted in query.items())


def _is_wanted(label: str | None, wanted: object) -> bool:
    if isinstance(wanted, list):
        return any(_is_wanted(label, item) for item in wanted)
    if wanted is None or label is None:
        return wanted is label
    return wanted == '*' or _plain(label) == _plain(str(wanted))


def _plain(label: str) -> str:
    return label.lstrip('0') or '0' if label.isdecimal() else label


def _query(entities: dict) -> dict:
    query = dict(entities)
    session = query.get('session')
    if isinstance(session, list):
        query['session'] = [str(label).removeprefix('ses-') for label in session]
    elif isinstance(session, str):
        query['session'] = session.removeprefix('ses-')
    return query

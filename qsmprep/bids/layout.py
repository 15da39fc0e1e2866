"""Opening a dataset; choosing participants, sessions and files."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from qsmprep.bids.errors import InputError

if TYPE_CHECKING:
    from bids import BIDSLayout

LOGGER = logging.getLogger('qsmprep')
LABEL = re.compile(r'[0-9A-Za-z+]+')
IMAGES = ('.nii', '.nii.gz')
_NOT_INDEXED = (
    re.compile(r'/\.'),
    re.compile(r'^/(code|derivatives|models|phenotype|sourcedata|stimuli)'),
    re.compile(r'/(beh|dwi|eeg|emg|func|ieeg|meg|micr|motion|mrs|nirs|perf|pet)/'),
)


def open_layout(bids_dir: str | Path, database_dir: str | Path | None = None) -> BIDSLayout:
    """
    Index a BIDS dataset.

    Only anatomical images and field maps are indexed; ``derivatives/`` and the like are not. A
    participant's sidecar that is no JSON is left out, so that it stops its own image only.

    Parameters
    ----------
    bids_dir
        Root of the dataset.
    database_dir
        Folder of an index to use or, where there is none yet, to create.

    Raises
    ------
    InputError
        If the folder or its ``dataset_description.json`` is missing or cannot be indexed, if it
        holds derivatives, or if the index is broken or that of another dataset.

    """
    root = Path(bids_dir)
    description = root / 'dataset_description.json'
    if not root.is_dir():
        raise InputError(f'The dataset folder {root} does not exist; check bids_dir.')
    if not description.is_file():
        raise InputError(
            f'{root} holds no dataset_description.json; bids_dir must be the root of a BIDS '
            'dataset, and that file needs at least Name and BIDSVersion.'
        )
    content = read_json(description)
    if not isinstance(content, dict):
        raise InputError(f'{description} must hold a JSON object with Name and BIDSVersion.')
    if content.get('DatasetType') == 'derivative':
        raise InputError(
            f'{description} has the DatasetType "derivative", but raw scans are expected; give '
            'their dataset as bids_dir, and masks made from them by --derivatives.'
        )
    if database_dir is not None and Path(database_dir).is_file():
        raise InputError(f'--bids-database-dir {database_dir} is a file; name a folder.')

    from bids import BIDSLayout, BIDSLayoutIndexer
    from sqlalchemy.exc import SQLAlchemyError

    ignored = [*_NOT_INDEXED, *_broken_sidecars(root)]
    indexer = BIDSLayoutIndexer(validate=False, ignore=ignored)
    try:
        layout = BIDSLayout(
            str(root),
            config=['bids'],
            database_path=None if database_dir is None else str(database_dir),
            validate=False,
            derivatives=False,
            indexer=indexer,
        )
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f'{root} cannot be indexed: {error}') from error
    except SQLAlchemyError as error:
        raise InputError(
            f'{database_dir} holds no index that can be read; choose another --bids-database-dir, '
            'or remove that folder.'
        ) from error
    if Path(layout.root).resolve() != root.resolve():
        raise InputError(
            f'{database_dir} holds the index of another dataset, {layout.root}; choose another '
            '--bids-database-dir.'
        )
    return layout


def select_participants(layout: BIDSLayout, requested: list[str] | tuple[str, ...]) -> list[str]:
    """
    Labels of the participants to process, without ``sub-``, in order.

    Parameters
    ----------
    layout
        Index of the dataset.
    requested
        Labels with or without ``sub-``; none means everybody.

    Raises
    ------
    InputError
        If a label is not valid, or none of the labels exists. When only some are unknown,
        a warning is logged.

    """
    return _select(layout, 'participant', 'sub-', layout.get_subjects(), requested)


def select_sessions(layout: BIDSLayout, requested: list[str] | tuple[str, ...]) -> list[str]:
    """Labels of the requested sessions, without ``ses-``; as :func:`select_participants`.

    Without a request the list is empty, which stands for all sessions and for none.
    """
    if not requested:
        return []
    return _select(layout, 'session', 'ses-', layout.get_sessions(), requested)


def normalise_label(label: str, prefix: str) -> str:
    """
    Label without its prefix.

    Examples
    --------
    >>> normalise_label('sub-01', 'sub-')
    '01'

    Raises
    ------
    InputError
        If the label holds anything but letters, digits and ``+``.

    """
    bare = str(label).removeprefix(prefix)
    if not LABEL.fullmatch(bare):
        raise InputError(
            f'{label!r} is no valid label for {prefix}; labels hold letters, digits and + alone.'
        )
    return bare


def load_filters(path: str | Path) -> dict[str, dict]:
    """
    Read a BIDS filter file.

    The file maps queries to entities, ``{"megre": {"acquisition": "qsm"}}``. ``null`` asks for
    the absence of an entity, ``"*"`` for its presence. Queries other than ``megre`` (all
    gradient echoes) and ``t1w`` are ignored, except that where ``megre`` is missing and all
    others agree on a session, the gradient echoes are restricted to that session: runners that
    split a study by session write such files without knowing our queries.

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
    return {name: queries[name] for name in ('megre', 't1w') if name in queries}


def explain_missing(layout: BIDSLayout, subject: str) -> str:
    """
    Say why a participant has no gradient echoes that can be used.

    Parameters
    ----------
    layout
        Index of the dataset.
    subject
        Label without ``sub-``.

    """
    needed = (
        'qsmprep needs the phase of each echo (MEGRE or T2starw with part-phase and part-mag, '
        'or part-real and part-imag, in anat/)'
    )
    reasons = {
        'phasediff': (
            'fmap/ holds a phase difference ({})',
            'because a difference of two echoes, made for distortion correction, no longer '
            'holds the phase and the noise of its echoes; export the phase of each echo',
        ),
        'fieldmap': (
            'fmap/ holds a field map ({})',
            'because a field map made on the scanner is already unwrapped and filtered in an '
            'unknown way; export the phase, or the real and imaginary parts, of each echo',
        ),
        'phase1': (
            'fmap/ holds the phase of two echoes ({})',
            'and looks for it in anat/; if these are full-resolution gradient echoes, name '
            'them sub-..._echo-1_part-phase_MEGRE and so on',
        ),
    }
    for suffix, (found, why) in reasons.items():
        files = layout.get(subject=subject, datatype='fmap', suffix=suffix, extension=IMAGES)
        if files:
            return f'sub-{subject}: {found.format(files[0].filename)}; {needed}, {why}.'
    files = layout.get(
        subject=subject, datatype='anat', suffix=['MEGRE', 'T2starw'], extension=IMAGES
    )
    if files:
        return (
            f'sub-{subject}: none of its {len(files)} gradient-echo images can be used, the first '
            f'being {files[0].filename}; {needed}. Check --session-label and --bids-filter-file, '
            'and that the phase was exported.'
        )
    return f'sub-{subject}: there is no MEGRE or T2starw image in anat/; {needed}.'


def _select(layout: BIDSLayout, kind: str, prefix: str, known: list[str], requested) -> list[str]:
    known = sorted(known)
    flag = f'--{kind}-label'
    if not known:
        raise InputError(
            f'{layout.root} has no {kind} ({prefix}<label> folders with images); check bids_dir'
            f'{f", or drop {flag}" if requested else ""}.'
        )
    wanted = dict.fromkeys(normalise_label(label, prefix) for label in requested)
    unknown = [label for label in wanted if label not in known]
    if wanted and len(unknown) == len(wanted):
        raise InputError(
            f'No {kind} {", ".join(prefix + label for label in unknown)} in the dataset; '
            f'it has {", ".join(prefix + label for label in known[:10])}'
            f'{" and more" if len(known) > 10 else ""}: correct {flag}.'
        )
    if unknown:
        LOGGER.warning(
            'No %s %s in the dataset; going on without.',
            kind,
            ', '.join(prefix + label for label in unknown),
        )
    return [label for label in known if not wanted or label in wanted]


def _query(entities: dict) -> dict:
    from bids.layout import Query

    special = {None: Query.NONE, '*': Query.ANY}
    query = {
        key: value if isinstance(value, list) else special.get(value, value)
        for key, value in entities.items()
    }
    if isinstance(query.get('session'), str):
        query['session'] = query['session'].removeprefix('ses-')
    elif isinstance(query.get('session'), list):
        query['session'] = [str(label).removeprefix('ses-') for label in query['session']]
    return query


def _broken_sidecars(root: Path) -> list[re.Pattern]:
    """Patterns of the participants' sidecars that cannot be read, for the indexer to ignore."""
    broken = []
    for pattern in ('sub-*/anat/*.json', 'sub-*/fmap/*.json', 'sub-*/ses-*/*/*.json'):
        for path in root.glob(pattern):
            try:
                read_json(path)
            except InputError as error:
                LOGGER.warning('%s', error)
                broken.append(re.compile(re.escape(f'/{path.relative_to(root).as_posix()}')))
    return broken


def read_json(path: Path):
    """
    Read a JSON file.

    Raises
    ------
    InputError
        If it cannot be read.

    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise InputError(f'{path} is no readable JSON: {error}.') from error

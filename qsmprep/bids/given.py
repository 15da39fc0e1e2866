"""Finding derivatives that are given as input: masks and true maps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from qsmprep.bids.acquisitions import Acquisition
from qsmprep.bids.derivatives import bids_uri, dataset_link, output_path
from qsmprep.bids.errors import InputError
from qsmprep.bids.geometry import by
from qsmprep.bids.headers import inspect_image
from qsmprep.bids.names import LONG_NAMES

WITHIN = {'echo', 'part'}
"""Labels by which the images of one acquisition differ: what was made of one of them is of all."""
OTHER_MASK = re.compile(
    r'(brain.?mask|(?<![a-z])bet_|synthstrip|hd-?bet).*\.(nii|nii\.gz|mgz)$', re.IGNORECASE
)
"""Names that BET, HD-BET, SynthStrip and FreeSurfer, or their users, give to masks of the brain."""


def find_given(
    datasets: Mapping[str, Path],
    acquisition: Acquisition,
    ending: str,
    own_name: str | None = None,
    datatype: str = 'anat',
) -> tuple[Path | None, str, list[str]]:
    """
    Find an image of an acquisition, a mask say, among derivatives datasets.

    Only one folder of the participant and of the acquisition's session counts; a mask of
    functional images, or of another session, lies elsewhere. An entity that the acquisition has
    not, or has with another label, is a contradiction.

    Parameters
    ----------
    datasets
        Name and root folder of each dataset; earlier ones win.
    acquisition
        The acquisition.
    ending
        End of the file's name, as ``'desc-brain_mask'`` or ``'label-CSF_mask'``.
    own_name
        Name by which qsmprep itself writes that image, which always fits.
    datatype
        The folder.

    Returns
    -------
    path
        The candidate of the acquisition's session, if any, that shares most entities.
    uri
        Its BIDS URI.
    warnings
        Where there are candidates but none fits: why.

    """
    entities = acquisition.entities
    asked = {part.split('-', 1)[0] for part in ending.split('_') if '-' in part}
    own = own_name and Path(output_path(own_name, dict(entities))).name
    unfit: dict[str, str] = {}
    for name, root in datasets.items():
        best, best_score = None, (-1, -1)
        equal: list[str] = []
        for path in _candidates(root, acquisition, ending, datatype):
            labels = dict(part.split('-', 1) for part in path.name.split('_') if '-' in part)
            labels = {key: label for key, label in labels.items() if key not in WITHIN - asked}
            contrary = [] if path.name == own else _contradictions(labels, entities, asked)
            if contrary:
                unfit[str(path)] = ' and '.join(contrary)
                continue
            score = ('ses' in labels, len(labels))
            if score > best_score:
                best, best_score, equal = path, score, []
            elif score == best_score:
                equal.append(path.name)
        if best is not None:
            uri = bids_uri(best.relative_to(root), dataset_link(name))
            return best, uri, [*_of_no_session(best, acquisition), *_of_many(best, equal)]
    if not unfit:
        return None, '', []
    unused, reason = next(iter(unfit.items()))
    more = f' ({len(unfit) - 1} more do not fit either)' if len(unfit) > 1 else ''
    return (
        None,
        '',
        [
            f'{unused} is not used for {acquisition.stem}: it has {reason}{more}. If it belongs to '
            'this acquisition, name it without that label.'
        ],
    )


def masks_by_other_names(datasets: Mapping[str, Path], acquisition: Acquisition) -> list[str]:
    """
    Names of files of an acquisition's folders that a tool may have meant as a mask of the brain.

    Parameters
    ----------
    datasets
        Name and root folder of each dataset.
    acquisition
        The acquisition.

    """
    return [
        path.name
        for root in datasets.values()
        for folder in _folders(root, acquisition, 'anat')
        for path in sorted(folder.iterdir())
        if OTHER_MASK.search(path.name)
    ]


def _of_no_session(path: Path, acquisition: Acquisition) -> list[str]:
    if acquisition.session is None or '_ses-' in path.name:
        return []
    return [
        f'{path.name} belongs to no session; that it lies in the scanner space of '
        f'ses-{acquisition.session} is taken for granted.'
    ]


def _of_many(path: Path, equal: list[str]) -> list[str]:
    if not equal:
        return []
    return [f'{path} is used, though {", ".join(equal)} fits as well; keep one of them.']


def check_truth(path: Path, acquisition: Acquisition) -> None:
    """
    Check a true map: it must be readable and have the matrix of the echoes.

    Raises
    ------
    InputError
        If it is not.

    """
    shape = inspect_image(path).shape
    if shape != acquisition.shape:
        raise InputError(
            f'{path} has {by(shape)} voxels, but {acquisition.stem} has '
            f'{by(acquisition.shape)}; give a true map on its grid.'
        )


def _candidates(root: Path, acquisition: Acquisition, ending: str, datatype: str) -> list[Path]:
    subject = re.escape(f'sub-{acquisition.subject}')
    names = re.compile(rf'{subject}_(?:.*_)?{re.escape(ending)}\.nii(?:\.gz)?')
    return [
        path
        for folder in _folders(root, acquisition, datatype)
        for path in sorted(folder.iterdir())
        if names.fullmatch(path.name)
    ]


def _folders(root: Path, acquisition: Acquisition, datatype: str) -> list[Path]:
    """Folders of an acquisition that exist: of its session, then of none."""
    own = root / f'sub-{acquisition.subject}'
    folders = [own / datatype]
    if acquisition.session is not None:
        folders.insert(0, own / f'ses-{acquisition.session}' / datatype)
    return [folder for folder in folders if folder.is_dir()]


def _contradictions(
    labels: dict[str, str], entities: Mapping[str, str], asked: set[str]
) -> list[str]:
    contrary = []
    for key, label in labels.items():
        mine = entities.get(LONG_NAMES.get(key, key))
        if key in asked or mine == label:
            continue
        has = 'has none' if mine is None else f'has {key}-{mine}'
        contrary.append(f'{key}-{label}, where the acquisition {has}')
    return contrary

"""Finding a dataset's images by their names, and what their sidecars say.

Only the folders of the participants that are asked for are read, and only names below the
dataset's root count: where the dataset lies does not matter, nor how many participants it has.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from qsmprep.bids.errors import InputError
from qsmprep.bids.files import read_json_object

LOGGER = logging.getLogger('qsmprep')
LOOKED_AT = 50
"""Files of a folder that are looked at to tell what it is, if no BIDS dataset."""
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


@dataclass(frozen=True)
class ImageFile:
    """
    An image of a dataset.

    Parameters
    ----------
    path
        The file.
    root
        Root of the dataset.
    entities
        By their long names, with ``suffix``, ``extension`` and ``datatype``; labels as written.

    """

    path: Path
    root: Path
    entities: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def relative(self) -> str:
        """Path relative to the dataset's root."""
        return self.path.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Dataset:
    """
    A raw BIDS dataset.

    Parameters
    ----------
    root
        Its root, absolute.

    """

    root: Path
    _sidecars: dict[Path, list] = field(default_factory=dict, repr=False, compare=False)

    def participants(self) -> list[str]:
        """Labels of all participants, without ``sub-``."""
        return _labels(self.root, 'sub-')

    def sessions(self, participants: Iterable[str]) -> list[str]:
        """Labels of the sessions that these participants have, without ``ses-``."""
        labels = {x for label in participants for x in _labels(self.root / f'sub-{label}', 'ses-')}
        return sorted(labels)

    def images(
        self, participant: str, datatype: str = 'anat', suffixes: Iterable[str] = ()
    ) -> list[ImageFile]:
        """
        Images of a participant, by their paths.

        A name that breaks the rules of BIDS, or that belongs into another folder, is left out
        with a warning in the log.

        Parameters
        ----------
        participant
            Label without ``sub-``.
        datatype
            Name of the folder, ``'anat'`` or ``'fmap'``.
        suffixes
            Suffixes to choose.

        """
        folder = self.root / f'sub-{participant}'
        folders = [(folder / datatype, f'sub-{participant}_')]
        for label in _labels(folder, 'ses-'):
            prefix = f'sub-{participant}_ses-{label}_'
            folders.append((folder / f'ses-{label}' / datatype, prefix))
        found = []
        for place, prefix in folders:
            for path in _files(place):
                match = IMAGE.fullmatch(path.name)
                if match and match['stem'].rpartition('_')[2] in suffixes:
                    image = self._image(path, match, prefix, datatype)
                    found += [image] if image else []
        return found

    def _image(self, path: Path, match: re.Match, prefix: str, datatype: str) -> ImageFile | None:
        parsed = _parse(match['stem'])
        in_place = path.name.startswith(prefix) and (
            '_ses-' in prefix or parsed is None or 'session' not in parsed[0]
        )
        if parsed is None or not in_place:
            problem = (
                'does not follow BIDS (sub-<label>_..._<suffix>, each entity once)'
                if parsed is None
                else f'does not begin with {prefix}, as its folder says'
            )
            LOGGER.warning('%s is left out: its name %s.', path, problem)
            return None
        entities, suffix = parsed
        entities |= {'suffix': suffix, 'extension': match['extension'], 'datatype': datatype}
        return ImageFile(path, self.root, entities)

    def metadata(self, image: ImageFile) -> dict:
        """
        What the sidecars of an image say, by the inheritance principle of BIDS.

        Raises
        ------
        InputError
            If one of the sidecars that apply cannot be read.

        """
        folders = [image.path.parent]
        while folders[-1] != self.root:
            folders.append(folders[-1].parent)
        merged: dict = {}
        for folder in reversed(folders):
            applying = [
                (len(entities), path)
                for entities, suffix, path in self._sidecars_in(folder)
                if suffix == image.entities['suffix'] and entities.items() <= image.entities.items()
            ]
            for _, path in sorted(applying):
                merged |= read_json_object(path)
        return merged

    def _sidecars_in(self, folder: Path) -> list:
        if folder not in self._sidecars:
            found = []
            for path in _files(folder):
                parsed = _parse(path.name.removesuffix('.json'))
                if path.name.endswith('.json') and parsed:
                    found.append((*parsed, path))
            self._sidecars[folder] = found
        return self._sidecars[folder]


def open_dataset(bids_dir: str | Path) -> Dataset:
    """
    Open a raw BIDS dataset.

    Parameters
    ----------
    bids_dir
        Its root.

    Raises
    ------
    InputError
        If the folder or its ``dataset_description.json`` is missing or cannot be read, or if it
        holds derivatives.

    """
    root = Path(bids_dir).absolute()
    description = root / 'dataset_description.json'
    if not root.is_dir():
        raise InputError(f'The dataset folder {root} does not exist; check bids_dir.')
    if not description.is_file() and not description.is_symlink():
        raise InputError(
            f'{root} holds no dataset_description.json; bids_dir must be the root of a BIDS '
            f'dataset, and that file needs at least Name and BIDSVersion.{_what_it_is(root)}'
        )
    if read_json_object(description).get('DatasetType') == 'derivative':
        raise InputError(
            f'{description} has the DatasetType "derivative", but raw scans are expected; give '
            'their dataset as bids_dir, and masks made from them by --derivatives.'
        )
    return Dataset(root)


def _what_it_is(root: Path) -> str:
    """Sentence on a folder that is no BIDS dataset, as far as its first files tell what it is."""
    if root.name.startswith('sub-') and (root.parent / 'dataset_description.json').is_file():
        return f' It is the folder of one participant: give {root.parent} and --participant-label.'
    paths = islice(root.rglob('*'), LOOKED_AT)
    for path in (path for path in paths if path.is_file()):
        if path.suffix.lower() in ('.dcm', '.ima') or _is_dicom(path):
            return (
                ' It holds DICOM files: convert them first (dcm2niix, HeuDiConv, BIDScoin), and '
                'name the images as BIDS wants.'
            )
    return ''


def _is_dicom(path: Path) -> bool:
    try:
        with path.open('rb') as file:
            return file.read(132)[128:] == b'DICM'
    except OSError:
        return False


def select_participants(dataset: Dataset, requested: Iterable[str]) -> list[str]:
    """
    Labels of the participants to process, without ``sub-``, in order.

    Parameters
    ----------
    dataset
        The dataset.
    requested
        Labels with or without ``sub-``; none means everybody.

    Raises
    ------
    InputError
        If a label is not valid, or none of the labels exists. When only some are unknown,
        a warning is logged.

    """
    return _select(dataset, 'participant', 'sub-', dataset.participants(), requested)


def select_sessions(
    dataset: Dataset, requested: Iterable[str], participants: Iterable[str]
) -> list[str]:
    """Labels of the requested sessions, without ``ses-``; as :func:`select_participants`.

    Without a request the list is empty, which stands for all sessions and for none.
    """
    if not requested:
        return []
    return _select(dataset, 'session', 'ses-', dataset.sessions(participants), requested)


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


def explain_missing(dataset: Dataset, participant: str) -> str:
    """
    Say why a participant has no gradient echoes that can be used.

    Parameters
    ----------
    dataset
        The dataset.
    participant
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
        files = dataset.images(participant, 'fmap', (suffix,))
        if files:
            return f'sub-{participant}: {found.format(files[0].name)}; {needed}, {why}.'
    files = dataset.images(participant, 'anat', ('MEGRE', 'T2starw'))
    if files:
        return (
            f'sub-{participant}: none of its {len(files)} gradient-echo images can be used, the '
            f'first being {files[0].name}; {needed}. Check --session-label and '
            '--bids-filter-file, and that the phase was exported.'
        )
    return f'sub-{participant}: there is no MEGRE or T2starw image in anat/; {needed}.'


def _labels(folder: Path, prefix: str) -> list[str]:
    """Labels of the folders that begin with a prefix."""
    labels = []
    for path in _entries(folder):
        label = path.name.removeprefix(prefix)
        if path.name.startswith(prefix) and path.is_symlink() and not path.exists():
            LOGGER.warning(
                '%s is left out: it is a link whose target is missing; fetch it, or bind the '
                'folder that it points to.',
                path,
            )
        elif path.name.startswith(prefix) and path.is_dir():
            if LABEL.fullmatch(label):
                labels.append(label)
            else:
                LOGGER.warning(
                    '%s is left out: a label holds letters, digits and + alone; rename it.', path
                )
    return labels


def _files(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if not path.name.startswith('.')]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f'{folder} cannot be read: {error.strerror}; check its rights.') from error


def _parse(stem: str) -> tuple[dict[str, str], str] | None:
    """Entities by long names and suffix of a name without extension; None where it breaks BIDS."""
    match = NAME.fullmatch(stem)
    if match is None:
        return None
    parts = [part.split('-') for part in match['entities'].rstrip('_').split('_') if part]
    entities = {LONG_NAMES.get(key, key): label for key, label in parts}
    return (entities, match['suffix']) if len(entities) == len(parts) else None


def _select(dataset: Dataset, kind: str, prefix: str, known: list[str], requested) -> list[str]:
    flag = f'--{kind}-label'
    if not known:
        raise InputError(
            f'{dataset.root} has no {kind} ({prefix}<label> folders with images); check bids_dir'
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

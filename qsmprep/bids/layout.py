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
from qsmprep.bids.names import IMAGE, LABEL, parse_name

LOGGER = logging.getLogger('qsmprep')
LOOKED_AT = 50
"""Files of a folder that are read to find what it is, if no BIDS dataset."""


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
        parsed = parse_name(match['stem'])
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
                parsed = parse_name(path.name.removesuffix('.json'))
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
    """Sentence on a folder that is no BIDS dataset, as far as its first files show what it is."""
    if root.name.startswith('sub-') and (root.parent / 'dataset_description.json').is_file():
        return f' It is the folder of one participant: give {root.parent} and --participant-label.'
    if any(path.is_dir() for path in root.glob('sub-*')):
        return (
            f' It has sub- folders: if it is one, write {{"Name": "{root.name}", "BIDSVersion": '
            '"1.10.0"} into that file.'
        )
    below = next(root.glob('*/dataset_description.json'), None)
    if below is not None and next(below.parent.glob('sub-*'), None):
        return f' There is a dataset in {below.parent}: give that.'
    paths = islice(root.rglob('*'), LOOKED_AT)
    for path in (path for path in paths if path.is_file()):
        if path.name.endswith(('.nii', '.nii.gz')):
            return (
                f' It holds NIfTI images, such as {path.relative_to(root)}: name them as BIDS '
                'wants, sub-01/anat/sub-01_echo-1_part-mag_MEGRE.nii.gz, _part-phase_MEGRE.nii.gz'
                ' and so on, each with a sidecar (.json) of EchoTime and MagneticFieldStrength.'
            )
        if path.suffix.lower() in ('.dcm', '.ima') or _is_dicom(path):
            return (
                ' It holds DICOM files: convert them first (dcm2niix, HeuDiConv, BIDScoin), and '
                'name the images as BIDS wants.'
            )
    return '' if any(root.iterdir()) else ' It is empty.'


def _is_dicom(path: Path) -> bool:
    try:
        with path.open('rb') as file:
            return file.read(132)[128:] == b'DICM'
    except OSError:
        return False


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
        elif re.match(f'{prefix[:-1]}[-_ ]', path.name, re.IGNORECASE) and path.is_dir():
            LOGGER.warning('%s is left out: BIDS wants %s<label>; rename it.', path, prefix)
    return labels


def _files(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if not path.name.startswith('.')]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f'{folder} cannot be read: {error.strerror}; check its rights.') from error

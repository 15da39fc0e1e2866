"""T1-weighted images of a participant, and what other pipelines made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qsmprep.bids.acquisitions import Acquisition
from qsmprep.bids.derivatives import RAW, bids_uri, dataset_link
from qsmprep.bids.errors import InputError
from qsmprep.bids.files import check_path
from qsmprep.bids.headers import inspect_image, read_image
from qsmprep.bids.layout import Dataset

TEMPLATE = 'MNI152NLin2009cAsym'
"""The template space that maps are brought to, and that the atlas lies in."""
FRACTION = 1e-3
"""By how much labels may differ from whole numbers: a header's scaling is rounded."""


@dataclass(frozen=True)
class Segmentation:
    """
    Regions of a T1-weighted image.

    Parameters
    ----------
    name
        Label of ``seg-`` in the names of outputs.
    path
        Image of whole numbers.
    uri
        Its BIDS URI.
    names
        Number of a region -> its name; empty where no table lies beside it.

    """

    name: str
    path: Path
    uri: str
    names: Mapping[int, str]


@dataclass(frozen=True)
class Anatomy:
    """
    A T1-weighted image of a participant and what was made of it.

    Parameters
    ----------
    t1w
        The image.
    uri
        Its BIDS URI.
    brain_mask
        Mask of its brain; None where it must be found.
    segmentations
        Regions on it.
    to_template, from_template
        Transforms of ITK between it and the template space; None where they must be found.
    warnings
        Sentences on what a user should know.

    """

    t1w: Path
    uri: str
    brain_mask: Path | None = None
    segmentations: tuple[Segmentation, ...] = ()
    to_template: Path | None = None
    from_template: Path | None = None
    warnings: tuple[str, ...] = ()


def find_anatomy(
    dataset: Dataset, derivatives: Mapping[str, Path], acquisition: Acquisition
) -> tuple[Anatomy | None, list[str]]:
    """
    Find the T1-weighted image of a participant: preprocessed ones first, then raw ones.

    One of the acquisition's session comes before one of no session, that before another session's.

    Parameters
    ----------
    dataset
        The raw dataset.
    derivatives
        Name and root of each derivatives dataset; earlier ones win.
    acquisition
        The acquisition.

    Returns
    -------
    anatomy
        None where there is none that can be read.
    warnings
        Why images were passed over.

    """
    warnings = []
    for anatomy in _candidates(dataset, derivatives, acquisition):
        try:
            image = inspect_image(anatomy.t1w)
            if image.minimum == image.maximum:
                raise InputError(
                    f'{anatomy.t1w} holds one value alone, {image.minimum:g}, in all voxels; '
                    'convert it again.'
                )
            for path in (anatomy.brain_mask, anatomy.to_template, anatomy.from_template):
                if path is not None:
                    check_path(path)
        except InputError as error:
            warnings.append(f'The T1-weighted image is not used: {error}')
            continue
        session = acquisition.session
        if session and f'_ses-{session}_' not in anatomy.t1w.name and '_ses-' in anatomy.t1w.name:
            note = f'{anatomy.t1w.name} is of another session than {acquisition.stem}.'
            anatomy = replace(anatomy, warnings=(*anatomy.warnings, note))
        segmentations, unused = _usable(anatomy.segmentations)
        return replace(anatomy, segmentations=segmentations), [*warnings, *unused]
    return None, warnings


def _usable(found: tuple[Segmentation, ...]) -> tuple[tuple[Segmentation, ...], list[str]]:
    """Segmentations that hold labels, and why others do not count."""
    usable, reasons = [], []
    for segmentation in found:
        try:
            inspect_image(segmentation.path)
            labels = np.asanyarray(read_image(segmentation.path).dataobj)
            if np.abs(labels - np.rint(labels)).max() > FRACTION:
                raise InputError(
                    f'{segmentation.path} holds values that are no whole numbers, as labels are: '
                    'it may hold probabilities, or have been resampled other than by the nearest '
                    'neighbour.'
                )
        except InputError as error:
            reasons.append(f'The segmentation is not used: {error}')
        else:
            usable.append(segmentation)
    return tuple(usable), reasons


def _candidates(
    dataset: Dataset, derivatives: Mapping[str, Path], acquisition: Acquisition
) -> Iterator[Anatomy]:
    subject = f'sub-{acquisition.subject}'
    pattern = re.compile(
        rf'({re.escape(subject)}(?:_[a-z]+-[0-9A-Za-z+]+)*)_desc-preproc_T1w\.nii(?:\.gz)?'
    )
    for name, root in derivatives.items():
        folders = [root / subject / 'anat', *sorted((root / subject).glob('ses-*/anat'))]
        found = [
            (path, match[1])
            for folder in folders
            if folder.is_dir()
            for path in sorted(folder.iterdir())
            if (match := pattern.fullmatch(path.name)) and '_space-' not in path.name
        ]
        for path, stem in sorted(found, key=lambda item: _distance(item[0], acquisition)):
            yield _preprocessed(path, stem, root, dataset_link(name))
    images = [
        image
        for image in dataset.images(acquisition.subject, 'anat', ('T1w',))
        if image.entities.get('part', 'mag') == 'mag'
    ]
    for image in sorted(images, key=lambda image: _distance(image.path, acquisition)):
        yield Anatomy(image.path, bids_uri(image.relative, RAW))


def _distance(path: Path, acquisition: Acquisition) -> tuple[int, str]:
    """Order of T1-weighted images: own session, no session, other sessions."""
    if '_ses-' not in path.name:
        return 1 if acquisition.session else 0, path.name
    return 0 if f'_ses-{acquisition.session}_' in path.name else 2, path.name


def _preprocessed(path: Path, stem: str, root: Path, link: str) -> Anatomy:
    def beside(ending: str) -> Path | None:
        for extension in ('.nii.gz', '.nii') if ending.endswith('_mask') else ('',):
            candidate = path.with_name(f'{stem}_{ending}{extension}')
            if candidate.exists() or candidate.is_symlink():
                return candidate
        return None

    name = re.compile(rf'{re.escape(stem)}(?:_(seg|desc)-([0-9A-Za-z+]+))?_dseg\.nii(?:\.gz)?')
    segmentations = tuple(
        Segmentation(
            match[2] or 'tissues',
            other,
            bids_uri(other.relative_to(root), link),
            _names(other, match[1] and f'{match[1]}-{match[2]}', root),
        )
        for other in sorted(path.parent.iterdir())
        if (match := name.fullmatch(other.name))
    )
    return Anatomy(
        path,
        bids_uri(path.relative_to(root), link),
        beside('desc-brain_mask'),
        segmentations,
        beside(f'from-T1w_to-{TEMPLATE}_mode-image_xfm.h5'),
        beside(f'from-{TEMPLATE}_to-T1w_mode-image_xfm.h5'),
    )


def _names(path: Path, label: str | None, root: Path) -> dict[int, str]:
    """Names of regions from the table beside a segmentation, or at the root of its dataset."""
    own = path.with_name(path.name.partition('.')[0] + '.tsv')
    shared = root / f'{label}_dseg.tsv' if label else root / 'dseg.tsv'
    table = next((file for file in (own, shared) if file.is_file()), None)
    if table is None:
        return {}
    lines = table.read_text(encoding='utf-8-sig', errors='replace').splitlines()
    header = lines[0].split('\t') if lines else []
    if 'index' not in header or 'name' not in header:
        return {}
    index, title = header.index('index'), header.index('name')
    rows = [line.split('\t') for line in lines[1:]]
    return {
        int(row[index]): row[title]
        for row in rows
        if len(row) > max(index, title) and row[index].strip().isdigit()
    }

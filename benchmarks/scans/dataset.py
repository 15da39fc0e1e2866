"""Datasets that ``reported.py`` alters, and what it expects of the program."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import nibabel as nb
import numpy as np


@dataclass(frozen=True)
class Raw:
    """A raw dataset of simulated heads that is altered in place."""

    root: Path

    def files(self, part: str = '*', echo: int | str = '*', subject: str = '01') -> list[Path]:
        """Images of one part, by echo."""
        return sorted(self.root.glob(f'sub-{subject}/**/*_echo-{echo}_part-{part}_*.nii*'))

    def with_sidecars(self, part: str = '*', echo: int | str = '*') -> list[Path]:
        """Images of one part, each before its sidecar."""
        return [file for path in self.files(part, echo) for file in (path, sidecar(path))]

    def pairs(self) -> list[tuple[Path, Path]]:
        """Magnitude and phase of each echo."""
        return list(zip(self.files('mag'), self.files('phase'), strict=True))

    @property
    def truth(self) -> Path:
        """Folder of the true maps of the first participant."""
        return self.root / 'derivatives' / 'simulation' / 'sub-01'

    def brain(self) -> np.ndarray:
        """Mask of the brain of the first participant."""
        return read(next(self.truth.rglob('sub-01_desc-brain_mask.nii.gz'))) > 0

    def all(self) -> list[Path]:
        """Raw images and those of the truth."""
        return sorted(self.root.rglob('sub-*.nii.gz'))

    def values(self, part: str, change: Callable, echo: int | str = '*', **keywords) -> None:
        """Change the values of one part; see :func:`store` for the keywords."""
        for path in self.files(part, echo):
            store(path, change(read(path)), **keywords)

    def signal(self, change: Callable[[np.ndarray, int], np.ndarray]) -> None:
        """Change the complex signal of each echo, counted from zero."""
        for echo, (magnitude, phase) in enumerate(self.pairs()):
            changed = change(read(magnitude) * np.exp(1j * read(phase)), echo)
            store(magnitude, np.abs(changed).astype(np.float32))
            store(phase, np.angle(changed).astype(np.float32))

    def sidecars(self, part: str = '*', echo: int | str = '*', drop: str = '', **keys) -> None:
        """Change keys of sidecars and drop some; a function as a value is given the sidecar."""
        for path in self.files(part, echo):
            content = json.loads(sidecar(path).read_text())
            content |= {k: v(content) if callable(v) else v for k, v in keys.items()}
            sidecar(path).write_text(
                json.dumps({k: v for k, v in content.items() if k not in drop.split()})
            )

    def geometry(self, change: Callable[[np.ndarray, np.ndarray], tuple]) -> None:
        """Change values and affine of all images, the truth among them."""
        for path in self.all():
            image = nb.load(path)
            data, affine = change(np.asarray(image.dataobj), image.affine)
            write(path, np.ascontiguousarray(data), affine)


def sidecar(path: Path) -> Path:
    """Sidecar of an image."""
    return path.with_name(path.name.removesuffix('.gz').removesuffix('.nii') + '.json')


def read(path: Path) -> np.ndarray:
    """Values of an image."""
    return np.asarray(nb.load(path).dataobj, dtype=np.float32)


def store(
    path: Path, data: np.ndarray, dtype: type | None = None, slope: float = np.nan, inter: float = 0
) -> None:
    """Write values as they are stored; the scaling goes into the header alone."""
    data = data if dtype is None else np.rint(data).astype(dtype)
    write(path, data, path)
    if np.isfinite(slope):
        set_header(path, scl_slope=slope, scl_inter=inter)


def write(
    path: Path, data: np.ndarray, affine: np.ndarray | Path, sform: int = 1, qform: int = 1
) -> None:
    """Write an image whose place in the scanner is known; a path stands for the affine there."""
    affine = nb.load(affine).affine if isinstance(affine, Path) else affine
    smaller = {'float64': np.float32, 'bool': np.uint8}
    data = data.astype(smaller.get(data.dtype.name, data.dtype))
    image = nb.Nifti1Image(data, affine)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    image.header.set_xyzt_units('mm', 'sec')
    nb.save(image, path)


def set_header(path: Path, **fields) -> None:
    """Set fields of a header that Nibabel would not write."""
    opened = gzip.open if path.name.endswith('.gz') else Path.open
    with opened(path, 'rb') as stream:
        raw = bytearray(stream.read())
    header = nb.Nifti1Header(bytes(raw[:348]), check=False)
    for key, value in fields.items():
        header[key] = value
    raw[:348] = header.binaryblock
    with opened(path, 'wb') as stream:
        stream.write(bytes(raw))


def describe(root: Path) -> None:
    """Say that a folder holds derivatives."""
    content = {'Name': root.name, 'BIDSVersion': '1.9.0', 'DatasetType': 'derivative'}
    (root / 'dataset_description.json').write_text(json.dumps(content))


def derivatives(data: Path, folder: Path, mask: Callable | None | str) -> list[str | Path]:
    """Flags that give a mask: the true one, one that a function makes of it, or none."""
    if mask is None:
        return []
    truth = data / 'derivatives' / 'simulation'
    if mask == 'fmriprep':
        return ['-d', f'fmriprep={data / "derivatives" / "fmriprep"}']
    source = min(truth.glob('sub-*/**/*_desc-brain_mask.nii.gz'))
    root = folder / 'masks'
    path = root / source.relative_to(truth)
    path.parent.mkdir(parents=True)
    describe(root)
    shutil.copy(source, path)
    if mask != 'true':
        mask(path, read(path) > 0.5)
    return ['-d', f'masks={root}']


@dataclass(frozen=True)
class Scan:
    """A scan as somebody reported it.

    Parameters
    ----------
    name
        Of the table.
    change
        Alters the dataset; returns its root where that has moved.
    words
        Pattern that the terminal or the record must hold.
    flags
        Of the command line, between blanks.
    source
        Arguments of the simulation, between blanks.
    mask
        As :func:`derivatives` takes it.
    expect
        ``'map'`` (right, exit code 0), ``'refused'`` (no map, another exit code), ``'failed'``
        (another exit code, map or not) or ``'told'`` (with the words; a map that is not quite right
        may have the exit code 0).
    kind
        Of the table.

    """

    name: str
    change: Callable[[Path], object] = lambda root: None
    words: str = ''
    flags: str = ''
    source: str = ''
    mask: Callable | str | None = 'true'
    expect: str = 'map'
    kind: str = ''


right = Scan
told, failed, refused = (partial(Scan, expect=end) for end in ('told', 'failed', 'refused'))


def of_kind(kind: str, *scans: Scan) -> tuple[Scan, ...]:
    """Scans of one kind."""
    return tuple(replace(scan, kind=kind) for scan in scans)

"""Scans of ``reported.py`` as archives and converters leave them: slices, formats, names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scans.changes import (
    both,
    elsewhere,
    geometry,
    label_all,
    on_files,
    phase,
    relabel,
    sidecars,
    signal,
)
from scans.dataset import Raw, failed, of_kind, read, refused, right, sidecar, store, told, write
from scans.phase import of_maker, twelve_bits
from scipy import fft

PI = np.pi


def without_slice(data: np.ndarray, number: int) -> np.ndarray:
    """A stack that lacks one of its slices."""
    return np.delete(data, number, axis=2)


def lost_apart(root: Path) -> None:
    """One slice of the phase never arrived, and another one of all other images."""
    for path in Raw(root).all():
        number = 32 if 'part-phase' in path.name else 38
        write(path, without_slice(read(path), number), path)


def lost_in_one(z: np.ndarray, echo: int) -> np.ndarray:
    """A slice is missing, so that those above moved down; zeros fill the end."""
    return np.pad(without_slice(z, 36), [(0, 0), (0, 0), (0, 1)])


def first_twice(data: np.ndarray, affine: np.ndarray) -> tuple:
    """The first slice twice, and one in the middle lost."""
    return np.concatenate([data[:, :, :1], without_slice(data, 36)], axis=2), affine


def mixed(first: list[Path], second: list[Path], every: int) -> None:
    """Exchange one slice of so many between images."""
    for one, other in zip(first, second, strict=True):
        a, b = read(one).copy(), read(other).copy()
        a[:, :, ::every], b[:, :, ::every] = b[:, :, ::every].copy(), a[:, :, ::every].copy()
        store(one, a)
        store(other, b)


def mixed_echoes(root: Path) -> None:
    """Every third slice of the second echo is that of the third one, and the reverse."""
    raw = Raw(root)
    for part in ('mag', 'phase'):
        mixed(raw.files(part, 2), raw.files(part, 3), 3)


def mixed_parts(root: Path) -> None:
    """One slice of seven of the phase lies in the magnitude, and the reverse."""
    raw = Raw(root)
    of_maker('SIEMENS', twelve_bits)(root)
    largest = max(float(read(path).max()) for path in raw.files('mag'))
    raw.values('mag', lambda m: np.rint(m / largest * 4095))
    mixed(raw.files('mag'), raw.files('phase'), 7)


def slice_scales(p: np.ndarray) -> np.ndarray:
    """Whole numbers, each slice in a scale of its own that no header holds."""
    factors = np.random.default_rng(0).uniform(0.6, 1, p.shape[2])
    return np.rint(p / PI * 2047 * factors)


def compressed(p: np.ndarray) -> np.ndarray:
    """Each slice through blocks of 8 x 8 cosines, of which the high ones are stored coarsely."""
    stored = np.rint((p + PI) / (2 * PI) * 255)
    sizes = [(-n) % 8 for n in p.shape[:2]]
    wide = np.pad(stored, [(0, sizes[0]), (0, sizes[1]), (0, 0)], mode='edge')
    blocks = wide.reshape(wide.shape[0] // 8, 8, wide.shape[1] // 8, 8, -1)
    steps = 4 + 6 * np.add.outer(np.arange(8), np.arange(8))[None, :, None, :, None]
    waves = fft.dctn(blocks, axes=(1, 3), norm='ortho')
    back = fft.idctn(np.rint(waves / steps) * steps, axes=(1, 3), norm='ortho')
    values = back.reshape(wide.shape)[: p.shape[0], : p.shape[1]]
    return np.clip(np.rint(values), 0, 255) / 255 * 2 * PI - PI


def doubles_padded(root: Path) -> None:
    """Siemens' numbers as doubles, with columns of zeros around."""
    of_maker('Siemens', lambda p: 2 * twelve_bits(p) - 4096)(root)

    def pad(data: np.ndarray, affine: np.ndarray) -> tuple:
        shift = np.eye(4)
        shift[0, 3] = -8
        return np.pad(data, [(8, 8), (0, 0), (0, 0)]), affine @ shift

    Raw(root).geometry(pad)


def of_another_format(suffix: str, content: bytes) -> Callable:
    """Images under another ending, whose content says so too."""

    def change(path: Path) -> None:
        path.with_name(path.name.replace('.nii.gz', suffix)).write_bytes(content)
        path.unlink()

    return on_files(change)


def as_sepia(root: Path) -> None:
    """One file for all magnitudes, one for all phases, and a header for Matlab."""
    raw = Raw(root)
    for part in ('mag', 'phase'):
        files = raw.files(part)
        data = np.stack([read(path) for path in files], axis=-1)
        write(files[0].with_name(f'{part}.nii.gz'), data, files[0])
    (raw.files()[0].parent / 'sepia_header.mat').write_bytes(b'MATLAB 5.0 MAT-file')
    for file in raw.with_sidecars():
        file.unlink()


def other_session(root: Path) -> None:
    """Files named by another session than their folder."""
    anat = root / 'sub-01' / 'anat'
    label_all('ses-02')(root)
    target = root / 'sub-01' / 'ses-01'
    target.mkdir()
    shutil.move(anat, target / 'anat')


def copies(*folders: str) -> Callable:
    """The participant once more in other folders of the dataset."""

    def alter(root: Path) -> None:
        for folder in folders:
            shutil.copytree(root / 'sub-01', root / folder)

    return alter


def to_folder(name: str) -> Callable:
    """To a folder of another name."""
    return lambda root: root.rename(root.with_name(name))


def long_label(root: Path) -> None:
    """A participant whose label has 190 letters."""
    label = 'sub-' + 'x' * 190
    for path in sorted(root.rglob('sub-01*'), key=lambda p: -len(p.parts)):
        path.rename(path.with_name(path.name.replace('sub-01', label)))
    table = root / 'participants.tsv'
    table.write_text(table.read_text().replace('sub-01', label))


def aborted(root: Path) -> None:
    """A second run that was stopped: two of its echoes were exported."""
    elsewhere('sub-01_', 'sub-01_run-2_', echo='[12]', beside=True)(root)
    for path in sorted((root / 'sub-01' / 'anat').glob('sub-01_echo-*')):
        path.rename(path.with_name(path.name.replace('sub-01_', 'sub-01_run-1_')))


def two_coils(root: Path) -> None:
    """Two coils, of which one lacks a phase."""
    elsewhere('_part-', '_coil-2_part-', beside=True)(root)
    for path in sorted((root / 'sub-01' / 'anat').glob('*')):
        if 'coil-' not in path.name:
            path.rename(path.with_name(path.name.replace('_part-', '_coil-1_part-')))
    path = next((root / 'sub-01' / 'anat').glob('*echo-3_coil-2_part-phase*.nii.gz'))
    sidecar(path).unlink()
    path.unlink()


PHILIPS = {'PhilipsRescaleSlope': 1.53455, 'PhilipsRescaleIntercept': -3142}

SCANS = of_kind(
    'archive',
    told('a slice lost in the phase, another elsewhere', lost_apart, 'slice|does not fit'),
    told(
        'a slice lost in all images',
        geometry(lambda d, a: (without_slice(d, 36), a)),
        'slice is missing',
    ),
    told('a slice lost in the second echo', signal(lost_in_one, 2), '[Ss]lice|[Mm]otion|Misfit'),
    told('the first slice twice, one lost', geometry(first_twice), 'same values'),
    failed('every third slice of two echoes exchanged', mixed_echoes, '[Ss]lice|[Ee]cho'),
    failed('one slice of seven of the other part', mixed_parts, '[Ss]lice|magnitude|range'),
    told(
        'Philips, each slice in a scale of its own',
        of_maker('Philips', slice_scales, dtype=np.int16),
        'scale|phase-range|[Ss]lice',
    ),
    told('lossy compression of an archive', phase(compressed), '.'),
    told('cut to the window of a viewer', phase(lambda p: np.clip(p, -2.5, 2.5)), 'range|wrap|cut'),
    told(
        'Philips, slope in the sidecar alone',
        both(
            of_maker('Philips', lambda p: np.rint((p + PI) / 2 / PI * 4095), dtype=np.uint16),
            sidecars(part='phase', **PHILIPS),
        ),
        'phase-range|0 to 4095',
    ),
    right('Siemens, -4096 to 4094 in doubles, columns of zeros', doubles_padded),
    refused('NRRD of 3D Slicer', of_another_format('.nrrd', b'NRRD0004\n'), 'nrrd|NRRD'),
    refused('DICOM files', of_another_format('.dcm', bytes(128) + b'DICM'), 'DICOM|dcm'),
    refused('named as SEPIA wants them', as_sepia, 'part-|MEGRE'),
    told('folder ses-01, names ses-02', other_session, 'ses-0'),
    refused(
        'run-01 of the magnitude, run-1 of the phase',
        both(
            relabel('sub-01_', 'sub-01_run-01_', 'mag'),
            relabel('sub-01_', 'sub-01_run-1_', 'phase'),
        ),
        'may be the other part',
    ),
    refused(
        'sidecars .JSON',
        on_files(lambda p: sidecar(p).rename(p.parent / f'{p.name[:-7]}.JSON')),
        'JSON',
    ),
    right(
        'copies in sourcedata, code and tmp_dcm2bids',
        copies('sourcedata/sub-01', 'code/sub-01', 'tmp_dcm2bids/sub-01'),
    ),
    told('a folder sub-01_old', copies('sub-01_old'), 'sub-01_old'),
    right('in a folder with brackets', to_folder("data [v1] {final} it's (2)")),
    told('label of 190 letters', long_label, '.'),
    told('second run stopped after two echoes', aborted, 'run-2'),
    refused('one of two coils lacks a phase', two_coils, 'coil-2'),
    right(
        'field strength beside the phase alone',
        sidecars(part='mag', drop='MagneticFieldStrength ImagingFrequency Manufacturer'),
    ),
    refused(
        'EffectiveEchoTime for EchoTime',
        sidecars(drop='EchoTime', EffectiveEchoTime=lambda s: s['EchoTime']),
        'EchoTime',
    ),
    right(
        'one magnitude file too many: sbref',
        elsewhere('echo-1_part-mag_MEGRE', 'part-mag_sbref', 'mag', 1, beside=True),
    ),
)

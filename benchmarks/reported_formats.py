"""Scans of ``reported.py`` by formats and stored numbers that converters choose."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import both, headers, on_files, phase, sidecars
from reported_data import Raw, Scan, read, sidecar, write
from reported_phase import of_maker


def in_colours(path: Path) -> None:
    """As a picture of three colours, which a secondary capture becomes."""
    image = nb.load(path)
    data = np.asarray(image.dataobj)
    grey = np.uint8(255 * (data - data.min()) / np.ptp(data))
    colours = np.empty(data.shape, dtype=[(c, 'u1') for c in 'RGB'])
    for colour in 'RGB':
        colours[colour] = grey
    nb.save(nb.Nifti1Image(colours, image.affine), path)


def five_axes(path: Path) -> None:
    """A fourth axis of one and a fifth of three, as a field of vectors."""
    image = nb.load(path)
    data = np.repeat(np.asarray(image.dataobj, np.float32)[..., None, None], 3, axis=4)
    nb.save(nb.Nifti1Image(data, image.affine), path)


def stacked(root: Path) -> None:
    """Magnitude and phase as the two volumes of one file, as from enhanced DICOM of Philips."""
    raw = Raw(root)
    for magnitude, other in zip(raw.files('mag'), raw.files('phase'), strict=True):
        volumes = np.stack([read(magnitude), read(other)], axis=-1)
        write(magnitude, volumes, nb.load(magnitude).affine)
        other.unlink()
        sidecar(other).unlink()


def coils(path: Path) -> None:
    """A fourth axis of four coils, uncombined."""
    image = nb.load(path)
    data = np.asarray(image.dataobj, np.float32)
    write(path, np.stack([(n + 1) / 4 * data for n in range(4)], axis=-1), image.affine)


def broken_checksum(path: Path) -> None:
    """A byte of the check at the end of the gzip stream is wrong."""
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(bytes(content))


def compressed_otherwise(path: Path) -> None:
    """Compressed by bzip2 and named so."""
    raw = gzip.decompress(path.read_bytes())
    path.with_suffix('.bz2').write_bytes(bz2.compress(raw))
    path.unlink()


def as_freesurfer(path: Path) -> None:
    """In the format of FreeSurfer."""
    image = nb.load(path)
    target = path.with_name(path.name.replace('.nii.gz', '.mgz'))
    nb.save(nb.MGHImage(np.asarray(image.dataobj, np.float32), image.affine), target)
    path.unlink()


def as_par_rec(path: Path) -> None:
    """Files of Philips that nobody has converted."""
    for ending in ('.PAR', '.REC'):
        path.with_name(path.name.replace('.nii.gz', ending)).write_bytes(b'# === DATA')
    path.unlink()


def folder_in_its_place(path: Path) -> None:
    """A folder with the name of an image."""
    path.unlink()
    path.mkdir()


def diffusion_files(path: Path) -> None:
    """Empty gradients that some converters write beside everything."""
    for ending in ('.bval', '.bvec'):
        path.with_name(path.name.replace('.nii.gz', ending)).write_text('0\n')


def echo_times(change: Callable[[float], object], part: str = '*') -> Callable:
    """Change the echo times."""
    return lambda root: Raw(root).sidecars(part, EchoTime=lambda s: change(s['EchoTime']))


def in_capitals(root: Path) -> None:
    """Keys of the sidecars as another converter spells them."""
    for path in Raw(root).files():
        content = json.loads(sidecar(path).read_text())
        content['echo_time'] = content.pop('EchoTime')
        sidecar(path).write_text(json.dumps(content))


SCANS: tuple[Scan, ...] = (
    Scan('format', 'in three colours', on_files(in_colours, 'mag', 1), 'refused', 'colour|RGB'),
    Scan(
        'format', 'phase in three colours', on_files(in_colours, 'phase'), 'refused', 'colour|RGB'
    ),
    Scan('format', 'five axes', on_files(five_axes, 'phase'), 'refused', 'ax'),
    Scan('format', 'magnitude and phase in one file', stacked, 'refused', 'phase'),
    Scan('format', 'four coils', on_files(coils), 'refused', 'ax|volume'),
    Scan(
        'format', 'checksum wrong', on_files(broken_checksum, 'phase', 2), 'refused', 'damaged|CRC'
    ),
    Scan('format', 'bzip2', on_files(compressed_otherwise), 'refused', 'bz2'),
    Scan('format', 'of FreeSurfer', on_files(as_freesurfer), 'refused', 'mgz'),
    Scan('format', 'PAR and REC', on_files(as_par_rec), 'refused', r'\.PAR'),
    Scan(
        'format',
        'a folder with the name of an image',
        on_files(folder_in_its_place, 'phase', 2),
        'refused',
        'no regular file',
    ),
    Scan('format', 'gradients of diffusion beside', on_files(diffusion_files)),
    Scan(
        'format',
        'intercept not a number',
        headers('phase', scl_slope=1.0, scl_inter=np.nan),
        'refused',
        '.',
    ),
    Scan('format', 'slope infinite', headers('phase', scl_slope=np.inf), 'refused', '.'),
    Scan(
        'format',
        'Siemens, stored eight times as large with its slope',
        of_maker(
            'Siemens',
            lambda p: np.clip(np.rint(8 * p * 4096 / np.pi), -32768, 32767),
            dtype=np.int16,
            slope=0.125,
        ),
    ),
    Scan(
        'format',
        'Siemens, stored eight times as large, slope lost',
        of_maker(
            'Siemens',
            lambda p: np.clip(np.rint(8 * p * 4096 / np.pi), -32768, 32767),
            dtype=np.int16,
        ),
        'refused',
        '--phase-range',
    ),
    Scan(
        'format',
        'slope applied twice',
        of_maker('Siemens', lambda p: p / 4096 * np.pi),
        'refused',
        '--phase-range',
    ),
    Scan(
        'format',
        'radians times 10,000, Units rad',
        phase(lambda p: 10000 * p, dtype=np.int16),
        'refused',
        '--phase-range',
    ),
    Scan(
        'format',
        'Hitachi, 0 to 4095',
        of_maker('Hitachi', lambda p: (p + np.pi) / (2 * np.pi) * 4095, dtype=np.int16),
        'refused',
        '--phase-range',
    ),
    Scan('format', 'radians cut to one decimal', phase(lambda p: np.round(p, 1))),
    Scan('format', 'rounded to whole radians', phase(np.rint), 'refused', '.'),
    Scan(
        'sidecar', 'EchoTime rounded in one part', echo_times(lambda t: round(t + 4e-7, 7), 'phase')
    ),
    Scan(
        'sidecar',
        'EchoTime rounded to 2 ms',
        echo_times(lambda t: round(t * 500) / 500),
        'told',
        'Misfit',
        source=('--tes', '4.6', '11.4', '18.2', '25'),
    ),
    Scan('sidecar', 'echo_time for EchoTime', in_capitals, 'refused', 'echo_time'),
    Scan(
        'sidecar',
        'nominal and true field strength by part',
        both(
            lambda root: Raw(root).sidecars('mag', MagneticFieldStrength=2.89),
            sidecars(drop=('ImagingFrequency',)),
        ),
        'refused',
        'MagneticFieldStrength',
    ),
    Scan(
        'sidecar',
        'field strength of another scanner in one echo',
        both(
            lambda root: Raw(root).sidecars(echo=2, MagneticFieldStrength=1.5),
            sidecars(drop=('ImagingFrequency',)),
        ),
        'refused',
        'MagneticFieldStrength',
    ),
)

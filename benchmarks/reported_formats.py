"""Scans of ``reported.py`` by formats, stored numbers and names that converters choose."""

from __future__ import annotations

import bz2
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import both, headers, on_files, phase, rename, sidecars
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


def names_with(change: Callable[[str], str], part: str = '*') -> Callable:
    """Names of the sidecars alone."""

    def alter(root: Path) -> None:
        for path in Raw(root).files(part):
            beside = sidecar(path)
            beside.rename(beside.with_name(change(beside.name)))

    return alter


def one_sidecar(root: Path) -> None:
    """One sidecar an echo, without a part."""
    for path in Raw(root).files('mag'):
        sidecar(path).rename(path.with_name(sidecar(path).name.replace('_part-mag', '')))
    for path in Raw(root).files('phase'):
        sidecar(path).unlink()


def sessions_in_halves(root: Path) -> None:
    """Two echoes in each of two sessions, as the export was done in two goes."""
    anat = root / 'sub-01' / 'anat'
    for label, echoes in (('1', '12'), ('2', '34')):
        target = root / 'sub-01' / f'ses-{label}' / 'anat'
        target.mkdir(parents=True)
        for file in anat.iterdir():
            if file.name.partition('_echo-')[2][:1] in echoes:
                name = file.name.replace('sub-01_', f'sub-01_ses-{label}_')
                shutil.copy(file, target / name)
    shutil.rmtree(anat)


def other_images(root: Path) -> None:
    """Phase of an MP2RAGE, of a T1-weighted image and of field maps beside the echoes."""
    raw = Raw(root)
    for part in ('mag', 'phase'):
        path = raw.files(part, 1)[0]
        for file in (path, sidecar(path)):
            for name in (f'sub-01_inv-1_part-{part}_MP2RAGE', f'sub-01_part-{part}_T1w'):
                end = file.name.partition('.')[2]
                shutil.copy(file, file.with_name(f'{name}.{end}'))


def echo_times(change: Callable[[float], object], part: str = '*') -> Callable:
    """Change the echo times."""
    return lambda root: Raw(root).sidecars(part, EchoTime=lambda s: change(s['EchoTime']))


def in_capitals(root: Path) -> None:
    """Keys of the sidecars as another converter spells them."""
    for path in Raw(root).files():
        content = json.loads(sidecar(path).read_text())
        content['echo_time'] = content.pop('EchoTime')
        sidecar(path).write_text(json.dumps(content))


def volume_of_two(root: Path) -> None:
    """The last phase is a series of which one volume is right."""
    path = Raw(root).files('phase', 4)[0]
    write(path, np.stack([read(path)] * 2, axis=-1), nb.load(path).affine)


def relabelled(label: str) -> Callable:
    """Another label of the participant."""

    def alter(root: Path) -> None:
        rename(lambda n: n.replace('sub-01', f'sub-{label}'))(root)
        (root / 'sub-01').rename(root / f'sub-{label}')
        truth = root / 'derivatives' / 'simulation' / 'sub-01'
        for path in truth.rglob('sub-01*'):
            path.rename(path.with_name(path.name.replace('sub-01', f'sub-{label}')))
        truth.rename(truth.with_name(f'sub-{label}'))

    return alter


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
        'name',
        'rec-magnitude and rec-phase',
        rename(lambda n: n.replace('part-mag', 'rec-magnitude').replace('part-phase', 'rec-phase')),
        'refused',
        'part-',
    ),
    Scan(
        'name',
        'sidecars named .nii.gz.json',
        names_with(lambda n: n.replace('.json', '.nii.gz.json')),
        'refused',
        'nii.gz.json',
    ),
    Scan(
        'name',
        'sidecars named _ph',
        names_with(lambda n: n.replace('.json', '_ph.json'), 'phase'),
    ),
    Scan('name', 'one sidecar an echo', one_sidecar),
    Scan(
        'name',
        'echo-1 and echo-01',
        on_files(
            lambda p: shutil.copy(p, p.with_name(p.name.replace('echo-1', 'echo-01'))), echo=1
        ),
        'refused',
        'echo-01',
    ),
    Scan(
        'name',
        'a blank before the ending',
        rename(lambda n: n.replace('_MEGRE.', '_MEGRE .')),
        'refused',
        '.',
    ),
    Scan('name', 'echo-e1', rename(lambda n: n.replace('echo-', 'echo-e')), 'refused', 'echo'),
    Scan(
        'name',
        'echoes 1, 3, 5, 7',
        rename(
            lambda n: ''.join(
                str(2 * int(c) - 1) if n[:i].endswith('echo-') else c for i, c in enumerate(n)
            )
        ),
    ),
    Scan(
        'name',
        'session in the name, no folder',
        rename(lambda n: n.replace('sub-01_', 'sub-01_ses-1_')),
        'refused',
        'ses-1',
    ),
    Scan('name', 'hyphen in the label', relabelled('con-01'), 'refused', 'con-01'),
    Scan('name', 'underscore in the label', relabelled('con_01'), 'refused', 'con_01'),
    Scan('name', 'letters beyond ASCII in the label', relabelled('Jürgen'), 'refused', 'Jürgen'),
    Scan('name', 'half of the echoes in each session', sessions_in_halves, 'told', '.'),
    Scan('name', 'phase of other images beside', other_images),
    Scan(
        'name',
        'first echo missing',
        lambda root: (
            [f.unlink() for p in Raw(root).files('*', 1) for f in (p, sidecar(p))] and None
        ),
    ),
    Scan('name', 'one phase of two volumes', volume_of_two, 'refused', 'ax|volume'),
    Scan(
        'sidecar', 'EchoTime rounded in one part', echo_times(lambda t: round(t + 4e-7, 7), 'phase')
    ),
    Scan(
        'sidecar',
        'EchoTime rounded to 2 ms',
        echo_times(lambda t: round(t * 500) / 500),
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

"""Scans of ``reported.py`` by values, files and formats."""

from __future__ import annotations

import bz2
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from scans.changes import (
    annexed,
    cut_file,
    elsewhere,
    headers,
    magnitude,
    on_files,
    phase,
    relabel,
    remove,
)
from scans.dataset import Raw, of_kind, read, refused, right, store, told
from scans.phase import of_maker


def set_voxels(value: float, count: int) -> Callable:
    """Put a value into some voxels outside of the head."""

    def change(data: np.ndarray) -> np.ndarray:
        data[:2, :2, :count] = value
        return data

    return change


def unfetched(root: Path) -> None:
    """Links into an annex whose objects were not fetched."""
    annexed(root)
    shutil.rmtree(root / '.git')


def pair_of_formats(path: Path) -> None:
    """Image and header in two files."""
    pair = nb.Nifti1Pair(read(path), nb.load(path).affine)
    nb.save(pair, path.with_name(path.name.replace('.nii.gz', '.img')))
    path.unlink()


def members(path: Path) -> None:
    """Compressed in several parts, as parallel compressors do."""
    raw = gzip.decompress(path.read_bytes())
    cuts = [*range(0, len(raw), len(raw) // 3 + 1), len(raw)]
    pieces = zip(cuts, cuts[1:], strict=False)
    path.write_bytes(b''.join(gzip.compress(raw[start:stop], 1) for start, stop in pieces))


def pointer(path: Path) -> None:
    """What Git LFS leaves in place of a file."""
    text = f'version https://git-lfs.github.com/spec/v1\noid sha256:{"0" * 64}\nsize 123456\n'
    path.write_text(text)


def annex_pointer(path: Path) -> None:
    """What git-annex leaves in place of an unlocked file."""
    path.write_text(f'/annex/objects/MD5E-s123456--{"0" * 32}.nii.gz\n')


def apple_double(path: Path) -> None:
    """What macOS puts beside a file on a foreign disk."""
    path.with_name(f'._{path.name}').write_bytes(b'\x00\x05\x16\x07' + bytes(100))
    (path.parent / '.DS_Store').write_bytes(b'Bud1')


def swapped(path: Path) -> None:
    """Values whose bytes are exchanged, the header is right."""
    store(path, np.asarray(nb.load(path).dataobj).astype('<f4').byteswap())


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
    for first, second in raw.pairs():
        volumes = np.stack([read(first), read(second)], axis=-1)
        store(first, volumes)
    remove('phase', '*')(root)


def coils(path: Path) -> None:
    """A fourth axis of four coils, uncombined."""
    data = read(path)
    store(path, np.stack([(n + 1) / 4 * data for n in range(4)], axis=-1))


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


SCANS = of_kind(
    'values',
    refused('NaN outside the head', phase(set_voxels(np.nan, 5)), '20 values that are not finite'),
    refused('infinite magnitude', magnitude(set_voxels(np.inf, 1), echo=1), 'not finite'),
    refused('truncated file', on_files(cut_file, 'phase', 3), 'truncated'),
    refused('empty file', on_files(lambda p: p.write_bytes(b''), 'mag', 1), 'truncated|empty'),
    refused(
        'half of the slices lost in one echo',
        phase(lambda p: np.where(np.arange(p.shape[2]) < 28, p, 0), echo=2),
        'echo-2',
    ),
    refused(
        'named .nii.gz, not compressed',
        on_files(lambda p: p.write_bytes(gzip.decompress(p.read_bytes())), 'phase', 2),
        'not compressed',
    ),
    refused(
        'named .nii, compressed',
        on_files(lambda p: p.rename(p.with_suffix('')), 'phase', 2),
        'name it .nii.gz',
    ),
    told(
        'magnitude beyond 16 bits',
        magnitude(lambda m: (m / m.max() * 60000).astype(np.int64).astype(np.int16)),
        'overflowed',
    ),
    refused('pointer of Git LFS', on_files(pointer, 'phase', 2), 'LFS|fetch'),
    refused('pointer of git-annex', on_files(annex_pointer, 'mag', 1), 'annex|fetch'),
    refused('annex not fetched', unfetched, 'fetch|datalad'),
    right('compressed in parts', on_files(members)),
    right(
        'bytes behind the stream', on_files(lambda p: p.write_bytes(p.read_bytes() + b'\0' * 512))
    ),
    right('files of macOS beside them', on_files(apple_double)),
    right('copies named (1)', elsewhere('.nii.gz', ' (1).nii.gz')),
    refused('Analyze pair', on_files(pair_of_formats), r'\.hdr|\.img'),
    refused('capital extension', relabel('.nii.gz', '.NII.GZ'), r'\.NII\.GZ'),
    refused('bytes in the other order', on_files(swapped, 'phase'), 'phase|finite'),
)
SCANS += of_kind(
    'format',
    refused('in three colours', on_files(in_colours, 'mag', 1), 'colour|RGB'),
    refused('phase in three colours', on_files(in_colours, 'phase'), 'colour|RGB'),
    refused('five axes', on_files(five_axes, 'phase'), 'ax'),
    refused('magnitude and phase in one file', stacked, 'phase'),
    refused('four coils', on_files(coils), 'ax|volume'),
    refused('checksum wrong', on_files(broken_checksum, 'phase', 2), 'damaged|CRC'),
    refused('bzip2', on_files(compressed_otherwise), 'bz2'),
    refused('of FreeSurfer', on_files(as_freesurfer), 'mgz'),
    refused('PAR and REC', on_files(as_par_rec), r'\.PAR'),
    refused(
        'a folder with the name of an image',
        on_files(folder_in_its_place, 'phase', 2),
        'no regular file',
    ),
    right('gradients of diffusion beside', on_files(diffusion_files)),
    refused('intercept not a number', headers('phase', scl_slope=1.0, scl_inter=np.nan), '.'),
    refused('slope infinite', headers('phase', scl_slope=np.inf), '.'),
    right(
        'Siemens, stored eight times as large with its slope',
        of_maker(
            'Siemens',
            lambda p: np.clip(np.rint(8 * p * 4096 / np.pi), -32768, 32767),
            dtype=np.int16,
            slope=0.125,
        ),
    ),
    refused(
        'Siemens, stored eight times as large, slope lost',
        of_maker(
            'Siemens',
            lambda p: np.clip(np.rint(8 * p * 4096 / np.pi), -32768, 32767),
            dtype=np.int16,
        ),
        '--phase-range',
    ),
    refused(
        'slope applied twice', of_maker('Siemens', lambda p: p / 4096 * np.pi), '--phase-range'
    ),
    refused(
        'radians times 10,000, Units rad',
        phase(lambda p: 10000 * p, dtype=np.int16),
        '--phase-range',
    ),
    refused(
        'Hitachi, 0 to 4095',
        of_maker('Hitachi', lambda p: (p + np.pi) / (2 * np.pi) * 4095, dtype=np.int16),
        '--phase-range',
    ),
    right('radians cut to one decimal', phase(lambda p: np.round(p, 1))),
    refused('rounded to whole radians', phase(np.rint), '.'),
)

"""Scans of ``reported.py`` by values and files."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import annexed, cut_file, elsewhere, magnitude, on_files, phase, rename
from reported_data import Raw, Scan, read, write


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
    image = nb.load(path)
    data = np.asarray(image.dataobj).astype('<f4').byteswap()
    write(path, data, image.affine)


SCANS: tuple[Scan, ...] = (
    Scan(
        'values',
        'NaN outside the head',
        phase(set_voxels(np.nan, 5)),
        'refused',
        '20 values that are not finite',
    ),
    Scan(
        'values',
        'infinite magnitude',
        magnitude(set_voxels(np.inf, 1), echo=1),
        'refused',
        'not finite',
    ),
    Scan('values', 'truncated file', on_files(cut_file, 'phase', 3), 'refused', 'truncated'),
    Scan(
        'values',
        'empty file',
        on_files(lambda p: p.write_bytes(b''), 'mag', 1),
        'refused',
        'truncated|empty',
    ),
    Scan(
        'values',
        'half of the slices lost in one echo',
        lambda root: Raw(root).values(
            'phase', lambda p: np.where(np.arange(p.shape[2]) < 28, p, 0), 2
        ),
        'refused',
        'echo-2',
    ),
    Scan(
        'values',
        'named .nii.gz, not compressed',
        on_files(lambda p: p.write_bytes(gzip.decompress(p.read_bytes())), 'phase', 2),
        'refused',
        'not compressed',
    ),
    Scan(
        'values',
        'named .nii, compressed',
        on_files(lambda p: p.rename(p.with_suffix('')), 'phase', 2),
        'refused',
        'name it .nii.gz',
    ),
    Scan(
        'values',
        'magnitude beyond 16 bits',
        magnitude(lambda m: (m / m.max() * 60000).astype(np.int64).astype(np.int16)),
        'told',
        'overflowed',
    ),
    Scan('values', 'pointer of Git LFS', on_files(pointer, 'phase', 2), 'refused', 'LFS|fetch'),
    Scan(
        'values',
        'pointer of git-annex',
        on_files(annex_pointer, 'mag', 1),
        'refused',
        'annex|fetch',
    ),
    Scan('values', 'annex not fetched', unfetched, 'refused', 'fetch|datalad'),
    Scan('values', 'compressed in parts', on_files(members)),
    Scan(
        'values',
        'bytes behind the stream',
        on_files(lambda p: p.write_bytes(p.read_bytes() + b'\0' * 512)),
    ),
    Scan('values', 'files of macOS beside them', on_files(apple_double)),
    Scan('values', 'copies named (1)', elsewhere('.nii.gz', ' (1).nii.gz')),
    Scan('values', 'Analyze pair', on_files(pair_of_formats), 'refused', r'\.hdr|\.img'),
    Scan(
        'values',
        'capital extension',
        rename(lambda n: n.replace('.nii.gz', '.NII.GZ')),
        'refused',
        r'\.NII\.GZ',
    ),
    Scan(
        'values',
        'bytes in the other order',
        on_files(swapped, 'phase'),
        'refused',
        'phase|finite',
    ),
)

"""Scans of ``reported.py`` by their real and imaginary parts, and by their magnitude."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from scans.changes import both, magnitude, on_files, relabel, remove, sidecars, signal, slices
from scans.dataset import Raw, failed, of_kind, read, refused, right, sidecar, store, told, write
from scipy import ndimage

AS_PARTS = both(relabel('part-mag', 'part-real'), relabel('part-phase', 'part-imag'))


def parts(real: Callable, imaginary: Callable, **keywords) -> Callable:
    """Real and imaginary parts for magnitude and phase."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        largest = max(read(path).max() for path in raw.files('mag'))
        for first, second in raw.pairs():
            z = read(first) / largest * 2000 * np.exp(1j * read(second))
            store(first, real(z), **keywords)
            store(second, imaginary(z), **keywords)
        raw.sidecars(drop='Units')
        AS_PARTS(root)

    return alter


def all_four(root: Path) -> None:
    """Real and imaginary parts beside magnitude and phase."""
    raw = Raw(root)
    for first, second in raw.pairs():
        z = read(first) * np.exp(1j * read(second))
        for name, part in (('real', z.real), ('imag', z.imag)):
            path = first.with_name(first.name.replace('part-mag', f'part-{name}'))
            write(path, part.astype(np.float32), first)
            shutil.copy(sidecar(first), sidecar(path))


def same_magnitude(root: Path) -> None:
    """One magnitude for all echoes."""
    raw = Raw(root)
    total = np.sqrt(sum(read(path) ** 2 for path in raw.files('mag')))
    raw.values('mag', lambda m: total)


SCANS = of_kind(
    'complex',
    right('real and imaginary, integers', parts(np.real, np.imag, dtype=np.int16)),
    failed(
        'imaginary part with the other sign',
        parts(np.real, lambda z: -z.imag, dtype=np.int16),
        '[Ss]ign',
    ),
    refused(
        'both shifted to be positive',
        parts(lambda z: z.real + 2048, lambda z: z.imag + 2048, dtype=np.uint16),
        'real|negative',
    ),
    right(
        'slices of both parts alternate (GE)',
        both(
            signal(slices),
            parts(np.real, np.imag, dtype=np.int16),
            sidecars(Manufacturer='GE MEDICAL SYSTEMS'),
        ),
    ),
    refused('magnitude and phase named real and imag', AS_PARTS, 'real|imag'),
    refused(
        'real part missing',
        both(parts(np.real, np.imag, dtype=np.int16), remove('real', 2)),
        'part-real',
    ),
    refused(
        'complex numbers in one file',
        on_files(lambda p: write(p, read(p).astype(np.complex64), nb.load(p).affine), 'phase'),
        'complex',
    ),
    refused('real parts alone', both(parts(np.real, np.imag), remove('imag', '*')), 'part-imag'),
    refused(
        'imaginary parts alone', both(parts(np.real, np.imag), remove('real', '*')), 'part-real'
    ),
    failed('real and imaginary exchanged', parts(np.imag, np.real), '[Ss]ign'),
    right('beside magnitude and phase', all_four),
    right('beside the magnitude', both(all_four, remove('phase', '*'))),
    right(
        'unsigned, with an intercept',
        parts(
            lambda z: z.real + 2048, lambda z: z.imag + 2048, dtype=np.uint16, slope=1, inter=-2048
        ),
    ),
    refused(
        'part-imaginary',
        both(parts(np.real, np.imag), relabel('part-imag', 'part-imaginary')),
        'part-imag',
    ),
    refused(
        'names of dcm2niix, _real and _imaginary',
        both(
            parts(np.real, np.imag),
            relabel('_part-real_MEGRE', '_MEGRE_real'),
            relabel('_part-imag_MEGRE', '_MEGRE_imaginary'),
        ),
        'part-real|part-imag',
    ),
    right(
        'ImageType of real and imaginary parts beside magnitude and phase',
        both(
            sidecars(part='mag', ImageType=['ORIGINAL', 'PRIMARY', 'OTHER', 'REAL']),
            sidecars(part='phase', ImageType=['ORIGINAL', 'PRIMARY', 'OTHER', 'IMAGINARY']),
        ),
    ),
    failed(
        'each part in a scale of its own',
        parts(np.real, lambda z: 0.5 * z.imag, dtype=np.int16),
        'imag|real',
    ),
)
SCANS += of_kind(
    'magnitude',
    refused('ones', magnitude(np.ones_like), 'one value alone'),
    right('scaled to 1', magnitude(lambda m: m / m.max())),
    right('tiny numbers', magnitude(lambda m: 1e-9 * m)),
    told(
        'each echo to its own maximum',
        magnitude(lambda m: 4095 * m / m.max(), dtype=np.int16),
        'rises|R2|echo',
    ),
    told('turned front to back', magnitude(lambda m: m[:, ::-1]), 'magnitude|signal|Noise|noise'),
    right('logarithm', magnitude(lambda m: np.log1p(m))),
    right('clipped at a tenth', magnitude(lambda m: np.minimum(m, 0.1 * m.max()))),
    right('with a constant added', magnitude(lambda m: m + 0.1 * m.max())),
    right(
        'bright on one side, ten to one',
        magnitude(lambda m: m * np.linspace(1, 10, len(m))[:, None, None]),
    ),
    refused('sum of squares in every echo', same_magnitude, 'same values'),
    right('eight bits', magnitude(lambda m: 255 * m / m.max(), dtype=np.uint8)),
    right('smoothed', magnitude(lambda m: ndimage.gaussian_filter(m, 1))),
    told(
        'a mask in its place',
        magnitude(lambda m: (m > 0.1 * m.max()).astype(np.float32)),
        'magnitude|R2|values',
    ),
    right('a little below zero in places', magnitude(lambda m: m - 0.01 * m.max())),
)

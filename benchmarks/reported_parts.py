"""Scans of ``reported.py`` by their real and imaginary parts, and by their magnitude."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import both, magnitude, on_files, remove, rename, sidecars, signal, slices
from reported_data import Raw, Scan, read, sidecar, store, write
from scipy import ndimage


def parts(real: Callable, imaginary: Callable, **keywords) -> Callable:
    """Real and imaginary parts for magnitude and phase."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        largest = max(read(path).max() for path in raw.files('mag'))
        for first, second in zip(raw.files('mag'), raw.files('phase'), strict=True):
            z = read(first) / largest * 2000 * np.exp(1j * read(second))
            for path, part, name in ((first, real(z), 'real'), (second, imaginary(z), 'imag')):
                old = path.name.split('_part-')[1].split('_')[0]
                store(path, part, **keywords)
                for file in (path, sidecar(path)):
                    file.rename(file.with_name(file.name.replace(f'part-{old}', f'part-{name}')))
        raw.sidecars(drop=('Units',))

    return alter


def all_four(root: Path) -> None:
    """Real and imaginary parts beside magnitude and phase."""
    raw = Raw(root)
    for first, second in zip(raw.files('mag'), raw.files('phase'), strict=True):
        z = read(first) * np.exp(1j * read(second))
        for name, part in (('real', z.real), ('imag', z.imag)):
            path = first.with_name(first.name.replace('part-mag', f'part-{name}'))
            write(path, part.astype(np.float32), nb.load(first).affine)
            content = json.loads(sidecar(first).read_text())
            sidecar(path).write_text(json.dumps(content))


def same_magnitude(root: Path) -> None:
    """One magnitude for all echoes."""
    raw = Raw(root)
    total = np.sqrt(sum(read(path) ** 2 for path in raw.files('mag')))
    raw.values('mag', lambda m: total)


SCANS: tuple[Scan, ...] = (
    Scan('complex', 'real and imaginary, integers', parts(np.real, np.imag, dtype=np.int16)),
    Scan(
        'complex',
        'imaginary part with the other sign',
        parts(np.real, lambda z: -z.imag, dtype=np.int16),
        'failed',
        '[Ss]ign',
    ),
    Scan(
        'complex',
        'both shifted to be positive',
        parts(lambda z: z.real + 2048, lambda z: z.imag + 2048, dtype=np.uint16),
        'refused',
        'real|negative',
    ),
    Scan(
        'complex',
        'slices of both parts alternate (GE)',
        both(
            signal(slices),
            parts(np.real, np.imag, dtype=np.int16),
            sidecars(Manufacturer='GE MEDICAL SYSTEMS'),
        ),
    ),
    Scan(
        'complex',
        'magnitude and phase named real and imag',
        rename(lambda n: n.replace('part-mag', 'part-real').replace('part-phase', 'part-imag')),
        'refused',
        'real|imag',
    ),
    Scan(
        'complex',
        'real part missing',
        both(parts(np.real, np.imag, dtype=np.int16), remove('real', 2)),
        'refused',
        'part-real',
    ),
    Scan(
        'complex',
        'complex numbers in one file',
        on_files(lambda p: write(p, read(p).astype(np.complex64), nb.load(p).affine), 'phase'),
        'refused',
        'complex',
    ),
    Scan(
        'complex',
        'real parts alone',
        both(parts(np.real, np.imag), remove('imag', '*')),
        'refused',
        'part-imag',
    ),
    Scan(
        'complex',
        'imaginary parts alone',
        both(parts(np.real, np.imag), remove('real', '*')),
        'refused',
        'part-real',
    ),
    Scan('complex', 'real and imaginary exchanged', parts(np.imag, np.real), 'failed', '[Ss]ign'),
    Scan('complex', 'beside magnitude and phase', all_four),
    Scan('complex', 'beside the magnitude', both(all_four, remove('phase', '*'))),
    Scan(
        'complex',
        'unsigned, with an intercept',
        parts(
            lambda z: z.real + 2048, lambda z: z.imag + 2048, dtype=np.uint16, slope=1, inter=-2048
        ),
    ),
    Scan(
        'complex',
        'part-imaginary',
        both(parts(np.real, np.imag), rename(lambda n: n.replace('part-imag', 'part-imaginary'))),
        'refused',
        'part-imag',
    ),
    Scan(
        'complex',
        'names of dcm2niix, _real and _imaginary',
        both(
            parts(np.real, np.imag),
            rename(
                lambda n: n.replace('_part-real_MEGRE', '_MEGRE_real').replace(
                    '_part-imag_MEGRE', '_MEGRE_imaginary'
                )
            ),
        ),
        'refused',
        'part-real|part-imag',
    ),
    Scan('magnitude', 'ones', magnitude(np.ones_like), 'refused', 'one value alone'),
    Scan('magnitude', 'scaled to 1', magnitude(lambda m: m / m.max())),
    Scan('magnitude', 'tiny numbers', magnitude(lambda m: 1e-9 * m)),
    Scan(
        'magnitude',
        'each echo to its own maximum',
        magnitude(lambda m: 4095 * m / m.max(), dtype=np.int16),
        'told',
        'rises|R2|echo',
    ),
    Scan(
        'magnitude',
        'turned front to back',
        magnitude(lambda m: m[:, ::-1]),
        'told',
        'magnitude|signal|Noise|noise',
    ),
    Scan('magnitude', 'logarithm', magnitude(lambda m: np.log1p(m))),
    Scan('magnitude', 'clipped at a tenth', magnitude(lambda m: np.minimum(m, 0.1 * m.max()))),
    Scan('magnitude', 'with a constant added', magnitude(lambda m: m + 0.1 * m.max())),
    Scan(
        'magnitude',
        'bright on one side, ten to one',
        magnitude(lambda m: m * np.linspace(1, 10, len(m))[:, None, None]),
    ),
    Scan('magnitude', 'sum of squares in every echo', same_magnitude, 'refused', 'same values'),
    Scan('magnitude', 'eight bits', magnitude(lambda m: 255 * m / m.max(), dtype=np.uint8)),
    Scan(
        'complex',
        'ImageType of real and imaginary parts beside magnitude and phase',
        both(
            sidecars(part='mag', ImageType=['ORIGINAL', 'PRIMARY', 'OTHER', 'REAL']),
            sidecars(part='phase', ImageType=['ORIGINAL', 'PRIMARY', 'OTHER', 'IMAGINARY']),
        ),
    ),
    Scan(
        'complex',
        'each part in a scale of its own',
        parts(np.real, lambda z: 0.5 * z.imag, dtype=np.int16),
        'failed',
        'imag|real',
    ),
    Scan('magnitude', 'smoothed', magnitude(lambda m: ndimage.gaussian_filter(m, 1))),
    Scan(
        'magnitude',
        'a mask in its place',
        magnitude(lambda m: (m > 0.1 * m.max()).astype(np.float32)),
        'told',
        'magnitude|R2|values',
    ),
    Scan(
        'magnitude',
        'a little below zero in places',
        magnitude(lambda m: m - 0.01 * m.max()),
    ),
)

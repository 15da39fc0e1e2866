"""Scans of ``reported.py`` with masks, fields and phases that other programs hand on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_data import Raw, Scan, describe, read, sidecar, write
from reported_given import of, within
from reported_masks import save_mask
from scipy import ndimage

HZ_PER_T = 42.577478518e6
BRAIN = 'anat/sub-01_desc-brain_mask.nii.gz'
TOTAL = 'fmap/sub-01_desc-total_fieldmap.nii.gz'


def whole_head(path: Path, brain: np.ndarray) -> None:
    """Scalp and skull with the brain."""
    raw = path.parents[3] / 'bids' / 'sub-01' / 'anat' / 'sub-01_echo-1_part-mag_MEGRE.nii.gz'
    m = read(raw)
    head = ndimage.binary_closing(m > 0.1 * np.percentile(m, 98), iterations=3)
    write(path, ndimage.binary_fill_holes(head).astype(np.uint8), nb.load(path).affine)


def slices(count: int) -> Callable:
    """Some slices in the middle of the true mask."""

    def change(brain: np.ndarray) -> np.ndarray:
        middle = brain.shape[2] // 2
        z = np.arange(brain.shape[2])
        return (brain & (abs(z - middle) <= count // 2)).astype(np.uint8)

    return save_mask(change)


def speckled(brain: np.ndarray) -> np.ndarray:
    """One voxel of 500 outside is in the mask too."""
    crumbs = np.random.default_rng(0).uniform(size=brain.shape) < 0.002
    return (brain | crumbs).astype(np.uint8)


def few_voxels(brain: np.ndarray) -> np.ndarray:
    """A cube of four voxels in the middle of the brain."""
    cube = np.zeros(brain.shape, np.uint8)
    cube[tuple(slice(int(x) - 2, int(x) + 2) for x in ndimage.center_of_mass(brain))] = 1
    return cube


def columns(brain: np.ndarray) -> np.ndarray:
    """A quarter of the columns is missing."""
    kept = brain.astype(np.uint8)
    kept[::2, ::2] = 0
    return kept


def ragged(brain: np.ndarray) -> np.ndarray:
    """A quarter of the brain is missing in crumbs, as where a noisy map was cut at a value."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=brain.shape), 1.2)
    return (brain & (noise < 0.7 * noise.std())).astype(np.uint8)


def lower_third(brain: np.ndarray) -> np.ndarray:
    """The cerebellum alone."""
    z = np.arange(brain.shape[2])
    return (brain & (z < brain.shape[2] // 3)).astype(np.uint8)


def to_the_nose(brain: np.ndarray) -> np.ndarray:
    """Every hollow of the mask filled by a closing of 30 mm."""
    closed = ndimage.binary_closing(np.pad(brain, 12), iterations=10)
    return closed[12:-12, 12:-12, 12:-12].astype(np.uint8)


def unwrapped(name: str, change: Callable, expect: str = 'map', words: str = '') -> Scan:
    """Scan that starts from the true phase of each echo, unwrapped and changed."""

    def alter(root: Path) -> None:
        truth, folder = (root / 'derivatives' / x / 'sub-01' for x in ('simulation', 'given'))
        (folder / 'anat').mkdir(parents=True)
        describe(folder.parent)
        shutil.copy(truth / BRAIN, folder / BRAIN)
        for number, path in enumerate(Raw(root).files('phase')):
            time = json.loads(sidecar(path).read_text())['EchoTime']
            target = folder / 'anat' / path.name.replace('_MEGRE', '_desc-unwrapped_MEGRE')
            turned = change(2 * np.pi * time * read(truth / TOTAL), number)
            write(target, turned.astype(np.float32), nb.load(path).affine)
            sidecar(target).write_text(json.dumps({'Units': 'rad', 'EchoTime': time}))

    flags = ('--start-from', 'unwrapped', '-d', 'GIVEN')
    return Scan('handed on', name, alter, expect, words, flags, mask=None)


def handed(start: str, name: str, *arguments, flags: tuple[str, ...] = ()) -> Scan:
    """Scan that starts from a given map, with more flags."""
    scan = of(start, name, *arguments)
    return replace(scan, kind='handed on', flags=scan.flags + flags)


def with_noise(value: float, expect: str = 'map', words: str = '') -> Scan:
    """The true local field with a noise map of one value."""
    scan = of('local-field', f'local field with a noise of {value:g} Hz', within(), 'Hz')

    def alter(root: Path) -> None:
        scan.change(root)
        folder = root / 'derivatives' / 'given' / 'sub-01' / 'fmap'
        field = folder / 'sub-01_desc-local_fieldmap.nii.gz'
        noise = folder / 'sub-01_desc-noise_fieldmap.nii.gz'
        write(noise, np.full_like(read(field), value), nb.load(field).affine)
        sidecar(noise).write_text(json.dumps({'Units': 'Hz'}))

    return replace(scan, kind='handed on', change=alter, expect=expect, words=words)


def masked(name: str, expect: str, words: str, mask: Callable) -> Scan:
    """The usual scan with a mask of its own."""
    return Scan('handed on', f'mask {name}', expect=expect, words=words, mask=mask)


SCANS: tuple[Scan, ...] = (
    masked('of the whole head', 'failed', '[Mm]ask', whole_head),
    masked('with crumbs outside', 'map', '', save_mask(speckled)),
    masked('of one slice', 'refused', '[Mm]ask', slices(1)),
    masked('of three slices', 'failed', '[Mm]ask', slices(3)),
    masked('of 64 voxels', 'failed', '[Mm]ask', save_mask(few_voxels)),
    masked('without a quarter of its columns', 'told', '[Mm]ask', save_mask(columns)),
    masked('ragged by a threshold', 'told', '[Mm]ask|[Hh]ole', save_mask(ragged)),
    masked('of the cerebellum', 'failed', '[Mm]ask', save_mask(lower_third)),
    masked('filled down to the nose', 'map', '', save_mask(to_the_nose)),
    unwrapped('unwrapped phase', lambda p, echo: p),
    unwrapped('unwrapped phase, whole turns apart', lambda p, echo: p + 2 * np.pi * echo),
    unwrapped('unwrapped phase of the other sign', lambda p, echo: -p, 'failed', '[Ss]ign'),
    unwrapped(
        'unwrapped phase that is wrapped',
        lambda p, echo: np.angle(np.exp(1j * p)),
        'told',
        'unwrapped',
    ),
    unwrapped(
        'unwrapped phase, high-passed',
        lambda p, echo: p - ndimage.gaussian_filter(p, 4),
        'failed',
        '.',
    ),
    unwrapped('unwrapped phase less its median', lambda p, echo: p - np.median(p)),
    handed(
        'local-field',
        'local field 12 mm away',
        lambda v, b: np.roll(v * b, 4, 1),
        'Hz',
        'failed',
        '.',
    ),
    handed(
        'local-field',
        'local field flipped left to right',
        lambda v, b: (v * b)[::-1],
        'Hz',
        'told',
        'R2',
    ),
    handed(
        'local-field',
        'local field upside down',
        lambda v, b: (v * b)[:, :, ::-1],
        'Hz',
        'failed',
        '.',
    ),
    handed('total-field', 'total field in T', lambda v, b: v / HZ_PER_T, 'T'),
    handed('total-field', 'total field in the brain alone', within(), 'Hz'),
    handed(
        'total-field', 'total field of the other sign', lambda v, b: -v, 'Hz', 'failed', '[Ss]ign'
    ),
    handed(
        'total-field',
        'phase of one echo called a field',
        lambda v, b: 0.02 * 2 * np.pi * v,
        'Hz',
        'failed',
        'Units|scale',
    ),
    handed('chi', 'map, not a number outside', lambda v, b: np.where(b, v, np.nan), 'ppm'),
    handed('chi', 'map with an offset of 0.5 ppm', lambda v, b: (v + 0.5) * b, 'ppm'),
    with_noise(0, 'refused', 'noise'),
    with_noise(-1, 'refused', 'noise'),
    with_noise(1),
    *(
        handed('local-field', f'local field, {flag}', within(), 'Hz', 'refused', flag, flags=flags)
        for flag, flags in (
            ('--phase-sign', ('--phase-sign', '-1')),
            ('--unwrapping', ('--unwrapping', 'laplacian')),
            ('--background', ('--background', 'vsharp')),
        )
    ),
)

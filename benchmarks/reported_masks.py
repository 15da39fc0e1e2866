"""Scans of ``reported.py`` by their masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import complex_noise, scaled
from reported_data import Raw, Scan, read, write
from scipy import ndimage


def strip(fill: str) -> Callable:
    """Take everything off around the brain, as if a mask had been applied."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        truth = next((root / 'derivatives').rglob('sub-01_desc-brain_mask.nii.gz'))
        brain, rng = read(truth) > 0.5, np.random.default_rng(0)

        def change(z: np.ndarray, echo: int) -> np.ndarray:
            noise = 0.01 * np.abs(z).max() * complex_noise(z.shape, rng)
            return np.where(brain, z, noise if fill == 'noise' else 0)

        raw.signal(change)

    return alter


def save_mask(change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Mask made of the true one, on its grid."""
    return lambda path, brain: write(path, change(brain), nb.load(path).affine)


def nibble(path: Path, brain: np.ndarray) -> None:
    """The mask flipped front to back in the array, its affine with it (still right)."""
    affine = nb.load(path).affine
    flip = np.diag([1.0, -1.0, 1.0, 1.0])
    flip[1, 3] = brain.shape[1] - 1
    write(path, brain[:, ::-1].astype(np.uint8), affine @ flip)


def renamed(old: str, new: str) -> Callable:
    """The true mask under another name."""
    return lambda path, brain: path.rename(path.with_name(path.name.replace(old, new)))


def without_description(path: Path, brain: np.ndarray) -> None:
    """Masks in a folder that is no dataset."""
    next(path.parents[2].glob('dataset_description.json')).unlink()


def shifted(voxels: float) -> Callable:
    """The true mask, its header off by part of a voxel."""

    def change(path: Path, brain: np.ndarray) -> None:
        affine = nb.load(path).affine.copy()
        affine[:3, 3] += voxels * 3
        write(path, brain.astype(np.uint8), affine)

    return change


def with_hole(brain: np.ndarray) -> np.ndarray:
    """The true mask with a ball of 8 voxels radius missing, as where a lesion was cut out."""
    centre = [int(n) for n in ndimage.center_of_mass(brain)]
    squared = sum((x - c) ** 2 for x, c in zip(np.indices(brain.shape), centre, strict=True))
    return (brain & (squared > 64)).astype(np.uint8)


SCANS: tuple[Scan, ...] = (
    Scan(
        'mask',
        'probabilities',
        mask=save_mask(lambda b: ndimage.gaussian_filter(b.astype(np.float32), 1)),
        words='one half',
    ),
    Scan(
        'mask',
        'the whole field of view',
        mask=save_mask(lambda b: np.ones(b.shape, np.uint8)),
        expect='refused',
        words='signal',
    ),
    Scan(
        'mask',
        'outside and inside exchanged',
        mask=save_mask(lambda b: (~b).astype(np.uint8)),
        expect='refused',
        words='signal',
    ),
    Scan(
        'mask',
        'empty',
        mask=save_mask(lambda b: np.zeros(b.shape, np.uint8)),
        expect='refused',
        words='mask',
    ),
    Scan(
        'mask',
        'grown by 4 voxels',
        mask=save_mask(lambda b: ndimage.binary_dilation(b, iterations=4).astype(np.uint8)),
        expect='failed',
        words='[Mm]ask',
    ),
    Scan('mask', 'axes turned with the affine', mask=nibble),
    Scan(
        'mask',
        'flipped without the affine',
        mask=save_mask(lambda b: b[:, ::-1].astype(np.uint8)),
        expect='told',
        words='[Mm]ask',
    ),
    Scan(
        'mask',
        'of one hemisphere',
        mask=save_mask(
            lambda b: (b & (np.arange(b.shape[0]) < b.shape[0] // 2)[:, None, None]).astype(
                np.uint8
            )
        ),
        expect='told',
        words='[Mm]ask|volume',
    ),
    Scan('mask', 'none given', mask=None),
    Scan('mask', 'none, zeros around the brain', strip('zeros'), mask=None),
    Scan('mask', 'none, noise around the brain', strip('noise'), mask=None),
    Scan('mask', 'given, zeros around the brain', strip('zeros')),
    Scan('mask', 'none, mouse', scaled(1 / 12), 'told', 'brain|mask', mask=None),
    Scan('mask', 'of fMRIPrep, in T1w space', mask='fmriprep', source=('--t1w', '3', '--fmriprep')),
    Scan(
        'mask',
        'not a number',
        mask=save_mask(lambda b: np.full(b.shape, np.nan, np.float32)),
        expect='refused',
        words='desc-brain_mask',
    ),
    Scan('mask', 'label-brain', mask=renamed('desc-brain', 'label-brain'), words='.'),
    Scan('mask', 'named brainmask', mask=renamed('desc-brain_mask', 'brainmask'), words='.'),
    Scan('mask', 'folder without description', mask=without_description, words='.'),
    Scan('mask', 'half a voxel away', mask=shifted(0.5), words='.'),
    Scan(
        'mask',
        'eroded by 3 voxels',
        mask=save_mask(lambda b: ndimage.binary_erosion(b, iterations=3).astype(np.uint8)),
        expect='told',
        words='[Mm]ask|Brain',
    ),
    Scan('mask', 'with a hole of 58 ml', mask=save_mask(with_hole), expect='told', words='[Hh]ole'),
    Scan(
        'mask',
        'grown by 2 voxels',
        mask=save_mask(lambda b: ndimage.binary_dilation(b, iterations=2).astype(np.uint8)),
        expect='told',
        words='[Mm]ask',
    ),
    Scan(
        'mask',
        'grown by 1 voxel',
        mask=save_mask(lambda b: ndimage.binary_dilation(b).astype(np.uint8)),
    ),
    Scan(
        'mask',
        'all that has signal, marmoset',
        scaled(0.3),
        'told',
        'all that has signal is no brain',
        flags=('--brain-extraction', 'signal', '--reference', 'none'),
        mask=None,
    ),
)

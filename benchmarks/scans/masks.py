"""Scans of ``reported.py`` by their masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from scans.changes import complex_noise, scaled
from scans.dataset import Raw, Scan, failed, of_kind, read, refused, right, told, write
from scipy import ndimage


def strip(fill: str) -> Callable:
    """Take everything off around the brain, as if a mask had been applied."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        brain, rng = raw.brain(), np.random.default_rng(0)

        def change(z: np.ndarray, echo: int) -> np.ndarray:
            noise = 0.01 * np.abs(z).max() * complex_noise(z.shape, rng)
            return np.where(brain, z, noise if fill == 'noise' else 0)

        raw.signal(change)

    return alter


def save_mask(change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Mask made of the true one, on its grid."""
    return lambda path, brain: write(path, change(brain), path)


def made(scan: Scan) -> Scan:
    """Scan whose change is one of the true mask."""
    return Scan(scan.name, words=scan.words, expect=scan.expect, mask=save_mask(scan.change))


def nibble(path: Path, brain: np.ndarray) -> None:
    """The mask flipped front to back in the array, its affine with it (still right)."""
    affine = nb.load(path).affine
    flip = np.diag([1.0, -1.0, 1.0, 1.0])
    flip[1, 3] = brain.shape[1] - 1
    write(path, brain[:, ::-1], affine @ flip)


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
        write(path, brain, affine)

    return change


def with_hole(brain: np.ndarray) -> np.ndarray:
    """A ball of 8 voxels radius is missing, as where a lesion was cut out."""
    centre = [int(n) for n in ndimage.center_of_mass(brain)]
    squared = sum((x - c) ** 2 for x, c in zip(np.indices(brain.shape), centre, strict=True))
    return brain & (squared > 64)


def without_ventricles(brain: np.ndarray) -> np.ndarray:
    """A box is missing where the ventricles are."""
    x, y, z = (abs(i - n // 2) for i, n in zip(np.indices(brain.shape), brain.shape, strict=True))
    return brain & ~((x < 4) & (y < 7) & (z < 3))


def first_magnitude(path: Path) -> np.ndarray:
    """Magnitude of the first echo of the dataset beside the folder of masks."""
    return read(path.parents[3] / 'bids' / 'sub-01' / 'anat' / BESIDE.format('MEGRE'))


def conformed(path: Path, brain: np.ndarray) -> None:
    """Mask on 256 voxels of 1 mm in the axes of FreeSurfer, as SynthStrip's is made."""
    from nibabel.processing import conform

    image = nb.load(path)
    whole = nb.Nifti1Image(brain.astype(np.float32), image.affine)
    new = conform(whole, (256, 256, 256), (1.0, 1.0, 1.0), order=0, orientation='LIA')
    write(path, np.asarray(new.dataobj).round().astype(np.uint8), new.affine)


def stripped(path: Path, brain: np.ndarray) -> None:
    """The magnitude without its skull in place of the mask, as BET writes it."""
    write(path, first_magnitude(path) * brain, path)


def distances(brain: np.ndarray) -> np.ndarray:
    """The distance to the border, as SynthStrip writes it, in place of the mask."""
    inside, outside = (3 * ndimage.distance_transform_edt(x) for x in (brain, ~brain))
    return outside - inside


def as_freesurfer(path: Path, brain: np.ndarray) -> None:
    """In the format of FreeSurfer."""
    image = nb.MGHImage(brain.astype(np.uint8), nb.load(path).affine)
    nb.save(image, path.with_name(path.name.replace('.nii.gz', '.mgz')))
    path.unlink()


def two_masks(path: Path, brain: np.ndarray) -> None:
    """Two masks of one scan, the second of another tool and much smaller."""
    other = path.with_name(path.name.replace('desc-brain', 'acq-hdbet_desc-brain'))
    write(other, ndimage.binary_erosion(brain, iterations=4), path)


def whole_head(path: Path, brain: np.ndarray) -> None:
    """Scalp and skull with the brain."""
    m = first_magnitude(path)
    head = ndimage.binary_closing(m > 0.1 * np.percentile(m, 98), iterations=3)
    write(path, ndimage.binary_fill_holes(head), path)


def slices(count: int) -> Callable:
    """Some slices in the middle of the true mask."""

    def change(brain: np.ndarray) -> np.ndarray:
        return brain & (abs(np.arange(brain.shape[2]) - brain.shape[2] // 2) <= count // 2)

    return change


def speckled(brain: np.ndarray) -> np.ndarray:
    """One voxel of 500 outside is in the mask too."""
    return brain | (np.random.default_rng(0).uniform(size=brain.shape) < 0.002)


def few_voxels(brain: np.ndarray) -> np.ndarray:
    """A cube of four voxels in the middle of the brain."""
    cube = np.zeros(brain.shape, bool)
    cube[tuple(slice(int(x) - 2, int(x) + 2) for x in ndimage.center_of_mass(brain))] = True
    return cube


def columns(brain: np.ndarray) -> np.ndarray:
    """A quarter of the columns is missing."""
    kept = brain.copy()
    kept[::2, ::2] = False
    return kept


def ragged(brain: np.ndarray) -> np.ndarray:
    """A quarter of the brain is missing in crumbs, as where a noisy map was cut at a value."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=brain.shape), 1.2)
    return brain & (noise < 0.7 * noise.std())


def to_the_nose(brain: np.ndarray) -> np.ndarray:
    """Every hollow of the mask filled by a closing of 30 mm."""
    closed = ndimage.binary_closing(np.pad(brain, 12), iterations=10)
    return closed[12:-12, 12:-12, 12:-12]


def grown(voxels: int) -> Callable:
    """The true mask grown, or eroded where the number is negative."""
    change = ndimage.binary_dilation if voxels > 0 else ndimage.binary_erosion
    return lambda brain: change(brain, iterations=abs(voxels))


BESIDE = 'sub-01_echo-1_part-mag_{}.nii.gz'
SCANS = of_kind(
    'mask',
    made(
        right(
            'probabilities', lambda b: ndimage.gaussian_filter(b.astype(np.float32), 1), 'one half'
        )
    ),
    made(refused('the whole field of view', np.ones_like, 'signal')),
    made(refused('outside and inside exchanged', np.logical_not, 'signal')),
    made(refused('empty', np.zeros_like, 'mask')),
    made(failed('grown by 4 voxels', grown(4), '[Mm]ask')),
    right('axes turned with the affine', mask=nibble),
    made(told('flipped without the affine', lambda b: b[:, ::-1], '[Mm]ask')),
    made(
        told(
            'of one hemisphere',
            lambda b: b & (np.arange(len(b)) < len(b) // 2)[:, None, None],
            '[Mm]ask|volume',
        )
    ),
    right('none given', mask=None),
    right('none, zeros around the brain', strip('zeros'), mask=None),
    right('none, noise around the brain', strip('noise'), mask=None),
    right('given, zeros around the brain', strip('zeros')),
    told('none, mouse', scaled(1 / 12), 'brain|mask', mask=None),
    right('of fMRIPrep, in T1w space', mask='fmriprep', source='--t1w 3 --fmriprep'),
    made(
        refused('not a number', lambda b: np.full(b.shape, np.nan, np.float32), 'desc-brain_mask')
    ),
    right('label-brain', mask=renamed('desc-brain', 'label-brain'), words='.'),
    right('named brainmask', mask=renamed('desc-brain_mask', 'brainmask'), words='.'),
    right('folder without description', mask=without_description, words='.'),
    right('half a voxel away', mask=shifted(0.5), words='.'),
    made(told('eroded by 3 voxels', grown(-3), '[Mm]ask|Brain')),
    made(told('with a hole of 58 ml', with_hole, '[Hh]ole')),
    made(told('grown by 2 voxels', grown(2), '[Mm]ask')),
    made(right('grown by 1 voxel', grown(1))),
    told(
        'all that has signal, marmoset',
        scaled(0.3),
        'all that has signal is no brain',
        flags='--brain-extraction signal --reference none',
        mask=None,
    ),
)
SCANS += of_kind(
    'entity',
    right('mask conformed to 256 voxels of 1 mm', mask=conformed),
    told('mask is the stripped magnitude', mask=stripped, words='[Mm]ask'),
    made(refused('mask is a distance', distances, '[Mm]ask')),
    told('mask in .mgz', mask=as_freesurfer, words='desc-brain_mask.mgz is its mask'),
    told(
        'mask named by BET',
        mask=renamed('sub-01_desc-brain_mask.nii.gz', BESIDE.format('MEGRE_brain_mask')),
        words='[Mm]ask',
    ),
    told(
        'mask named by HD-BET',
        mask=renamed('sub-01_desc-brain_mask.nii.gz', BESIDE.format('MEGRE_bet_mask')),
        words='_bet_mask',
    ),
    told(
        'mask named by SynthStrip',
        mask=renamed('desc-brain', 'desc-synthstrip'),
        words='desc-synthstrip_mask.nii.gz is its mask',
    ),
    right('mask with echo and part', mask=renamed('sub-01_', 'sub-01_echo-1_part-mag_')),
    right('two masks', mask=two_masks),
    made(right('mask of whole numbers below 128', lambda b: (100 * b).astype(np.int8))),
    made(right('mask with the ventricles out', without_ventricles)),
    made(
        told(
            'mask of the cerebrum alone',
            lambda b: b & (np.arange(b.shape[2]) > 0.35 * b.shape[2]),
            '[Mm]ask',
        )
    ),
)
SCANS += of_kind(
    'handed on',
    failed('mask of the whole head', mask=whole_head, words='[Mm]ask'),
    made(right('mask with crumbs outside', speckled)),
    made(refused('mask of one slice', slices(1), '[Mm]ask')),
    made(failed('mask of three slices', slices(3), '[Mm]ask')),
    made(failed('mask of 64 voxels', few_voxels, '[Mm]ask')),
    made(told('mask without a quarter of its columns', columns, '[Mm]ask')),
    made(told('mask ragged by a threshold', ragged, '[Mm]ask|[Hh]ole')),
    made(
        failed(
            'mask of the cerebellum',
            lambda b: b & (np.arange(b.shape[2]) < b.shape[2] // 3),
            '[Mm]ask',
        )
    ),
    made(right('mask filled down to the nose', to_the_nose)),
)

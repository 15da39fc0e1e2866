"""Scans of ``reported.py`` by entities, parts of exports, and masks as other tools name them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import both, rename, sidecars
from reported_data import Raw, Scan, read, sidecar, write
from reported_datasets import filtered, of_sessions
from reported_masks import renamed, save_mask


def again(label: str, parts: str = 'mag phase', change: Callable[[str], str] | None = None):
    """A second copy of the scan with another label, of some parts alone."""

    def alter(root: Path) -> None:
        for part in parts.split():
            for path in Raw(root).files(part):
                for file in (path, sidecar(path)):
                    shutil.copy(file, file.with_name(file.name.replace('sub-01_', label)))

    return alter


def label_all(label: str) -> Callable:
    """Names with one more label."""
    return rename(lambda n: n.replace('sub-01_', f'sub-01_{label}_'))


def chunks(root: Path) -> None:
    """The upper and the lower half of the volume as two chunks."""
    for path in Raw(root).files():
        data, affine = read(path), nb.load(path).affine
        middle = data.shape[2] // 2
        upper = affine.copy()
        upper[:3, 3] = (affine @ [0, 0, middle, 1])[:3]
        for number, (half, place) in enumerate(
            ((data[:, :, :middle], affine), (data[:, :, middle:], upper)), 1
        ):
            target = path.with_name(path.name.replace('_echo', f'_chunk-{number}_echo'))
            write(target, half, place)
            shutil.copy(sidecar(path), sidecar(target))
        path.unlink()
        sidecar(path).unlink()


def half_later(label: str, echoes: str) -> Callable:
    """Echoes of which some have another label, as an export that was repeated leaves them."""

    def alter(root: Path) -> None:
        for path in Raw(root).files():
            if path.name.partition('_echo-')[2][0] in echoes:
                for file in (path, sidecar(path)):
                    file.rename(file.with_name(file.name.replace('sub-01_', f'sub-01_{label}_')))

    return alter


def t1w_alone(folder: Path) -> None:
    """A session that holds a T1-weighted image alone."""
    one = min(folder.glob('*echo-1_part-mag_MEGRE.nii.gz'))
    shutil.copy(one, one.with_name(one.name.replace('echo-1_part-mag_MEGRE', 'T1w')))
    for path in folder.glob('*MEGRE*'):
        path.unlink()


def conformed(path: Path, brain: np.ndarray) -> None:
    """Mask on 256 voxels of 1 mm in the axes of FreeSurfer, as SynthStrip's is made."""
    from nibabel.processing import conform

    image = nb.load(path)
    whole = nb.Nifti1Image(brain.astype(np.float32), image.affine)
    new = conform(whole, (256, 256, 256), (1.0, 1.0, 1.0), order=0, orientation='LIA')
    write(path, np.asarray(new.dataobj).round().astype(np.uint8), new.affine)


def stripped(path: Path, brain: np.ndarray) -> None:
    """The magnitude without its skull in place of the mask, as BET writes it."""
    raw = path.parents[3] / 'bids' / 'sub-01' / 'anat' / 'sub-01_echo-1_part-mag_MEGRE.nii.gz'
    write(path, read(raw) * brain, nb.load(path).affine)


def distances(path: Path, brain: np.ndarray) -> None:
    """The distance to the border, as SynthStrip writes it, in place of the mask."""
    from scipy import ndimage

    inside, outside = (3 * ndimage.distance_transform_edt(x) for x in (brain, ~brain))
    write(path, (outside - inside).astype(np.float32), nb.load(path).affine)


def as_freesurfer(path: Path, brain: np.ndarray) -> None:
    """In the format of FreeSurfer."""
    image = nb.MGHImage(brain.astype(np.uint8), nb.load(path).affine)
    nb.save(image, path.with_name(path.name.replace('.nii.gz', '.mgz')))
    path.unlink()


def two_masks(path: Path, brain: np.ndarray) -> None:
    """Two masks of one scan, the second of another tool and much smaller."""
    from scipy import ndimage

    small = ndimage.binary_erosion(brain, iterations=4).astype(np.uint8)
    other = path.with_name(path.name.replace('desc-brain', 'acq-hdbet_desc-brain'))
    write(other, small, nb.load(path).affine)


def beside_the_magnitude(name: str) -> Callable:
    """The true mask under the name that a tool makes of that of the magnitude."""
    return lambda path, brain: path.rename(path.with_name(name))


SCANS: tuple[Scan, ...] = (
    Scan('entity', 'first run without run-, second with it', again('sub-01_run-02_')),
    Scan(
        'entity',
        'rec-adapt with phase, rec-sos without',
        both(
            label_all('rec-adapt'),
            lambda root: (
                [
                    shutil.copy(f, f.with_name(f.name.replace('rec-adapt', 'rec-sos')))
                    for p in Raw(root).files('mag')
                    for f in (p, sidecar(p))
                ]
                and None
            ),
        ),
        'failed',
        'rec-sos.*phase',
    ),
    Scan(
        'entity',
        'the same, filtered',
        both(
            label_all('rec-adapt'),
            lambda root: (
                [
                    shutil.copy(f, f.with_name(f.name.replace('rec-adapt', 'rec-sos')))
                    for p in Raw(root).files('mag')
                    for f in (p, sidecar(p))
                ]
                and None
            ),
            filtered({'megre': {'reconstruction': 'adapt'}}),
        ),
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan('entity', 'ce-gadolinium beside', again('sub-01_ce-gadolinium_')),
    Scan('entity', 'two chunks', chunks, 'told', 'part of a volume'),
    Scan('entity', 'inv-2', label_all('inv-2')),
    Scan(
        'entity',
        'MP2RAGE alone',
        both(label_all('inv-1'), rename(lambda n: n.replace('MEGRE', 'MP2RAGE'))),
        'refused',
        'MP2RAGE',
    ),
    Scan('entity', 'MESE', rename(lambda n: n.replace('MEGRE', 'MESE')), 'refused', 'MESE'),
    Scan(
        'entity',
        'MPM, as the hMRI toolbox names it',
        rename(
            lambda n: (
                n.replace('sub-01_echo', 'sub-01_acq-PDw_echo')
                .replace('_part', '_flip-1_mt-off_part')
                .replace('MEGRE', 'MPM')
            )
        ),
        'refused',
        'MPM',
    ),
    Scan(
        'entity',
        'VFA',
        rename(lambda n: n.replace('_part', '_flip-1_part').replace('MEGRE', 'VFA')),
        'refused',
        'VFA',
    ),
    Scan('entity', 'swi', rename(lambda n: n.replace('MEGRE', 'swi')), 'refused', 'swi'),
    Scan('entity', 'PDw', rename(lambda n: n.replace('MEGRE', 'PDw')), 'refused', 'PDw'),
    Scan('entity', 'MEGRE_swi', rename(lambda n: n.replace('MEGRE', 'MEGRE_swi')), 'refused', '.'),
    Scan(
        'entity',
        'desc-denoised on all',
        rename(lambda n: n.replace('_MEGRE', '_desc-denoised_MEGRE')),
    ),
    Scan(
        'entity',
        'space-orig on all',
        rename(lambda n: n.replace('_echo', '_space-orig_echo')),
    ),
    Scan('entity', 'two echoes with rec-2', half_later('rec-2', '34'), 'told', 'rec-2'),
    Scan(
        'entity',
        'echo- at the end of the name',
        rename(
            lambda n: (
                n.replace('_echo-', '_').replace('_MEGRE', '')
                if 0
                else n.replace('sub-01_echo-', 'sub-01_e')
            )
        ),
        'refused',
        '.',
    ),
    Scan(
        'entity',
        'phase in another session',
        of_sessions(
            lambda post: (
                [p.unlink() for p in post.glob('*part-mag*')]
                + [p.unlink() for p in (post.parents[1] / 'ses-pre' / 'anat').glob('*part-phase*')]
                and None
            )
        ),
        'refused',
        'ses-p.*phase',
    ),
    Scan('entity', 'a session with a T1-weighted image alone', of_sessions(t1w_alone)),
    Scan(
        'entity',
        'session 1 for 01',
        lambda root: of_sessions()(root),
        'refused',
        'ses-1|pre',
        flags=('--session-label', '1'),
    ),
    Scan(
        'entity',
        'participant 1 for 01',
        flags=('--participant-label', '1'),
        expect='refused',
        words='sub-1.*01',
    ),
    Scan(
        'entity',
        'labels with a comma',
        flags=('--participant-label', '01,02'),
        expect='refused',
        words='01,02',
    ),
    Scan('entity', 'EchoNumber contradicts the names', sidecars(EchoNumber=1)),
    Scan('entity', 'mask conformed to 256 voxels of 1 mm', mask=conformed),
    Scan('entity', 'mask is the stripped magnitude', mask=stripped, expect='told', words='[Mm]ask'),
    Scan('entity', 'mask is a distance', mask=distances, expect='refused', words='[Mm]ask'),
    Scan(
        'entity',
        'mask in .mgz',
        mask=as_freesurfer,
        expect='told',
        words='desc-brain_mask.mgz is its mask',
    ),
    Scan(
        'entity',
        'mask named by BET',
        mask=beside_the_magnitude('sub-01_echo-1_part-mag_MEGRE_brain_mask.nii.gz'),
        expect='told',
        words='[Mm]ask',
    ),
    Scan(
        'entity',
        'mask named by HD-BET',
        mask=beside_the_magnitude('sub-01_echo-1_part-mag_MEGRE_bet_mask.nii.gz'),
        expect='told',
        words='_bet_mask',
    ),
    Scan(
        'entity',
        'mask named by SynthStrip',
        mask=renamed('desc-brain', 'desc-synthstrip'),
        expect='told',
        words='desc-synthstrip_mask.nii.gz is its mask',
    ),
    Scan(
        'entity',
        'mask with echo and part',
        mask=beside_the_magnitude('sub-01_echo-1_part-mag_desc-brain_mask.nii.gz'),
    ),
    Scan('entity', 'two masks', mask=two_masks),
    Scan(
        'entity',
        'mask of whole numbers below 128',
        mask=save_mask(lambda b: (100 * b).astype(np.int8)),
    ),
    Scan(
        'entity',
        'mask with the ventricles out',
        mask=save_mask(
            lambda b: (
                b
                & ~(
                    (abs(np.indices(b.shape)[0] - b.shape[0] // 2) < 4)
                    & (abs(np.indices(b.shape)[1] - b.shape[1] // 2) < 7)
                    & (abs(np.indices(b.shape)[2] - b.shape[2] // 2) < 3)
                )
            ).astype(np.uint8)
        ),
    ),
    Scan(
        'entity',
        'mask of the cerebrum alone',
        mask=save_mask(
            lambda b: (b & (np.arange(b.shape[2]) > 0.35 * b.shape[2])).astype(np.uint8)
        ),
        expect='told',
        words='[Mm]ask',
    ),
)

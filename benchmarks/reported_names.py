"""Scans of ``reported.py`` by the names of files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import both, elsewhere, on_files, rename
from reported_data import Raw, Scan, read, sidecar, write


def echo_last(name: str) -> str:
    """Name with its echo behind its part."""
    subject, echo, part, end = name.split('_')
    return '_'.join((subject, part, echo, end))


def combined_beside(root: Path) -> None:
    """A magnitude of all echoes beside theirs."""
    raw = Raw(root)
    first = raw.files('mag', 1)[0]
    for file in (first, sidecar(first)):
        shutil.copy(file, file.with_name(file.name.replace('_echo-1', '')))


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


def first_echo_twice(root: Path) -> None:
    """The first echo under two numbers that are one."""
    for path in Raw(root).files(echo=1):
        for file in (path, sidecar(path)):
            shutil.copy(file, file.with_name(file.name.replace('echo-1', 'echo-01')))


def other_images(root: Path) -> None:
    """Phase of an MP2RAGE, of a T1-weighted image and of field maps beside the echoes."""
    raw = Raw(root)
    for part in ('mag', 'phase'):
        path = raw.files(part, 1)[0]
        for file in (path, sidecar(path)):
            for name in (f'sub-01_inv-1_part-{part}_MP2RAGE', f'sub-01_part-{part}_T1w'):
                end = file.name.partition('.')[2]
                shutil.copy(file, file.with_name(f'{name}.{end}'))


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
    Scan(
        'dataset',
        'part-phase named part-ph',
        rename(lambda n: n.replace('part-phase', 'part-ph'), 'phase'),
        'refused',
        'phase',
    ),
    Scan(
        'dataset',
        'rec- on the magnitude alone',
        rename(lambda n: n.replace('sub-01_', 'sub-01_rec-norm_'), 'mag'),
        'refused',
        'rec-norm.*same labels',
    ),
    Scan(
        'dataset',
        'run-1 and run-2 for magnitude and phase',
        both(
            rename(lambda n: n.replace('sub-01_', 'sub-01_run-1_'), 'mag'),
            rename(lambda n: n.replace('sub-01_', 'sub-01_run-2_'), 'phase'),
        ),
        'refused',
        'same labels',
    ),
    Scan(
        'dataset',
        'suffix GRE',
        rename(lambda n: n.replace('MEGRE', 'GRE')),
        'refused',
        'GRE.nii.gz.*MEGRE',
    ),
    Scan(
        'dataset',
        'unwrapped phase beside the raw one',
        on_files(
            lambda p: shutil.copy(
                p, p.with_name(p.name.replace('_MEGRE', '_desc-unwrapped_MEGRE'))
            ),
            'phase',
        ),
        'refused',
        'desc-unwrapped',
    ),
    Scan(
        'dataset',
        'echoes as runs',
        rename(lambda n: n.replace('echo-', 'run-')),
        'told',
        'exported',
    ),
    Scan(
        'dataset',
        'same image twice',
        on_files(
            lambda p: nb.save(nb.load(p), p.with_name(p.name.removesuffix('.gz'))), 'phase', 1
        ),
        'refused',
        'same image',
    ),
    Scan('dataset', 'duplicates of HeuDiConv', elsewhere('_MEGRE', '_MEGRE__dup-01')),
    Scan('dataset', 'echo after part', rename(echo_last)),
    Scan('dataset', 'T2starw', rename(lambda n: n.replace('MEGRE', 'T2starw'))),
    Scan('dataset', 'T2star', rename(lambda n: n.replace('MEGRE', 'T2star')), 'refused', 'T2star'),
    Scan(
        'dataset',
        'magnitude without part-',
        rename(lambda n: n.replace('_part-mag', ''), 'mag'),
        'map',
        'taken for the magnitude',
    ),
    Scan(
        'dataset',
        'part-Phase',
        rename(lambda n: n.replace('part-phase', 'part-Phase')),
        'refused',
        'part-phase',
    ),
    Scan(
        'dataset',
        'part-magnitude',
        rename(lambda n: n.replace('part-mag', 'part-magnitude'), 'mag'),
        'refused',
        'part-mag',
    ),
    Scan(
        'dataset',
        'names of dcm2niix, _ph',
        rename(
            lambda n: n.replace('_part-phase_MEGRE', '_MEGRE_ph').replace(
                '_part-mag_MEGRE', '_MEGRE'
            )
        ),
        'refused',
        'part-phase',
    ),
    Scan(
        'dataset',
        'names of another participant',
        rename(lambda n: n.replace('sub-01', 'sub-02')),
        'refused',
        'sub-01',
    ),
    Scan(
        'dataset',
        'flip- and mt- labels',
        rename(lambda n: n.replace('_part-', '_flip-2_mt-off_part-')),
    ),
    Scan('dataset', 'combined magnitude beside the echoes', combined_beside),
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
    Scan('name', 'echo-1 and echo-01', first_echo_twice, 'refused', 'echo'),
    Scan(
        'name',
        'a blank before the ending',
        rename(lambda n: n.replace('_MEGRE.', '_MEGRE .')),
        'refused',
        '.',
    ),
    Scan('name', 'echo-e1', rename(lambda n: n.replace('echo-', 'echo-e'))),
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
)

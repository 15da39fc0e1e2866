"""Scans of ``reported.py`` by the names of files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from scans.changes import (
    both,
    elsewhere,
    label_all,
    on_files,
    relabel,
    remove,
    rename,
    sidecars,
    values,
)
from scans.dataset import Raw, failed, of_kind, read, refused, right, sidecar, told, write
from scans.datasets import filtered, into_session, of_sessions
from scans.echoes import renumbered


def echo_last(name: str) -> str:
    """Name with its echo behind its part."""
    subject, echo, part, end = name.split('_')
    return '_'.join((subject, part, echo, end))


def names_with(change: Callable[[str], str], part: str = '*') -> Callable:
    """Names of the sidecars alone."""

    def alter(root: Path) -> None:
        for beside in map(sidecar, Raw(root).files(part)):
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
    into_session(root, '1', '12')
    into_session(root, '2', '34')
    shutil.rmtree(root / 'sub-01' / 'anat')


def other_images(root: Path) -> None:
    """Phase of an MP2RAGE, of a T1-weighted image and of field maps beside the echoes."""
    for name in ('inv-1_part-{}_MP2RAGE', 'part-{}_T1w'):
        for part in ('mag', 'phase'):
            old, new = (x.format(part) for x in ('echo-1_part-{}_MEGRE', name))
            elsewhere(old, new, part, 1, beside=True)(root)


def volume_of_two(root: Path) -> None:
    """The last phase is a series of which one volume is right."""
    values(lambda p: np.stack([p] * 2, axis=-1), 'phase', echo=4)(root)


def relabelled(label: str) -> Callable:
    """Another label of the participant."""

    def alter(root: Path) -> None:
        relabel('sub-01', f'sub-{label}')(root)
        (root / 'sub-01').rename(root / f'sub-{label}')
        truth = root / 'derivatives' / 'simulation' / 'sub-01'
        for path in truth.rglob('sub-01*'):
            path.rename(path.with_name(path.name.replace('sub-01', f'sub-{label}')))
        truth.rename(truth.with_name(f'sub-{label}'))

    return alter


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


def t1w_alone(folder: Path) -> None:
    """A session that holds a T1-weighted image alone."""
    one = min(folder.glob('*echo-1_part-mag_MEGRE.nii.gz'))
    shutil.copy(one, one.with_name(one.name.replace('echo-1_part-mag_MEGRE', 'T1w')))
    for path in folder.glob('*MEGRE*'):
        path.unlink()


def again(label: str) -> Callable:
    """The scan once more, with a label."""
    return elsewhere('sub-01_', f'sub-01_{label}_', beside=True)


SCANS = of_kind(
    'dataset',
    refused('part-phase named part-ph', relabel('part-phase', 'part-ph', 'phase'), 'phase'),
    refused(
        'rec- on the magnitude alone',
        relabel('sub-01_', 'sub-01_rec-norm_', 'mag'),
        'rec-norm.*same labels',
    ),
    refused(
        'run-1 and run-2 for magnitude and phase',
        both(
            relabel('sub-01_', 'sub-01_run-1_', 'mag'), relabel('sub-01_', 'sub-01_run-2_', 'phase')
        ),
        'same labels',
    ),
    refused('suffix GRE', relabel('MEGRE', 'GRE'), 'GRE.nii.gz.*MEGRE'),
    refused(
        'unwrapped phase beside the raw one',
        elsewhere('_MEGRE', '_desc-unwrapped_MEGRE', 'phase'),
        'desc-unwrapped',
    ),
    told('echoes as runs', relabel('echo-', 'run-'), 'exported'),
    refused(
        'same image twice',
        on_files(
            lambda p: nb.save(nb.load(p), p.with_name(p.name.removesuffix('.gz'))), 'phase', 1
        ),
        'same image',
    ),
    right('duplicates of HeuDiConv', elsewhere('_MEGRE', '_MEGRE__dup-01')),
    right('echo after part', rename(echo_last)),
    right('T2starw', relabel('MEGRE', 'T2starw')),
    refused('T2star', relabel('MEGRE', 'T2star'), 'T2star'),
    right('magnitude without part-', relabel('_part-mag', '', 'mag'), 'taken for the magnitude'),
    refused('part-Phase', relabel('part-phase', 'part-Phase'), 'part-phase'),
    refused('part-magnitude', relabel('part-mag', 'part-magnitude', 'mag'), 'part-mag'),
    refused(
        'names of dcm2niix, _ph',
        both(relabel('_part-phase_MEGRE', '_MEGRE_ph'), relabel('_part-mag_MEGRE', '_MEGRE')),
        'part-phase',
    ),
    refused('names of another participant', relabel('sub-01', 'sub-02'), 'sub-01'),
    right('flip- and mt- labels', relabel('_part-', '_flip-2_mt-off_part-')),
    right('combined magnitude beside the echoes', elsewhere('_echo-1', '', 'mag', 1, beside=True)),
)
SCANS += of_kind(
    'name',
    refused(
        'rec-magnitude and rec-phase',
        both(relabel('part-mag', 'rec-magnitude'), relabel('part-phase', 'rec-phase')),
        'part-',
    ),
    refused(
        'sidecars named .nii.gz.json',
        names_with(lambda n: n.replace('.json', '.nii.gz.json')),
        'nii.gz.json',
    ),
    right('sidecars named _ph', names_with(lambda n: n.replace('.json', '_ph.json'), 'phase')),
    right('one sidecar an echo', one_sidecar),
    refused('echo-1 and echo-01', elsewhere('echo-1', 'echo-01', echo=1, beside=True), 'echo'),
    refused('a blank before the ending', relabel('_MEGRE.', '_MEGRE .'), '.'),
    right('echo-e1', relabel('echo-', 'echo-e')),
    right('echoes 1, 3, 5, 7', renumbered('1357')),
    refused('session in the name, no folder', relabel('sub-01_', 'sub-01_ses-1_'), 'ses-1'),
    refused('hyphen in the label', relabelled('con-01'), 'con-01'),
    refused('underscore in the label', relabelled('con_01'), 'con_01'),
    refused('letters beyond ASCII in the label', relabelled('Jürgen'), 'Jürgen'),
    told('half of the echoes in each session', sessions_in_halves, '.'),
    right('phase of other images beside', other_images),
    right('first echo missing', remove('*', 1)),
    refused('one phase of two volumes', volume_of_two, 'ax|volume'),
)
SCANS += of_kind(
    'entity',
    right('first run without run-, second with it', again('run-02')),
    failed(
        'rec-adapt with phase, rec-sos without',
        both(label_all('rec-adapt'), elsewhere('rec-adapt', 'rec-sos', 'mag', beside=True)),
        'rec-sos.*phase',
    ),
    right(
        'the same, filtered',
        both(
            label_all('rec-adapt'),
            elsewhere('rec-adapt', 'rec-sos', 'mag', beside=True),
            filtered({'megre': {'reconstruction': 'adapt'}}),
        ),
        flags='--bids-filter-file FILTER',
    ),
    right('ce-gadolinium beside', again('ce-gadolinium')),
    told('two chunks', chunks, 'part of a volume'),
    right('inv-2', label_all('inv-2')),
    refused('MP2RAGE alone', both(label_all('inv-1'), relabel('MEGRE', 'MP2RAGE')), 'MP2RAGE'),
    refused('MESE', relabel('MEGRE', 'MESE'), 'MESE'),
    refused(
        'MPM, as the hMRI toolbox names it',
        both(
            label_all('acq-PDw'), relabel('_part', '_flip-1_mt-off_part'), relabel('MEGRE', 'MPM')
        ),
        'MPM',
    ),
    refused('VFA', both(relabel('_part', '_flip-1_part'), relabel('MEGRE', 'VFA')), 'VFA'),
    refused('swi', relabel('MEGRE', 'swi'), 'swi'),
    refused('PDw', relabel('MEGRE', 'PDw'), 'PDw'),
    refused('MEGRE_swi', relabel('MEGRE', 'MEGRE_swi'), '.'),
    right('desc-denoised on all', relabel('_MEGRE', '_desc-denoised_MEGRE')),
    right('space-orig on all', relabel('_echo', '_space-orig_echo')),
    told('two echoes with rec-2', relabel('sub-01_', 'sub-01_rec-2_', echo='[34]'), 'rec-2'),
    refused('echo- at the end of the name', relabel('sub-01_echo-', 'sub-01_e'), '.'),
    refused(
        'phase in another session',
        of_sessions(
            lambda post: (
                [p.unlink() for p in post.glob('*part-mag*')]
                + [p.unlink() for p in (post.parents[1] / 'ses-pre' / 'anat').glob('*part-phase*')]
                and None
            )
        ),
        'ses-p.*phase',
    ),
    right('a session with a T1-weighted image alone', of_sessions(t1w_alone)),
    refused('session 1 for 01', of_sessions(), 'ses-1|pre', flags='--session-label 1'),
    refused('participant 1 for 01', words='sub-1.*01', flags='--participant-label 1'),
    refused('labels with a comma', words='01,02', flags='--participant-label 01,02'),
    right('EchoNumber contradicts the names', sidecars(EchoNumber=1)),
)

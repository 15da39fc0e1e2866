"""Scans of ``reported.py`` by folders, participants, filters and command lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from reported_changes import annexed, cut_file
from reported_data import Raw, Scan, sidecar


def moved(root: Path) -> Path:
    """To a folder with spaces and letters beyond ASCII."""
    target = root.parent / 'Étude 50% (λ=1)' / 'func' / 'sub-x data'
    target.parent.mkdir(parents=True)
    return root.rename(target)


def second_participant(change: Callable[[list[Path]], object]) -> Callable:
    """A second participant whose files are altered, the first is left alone."""
    return lambda root: change(Raw(root).files(subject='02'))


def many_acquisitions(root: Path) -> None:
    """The scan twice, in one session and two runs, the second with two echoes alone."""
    anat = root / 'sub-01' / 'anat'
    target = root / 'sub-01' / 'ses-pre' / 'anat'
    target.mkdir(parents=True)
    for file in sorted(anat.iterdir()):
        for label in ('acq-hi_run-1', 'acq-hi_run-2'):
            if label.endswith('2') and 'echo-1' not in file.name and 'echo-2' not in file.name:
                continue
            shutil.copy(file, target / file.name.replace('sub-01_', f'sub-01_ses-pre_{label}_'))
    shutil.rmtree(anat)


def linked(root: Path) -> Path:
    """The dataset behind a link, and each participant behind another."""
    away = root.parent / 'store'
    away.mkdir()
    for folder in root.glob('sub-*'):
        folder.rename(away / folder.name)
        folder.symlink_to(Path('..') / 'store' / folder.name)
    link = root.parent / 'link'
    link.symlink_to(root)
    return link


def of_sessions(change: Callable[[Path], None] = lambda folder: None) -> Callable:
    """Two sessions of the same scan, the second altered."""

    def alter(root: Path) -> None:
        anat = root / 'sub-01' / 'anat'
        for label in ('pre', 'post'):
            target = root / 'sub-01' / f'ses-{label}' / 'anat'
            target.mkdir(parents=True)
            for file in anat.iterdir():
                shutil.copy(file, target / file.name.replace('sub-01_', f'sub-01_ses-{label}_'))
        shutil.rmtree(anat)
        change(root / 'sub-01' / 'ses-post' / 'anat')

    return alter


def delete(pattern: str) -> Callable[[Path], None]:
    """Delete the files of a folder that fit a pattern."""

    def change(folder: Path) -> None:
        for path in folder.glob(pattern):
            path.unlink()

    return change


def filtered(query: object) -> Callable:
    """A filter file beside the dataset; nothing in it is altered."""
    return lambda root: (root / 'filter.json').write_text(json.dumps(query)) and None


def as_fieldmap(root: Path) -> None:
    """Two echoes in ``fmap/`` under the names of field maps."""
    target = root / 'sub-01' / 'fmap'
    target.mkdir()
    for path in Raw(root).files():
        echo = path.name.partition('_echo-')[2][0]
        kind = 'magnitude' if 'part-mag' in path.name else 'phase'
        for file in (path, sidecar(path)):
            if echo in '12':
                end = file.name.partition('.')[2]
                shutil.move(file, target / f'sub-01_{kind}{echo}.{end}')
    shutil.rmtree(root / 'sub-01' / 'anat')


def a_folder_each(root: Path) -> None:
    """Echoes in folders of their own below ``anat/``."""
    for path in Raw(root).files():
        target = path.parent / f'echo{path.name.partition("_echo-")[2][0]}'
        target.mkdir(exist_ok=True)
        for file in (path, sidecar(path)):
            shutil.move(file, target / file.name)


def empty_folder(root: Path) -> None:
    """A participant without files."""
    shutil.rmtree(root / 'sub-01')
    (root / 'sub-01').mkdir()


def as_functional(root: Path) -> None:
    """Multi-echo series in ``func/``."""
    target = root / 'sub-01' / 'func'
    target.mkdir()
    for path in Raw(root).files():
        for file in (path, sidecar(path)):
            name = file.name.replace('sub-01_', 'sub-01_task-rest_').replace('MEGRE', 'bold')
            shutil.move(file, target / name)
    shutil.rmtree(root / 'sub-01' / 'anat')


def in_sessions_without_name(root: Path) -> None:
    """A folder of a session whose files do not name it."""
    target = root / 'sub-01' / 'ses-pre'
    target.mkdir()
    shutil.move(root / 'sub-01' / 'anat', target / 'anat')


def below_rawdata(root: Path) -> None:
    """All of it in a folder ``rawdata`` below."""
    target = root / 'rawdata'
    target.mkdir()
    for path in [*root.glob('sub-*'), root / 'dataset_description.json']:
        shutil.move(path, target / path.name)


def repeated_without_phase(root: Path) -> None:
    """A second run of which the magnitude alone was exported."""
    for path in Raw(root).files():
        for file in (path, sidecar(path)):
            name = file.name.replace('_echo', '_run-{}_echo')
            if 'part-mag' in name:
                shutil.copy(file, file.with_name(name.format(2)))
            file.rename(file.with_name(name.format(1)))


def participants_in(encoding: str) -> Callable:
    """A table of participants in another encoding."""
    text = 'participant_id\tsite\nsub-01\tMünchen\n'
    return lambda root: (root / 'participants.tsv').write_bytes(text.encode(encoding)) and None


SCANS: tuple[Scan, ...] = (
    Scan('dataset', 'links into an annex', annexed),
    Scan('dataset', 'spaces, percent, unicode', moved),
    Scan(
        'dataset',
        'in a folder swi',
        lambda root: shutil.move(root / 'sub-01' / 'anat', root / 'sub-01' / 'swi') and None,
        'refused',
        'swi/.*anat',
    ),
    Scan('dataset', 'sessions, runs and acquisitions', lambda root: many_acquisitions(root)),
    Scan(
        'dataset',
        'second participant broken',
        second_participant(lambda files: cut_file(files[0])),
        'told',
        'sub-02',
        source=('--subjects', '2'),
    ),
    Scan('dataset', 'in fmap as phase1 and phase2', as_fieldmap, 'refused', 'anat'),
    Scan('dataset', 'one folder an echo', a_folder_each, 'refused', 'anat'),
    Scan('dataset', 'empty folder', empty_folder, 'refused', 'sub-01'),
    Scan(
        'dataset',
        'labels with sub- and ses-',
        of_sessions(),
        flags=('--participant-label', 'sub-01', '--session-label', 'ses-pre'),
    ),
    Scan(
        'dataset',
        'second session without its phase',
        of_sessions(delete('*part-phase*')),
        'failed',
        'ses-post.*phase',
    ),
    Scan(
        'dataset',
        'second session cut short',
        of_sessions(delete('*echo-4_part-mag*')),
        'failed',
        'ses-post.*part-mag',
    ),
    Scan(
        'dataset',
        'participant that is not there',
        flags=('--participant-label', '02'),
        expect='refused',
        words='sub-02',
    ),
    Scan(
        'dataset',
        'filter for two echoes',
        filtered({'megre': {'echo': [1, 2]}}),
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan(
        'dataset',
        'filter for nothing',
        filtered({'megre': {'acquisition': 'no'}}),
        'refused',
        '--bids-filter-file',
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan(
        'dataset',
        'filter for the phase alone',
        filtered({'megre': {'part': 'phase'}}),
        'refused',
        'part-mag',
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan(
        'dataset',
        'filter of fMRIPrep',
        filtered({'t1w': {'datatype': 'anat', 'suffix': 'T1w'}}),
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan(
        'dataset',
        'filter by the short name',
        filtered({'megre': {'acq': 'qsm'}}),
        'refused',
        'acquisition',
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan('dataset', 'behind links', linked),
    Scan(
        'dataset',
        'description without a name',
        lambda root: (root / 'dataset_description.json').write_text('{}') and None,
    ),
    Scan(
        'dataset',
        'description missing',
        lambda root: (root / 'dataset_description.json').unlink(),
        'refused',
        'dataset_description',
    ),
    Scan('dataset', 'multi-echo series in func', as_functional, 'refused', 'func/.*anat'),
    Scan(
        'dataset',
        'folder of the participant',
        lambda root: root / 'sub-01',
        'refused',
        'bids',
        mask=None,
    ),
    Scan('dataset', 'all below rawdata', below_rawdata, 'refused', 'rawdata'),
    Scan(
        'dataset',
        'session that the names lack',
        in_sessions_without_name,
        'refused',
        'ses-pre',
    ),
    Scan(
        'dataset',
        'Sub-01',
        lambda root: (root / 'sub-01').rename(root / 'Sub-01') and None,
        'refused',
        'Sub-01',
    ),
    Scan(
        'dataset',
        'second run without its phase',
        repeated_without_phase,
        'failed',
        'run-2.*phase',
    ),
    Scan('dataset', 'participants in Latin-1', participants_in('latin-1')),
    Scan('dataset', 'participants in UTF-16', participants_in('utf-16')),
    Scan(
        'dataset',
        'description with a trailing comma',
        lambda root: (root / 'dataset_description.json').write_text('{"Name": "x",}') and None,
        'refused',
        'dataset_description',
    ),
)

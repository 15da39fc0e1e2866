"""Scans of ``reported.py`` by folders, participants, filters and command lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from scans.changes import annexed, both, cut_file, elsewhere, label_all
from scans.dataset import Raw, failed, of_kind, refused, right, told


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


def into_session(root: Path, label: str, echoes: str = '1234') -> Path:
    """Copy some echoes into a session; its folder."""
    target = root / 'sub-01' / f'ses-{label}' / 'anat'
    target.mkdir(parents=True)
    for file in (root / 'sub-01' / 'anat').glob(f'*_echo-[{echoes}]_*'):
        shutil.copy(file, target / file.name.replace('sub-01_', f'sub-01_ses-{label}_'))
    return target


def of_sessions(change: Callable[[Path], None] = lambda folder: None) -> Callable:
    """Two sessions of the same scan, the second altered."""

    def alter(root: Path) -> None:
        _, post = (into_session(root, label) for label in ('pre', 'post'))
        shutil.rmtree(root / 'sub-01' / 'anat')
        change(post)

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
    for file in Raw(root).with_sidecars(echo='[12]'):
        kind = 'magnitude' if 'part-mag' in file.name else 'phase'
        echo, end = file.name.partition('_echo-')[2][0], file.name.partition('.')[2]
        shutil.move(file, target / f'sub-01_{kind}{echo}.{end}')
    shutil.rmtree(root / 'sub-01' / 'anat')


def a_folder_each(root: Path) -> None:
    """Echoes in folders of their own below ``anat/``."""
    for file in Raw(root).with_sidecars():
        target = file.parent / f'echo{file.name.partition("_echo-")[2][0]}'
        target.mkdir(exist_ok=True)
        shutil.move(file, target / file.name)


def empty_folder(root: Path) -> None:
    """A participant without files."""
    shutil.rmtree(root / 'sub-01')
    (root / 'sub-01').mkdir()


def as_functional(root: Path) -> None:
    """Multi-echo series in ``func/``."""
    target = root / 'sub-01' / 'func'
    target.mkdir()
    for file in Raw(root).with_sidecars():
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


def participants_in(encoding: str) -> Callable:
    """A table of participants in another encoding."""
    text = 'participant_id\tsite\nsub-01\tMünchen\n'
    return lambda root: (root / 'participants.tsv').write_bytes(text.encode(encoding)) and None


SCANS = of_kind(
    'dataset',
    right('links into an annex', annexed),
    right('spaces, percent, unicode', moved),
    refused(
        'in a folder swi',
        lambda root: shutil.move(root / 'sub-01' / 'anat', root / 'sub-01' / 'swi') and None,
        'swi/.*anat',
    ),
    right('sessions, runs and acquisitions', many_acquisitions),
    told(
        'second participant broken',
        second_participant(lambda files: cut_file(files[0])),
        'sub-02',
        source='--subjects 2',
    ),
    refused('in fmap as phase1 and phase2', as_fieldmap, 'anat'),
    refused('one folder an echo', a_folder_each, 'anat'),
    refused('empty folder', empty_folder, 'sub-01'),
    right(
        'labels with sub- and ses-',
        of_sessions(),
        flags='--participant-label sub-01 --session-label ses-pre',
    ),
    failed(
        'second session without its phase', of_sessions(delete('*part-phase*')), 'ses-post.*phase'
    ),
    failed(
        'second session cut short', of_sessions(delete('*echo-4_part-mag*')), 'ses-post.*part-mag'
    ),
    refused('participant that is not there', words='sub-02', flags='--participant-label 02'),
    right(
        'filter for two echoes',
        filtered({'megre': {'echo': [1, 2]}}),
        flags='--bids-filter-file FILTER',
    ),
    refused(
        'filter for nothing',
        filtered({'megre': {'acquisition': 'no'}}),
        '--bids-filter-file',
        flags='--bids-filter-file FILTER',
    ),
    refused(
        'filter for the phase alone',
        filtered({'megre': {'part': 'phase'}}),
        'part-mag',
        flags='--bids-filter-file FILTER',
    ),
    right(
        'filter of fMRIPrep',
        filtered({'t1w': {'datatype': 'anat', 'suffix': 'T1w'}}),
        flags='--bids-filter-file FILTER',
    ),
    refused(
        'filter by the short name',
        filtered({'megre': {'acq': 'qsm'}}),
        'acquisition',
        flags='--bids-filter-file FILTER',
    ),
    right('behind links', linked),
    right(
        'description without a name',
        lambda root: (root / 'dataset_description.json').write_text('{}') and None,
    ),
    refused(
        'description missing',
        lambda root: (root / 'dataset_description.json').unlink(),
        'dataset_description',
    ),
    refused('multi-echo series in func', as_functional, 'func/.*anat'),
    refused('folder of the participant', lambda root: root / 'sub-01', 'bids', mask=None),
    refused('all below rawdata', below_rawdata, 'rawdata'),
    refused('session that the names lack', in_sessions_without_name, 'ses-pre'),
    refused('Sub-01', lambda root: (root / 'sub-01').rename(root / 'Sub-01') and None, 'Sub-01'),
    failed(
        'second run without its phase',
        both(label_all('run-1'), elsewhere('run-1', 'run-2', 'mag', beside=True)),
        'run-2.*phase',
    ),
    right('participants in Latin-1', participants_in('latin-1')),
    right('participants in UTF-16', participants_in('utf-16')),
    refused(
        'description with a trailing comma',
        lambda root: (root / 'dataset_description.json').write_text('{"Name": "x",}') and None,
        'dataset_description',
    ),
)

"""The work folder: one run at a time for a participant, and only whole results are taken over."""

import os
import subprocess
import sys

import pytest

from qsmprep.bids.errors import InputError
from qsmprep.cli.work_folder import drop_damaged, lock, participant_folder, seal


def test_a_participant_is_processed_by_one_run_at_a_time(tmp_path):
    code = (
        'import sys\nfrom pathlib import Path\nfrom qsmprep.cli.work_folder import lock\n'
        'held = lock(Path(sys.argv[1]), ["01"])\nprint("held", flush=True)\nsys.stdin.read()\n'
    )
    other = subprocess.Popen(
        [sys.executable, '-c', code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == 'held\n'
    with pytest.raises(InputError, match='sub-01 is being processed .* --work-dir'):
        lock(tmp_path, ['00', '01'])
    lock(tmp_path, ['02']).close()
    other.communicate()
    lock(tmp_path, ['01', *(f'{n:04d}' for n in range(5000))]).close()


@pytest.fixture
def node(tmp_path):
    """Return the folder of a node that has ended."""
    folder = participant_folder(tmp_path, '01') / 'MEGRE_wf' / 'romeo'
    folder.mkdir(parents=True)
    (folder / 'result_romeo.pklz').write_bytes(b'result')
    (folder / 'unwrapped.nii').write_bytes(b'image')
    seal(folder)
    return folder


def test_what_is_whole_stays(tmp_path, node):
    assert drop_damaged(participant_folder(tmp_path, '01')) == []
    (node / 'sealed.json').unlink()
    assert drop_damaged(participant_folder(tmp_path, '01')) == []
    assert (node / 'unwrapped.nii').exists()


@pytest.mark.parametrize('name', ['result_romeo.pklz', 'unwrapped.nii', 'sealed.json'])
@pytest.mark.parametrize(
    'damage',
    [
        lambda path: path.write_bytes(b''),
        lambda path: os.truncate(path, 3),
        lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    ],
    ids=['emptied', 'cut', 'flipped'],
)
def test_what_is_damaged_runs_again(tmp_path, node, name, damage):
    damage(node / name)
    assert drop_damaged(participant_folder(tmp_path, '01')) == [node]
    assert not node.exists()


def test_an_image_that_is_gone_is_made_again(tmp_path, node):
    (node / 'unwrapped.nii').unlink()
    assert drop_damaged(participant_folder(tmp_path, '01')) == [node]

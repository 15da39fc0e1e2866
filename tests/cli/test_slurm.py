"""The script for Slurm, run with a stand-in for sbatch that runs jobs at once."""

import os
import subprocess

import numpy as np
import pytest

from qsmprep.bids.layout import open_dataset
from qsmprep.cli.slurm import main, resources

SBATCH = """#!/bin/bash
echo "$@" >> {log}
array=; for word in "$@"; do case "$word" in
    --array=*) array=${{word#--array=}};; --*) ;; *) break;; esac; shift; done
case "$array" in
    "") "$@" ;;
    *) last=${{array#0-}}
       for i in $(seq 0 ${{last%%%*}}); do SLURM_ARRAY_TASK_ID=$i "$@" 1>&2; done
       echo '17;cluster' ;;
esac
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Return a folder with commands that write down how they were called."""
    commands = tmp_path / 'bin'
    commands.mkdir()
    for name, text in (
        ('sbatch', SBATCH.format(log=tmp_path / 'sbatch.log')),
        (
            'qsmprep',
            f'#!/bin/bash\nprintf "%s|" "$@" >> {tmp_path}/calls; echo >> {tmp_path}/calls\n',
        ),
    ):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{commands}:{os.environ["PATH"]}')
    return tmp_path


def test_each_participant_is_a_job_and_the_group_comes_last(cluster, tiny_dataset):
    tiny_dataset.add('sub-01').add('sub-02').add('sub-10')
    script, out, work = cluster / 'submit.sh', cluster / 'the results', cluster / 'w'
    folders = [str(tiny_dataset.root), str(out), str(script), '-w', str(work)]
    masks = cluster / 'my masks'
    masks.mkdir()
    assert main([*folders, '--cpus', '2', '--', '--derivatives', f'masks={masks}']) == 0
    done = subprocess.run(['bash', script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    calls = (cluster / 'calls').read_text().splitlines()
    begin = f'{tiny_dataset.root}|{out}|'
    assert calls == [
        *(
            f'{begin}participant|--participant-label|{label}|--nprocs|2|--mem|5G|--work-dir|{work}|'
            f'--derivatives|masks={masks}|'
            for label in ('01', '02', '10')
        ),
        f'{begin}group|',
    ]
    jobs, group = (cluster / 'sbatch.log').read_text().splitlines()
    assert '--array=0-2%50' in jobs
    assert '--dependency=afterany:17 ' in group


def test_memory_and_time_grow_with_the_images(tiny_dataset):
    tiny_dataset.add('sub-01')
    dataset = open_dataset(tiny_dataset.root)
    small = resources(dataset, ['01'])
    path = tiny_dataset.image('sub-01_echo-1_part-mag_MEGRE')
    tiny_dataset.write_image(path, np.zeros((400, 200, 100), np.uint8))
    large = resources(dataset, ['01'])
    assert 4 < small[0] < large[0] < 20
    assert small[1] < large[1]


def test_a_folder_that_is_no_dataset_is_named(tmp_path, capsys):
    assert main([str(tmp_path / 'none'), str(tmp_path), str(tmp_path / 's.sh')]) == 1
    assert 'none does not exist' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        (['--inversion', 'medi'], "invalid choice: 'medi'"),
        (['group'], 'unrecognized arguments: group'),
        (['--participant-label', '01'], 'give --participant-label before --'),
    ],
)
def test_flags_that_no_job_can_use_are_refused(tiny_dataset, tmp_path, capsys, flags, said):
    tiny_dataset.add()
    folders = [str(tiny_dataset.root), str(tmp_path / 'out'), str(tmp_path / 'submit.sh')]
    with pytest.raises(SystemExit, match='2'):
        main([*folders, '-w', str(tmp_path / 'work'), '--', *flags])
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'submit.sh').exists()

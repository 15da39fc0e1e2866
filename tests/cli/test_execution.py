"""A node that dies in any way ends the run with a failure, and loses nothing else."""

import gc
import io
import re
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from qsmprep.cli.execution import Progress, configure_nipype, read_plugin, run_workflow
from qsmprep.cli.process import leave
from qsmprep.cli.records import read_crash
from qsmprep.settings import Execution


def _fail(how):
    import os
    import signal
    import subprocess
    import time

    if how == 'kill':
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == 'exit':
        os._exit(3)
    elif how == 'command':  # looked after as Nipype does it
        command = subprocess.Popen(['sh', '-c', 'echo $$ > pid; exec sleep 60'])
        while command.poll() is None:
            end = time.process_time() + 2e-4
            while time.process_time() < end:
                pass
            time.sleep(0.02)
    elif how == 'loop':
        while True:
            pass
    raise ValueError('this node was made to fail')


def _touch(path):
    from pathlib import Path

    Path(path, 'survivor').touch()


@pytest.mark.parametrize(
    ('how', 'name'),
    [('raise', 'crash'), ('kill', 'crash'), ('exit', 'crash'), ('raise', '100%(d)s %')],
)
def test_a_dying_node_is_noticed_and_the_others_go_on(tmp_path, how, name):
    tmp_path = tmp_path / name
    execution = Execution(work_dir=tmp_path / 'work', nprocs=1)
    crash_dir = tmp_path / name
    configure_nipype(execution, crash_dir)
    workflow = pe.Workflow(name='wf', base_dir=str(tmp_path / 'work'))
    dying = pe.Node(niu.Function(function=_fail), name='dying')
    dying.inputs.how = how
    survivor = pe.Node(niu.Function(function=_touch), name='survivor')
    survivor.inputs.path = str(tmp_path)
    workflow.add_nodes([dying, survivor])

    outcome = run_workflow(workflow, execution)
    assert not outcome.ok
    assert outcome.finished == {'wf.survivor'}
    crashes = [read_crash(path) for path in crash_dir.glob('crash-*.txt')]
    (crash,) = [crash for crash in crashes if crash['node'] == 'wf.dying']
    expected = 'made to fail' if how == 'raise' else 'was killed'
    assert expected in crash['message']
    assert (tmp_path / 'survivor').exists()


def _command_line(pid):
    """Of a process; empty where it has ended."""
    try:
        return Path('/proc', pid, 'cmdline').read_bytes()
    except FileNotFoundError:
        return b''


def _work(seconds):
    import time

    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.parametrize(
    ('how', 'words'),
    [
        ('command', 'has not used a processor .* --hang-after'),
        ('loop', 'has run for .* --hang-after'),
        ('kill', 'was killed'),
    ],
)
def test_a_node_that_hangs_or_dies_takes_no_other_along(tmp_path, how, words, monkeypatch):
    monkeypatch.setattr('qsmprep.cli.workers.LONGEST', 2 if how == 'loop' else 100)
    execution = Execution(work_dir=tmp_path / 'work', nprocs=2, hang_after_min=1.5 / 60)
    configure_nipype(execution, tmp_path / 'crash')
    workflow = pe.Workflow(name='wf', base_dir=str(tmp_path / 'work'))
    failing = pe.Node(niu.Function(function=_fail), name='failing')
    failing.inputs.how = how
    working = pe.Node(niu.Function(function=_work), name='working')
    working.inputs.seconds = 2 if how == 'command' else 0.1
    workflow.add_nodes([failing, working])

    outcome = run_workflow(workflow, execution)
    assert outcome.finished == {'wf.working'}
    (crash,) = [read_crash(path) for path in (tmp_path / 'crash').glob('crash-*.txt')]
    assert crash['node'] == 'wf.failing'
    assert re.search(words, crash['message'])
    assert leave(1) == 1
    assert not active_children()
    if how == 'command':
        pid = (tmp_path / 'work' / 'wf' / 'failing' / 'pid').read_text().strip()
        assert b'sleep' not in _command_line(pid)


def test_progress_is_a_plain_line_for_each_node_off_a_terminal():
    stream = io.StringIO()
    progress = Progress(2, stream)
    node = pe.Node(niu.IdentityInterface(fields=['x']), name='a')
    progress(node, 'start')
    progress(node, 'end')
    progress(node, 'exception')
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert '1/2 a done in' in lines[0]
    assert 'FAILED' in lines[1]


def test_a_plugin_file_is_read(tmp_path):
    path = tmp_path / 'plugin.yml'
    path.write_text('plugin: SLURM\nplugin_args: {sbatch_args: --mem=12G}\n')
    assert read_plugin(path) == ('SLURM', {'sbatch_args': '--mem=12G'})
    path.write_text('plugin_args:\n')
    assert read_plugin(path) == ('MultiProc', {})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('plugin: [', r'plugin\.yml is no readable YAML'),
        ('- SLURM', 'must hold plugin and plugin_args'),
        ('plugins: SLURM', 'must hold plugin and plugin_args'),
        ('plugin: Magic', "names the plugin 'Magic'; choose one of .*MultiProc"),
        ('plugin_args: 4', 'plugin_args is 4; keys with values'),
    ],
)
def test_a_plugin_file_that_cannot_be_used_is_named(tmp_path, text, message):
    path = tmp_path / 'plugin.yml'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_plugin(path)


def test_one_process_is_a_way_out_where_workers_cannot_be_started(tmp_path):
    """As the message on an error before the first node advises."""
    (tmp_path / 'plugin.yml').write_text('plugin: Linear')
    execution = Execution(work_dir=tmp_path / 'work', plugin_file=tmp_path / 'plugin.yml')
    configure_nipype(execution, tmp_path / 'crash')
    workflow = pe.Workflow(name='wf', base_dir=str(tmp_path / 'work'))
    survivor = pe.Node(niu.Function(function=_touch), name='survivor')
    survivor.inputs.path = str(tmp_path)
    failing = pe.Node(niu.Function(function=_fail), name='failing')
    failing.inputs.how = 'raise'
    workflow.add_nodes([survivor])
    assert run_workflow(workflow, execution).ok
    workflow.add_nodes([failing])
    outcome = run_workflow(workflow, execution)
    assert not outcome.ok
    assert 'wf.survivor' in outcome.finished
    assert [read_crash(path)['node'] for path in (tmp_path / 'crash').glob('crash-*.txt')] == [
        'wf.failing'
    ]


def _hold(megabytes):
    return len(bytes(bytearray(b'x') * (megabytes << 20)))


def test_time_and_memory_of_each_node_are_known(tmp_path):
    execution = Execution(work_dir=tmp_path / 'work', nprocs=1)
    configure_nipype(execution, tmp_path / 'crash')
    workflow = pe.Workflow(name='wf', base_dir=str(tmp_path / 'work'))
    large, small = (
        pe.Node(niu.Function(function=_hold, output_names=['held']), name=name)
        for name in ('large', 'small')
    )
    large.inputs.megabytes = 400
    small.inputs.megabytes = 1
    workflow.add_nodes([large, small])
    outcome = run_workflow(workflow, execution)
    assert outcome.ok
    assert outcome.seconds.keys() == outcome.memory_gb.keys() == {'wf.large', 'wf.small'}
    # one process runs both, and what the first held does not count for the second
    assert outcome.memory_gb['wf.large'] > outcome.memory_gb['wf.small'] + 0.35
    assert 0.02 < outcome.memory_gb['wf.small'] < 0.4


def _rest():
    import time

    time.sleep(1.0)


def test_waiting_for_a_node_looks_at_no_old_object(tmp_path):
    """Nipype collects garbage before it looks for work; all that was imported is no garbage."""
    took_s = []

    def watch(phase, info):
        now = time.process_time()
        if info['generation'] == 2:
            took_s.append(now if phase == 'start' else now - took_s.pop())

    start = time.process_time()
    gc.collect()
    whole_s = time.process_time() - start
    configure_nipype(Execution(), tmp_path / 'crash')
    workflow = pe.Workflow(name='wf', base_dir=str(tmp_path / 'work'))
    workflow.add_nodes([pe.Node(niu.Function(function=_rest), name='rest')])
    gc.callbacks.append(watch)
    try:
        assert run_workflow(workflow, Execution(work_dir=tmp_path / 'work', nprocs=2)).ok
    finally:
        gc.callbacks.remove(watch)
    assert len(took_s) > 5
    assert np.median(took_s) < 0.2 * whole_s
    assert gc.get_freeze_count() == 0

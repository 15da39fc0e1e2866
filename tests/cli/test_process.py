"""Streams, signals and homes as they are on clusters and in containers."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qsmprep.cli.process import Unbreakable

BEGIN = 'from qsmprep.cli.process import *\nimport os, sys, time, signal\n'


def python(code, **keywords):
    """Run code after ``from qsmprep.cli.process import *``."""
    return subprocess.run(
        [sys.executable, '-c', BEGIN + code],
        capture_output=True,
        text=True,
        check=False,
        **keywords,
    )


class Full:
    """A stream on a device without room."""

    def write(self, *text):
        raise OSError(28, 'No space left on device')

    flush = fileno = write


def test_a_stream_that_fails_falls_silent():
    stream = Unbreakable(Full())
    assert stream.write('lost') == 4
    stream.writelines(['a', 'b'])
    stream.flush()


@pytest.mark.parametrize(
    'redirection', ['>/dev/full 2>&1', '>&- 2>&-', '<&- >&- 2>&-', '2>&1 | true']
)
def test_a_process_outlives_its_streams(tmp_path, redirection):
    code = BEGIN + (
        'guard_streams()\n'
        'for _ in range(3):\n'
        '    print("x" * 100000, flush=True); print("y", file=sys.stderr); time.sleep(0.05)\n'
        f'stream = open({str(tmp_path / "result")!r}, "w"); stream.write("whole"); stream.close()\n'
    )
    shell = f'"$0" -c "$1" {redirection}'
    subprocess.run(['bash', '-c', shell, sys.executable, code], check=False)
    assert (tmp_path / 'result').read_text() == 'whole'


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_program_with_its_code_and_one_line(tmp_path, tiny_dataset, number, code):
    tiny_dataset.add()
    program = (
        'import signal, sys, time\n'
        # tests that run in the background inherit that an interrupt is ignored
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
        'from qsmprep.cli import run, participant\n'
        'def wait(*_): print("ready", flush=True); time.sleep(60)\n'
        'participant.run_participants = wait\n'
        'sys.exit(run.main())\n'
    )
    folders = [tiny_dataset.root, tmp_path / 'out', 'participant', '-w', tmp_path / 'work']
    process = subprocess.Popen(
        [sys.executable, '-c', program, *map(str, folders)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'ready\n'
    process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert said.splitlines() == [
        f'ERROR: The run was stopped by {number.name}; the same command goes on from where it was.'
    ]


def test_workers_end_with_the_process_that_started_them(tmp_path):
    path = tmp_path / 'main.py'
    path.write_text(
        'import os, time, multiprocessing as mp\n'
        'from qsmprep.cli.process import follow_parent\n'
        'def work():\n'
        '    follow_parent()\n'
        '    print(os.getpid(), flush=True)\n'
        '    time.sleep(60)\n'
        'if __name__ == "__main__":\n'
        '    mp.get_context("forkserver").Process(target=work).start()\n'
        '    time.sleep(60)\n'
    )
    process = subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True)
    worker = int(process.stdout.readline())
    process.kill()
    process.wait()
    for _ in range(200):
        try:
            if Path(f'/proc/{worker}/stat').read_text().rpartition(')')[2].split()[0] == 'Z':
                return
        except OSError:
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail('the worker outlived its parent')


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other libraries keep what they like')
def test_freed_memory_serves_the_next_array_until_it_is_given_back():
    done = python(
        'import numpy as np\n'
        'def resident():\n'
        '    pages = int(open("/proc/self/statm").read().split()[1])\n'
        '    return pages * os.sysconf("SC_PAGE_SIZE")\n'
        'def new_memory():\n'
        '    start = resident()\n'
        '    array = np.ones(2**23)\n'
        '    return resident() - start\n'
        'new_memory()\n'
        'print(new_memory())\n'
        'keep_freed_memory()\n'
        'new_memory()\n'
        'print(new_memory())\n'
        'kept = resident()\n'
        'give_back_memory()\n'
        'print(kept - resident())\n'
    )
    by_default, after_keeping, given_back = map(int, done.stdout.split())
    assert by_default > 2**25
    assert after_keeping < 2**23
    assert given_back > 2**25


def test_a_home_that_cannot_be_used_is_replaced():
    done = python(
        'ensure_home(); print(os.environ["HOME"])', env={'HOME': '/proc/none', 'PATH': ''}
    )
    assert 'qsmprep-home-' in done.stdout

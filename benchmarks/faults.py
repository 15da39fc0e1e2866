"""
Faults injected into the real program: what it says, how it ends, and what the next run makes of it.

    python benchmarks/faults.py WORK [NAME ...]

Each row of the table is one fault: the exit code, the seconds until the program had ended, what was
left half-written, whether it said anything, and whether the same command, given again without the
fault, ended with the outputs of a run that was never disturbed, bit for bit. A simulated head of
8 mm is processed with its true brain mask. Faults that need a file system of their own are left out
where it cannot be mounted (they need root).
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from injections import (
    PYTHON,
    Case,
    after_signal,
    change_input,
    cut,
    damage,
    flip,
    full_disk,
    hang,
    kill_below,
    kill_main,
    own_mounts,
    pipe,
    shell,
    twice,
    wait,
)


def faults() -> dict[str, Callable[[Case], int | str]]:
    """All faults by name."""
    nodes = ('prepare_echoes', 'remove_background', 'draw_chi')
    found: dict[str, Callable] = {}
    for node in nodes:
        found[f'worker killed in {node}'] = kill_below(node, 'forkserver')
        found[f'main process killed in {node}'] = kill_main(node)
        found[f'worker stopped for ever in {node}'] = hang(node, 'forkserver')
        found[f'forkserver killed in {node}'] = kill_below(node, 'forkserver', first=True)
    found['niimath stopped for ever'] = hang('romeo', 'niimath')
    found['niimath killed'] = kill_below('romeo', 'niimath')
    for seconds in (0.5, 1, 2, 4, 8, 12, 16, 20, 30, 40):
        found[f'SIGTERM after {seconds} s'] = after_signal(signal.SIGTERM, seconds)
        found[f'SIGINT after {seconds} s'] = after_signal(signal.SIGINT, seconds)
    found['output and error to a broken pipe'] = pipe('2>&1 | head -1 >/dev/null')
    found['output and error to a full device'] = pipe('>/dev/full 2>&1')
    found['output and error closed'] = pipe('>&- 2>&-')
    found['input, output and error closed'] = pipe('<&- >&- 2>&-')
    found['HOME that cannot be made'] = shell('', HOME='/proc/nowhere/home')
    found['32 file handles'] = shell('ulimit -n 32;')
    found['Turkish locale, C encoding'] = shell('', LC_ALL='C', LANG='tr_TR', PYTHONUTF8='0')
    found['time zone, umask'] = shell('umask 077;', TZ='Pacific/Kiritimati')
    found['files of 1 MB at most'] = shell('ulimit -f 1000;')
    found['little memory'] = shell('ulimit -v 1500000;')
    inner = 'qsmprep_wf/**/qsm_wf/**'
    for name, pattern, change in (
        ('result emptied', f'{inner}/result_romeo.pklz', lambda p: p.write_bytes(b'')),
        ('result cut short', f'{inner}/result_remove_background.pklz', cut),
        ('result with a flipped bit', f'{inner}/result_invert_dipole.pklz', flip),
        ('image cut short', f'{inner}/combine_echoes/field.nii', cut),
        ('image with a flipped bit', f'{inner}/combine_echoes/field.nii', flip),
        ('image gone', f'{inner}/trust_phase/reliable.nii', Path.unlink),
        ('picture cut short', 'qsmprep_wf/**/draw_chi/*.png', cut),
        ('seal emptied', f'{inner}/romeo/sealed.json', lambda p: p.write_bytes(b'')),
    ):
        found[f'work folder: {name}'] = damage(pattern, change)
    echo = 'sub-01/anat/*echo-2_part-phase*.nii.gz'
    found['input cut short on the way'] = change_input('*', cut, echo)
    found['input removed on the way'] = change_input('*', Path.unlink, echo)
    found['two runs, one work folder'] = twice(one_work_folder=True)
    found['two runs, one output folder'] = twice(one_work_folder=False)
    if os.geteuid() == 0:
        read_only = 'mount --bind {out} {out} && mount -o remount,bind,ro {out}'
        found['read-only output folder'] = own_mounts(read_only)
        found['clock a year ahead of the start'] = shell(
            'exec unshare --time --monotonic 31536000 --boottime 31536000 "$@";'
        )
        found['read-only /dev/shm'] = own_mounts('mount -t tmpfs -o ro none /dev/shm')
        for size in (1, 3, 6):
            found[f'work disk of {size} MB'] = full_disk('work', size)
        for size in (0.05, 0.2, 0.5, 1):
            found[f'output disk of {size:g} MB'] = full_disk('out', size)
    return found


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description='Inject faults into qsmprep.')
    parser.add_argument('work', type=Path, help='folder for the runs')
    parser.add_argument('names', nargs='*', help='faults whose names begin so (default: all)')
    arguments = parser.parse_args()
    data = arguments.work / 'data'
    if not data.is_dir():
        simulate = [PYTHON, '-m', 'qsmprep.cli.simulate', data, '--voxel', '8']
        subprocess.run([str(part) for part in simulate], check=True)
    reference = Case(arguments.work / 'reference', data)
    if not reference.out.is_dir():
        reference.folder.mkdir(parents=True)
        assert wait(reference.start()) == 0, reference.said()
    expected, lost = reference.outputs(), 0
    print('| fault | exit code | s | said | half-written | next run |\n|-|-|-|-|-|-|', flush=True)
    for name, inject in faults().items():
        if arguments.names and not any(name.startswith(wanted) for wanted in arguments.names):
            continue
        folder = arguments.work / 'case'
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        case, begin = Case(folder, data), time.monotonic()
        try:
            code = inject(case)
        except TimeoutError:  # what was to be hurt was over too soon
            print(f'| {name} | not injected | | | | |', flush=True)
            continue
        seconds = time.monotonic() - begin
        text = case.said()
        said = [line for line in text.splitlines() if 'ERROR' in line or 'Error' in line]
        half = case.leftovers()
        same = case.outputs() == expected
        again = 0 if code == 0 and same else wait(case.start())
        same = case.outputs() == expected
        lost += again != 0 or not same
        verdict = 'identical' if again == 0 and same else f'exit {again}, differs: {not same}'
        line = said[-1][:90].replace('|', '/') if said else ''
        trace = ' (traceback)' if 'Traceback' in text else ''
        print(
            f'| {name} | {code} | {seconds:.0f} | {line}{trace} | {len(half)} | {verdict} |',
            flush=True,
        )
    print(f'\n{lost} lost')
    return 1 if lost else 0


if __name__ == '__main__':
    sys.exit(main())

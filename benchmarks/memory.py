"""
Memory of each node: what the graph declares from the header, and what the node takes.

    python benchmarks/memory.py WORK [--voxel 4 2.5 1.6] [-- flags of qsmprep]

Two simulated heads of several voxel sizes are processed by the default chain, one node at a time,
in one worker, in which all libraries are loaded before. Taken is the peak of its resident memory
plus that of the largest command that it has started, the larger of both heads: a worker keeps what
earlier nodes have loaded, and the second head finds it so. Nodes of the main process are left out.
Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from operator import itemgetter
from pathlib import Path

import nibabel as nb

from qsmprep.cli import run, workers

RECORD = 'QSMPREP_MEMORY_RECORD'
LIBRARIES = ('torch', 'numba', 'matplotlib.pyplot', 'scipy.ndimage', 'scipy.optimize')


def peak_gb(process: int | str = 'self') -> float:
    """Largest resident memory of a process, zero where it has ended [GB]."""
    try:
        status = Path(f'/proc/{process}/status').read_text()
    except OSError:
        return 0.0
    return int(status.partition('VmHWM:')[2].split()[0]) / 1e6 if 'VmHWM:' in status else 0.0


def commands() -> list[str]:
    """Process numbers of the commands that this process runs."""
    found = []
    for task in Path('/proc/self/task').iterdir():
        with contextlib.suppress(OSError):
            found += (task / 'children').read_text().split()
    return [pid for pid in found if _program(pid) != _program('self')]


def _program(process: str) -> str:
    """Program of a process; between fork and exec it is still that of its parent."""
    try:
        return os.readlink(f'/proc/{process}/exe')
    except OSError:
        return ''


def measured(node, updatehash: bool, taskid: int) -> dict:
    """Run a node in a worker, and append what it declared and took to a file."""
    for module in LIBRARIES:
        importlib.import_module(module)
    Path('/proc/self/clear_refs').write_text('5')  # forget the peak so far
    peaks, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peaks.append(max(map(peak_gb, commands()), default=0.0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = RUN_AND_SEAL(node, updatehash, taskid)
    ended.set()
    watcher.join()
    with open(os.environ[RECORD], 'a') as stream:
        stream.write(json.dumps([node.name, node.mem_gb, peak_gb() + max(peaks)]) + '\n')
    return result


RUN_AND_SEAL = workers._run_and_seal


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description='Measure the memory of nodes.')
    parser.add_argument('work', type=Path)
    parser.add_argument('--voxel', nargs='+', default=['4', '2.5', '1.6'], metavar='MM')
    arguments = list(sys.argv[1:])
    split = arguments.index('--') if '--' in arguments else len(arguments)
    given = parser.parse_args(arguments[:split])
    rows: dict[str, list[tuple[float, float]]] = {}
    voxels = []
    workers._run_and_seal = measured
    # one file for all sizes: workers come from one server, which keeps the environment of its start
    given.work.mkdir(parents=True, exist_ok=True)
    record = given.work / 'record'
    os.environ[RECORD] = str(record)
    for voxel in given.voxel:
        data, folder = given.work / f'data-{voxel}', given.work / f'run-{voxel}'
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if not data.is_dir():
            simulate = [sys.executable, '-m', 'qsmprep.cli.simulate', str(data), '--voxel', voxel]
            subprocess.run([*simulate, '--subjects', '2'], check=True)
        image = nb.load(next(data.glob('sub-*/anat/*echo-1_part-mag*.nii.gz')))
        voxels.append(math.prod(image.shape))
        record.unlink(missing_ok=True)
        fixed = ['participant', '-w', str(folder / 'work'), '--nprocs', '1', '--device', 'cpu']
        fixed += ['--skip-bids-validation', *arguments[split + 1 :]]
        assert run.main([str(data), str(folder / 'out'), *fixed]) == 0
        found = [json.loads(line) for line in record.read_text().splitlines()]
        largest = {
            name: (declared, took) for name, declared, took in sorted(found, key=itemgetter(2))
        }
        for name, pair in largest.items():
            rows.setdefault(name, []).append(pair)
    heads = ' | '.join(f'{count / 1e6:.2f} M voxels' for count in voxels)
    print(f'\n| node: declared / taken [GB] | {heads} | largest difference [%] |')
    print('|-' * (len(voxels) + 2) + '|')
    for name, pairs in sorted(rows.items()):
        cells = ' | '.join(f'{declared:.2f} / {took:.2f}' for declared, took in pairs)
        off = max((100 * (declared / took - 1) for declared, took in pairs), key=abs)
        print(f'| {name} | {cells} | {off:+.0f} |')


if __name__ == '__main__':
    main()

"""
Cohorts: what one participant of many costs to start, and what all of them cost to rehearse.

    python benchmarks/cohort.py WORK [--sizes 1 200 2000]
    python benchmarks/cohort.py WORK --pair MM

Datasets of tiny images are written; each row is one run of the program, with its CPU and wall time
and the largest resident memory of the process. With ``--pair``, two simulated heads of that voxel
size are processed at once by the default chain on two processors and 8 GB; memory is then that of
all processes together, shared pages counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nb
import numpy as np
from injections import descendants

ECHO_TIMES_S = (0.005, 0.010, 0.015)
LARGEST_REHEARSAL = 200
"""Participants beyond which not all of them are rehearsed in one process: it takes 0.1 s each."""


def write_cohort(root: Path, size: int) -> None:
    """Write a dataset of that many participants, one acquisition of three echoes each."""
    rng = np.random.default_rng(0)
    template = root.parent / 'template'
    template.mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True)
    (root / 'dataset_description.json').write_text('{"Name": "cohort", "BIDSVersion": "1.9.0"}')
    for echo in range(len(ECHO_TIMES_S)):
        for part, low in (('mag', 0.0), ('phase', -np.pi)):
            data = rng.uniform(low, np.pi, (8, 8, 8)).astype(np.float32)
            image = nb.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0]))
            image.set_sform(image.affine, 1)
            image.to_filename(template / f'{echo + 1}-{part}.nii.gz')
    for number in range(1, size + 1):
        folder = root / f'sub-{number:04d}' / 'anat'
        folder.mkdir(parents=True)
        for echo, echo_time in enumerate(ECHO_TIMES_S, start=1):
            for part in ('mag', 'phase'):
                stem = folder / f'sub-{number:04d}_echo-{echo}_part-{part}_MEGRE'
                os.link(template / f'{echo}-{part}.nii.gz', f'{stem}.nii.gz')
                keys = {'EchoTime': echo_time, 'MagneticFieldStrength': 3, 'Units': 'rad'}
                Path(f'{stem}.json').write_text(json.dumps(keys))


def write_records(out: Path, size: int) -> None:
    """Write the records of that many participants, as the participant level leaves them."""
    (out / 'logs').mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(1, size + 1):
        label = f'{number:04d}'
        quality = {'chi_sd_ppb': rng.normal(35, 5), 'brain_volume_ml': rng.normal(1300, 100)}
        acquisition = {'stem': f'sub-{label}_MEGRE', 'status': 'completed', 'quality': quality}
        content = {'participant': label, 'acquisitions': [acquisition], 'errors': []}
        (out / 'logs' / f'sub-{label}.json').write_text(json.dumps(content))


INDEX = """
import sys
from pathlib import Path
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.selection import select_participants
assert select_participants(open_dataset(Path(sys.argv[1])), ())
"""


def measure(name: str, size: int, *arguments: object, code: tuple[str, ...] = ()) -> None:
    """Run the program, or code of its own, and print a row."""
    what = code or ('-m', 'qsmprep.cli.run')
    command = [sys.executable, *what, *map(str, arguments)]
    begin = time.monotonic()
    process = subprocess.Popen(
        command,
        env=os.environ | {'OMP_NUM_THREADS': '1'},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall_s, cpu_s = time.monotonic() - begin, usage.ru_utime + usage.ru_stime
    code, peak_mb = os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024
    print(f'| {size} | {name} | {cpu_s:.1f} | {wall_s:.1f} | {peak_mb:.0f} | {code} |', flush=True)


def measure_pair(work: Path, voxel_mm: str) -> None:
    """Process two heads at once, and print a row."""
    data, folder = work / f'pair-{voxel_mm}', work / 'pair'
    shutil.rmtree(folder, ignore_errors=True)
    if not data.is_dir():
        simulate = [sys.executable, '-m', 'qsmprep.cli.simulate', data, '--voxel', voxel_mm]
        subprocess.run([str(part) for part in [*simulate, '--subjects', '2']], check=True)
    command = [sys.executable, '-m', 'qsmprep.cli.run', data, folder / 'out', 'participant']
    command += ['-w', folder / 'work', '--skip-bids-validation', '--device', 'cpu']
    command += ['--nprocs', '2', '--omp-nthreads', '1', '--mem', '8G']
    begin, peak_mb, used_s = time.monotonic(), 0.0, dict[int, float]()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        processes = [process.pid, *descendants(process.pid)]
        peak_mb = max(peak_mb, sum(map(shared_memory_mb, processes)))
        used_s |= {pid: max(processor_time_s(pid), used_s.get(pid, 0.0)) for pid in processes}
        time.sleep(0.2)
    wall_s, cpu_s = time.monotonic() - begin, sum(used_s.values())
    name = f'both at once, {voxel_mm} mm, --nprocs 2 --mem 8G'
    print(f'| 2 | {name} | {cpu_s:.1f} | {wall_s:.1f} | {peak_mb:.0f} | {process.returncode} |')


def processor_time_s(pid: int) -> float:
    """Processor time of a process; zero where it has ended."""
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')


def shared_memory_mb(pid: int) -> float:
    """Resident memory of a process, its part of shared pages alone; zero where it has ended."""
    try:
        text = Path(f'/proc/{pid}/smaps_rollup').read_text()
    except OSError:
        return 0.0
    return int(text.partition('\nPss:')[2].split()[0]) / 1024 if '\nPss:' in text else 0.0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description='Measure starts and rehearsals of cohorts.')
    parser.add_argument('work', type=Path)
    parser.add_argument('--sizes', type=int, nargs='+', default=[1, 200, 2000])
    parser.add_argument('--pair', metavar='MM', help='two heads at once instead')
    given = parser.parse_args()
    print('| participants | what | CPU [s] | wall [s] | peak [MB] | exit code |')
    print('|-:|-|-:|-:|-:|-:|')
    if given.pair:
        measure_pair(given.work, given.pair)
        return
    for size in given.sizes:
        folder = given.work / str(size)
        shutil.rmtree(folder, ignore_errors=True)
        data, out = folder / 'data', folder / 'out'
        write_cohort(data, size)
        fixed = (data, out, 'participant', '-w', folder / 'work', '--skip-bids-validation')
        last = ('--participant-label', f'{size:04d}')
        measure('indexing', size, data, code=('-c', INDEX))
        measure('one participant, --dry-run', size, *fixed, *last, '--dry-run')
        if size <= LARGEST_REHEARSAL:
            measure('all, --dry-run', size, *fixed, '--dry-run')
        write_records(out, size)
        measure('group', size, data, out, 'group')


if __name__ == '__main__':
    main()

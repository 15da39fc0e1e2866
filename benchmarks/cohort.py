"""
Cohorts: what one participant of many costs to start, and what all of them cost to rehearse.

    python benchmarks/cohort.py WORK [--sizes 1 200 2000]

Datasets of tiny images are written; each row is one run of the program, with its CPU and wall time
and the largest resident memory of the process.
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


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description='Measure starts and rehearsals of cohorts.')
    parser.add_argument('work', type=Path)
    parser.add_argument('--sizes', type=int, nargs='+', default=[1, 200, 2000])
    given = parser.parse_args()
    print('| participants | what | CPU [s] | wall [s] | peak [MB] | exit code |')
    print('|-:|-|-:|-:|-:|-:|')
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

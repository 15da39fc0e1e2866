"""Scans as people report them: a right map, a warning or a refusal, no wrong map in silence.

    python benchmarks/reported.py WORK [NAME ...]

Each scan of :data:`SCANS` is a simulated head of 3 mm whose files are altered as in
a public report, and then goes through the program, from raw files to map and record. What it said,
its exit code and the correlation of its map with the truth are compared with what was expected.
Panels are left out of the reports: they measure nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from measure import Table
from scans import (
    archives,
    clinics,
    datasets,
    echoes,
    files,
    forums,
    given,
    headers,
    labs,
    masks,
    names,
    objects,
    parts,
    patients,
    phase,
    scanner,
    series,
    sidecars,
    trackers,
)
from scans.dataset import Scan, derivatives

TABLES = (
    echoes,
    phase,
    parts,
    headers,
    files,
    sidecars,
    datasets,
    names,
    masks,
    scanner,
    given,
    labs,
    series,
    objects,
    forums,
    archives,
    clinics,
    patients,
    trackers,
)
SCANS: tuple[Scan, ...] = tuple(scan for table in TABLES for scan in table.SCANS)
PROGRAM = """
import sys
from qsmprep.workflows import plan
plan.drawable = lambda images: ()
from qsmprep.cli.run import main
sys.exit(main(sys.argv[1:]))
"""
LIMIT_S = 900
"""Longest time of a run."""
LOSS = 0.1
"""Correlation that a right map may have less than that of the unaltered scan. Masks that the
program makes by itself cost the analytic head .09."""
WRONG, SCALE = 0.5, 2.0
"""Part of the correlation of the unaltered scan below which a map is wrong, and the factor by which
its scale is off where it is."""


@dataclass
class Outcome:
    """How a run has ended.

    Parameters
    ----------
    code
        Exit code, or what happened instead.
    said
        Terminal, warnings and errors of the records.
    correlation, slope
        Of the map with the truth within both masks; NaN without a map.
    seconds
        Time on the clock.

    """

    code: int | str
    said: str
    correlation: float
    slope: float
    seconds: float

    @property
    def warnings(self) -> list[str]:
        """Sentences of warnings and errors."""
        lines = (line.strip() for line in self.said.splitlines())
        return [line for line in dict.fromkeys(lines) if line and not line.startswith('[')]


def simulate(work: Path, arguments: str = '') -> Path:
    """Dataset of a simulated head, made once for given arguments."""
    folder = work / 'sources' / '_'.join(['usual', *arguments.split()]).replace('--', '')
    if not (folder / 'participants.tsv').exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, '-m', 'qsmprep.cli.simulate', folder, '--voxel', '3']
        command += arguments.split()
        subprocess.run([str(part) for part in command], check=True)
    return folder


def call(words: list) -> tuple[int | str, str]:
    """Run the program; its exit code, or that it hangs, and all that it says."""
    try:
        done = subprocess.run(
            [sys.executable, '-c', PROGRAM, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=os.environ | {'OMP_NUM_THREADS': '1'},
        )
    except subprocess.TimeoutExpired:
        return 'hangs', ''
    return done.returncode, done.stdout + done.stderr


def run(scan: Scan, work: Path, inversion: str = 'tikhonov') -> Outcome:
    """Alter a copy of the source, and run the program on it."""
    folder = work / 'case'
    shutil.rmtree(folder, ignore_errors=True)
    data = folder / 'bids'
    shutil.copytree(simulate(work, scan.source), data, symlinks=True)
    data = scan.change(data) or data
    plugin = folder / 'plugin.yml'
    plugin.write_text('plugin: Linear\n')
    flags = ['--skip-bids-validation', '--device', 'cpu', '--no-viewer', '--use-plugin', plugin]
    flags += ['-w', folder / 'work']
    flags += [] if 'chi' in scan.flags.split() else ['--inversion', inversion]
    flags += derivatives(data, folder, scan.mask)
    places = {'FILTER': data / 'filter.json', 'GIVEN': f'given={data / "derivatives" / "given"}'}
    flags += [places.get(flag, flag) for flag in scan.flags.split()]
    begin = time.monotonic()
    code, text = call([data, folder / 'out', 'participant', *flags])
    seconds = time.monotonic() - begin
    said = '\n'.join([text, *recorded(folder / 'out')])
    return Outcome(code, said, *agreement(folder / 'out', data), seconds)


def recorded(output: Path) -> list[str]:
    """Warnings and errors in the records of all participants."""
    from qsmprep.reports.measures import quality_warnings

    told = []
    for path in sorted(output.glob('logs/sub-*.json')):
        record = json.loads(path.read_text())
        told += [error['message'] for error in record['errors']]
        for acquisition in record['acquisitions']:
            told += [acquisition['error']] if acquisition['error'] else []
            told += acquisition['warnings'] + acquisition['notes']
            told += quality_warnings(acquisition['quality'], acquisition.get('infant', False))
            told += [f'{key}: {rule}' for key, rule in acquisition['rules'].items()]
    return told


def agreement(output: Path, data: Path) -> tuple[float, float]:
    """Correlation and slope of the first map on the truth, within its mask and the brain."""
    maps = sorted(output.glob('sub-*/**/anat/*Chimap.nii.gz'))
    maps = [path for path in maps if '_desc-' not in path.name and '_space-' not in path.name]
    if not maps:
        return float('nan'), float('nan')
    truth = min((data / 'derivatives' / 'simulation').glob('sub-*/**/*_Chimap.nii.gz'))
    truth = truth.with_name(re.sub('_desc-[a-z]+', '', truth.name))
    mask = maps[0].with_name(maps[0].name.replace('_Chimap', '_desc-chi_mask'))
    brain = truth.with_name(truth.name.replace('_Chimap', '_desc-brain_mask'))
    files = (maps[0], mask, truth, brain)
    chi, kept, true, inside = (np.asarray(nb.load(x).dataobj, dtype=np.float64) for x in files)
    # a part of the volume begins where the whole does
    part = tuple(slice(min(sizes)) for sizes in zip(chi.shape, true.shape, strict=True))
    chi, kept, true, inside = (image[part] for image in (chi, kept, true, inside))
    both = (kept > 0) & (inside > 0)
    if both.sum() < 3:
        return 0.0, 0.0
    covariance = np.cov(chi[both], true[both])
    r = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    return float(r), float(covariance[0, 1] / covariance[1, 1])


def judge(scan: Scan, outcome: Outcome, usual: Outcome) -> str:
    """``'right'``, or what is wrong with an outcome."""
    made = np.isfinite(outcome.correlation)
    scale = outcome.slope / usual.slope
    in_scale = 1 / SCALE < scale < SCALE
    good = made and in_scale and outcome.correlation >= usual.correlation - LOSS
    wrong = made and not (in_scale and outcome.correlation >= WRONG * usual.correlation)
    new = [line for line in outcome.warnings if line not in usual.warnings]
    found = re.search(scan.words, outcome.said) if scan.words else True
    if 'Traceback' in outcome.said:
        return 'TRACEBACK'
    if outcome.code == 'hangs':
        return 'HANGS'
    if outcome.code == 0 and made and not good and not any(map(is_warning, new)):
        return 'WRONG IN SILENCE'
    if outcome.code == 0 and wrong:
        return 'WRONG MAP, EXIT CODE 0'
    if not found:
        return 'NOT SAID'
    if scan.expect == 'map' and not (good and outcome.code == 0):
        return 'NO RIGHT MAP'
    if scan.expect == 'refused' and (made or outcome.code in (0, None)):
        return 'NOT REFUSED'
    if scan.expect == 'failed' and outcome.code == 0:
        return 'EXIT CODE 0'
    if not made and outcome.code == 0:
        return 'EXIT CODE 0 WITHOUT A MAP'
    return 'right'


def is_warning(line: str) -> bool:
    """Whether a line is more than a path or a rule."""
    rules = ('Phase scaling:', 'Field strength:', 'B0 direction:', 'Brain mask:')
    return not line.startswith(('/', *rules))


def essence(scan: Scan, outcome: Outcome, usual: Outcome) -> str:
    """The sentence that matters: the one that was expected, or the first new one."""
    new = [line for line in outcome.warnings if line not in usual.warnings and is_warning(line)]
    wanted = [line for line in new if scan.words and re.search(scan.words, line)]
    line = next(iter(wanted or new), '')
    line = re.sub(r'(?<!\S)/\S*/(?=[^/\s]+)', '', line).replace('|', '/')
    return line if len(line) < 150 else f'{line[:147]}...'


def ending(outcome: Outcome, usual: Outcome, verdict: str) -> str:
    """Column of the summary."""
    if verdict != 'right':
        return 'not as expected'
    if not np.isfinite(outcome.correlation):
        return 'refused'
    if outcome.code != 0:
        return 'map, exit code 1'
    new = [line for line in outcome.warnings if line not in usual.warnings]
    return 'map with a warning' if any(map(is_warning, new)) else 'right map'


def summarise(endings: list[tuple[str, str]]) -> Table:
    """Count the endings of each kind."""
    columns = ['right map', 'map with a warning', 'map, exit code 1', 'refused', 'not as expected']
    table = Table('By kind', ['kind', 'scans', *columns], [])
    for kind in [*dict.fromkeys(kind for kind, _ in endings), 'all']:
        found = [end for other, end in endings if kind in (other, 'all')]
        table.rows.append((kind, len(found), *(found.count(column) for column in columns)))
    return table


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work', type=Path, help='folder for the runs')
    parser.add_argument('names', nargs='*', help='scans whose names begin so (default: all)')
    parser.add_argument('--kind', help='scans of one kind alone')
    parser.add_argument('--inversion', default='tikhonov', help='tv is that of the default chain')
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    table = Table(
        'Scans as people report them',
        ['kind', 'scan', 'exit code', 'correlation', 'scale', 'said', 's', 'outcome'],
        [],
    )
    controls: dict[str, Outcome] = {}
    endings: list[tuple[str, str]] = []
    for scan in SCANS:
        if arguments.names and not any(scan.name.startswith(name) for name in arguments.names):
            continue
        if arguments.kind not in (None, scan.kind):
            continue
        if scan.source not in controls:
            unaltered = Scan('unaltered', source=scan.source)
            controls[scan.source] = run(unaltered, arguments.work, arguments.inversion)
        usual = controls[scan.source]
        outcome = run(scan, arguments.work, arguments.inversion)
        verdict = judge(scan, outcome, usual)
        endings.append((scan.kind, ending(outcome, usual, verdict)))
        r = f'{outcome.correlation:.2f} ({usual.correlation:.2f})'
        r = r if np.isfinite(outcome.correlation) else '-'
        scale = f'{outcome.slope / usual.slope:.2f}' if np.isfinite(outcome.slope) else '-'
        seconds, said = f'{outcome.seconds:.0f}', essence(scan, outcome, usual)
        table.add(scan.kind, scan.name, outcome.code, r, scale, said, seconds, verdict)
        logs = arguments.work / 'logs'
        logs.mkdir(exist_ok=True)
        name = re.sub('[^0-9A-Za-z]+', '_', scan.name)
        (logs / f'{name}.txt').write_text(outcome.said)
        for path in sorted((arguments.work / 'case' / 'out' / 'logs').glob('sub-*.json')):
            shutil.copy(path, logs / f'{name}_{path.name}')
    table.write(arguments.work, 'reported')
    summary = summarise(endings)
    summary.write(arguments.work, 'summary')
    return 1 if summary.rows[-1][-1] else 0


if __name__ == '__main__':
    sys.exit(main())

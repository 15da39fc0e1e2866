"""How far an inversion falls behind the best Tikhonov solution that the truth may choose.

The worst case counts here, not the mean. Cases are drawn by seed from scans in vivo with a
reference map and from six simulated heads a seed, or in their place from the maps of others
(``--maps``), as they are and under all that ``hard_cases.py`` lists. The regret of a method is its
NRMSE minus that of the Tikhonov filter D / (D^2 + weight) on the same padded kernel, in closed
form, whose one weight is chosen to give the least NRMSE against the truth: points of percent,
above zero where the method is worse. A map that is refused counts as an empty one, 100 %. Methods
run with their defaults.

Even seeds are there for tuning, odd ones for what is reported. Rows go to ``regret.csv`` as they
are made; those that it holds are not made again. With 40 cases, ``tv`` and ``wiener`` take about
ten minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from functools import partial
from math import exp, log
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from arguments import benchmark_parser
from hard_cases import VALUES, Sources, draw_names, make_case, parse_name
from inversion import Case
from measure import Table
from scipy.optimize import minimize_scalar

from qsmprep.methods import INVERSIONS
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.metrics import nrmse, slope, xsim
from qsmprep.qsm.operators import Dipole

COLUMNS = (
    'case',
    'method',
    'regret',
    'NRMSE',
    'XSIM',
    'slope',
    'best NRMSE',
    'best XSIM',
    'best weight',
    'wall [s]',
    'refused',
)
SUMMARY = ('method', 'cases', 'median', '90 %', 'worst', 'XSIM, median', 'XSIM, worst', 'refused')
WORST = ('method', 'regret', 'NRMSE [%]', 'best [%]', 'XSIM', 'best', 'case')
WEIGHTS = np.geomspace(1e-5, 30, 11)
WORST_SHOWN = 10
KINDS = ('in vivo', 'heads', 'heads, error', 'maps', 'maps, error')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, 'labels', 'slabs', 'maps', 'device')
    add = parser.add_argument
    add('--seed', type=int, nargs='+', default=[0], help='of the cases; each makes a list')
    add('--cases', type=int, default=150, help='number of a seed')
    add('--only', nargs='+', metavar='NAME', help='names of cases; nothing is drawn')
    add('--methods', nargs='+', choices=INVERSIONS, default=['tv', 'wiener'])
    add('--jobs', type=int, default=1, help='processes, of one thread each')
    return parser


def best_tikhonov(case: Case) -> tuple[float, np.ndarray]:
    """Weight of the Tikhonov filter with the least NRMSE, and its map."""
    dipole = Dipole(case.grid)
    spectrum = dipole.transform(torch.from_numpy(case.field)) * dipole.kernel

    def map_with(weight: float) -> np.ndarray:
        chi = dipole.inverse(spectrum / (dipole.kernel.square() + weight))
        return chi.numpy() * case.mask

    def error(weight: float) -> float:
        return nrmse(map_with(weight), case.truth, case.mask)

    near = log(min(WEIGHTS, key=error))
    step = log(WEIGHTS[1] / WEIGHTS[0])
    found = minimize_scalar(
        lambda x: error(exp(x)),
        bounds=(near - step, near + step),
        method='bounded',
        options={'xatol': 0.02},
    )
    best = exp(found.x)
    return best, map_with(best)


def run_case(work: tuple[str, list[str], Sources], device: str = 'cpu') -> list[list]:
    """Rows of one case, one for each method."""
    torch.set_num_threads(1)
    name, methods, sources = work
    case = make_case(name, sources)
    weight, best = best_tikhonov(case)
    reference = [f(best, case.truth, case.mask) for f in (nrmse, xsim)]
    rows = []
    for method in methods:
        start, refused = time.perf_counter(), ''
        try:
            chi = invert(
                case.field, case.mask, case.grid, method, noise_ppm=case.noise, device=device
            ).chi_ppm
        except ValueError as error:
            chi, refused = np.zeros_like(case.truth), str(error)
        wall = time.perf_counter() - start
        numbers = [f(chi, case.truth, case.mask) for f in (nrmse, xsim, slope)]
        regret = numbers[0] - reference[0]
        rows.append([name, method, regret, *numbers, *reference, weight, wall, refused])
    return rows


def read_rows(path: Path) -> list[list]:
    """Rows of a table that was begun."""
    if not path.exists():
        return []
    with path.open(newline='') as stream:
        rows = list(csv.reader(stream))[1:]
    return [[*row[:2], *map(float, row[2:10]), row[10]] for row in rows]


def fill(
    path: Path, names: list[str], methods: list[str], sources: Sources, jobs: int, device: str
) -> None:
    """Make the rows that a table lacks, scan by scan."""
    done = {tuple(row[:2]) for row in read_rows(path)}
    todo = [(name, [m for m in methods if (name, m) not in done], sources) for name in names]
    todo = sorted((work for work in todo if work[1]), key=lambda work: _scan_key(work[0]))
    if not path.exists():
        with path.open('w', newline='') as stream:
            csv.writer(stream).writerow(COLUMNS)
    with get_context('spawn').Pool(jobs) as pool:
        for rows in pool.imap(partial(run_case, device=device), todo):
            for name, method, *numbers in rows:
                print(
                    f'{method:10s} {numbers[0]:+7.2f} {numbers[1]:7.2f} {numbers[2]:6.3f}  {name}'
                )
            with path.open('a', newline='') as stream:
                csv.writer(stream).writerows(rows)


def _scan_key(name: str) -> tuple:
    scan, departures, draw = parse_name(name)
    return draw, scan, departures.get('tilt', '')


def kind_of(name: str) -> str:
    """Group of a case: in vivo, heads or maps of others without and with planted error."""
    scan, departures, _ = parse_name(name)
    kind = scan.rstrip('0123456789')
    if kind not in ('head', 'map'):
        return 'in vivo'
    return f'{kind}s, error' if 'error' in departures else f'{kind}s'


def summarise(rows: list[list]) -> list[object]:
    """Count, median, 90 %, and worst of the regrets, of the XSIM lost, and the refused."""
    regret = np.array([row[2] for row in rows])
    gained = np.array([row[4] - row[7] for row in rows])
    numbers = [np.median(regret), np.quantile(regret, 0.9), regret.max()]
    numbers += [np.median(gained), gained.min()]
    return [len(rows), *map(float, numbers), sum(bool(row[10]) for row in rows)]


def report(rows: list[list], methods: list[str], title: str, out: Path) -> None:
    """Print and write the tables: over all cases, over groups, and the worst cases."""
    table = Table(f'Regret, {title}', ('cases of', *SUMMARY), [])
    worst = Table(f'Worst cases, {title}', WORST, [])
    for method in methods:
        mine = [row for row in rows if row[1] == method]
        for group in ('all', *KINDS, *VALUES):
            some = [
                row for row in mine if group in ('all', kind_of(row[0])) or _departs(row, group)
            ]
            if some:
                table.rows.append((group, method, *summarise(some)))
        for row in sorted(mine, key=lambda row: -row[2])[:WORST_SHOWN]:
            worst.rows.append((method, row[2], row[3], row[6], row[4], row[7], row[0]))
    table.write(out, 'regret_table')
    worst.write(out, 'regret_worst')


def _departs(row: list, kind: str) -> bool:
    """Whether a row's case has a departure that its scan does not have by itself."""
    return kind in parse_name(row[0])[1]


def main() -> None:
    """Run the benchmark."""
    args = build_parser().parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'
    args.out.mkdir(parents=True, exist_ok=True)
    sources = Sources(args.slabs, args.labels, args.maps)
    names = args.only or [n for s in args.seed for n in draw_names(s, args.cases, sources)]
    path = args.out / 'regret.csv'
    fill(path, names, args.methods, sources, args.jobs, args.device)
    rows = [row for row in read_rows(path) if row[0] in set(names)]
    title = 'given cases' if args.only else f'seed {", ".join(map(str, args.seed))}'
    report(rows, args.methods, title, args.out)


if __name__ == '__main__':
    main()

"""Every dipole inversion on simulated heads and on scans in vivo: error, cost, and pictures.

Simulated rows differ in field strength, resolution, direction of B0 and lesions, each an individual
of its own. Where a folder of label volumes is given, they are made from its last two in turn, which
the training of the prior holds out. In vivo rows need a folder that holds
``NAME_phs.nii.gz`` (local field, ppm), ``NAME_susc.nii.gz`` (COSMOS susceptibility, ppm) and
``NAME_msk.nii.gz``, B0 along the third axis; such files came with the public SNU data of QSMnet.
Methods run with their defaults, each in a process of its own; maps are scored by the scorer of
QSM-CI.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from arguments import benchmark_parser, parse
from measure import QUICK_METHODS, Table, measure
from qsm_ci import qsm_eval

from qsmprep.methods import INVERSIONS
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.metrics import slope
from qsmprep.qsm.simulate import simulate_local_field
from qsmprep.training.heads import HELD_OUT_HEADS, find_heads, read_head

COLUMNS = ('scan', 'method', 'NRMSE [%]', 'detrended [%]', 'HFEN [%]', 'XSIM', 'slope')
COST = ('CPU [s]', 'wall [s]', 'peak [GB]')
SEVEN_TESLA = {'field_strength_t': 7.0, 'echo_times_s': (0.004, 0.009, 0.014, 0.019)}
LESIONS = ('haemorrhage', 'calcification')
SIMULATED = {
    '3T': {},
    '3T-lesions': {'lesions': LESIONS},
    '7T': SEVEN_TESLA,
    '7T-lesions': {**SEVEN_TESLA, 'lesions': LESIONS},
    'oblique': {'b0_direction': (0.25, 0.35, 0.9)},
    'noisy': {'snr': 20.0},
    '0.7mm': {'voxel_size': (0.7, 0.7, 0.7)},
    '2mm': {'voxel_size': (2.0, 2.0, 2.0), 'supersampling': (2, 2, 2)},
    'anisotropic': {'voxel_size': (0.8, 0.8, 2.0)},
}
WINDOW_PPM = 0.1


@dataclass(frozen=True)
class Case:
    """A local field and the map that it should give."""

    field: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    grid: Grid
    noise: np.ndarray | None = None


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(
        __doc__,
        'labels',
        'slabs',
        'threads',
        'device',
        out='folder for the tables and the pictures',
    )
    add = parser.add_argument
    add('--methods', nargs='+', choices=INVERSIONS, default=list(QUICK_METHODS))
    add('--rows', nargs='+', metavar='ROW', help=f'of {", ".join(SIMULATED)} and the slabs')
    add('--seed', type=int, default=0, help='of the simulations')
    return parser


def simulated(name: str, heads: list[Path], seed: int) -> Case:
    """Simulate a row; rows take the held-out heads in turn."""
    number = list(SIMULATED).index(name)
    held_out = heads[-HELD_OUT_HEADS:]
    head = read_head(held_out[number % len(held_out)]) if heads else None
    scan = simulate_local_field(head, seed=seed + number, **SIMULATED[name])
    field = scan.measured_ppm.astype(np.float32)
    return Case(field, scan.chi, scan.mask, scan.grid, scan.noise_ppm)


def in_vivo(folder: Path, name: str) -> Case:
    """Read a scan and its reference map."""
    images = {k: nb.load(folder / f'{name}_{k}.nii.gz') for k in ('phs', 'susc', 'msk')}
    field, truth, mask = (np.asarray(i.dataobj, dtype=np.float32) for i in images.values())
    mask = mask > 0
    grid = Grid(mask.shape, images['phs'].header.get_zooms()[:3])
    return Case(field * mask, truth * mask, mask, grid)


def reconstruct(case: Case, method: str, device: str) -> np.ndarray:
    """Susceptibility map of a case."""
    inversion = invert(
        case.field, case.mask, case.grid, method, noise_ppm=case.noise, device=device
    )
    return inversion.chi_ppm


def scores(chi: np.ndarray, case: Case) -> list[float]:
    """Measures of QSM-CI, and the slope."""
    errors = qsm_eval.nrmse_challenge(chi.astype(float), case.truth.astype(float), case.mask)
    measures = [f(chi, case.truth, case.mask) for f in (qsm_eval.hfen, qsm_eval.xsim, slope)]
    return [*errors, *measures]


def draw_maps(maps: dict[str, np.ndarray], case: Case, title: str, path: Path) -> None:
    """Draw truth, maps and errors in three middle slices, demeaned in the mask."""
    from matplotlib.figure import Figure

    centred = {
        name: np.where(case.mask, chi - chi[case.mask].mean(), 0)
        for name, chi in {'truth': case.truth, **maps}.items()
    }
    middle = [int(np.median(indices)) for indices in np.nonzero(case.mask)]
    columns = list(centred)
    figure = Figure(figsize=(2.4 * len(columns), 11.5), layout='constrained', facecolor='black')
    axes = figure.subplots(6, len(columns), squeeze=False)
    for column, name in enumerate(columns):
        for axis in range(3):
            for row, image in ((axis, centred[name]), (axis + 3, centred[name] - centred['truth'])):
                panel = axes[row, column]
                panel.axis('off')
                if name == 'truth' and row > 2:
                    continue
                shape = np.delete(case.grid.voxel_size, axis)
                panel.imshow(
                    image.take(middle[axis], axis).T,
                    cmap='gray',
                    vmin=-WINDOW_PPM,
                    vmax=WINDOW_PPM,
                    origin='lower',
                    aspect=shape[1] / shape[0],
                )
        axes[0, column].set_title(name, color='white')
        if name != 'truth':
            axes[3, column].set_title(f'{name} - truth', color='white', fontsize=9)
    figure.suptitle(f'{title}: map and error, -{WINDOW_PPM} to {WINDOW_PPM} ppm', color='white')
    figure.savefig(path, dpi=90)


def draw_bars(table: Table, path: Path) -> None:
    """Draw NRMSE, XSIM and CPU time of every method on every scan."""
    from matplotlib.figure import Figure

    scans = list(dict.fromkeys(row[0] for row in table.rows))
    methods = list(dict.fromkeys(row[1] for row in table.rows))
    figure = Figure(figsize=(1.2 * len(scans) + 3, 8), layout='constrained')
    panels = figure.subplots(3, 1, sharex=True)
    width = 0.8 / len(methods)
    for panel, name in zip(panels, ('NRMSE [%]', 'XSIM', 'CPU [s]'), strict=True):
        index = table.columns.index(name)
        for i, method in enumerate(methods):
            bars = [(scans.index(r[0]), r[index]) for r in table.rows if r[1] == method]
            places, heights = zip(*bars, strict=True)
            panel.bar(np.array(places) + (i + 0.5) * width - 0.4, heights, width, label=method)
        panel.set_ylabel(name)
        panel.grid(axis='y', alpha=0.3)
    panels[2].set_yscale('log')
    panels[0].legend(ncols=len(methods), loc='lower center', bbox_to_anchor=(0.5, 1))
    panels[2].set_xticks(range(len(scans)), scans, rotation=20)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the benchmark."""
    parser = build_parser()
    args = parse(parser)
    heads = find_heads(args.labels)
    slabs = sorted(args.slabs.glob('*_phs.nii.gz')) if args.slabs else []
    known = [*SIMULATED, *(path.name.removesuffix('_phs.nii.gz') for path in slabs)]
    rows = args.rows or known
    if unknown := [row for row in rows if row not in known]:
        parser.error(f'no row {", ".join(unknown)}; choose of {", ".join(known)}')
    table = Table(f'Dipole inversions, {args.threads} thread(s)', (*COLUMNS, *COST), [])
    for row in rows:
        case = simulated(row, heads, args.seed) if row in SIMULATED else in_vivo(args.slabs, row)
        maps = {}
        for method in args.methods:
            maps[method], cost = measure(reconstruct, case, method, args.device)
            numbers = scores(maps[method], case)
            table.add(row, method, *numbers, cost.cpu_s, cost.wall_s, cost.peak_gb)
        draw_maps(maps, case, row, args.out / f'maps_{row}.png')
    table.write(args.out, 'inversion')
    draw_bars(table, args.out / 'inversion_bars.png')


if __name__ == '__main__':
    main()

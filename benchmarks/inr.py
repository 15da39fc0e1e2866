"""What the parts of inr and inr-qsm are worth, on a simulated head; and their finer maps.

Every fit runs in a process of its own. The head is one that no other table shows; where no folder
of label volumes is given it is analytic.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from arguments import benchmark_parser, parse
from inversion import Case, scores
from measure import Table, measure
from scipy.ndimage import map_coordinates

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.inversion.inr_qsm import fit
from qsmprep.qsm.resolution import evaluate_on
from qsmprep.qsm.simulate import simulate_local_field
from qsmprep.training.heads import find_heads, read_head

COLUMNS = ('part', 'setting', 'NRMSE [%]', 'detrended [%]', 'HFEN [%]', 'XSIM', 'slope')
COST = ('CPU [s]', 'peak [GB]')
PARTS = ('loss', 'networks', 'published', 'finer')
HEAD, SEED = 10, 301


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, 'labels', 'threads', out='folder for the table')
    add = parser.add_argument
    add('--voxel-mm', type=float, default=2.0, help='voxel size')
    add('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    add('--width', type=int, default=512, help='hidden units of inr-qsm')
    add('--epochs', type=int, default=20, help='passes of inr-qsm over the field')
    add('--warm-up', type=int, default=5, help='passes of inr-qsm over the first map')
    add('--seeds', type=int, default=3, help='fits of inr-qsm with seeds of their own')
    return parser


def simulated(heads: list[Path], voxel_mm: float) -> Case:
    """Simulate the head."""
    head = read_head(heads[HEAD % len(heads)]) if heads else None
    scan = simulate_local_field(head, seed=SEED, voxel_size=(voxel_mm,) * 3)
    field = scan.measured_ppm.astype(np.float32)
    return Case(field, scan.chi, scan.mask, scan.grid, scan.noise_ppm)


def reconstruct(case: Case, method: str, parameters: dict, seed: int = 0) -> tuple:
    """Susceptibility map, and the parameters that were used."""
    found = invert(
        case.field, case.mask, case.grid, method, noise_ppm=case.noise, seed=seed, **parameters
    )
    return found.chi_ppm, found.parameters


def compare_losses(table: Table, case: Case) -> None:
    """Add rows for weights, percentiles, fidelity and early stopping of inr."""
    (chi, _), cost = measure(reconstruct, case, 'tv', {})
    table.add('warm start', 'tv', *scores(chi, case), cost.cpu_s, cost.peak_gb)
    (chi, used), cost = measure(reconstruct, case, 'inr', {})
    name = f'as shipped, {used["iterations"]} iterations'
    table.add('inr', name, *scores(chi, case), cost.cpu_s, cost.peak_gb)
    weight = used['regularisation']
    settings = [
        ('TV weight', f'x {f:g}', {'regularisation': f * weight}) for f in (0.25, 0.5, 2, 4)
    ]
    settings += [
        ('edges', 'percentiles 50-70, as published', {'percentiles': (50, 70)}),
        ('edges', 'no edge is spared', {'percentiles': (99.99, 100)}),
        ('fidelity', 'complex, phase noise 0.02 rad', {'phase_noise': 0.02}),
        ('end', '400 iterations, tolerance 0', {'iterations': 400, 'tolerance': 0.0}),
        ('end', '70 iterations', {'iterations': 70}),
    ]
    for part, name, parameters in settings:
        if 'percentiles' in parameters:
            low, high = parameters.pop('percentiles')
            parameters |= {'lower_percentile': low, 'upper_percentile': high}
        (chi, _), cost = measure(reconstruct, case, 'inr', parameters)
        table.add(part, name, *scores(chi, case), cost.cpu_s, cost.peak_gb)


NETWORKS = {
    'as it is': {},
    'map of least loss, no network': {'imitated': True},
    'one network': {'MOST_VOXELS': 10**9},
    'one network, 512 wide': {'MOST_VOXELS': 10**9, 'width': 512},
    'blocks of half the size': {'MOST_VOXELS': fit.MOST_VOXELS // 2},
    '20 epochs': {'epochs': 20},
    'twice the rate, 20 epochs': {'learning_rate': 2 * fit.HIDDEN_RATE, 'epochs': 20},
}
"""Departures of inr-qsm from its default: names in its module, or its parameters."""


def reconstruct_under(case: Case, condition: dict) -> np.ndarray:
    """Map of inr-qsm under a condition; without its network where this is asked for."""
    parameters = dict(condition)
    if parameters.pop('imitated', False):
        fit.network_map = lambda network, mask: network * mask
        fit._imitate = lambda wanted, *given: (wanted, {})
    for name in condition.keys() & vars(fit).keys():
        setattr(fit, name, parameters.pop(name))
    return reconstruct(case, 'inr-qsm', parameters)[0]


def compare_networks(table: Table, case: Case) -> None:
    """Add rows for the size, number and training of the networks of inr-qsm."""
    for name, condition in NETWORKS.items():
        chi, cost = measure(reconstruct_under, case, condition)
        table.add('networks', name, *scores(chi, case), cost.cpu_s, cost.peak_gb)


def compare_published(table: Table, case: Case, args: argparse.Namespace) -> None:
    """Add rows for inr-qsm under its paper's settings: compensation, regularisation, seeds.

    The learning rate rises as the width falls, as does the step that a network bears.
    """
    shape = {
        'published': True,
        'width': args.width,
        'epochs': args.epochs,
        'warm_up': args.warm_up,
        'learning_rate': 1e-5 * 512 / args.width,
    }
    (chi, _), cost = measure(reconstruct, case, 'wiener', {})
    table.add('warm start', 'wiener', *scores(chi, case), cost.cpu_s, cost.peak_gb)
    maps = []
    for seed in range(args.seeds):
        (chi, _), cost = measure(reconstruct, case, 'inr-qsm', shape, seed)
        name = f'width {args.width}, {args.epochs} epochs, seed {seed}'
        table.add('inr-qsm', name, *scores(chi, case), cost.cpu_s, cost.peak_gb)
        maps.append(chi[case.mask])
    if len(maps) > 1:
        spread = 1e3 * float(np.sqrt(np.var(maps, axis=0, ddof=1).mean()))
        table.add('inr-qsm', f'SD over seeds: {spread:.2f} ppb')
    for part, name, parameters in (
        ('compensation', 'none', {'compensate': False}),
        ('TV weight', '0.02', {'regularisation': 0.02}),
        ('gradient term', 'none', {'gradient_weight': 0.0}),
    ):
        (chi, _), cost = measure(reconstruct, case, 'inr-qsm', {**shape, **parameters})
        table.add(part, name, *scores(chi, case), cost.cpu_s, cost.peak_gb)


def compare_finer(table: Table, heads: list[Path], voxel_mm: float) -> None:
    """Add rows for maps at half the voxel size, from fields averaged over 2 x 2 x 2 voxels."""
    fine = simulated(heads, voxel_mm / 2)
    fine = _even(fine)
    shape = tuple(n // 2 for n in fine.grid.shape)

    def halved(image: np.ndarray) -> np.ndarray:
        return image.reshape(shape[0], 2, shape[1], 2, shape[2], 2).mean((1, 3, 5))

    grid = Grid(shape, (voxel_mm,) * 3, fine.grid.b0_direction)
    mask = halved(fine.mask.astype(float)) == 1
    noise = halved(fine.noise) / np.sqrt(8)
    centres = [(np.arange(m) + 0.5) / 2 - 0.5 for m in fine.grid.shape]
    inside = mask.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    wanted = replace(fine, truth=fine.truth * inside, mask=inside)
    for method in ('tv', 'inr', 'inr-qsm'):
        found = invert(halved(fine.field) * mask, mask, grid, method, noise_ppm=noise)
        nodes = np.meshgrid(*centres, indexing='ij')
        maps = {
            f'interpolated, {name}': map_coordinates(found.chi_ppm, nodes, order=o, mode='nearest')
            for name, o in (('nearest', 0), ('linear', 1), ('cubic', 3))
        }
        if found.function is not None:
            maps['its function'] = evaluate_on(found.function, mask, grid, fine.grid)
        for name, chi in maps.items():
            table.add(f'half voxels: {method}', name, *scores(chi * inside, wanted))


def _even(case: Case) -> Case:
    """Case cut to an even number of voxels along each axis."""
    shape = tuple(n - n % 2 for n in case.grid.shape)
    cut = tuple(slice(n) for n in shape)
    images = (case.field[cut], case.truth[cut], case.mask[cut])
    return Case(*images, replace(case.grid, shape=shape), case.noise[cut])


def main() -> None:
    """Run the benchmark."""
    args = parse(build_parser())
    heads = find_heads(args.labels)
    table = Table(
        f'Parts of inr and inr-qsm, {args.voxel_mm:g} mm, {args.threads} thread(s)',
        (*COLUMNS, *COST),
        [],
    )
    if {'loss', 'networks', 'published'} & set(args.parts):
        case = simulated(heads, args.voxel_mm)
    if 'loss' in args.parts:
        compare_losses(table, case)
    if 'networks' in args.parts:
        compare_networks(table, case)
    if 'published' in args.parts:
        compare_published(table, case, args)
    if 'finer' in args.parts:
        compare_finer(table, heads, args.voxel_mm)
    table.write(args.out, '_'.join(['inr', *args.parts]))


if __name__ == '__main__':
    main()

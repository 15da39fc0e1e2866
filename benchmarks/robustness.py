"""How the inversions bear noise, coarse voxels, a tilted head, lesions, and holes in the mask.

One thing at a time departs from a base case: the last of the label volumes, which training holds
out, 2 mm, B0 along the third axis, SNR 100, no lesion, no hole. A lesion is an ellipsoid of 6 mm
radius in the depth of the white matter whose susceptibility is added to the head's; the error is
then that of the rest of the brain, and the lesion's mean is compared with the true one. A hole is
a ball of 4 mm radius without field; its sources stay. Maps are scored by the scorer of QSM-CI
inside the mask.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from arguments import benchmark_parser, parse
from inversion import Case, scores
from measure import Table
from scipy.ndimage import distance_transform_edt

from qsmprep.methods import INVERSIONS
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.metrics import region_errors
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate import LabelledHead, LocalField, Tissue, simulate_local_field
from qsmprep.training.heads import find_heads, read_head

COLUMNS = ('departure', 'value', 'method', 'NRMSE [%]', 'HFEN [%]', 'XSIM')
SHARES = ('lesion found [%]', 'field explained [%]')
DEFAULT_METHODS = ('tkd', 'wiener', 'tv', 'inr', 'diffusion')
BASE = {'voxel_size': (2.0, 2.0, 2.0), 'supersampling': (2, 2, 2), 'snr': 100.0}
SNRS = (200, 50, 20, 10)
VOXELS_MM = ((1.4, 1.4, 1.4), (2.5, 2.5, 2.5), (3.0, 3.0, 3.0), (1.5, 1.5, 3.0))
TILTS_DEG = (15, 30, 45, 60, 90)
LESIONS_PPM = (-1.0, -0.5, 0.5, 1.0)
LESION_RADII_MM = (6.0, 7.0, 5.0)
HOLES_PERCENT = (2, 5, 10)
HOLE_RADIUS_MM = 4.0
AXES = {
    'SNR': ('SNR', 100),
    'voxel [mm]': ('voxel [mm]', '2'),
    'tilt [deg]': ('tilt of B0 [deg]', 0),
    'lesion [ppm]': ('rest of a brain with a lesion [ppm]', 0.0),
    'holes [%]': ('holes in the mask [%]', 0),
}


@dataclass(frozen=True)
class Departure:
    """A case that differs from the base in one thing; the lesion, where there is one."""

    name: str
    value: float | str
    case: Case
    lesion: np.ndarray | None = None


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(
        __doc__, 'labels', 'threads', out='folder for the table and the figure'
    )
    add = parser.add_argument
    add('--methods', nargs='+', choices=INVERSIONS, default=list(DEFAULT_METHODS))
    add('--departures', nargs='+', choices=AXES, default=list(AXES), metavar='NAME')
    add('--prior', type=Path, help='weights for the methods that take them')
    add('--seed', type=int, default=5, help='of the simulation')
    return parser


def to_case(scan: LocalField, mask: np.ndarray | None = None) -> Case:
    """Case of a scan, inverted and scored in a mask."""
    mask = scan.mask if mask is None else mask
    field = (scan.measured_ppm * mask).astype(np.float32)
    return Case(field, scan.chi, mask, scan.grid, scan.noise_ppm)


def distance_mm(grid: Grid, centre: np.ndarray, radii_mm: tuple[float, ...]) -> np.ndarray:
    """Distance of voxels from a centre [voxels], in units of the radii of an ellipsoid."""
    squared = 0.0
    for axis, (size, c, r) in enumerate(zip(grid.voxel_size, centre, radii_mm, strict=True)):
        position = (np.arange(grid.shape[axis]) - c) * size / r
        squared = squared + np.expand_dims(position**2, tuple({0, 1, 2} - {axis}))
    return np.sqrt(squared)


def with_lesion(scan: LocalField, excess_ppm: float) -> tuple[Case, np.ndarray]:
    """Case with an ellipsoid in the depth of the white matter, and the voxels that it fills."""
    white = scan.labels == int(Tissue.WHITE_MATTER)
    depth = distance_transform_edt(white, sampling=scan.grid.voxel_size)
    centre = np.array(np.unravel_index(depth.argmax(), depth.shape))
    ratio = distance_mm(scan.grid, centre, LESION_RADII_MM)
    edge = np.mean(LESION_RADII_MM) / np.mean(scan.grid.voxel_size)
    filled = np.clip(0.5 + (1 - ratio) * edge, 0, 1) * scan.mask
    added = torch.from_numpy((excess_ppm * filled).astype(np.float32))
    field = Dipole(scan.grid, padding=2.0).forward(added).numpy() * scan.mask
    scan = replace(scan, chi=scan.chi + added.numpy(), measured_ppm=scan.measured_ppm + field)
    return to_case(scan), filled > 0


def with_holes(scan: LocalField, percent: float, seed: int) -> Case:
    """Case whose mask lacks balls, until a percentage of it is gone."""
    rng, mask = np.random.default_rng(seed), scan.mask.copy()
    places = np.argwhere(scan.mask)
    while mask.sum() > (1 - percent / 100) * scan.mask.sum():
        centre = places[rng.integers(len(places))]
        mask &= distance_mm(scan.grid, centre, (HOLE_RADIUS_MM,) * 3) > 1
    return to_case(scan, mask)


def departures(head: LabelledHead | None, names: list[str], seed: int) -> Iterator[Departure]:
    """Simulate the base case and its departures one after the other."""

    def simulated(**changes) -> LocalField:
        return simulate_local_field(head, seed=seed, **{**BASE, **changes})

    base = simulated()
    yield Departure('base', '', to_case(base))
    if 'SNR' in names:
        for snr in SNRS:
            yield Departure('SNR', snr, to_case(simulated(snr=float(snr))))
    if 'voxel [mm]' in names:
        for size in VOXELS_MM:
            text = 'x'.join(f'{v:g}' for v in (size if len(set(size)) > 1 else size[:1]))
            yield Departure('voxel [mm]', text, to_case(simulated(voxel_size=size)))
    if 'tilt [deg]' in names:
        for degrees in TILTS_DEG:
            angle = np.deg2rad(degrees)
            tilted = simulated(b0_direction=(0.0, float(np.sin(angle)), float(np.cos(angle))))
            yield Departure('tilt [deg]', degrees, to_case(tilted))
    if 'lesion [ppm]' in names:
        for excess_ppm in LESIONS_PPM:
            yield Departure('lesion [ppm]', excess_ppm, *with_lesion(base, excess_ppm))
    if 'holes [%]' in names:
        for percent in HOLES_PERCENT:
            yield Departure('holes [%]', percent, with_holes(base, percent, seed))


def evaluate(departure: Departure, method: str, prior: Path | None) -> list[float | None]:
    """NRMSE, HFEN and XSIM, the share of the lesion that is found, and of the field explained."""
    case, lesion = departure.case, departure.lesion
    given = prior is not None and 'prior' in INVERSIONS[method].needs
    inversion = invert(
        case.field,
        case.mask,
        case.grid,
        method,
        noise_ppm=case.noise,
        **({'prior': str(prior)} if given else {}),
    )
    found = None
    if lesion is not None:
        region = region_errors(inversion.chi_ppm, case.truth, lesion, case.mask)[1]
        found = 100 * region.mean / region.truth
        case = replace(case, mask=case.mask & ~lesion)
    nrmse, _, hfen, xsim, _ = scores(inversion.chi_ppm, case)
    return [nrmse, hfen, xsim, found, 100 * inversion.explained]


def draw(table: Table, methods: list[str], names: list[str], path: Path) -> None:
    """Draw error and similarity over each departure, and what is found of lesions."""
    from matplotlib.figure import Figure

    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    figure = Figure(figsize=(3 * len(names) + 3, 6.4), layout='constrained')
    panels = figure.subplots(2, len(names) + 1, squeeze=False)
    for column, name in enumerate(names):
        label, base_value = AXES[name]
        for method in methods:
            own = [row for row in rows if row['method'] == method]
            values = {row['value']: row for row in own if row['departure'] == name}
            values[base_value] = next(row for row in own if row['departure'] == 'base')
            order = sorted(values, key=lambda v: voxel_edge_mm(v) if isinstance(v, str) else v)
            for panel, measure in zip(panels[:, column], (COLUMNS[3], COLUMNS[5]), strict=True):
                panel.plot(order, [values[v][measure] for v in order], '.-', label=method)
            if name == 'lesion [ppm]':
                order.remove(base_value)
                found = [values[v][SHARES[0]] for v in order]
                panels[0, -1].plot(order, found, '.-', label=method)
        panels[0, column].set_title(label, fontsize=10)
        if name == 'SNR':
            for panel in panels[:, column]:
                panel.set_xscale('log')
                panel.set_xticks(sorted((*SNRS, base_value)), sorted((*SNRS, base_value)))
                panel.minorticks_off()
    for measure, row in zip((COLUMNS[3], COLUMNS[5]), panels[:, :-1], strict=True):
        row[0].set_ylabel(measure)
        limits = [f(panel.get_ylim()[i] for panel in row) for i, f in enumerate((min, max))]
        for panel in row:
            panel.set_ylim(limits)
            panel.grid(alpha=0.3)
    panels[0, -1].set_title('mean of a lesion [ppm]', fontsize=10)
    panels[0, -1].set_ylabel(SHARES[0])
    panels[0, -1].grid(alpha=0.3)
    panels[1, -1].axis('off')
    handles, labels = panels[0, 0].get_legend_handles_labels()
    panels[1, -1].legend(handles, labels, loc='center')
    figure.savefig(path, dpi=110)


def voxel_edge_mm(text: str) -> float:
    """Edge of a cube of a voxel's volume [mm].

    Examples
    --------
    >>> voxel_edge_mm('2'), voxel_edge_mm('1x2x4')
    (2.0, 2.0)

    """
    edges = [float(part) for part in text.split('x')]
    return float(np.prod(edges if len(edges) > 1 else 3 * edges) ** (1 / 3))


def main() -> None:
    """Run the benchmark."""
    args = parse(build_parser())
    heads = find_heads(args.labels)
    head = read_head(heads[-1]) if heads else None
    table = Table('Robustness', (*COLUMNS, *SHARES), [])
    for departure in departures(head, args.departures, args.seed):
        for method in args.methods:
            numbers = evaluate(departure, method, args.prior)
            table.add(departure.name, departure.value, method, *numbers)
    table.write(args.out, 'robustness_table')
    draw(table, args.methods, args.departures, args.out / 'robustness.png')


if __name__ == '__main__':
    main()

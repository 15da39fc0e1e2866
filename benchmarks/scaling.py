"""Cost of background removals and inversions against the number of voxels.

One head is sampled on grids of N x N x N voxels, finer and finer. Every cost is also given in
units of one pair of Fourier transforms (real, single precision, forth and back) of that grid. The
methods crop the grid to the box of the brain, a fifth of it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from arguments import benchmark_parser, parse
from measure import QUICK_METHODS, Cost, Table, measure

from qsmprep.methods import BACKGROUNDS, INVERSIONS
from qsmprep.qsm.background import remove_background
from qsmprep.qsm.grid import hz_to_ppm
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.simulate import simulate_head

FIELD_OF_VIEW_MM = 240.0
FIELD_STRENGTH_T = 3.0
COLUMNS = ('N', 'stage', 'method', 'CPU [s]', 'wall [s]', 'peak [GB]', 'FFT pairs', 'us / voxel')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, out='folder for the table')
    add = parser.add_argument
    add('--sizes', type=int, nargs='+', default=(64, 96, 128, 192, 256), help='voxels along a side')
    add('--backgrounds', nargs='+', choices=BACKGROUNDS, default=list(BACKGROUNDS))
    add('--inversions', nargs='+', choices=INVERSIONS, default=list(QUICK_METHODS))
    add('--repeats', type=int, default=1, help='costs are the medians of so many runs')
    add('--threads', type=int, default=1, help='threads of each method')
    return parser


def simulate(size: int) -> dict[str, object]:
    """Fields [ppm], brain mask and grid of the analytic head on a cube of voxels."""
    scan = simulate_head(
        shape=(size,) * 3,
        voxel_size=(FIELD_OF_VIEW_MM / size,) * 3,
        field_strength_t=FIELD_STRENGTH_T,
        echo_times_s=(0.02,),
        supersampling=(1, 1, 1),
    )
    return {
        'total': hz_to_ppm(scan.total_field_hz, FIELD_STRENGTH_T),
        'local': hz_to_ppm(scan.local_field_hz, FIELD_STRENGTH_T),
        'mask': scan.brain,
        'grid': scan.grid,
    }


def transform_pair_s(size: int) -> float:
    """CPU time of a Fourier transform forth and back [s]: the least of several."""
    image = torch.randn((size,) * 3)
    times = []
    for _ in range(4):
        begin = time.process_time()
        torch.fft.irfftn(torch.fft.rfftn(image), s=image.shape)
        times.append(time.process_time() - begin)
    return min(times)


def separate(head: dict, method: str) -> None:
    """Remove the background."""
    remove_background(head['total'], head['mask'], head['grid'], method)


def reconstruct(head: dict, method: str) -> None:
    """Invert the local field."""
    invert(head['local'], head['mask'], head['grid'], method)


def warm_up(args: argparse.Namespace) -> None:
    """Compile what is compiled on first use."""
    head = simulate(32)
    for method in args.backgrounds:
        separate(head, method)


def main() -> None:
    """Run the benchmark."""
    args = parse(build_parser())
    table = Table(
        f'Cost against the number of voxels N^3, analytic head in {FIELD_OF_VIEW_MM:g} mm',
        COLUMNS,
        [],
    )
    measure(warm_up, args)
    for size in args.sizes:
        head, _ = measure(simulate, size)
        pair_s, cost = measure(transform_pair_s, size)
        table.add(size, 'FFT pair', '', *cells(replace(cost, cpu_s=pair_s, wall_s=None), size))
        for stage, function, methods in (
            ('background', separate, args.backgrounds),
            ('inversion', reconstruct, args.inversions),
        ):
            for method in methods:
                _, cost = measure(function, head, method, repeats=args.repeats)
                table.add(size, stage, method, *cells(cost, size, pair_s))
    table.write(args.out, 'scaling')
    draw(table, args.out / 'scaling_curves.png')


def cells(cost: Cost, size: int, pair_s: float | None = None) -> list:
    """Cells of a row after the method."""
    pairs = cost.cpu_s / pair_s if pair_s else 1.0
    return [cost.cpu_s, cost.wall_s, cost.peak_gb, pairs, 1e6 * cost.cpu_s / size**3]


def draw(table: Table, path: Path) -> None:
    """Draw CPU time and memory over the number of voxels."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(10, 4.2), layout='constrained')
    panels = figure.subplots(1, 2)
    curves: dict[tuple[str, str], list] = {}
    for size, stage, method, cpu_s, _, peak_gb, *_ in table.rows:
        curves.setdefault((stage, method), []).append((size**3, cpu_s, peak_gb))
    styles = {'FFT pair': 'k:', 'background': '--', 'inversion': '-'}
    for axes, column, label in ((panels[0], 1, 'CPU time [s]'), (panels[1], 2, 'peak memory [GB]')):
        for (stage, method), points in curves.items():
            values = np.array(points, dtype=float)
            name = f'{stage}: {method}' if method else stage
            axes.loglog(values[:, 0], values[:, column], styles[stage], marker='o', label=name)
        sizes = sorted({row[0] for row in table.rows})
        axes.set_xticks([n**3 for n in sizes], [f'{n}³' for n in sizes])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter('{x:g}')
        axes.set_xlabel('voxels')
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside right upper')
    figure.savefig(path, dpi=150)


if __name__ == '__main__':
    main()

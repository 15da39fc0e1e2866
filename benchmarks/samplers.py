"""The samplers on one prior: diffusion, Diffusion-QSM, DM-QSM, their ablations, and the spread.

A head that training holds out is simulated; each sampler is run with and without what its paper
adds (time travel; overlap of the windows), and the share of voxels whose error lies within one and
two of the spread is counted for ``diffusion``, on the simulated head with two noise levels.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from inversion import COLUMNS, COST, Case, draw_maps, scores
from measure import Table, measure

from qsmprep.cli.simulate import find_heads, read_head
from qsmprep.qsm.invert import Inversion, invert
from qsmprep.qsm.simulate import simulate_local_field


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--out', type=Path, required=True, help='folder for tables and pictures')
    add('--labels', type=Path, required=True, help='folder of label volumes; the last is used')
    add('--voxel-mm', type=float, default=2.0)
    add('--steps', type=int, default=200, help='steps of the published samplers')
    add('--samples', type=int, default=4, help='posterior samples for the spread')
    add('--threads', type=int, default=1)
    return parser


def simulated(head: Path, voxel_mm: float, snr: float) -> Case:
    """Simulate the local field of a head."""
    scan = simulate_local_field(
        read_head(head), voxel_size=(voxel_mm,) * 3, supersampling=(2, 2, 2), snr=snr, seed=5
    )
    field = scan.measured_ppm.astype(np.float32)
    return Case(field, scan.chi, scan.mask, scan.grid, scan.noise_ppm)


def run(case: Case, method: str, parameters: dict) -> Inversion:
    """Invert a case."""
    return invert(case.field, case.mask, case.grid, method, noise_ppm=case.noise, **parameters)


def coverage(inversion: Inversion, case: Case) -> tuple[float, float]:
    """Percentage of voxels with an error within one and within two of the spread."""
    error = (inversion.chi_ppm - case.truth)[case.mask]
    ratio = np.abs(error - error.mean()) / inversion.sd_ppm[case.mask]
    return 100 * float((ratio < 1).mean()), 100 * float((ratio < 2).mean())


def main() -> None:
    """Run the benchmark."""
    args = build_parser().parse_args()
    os.environ['OMP_NUM_THREADS'] = str(args.threads)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    head = find_heads(args.labels)[-1]
    runs = {
        'tv': ('tv', {}),
        'diffusion': ('diffusion', {}),
        'diffusion-qsm': ('diffusion-qsm', {'steps': args.steps}),
        'diffusion-qsm, no time travel': ('diffusion-qsm', {'steps': args.steps, 'late_steps': 0}),
        'dm-qsm': ('dm-qsm', {'steps': args.steps}),
        'dm-qsm, no overlap': ('dm-qsm', {'steps': args.steps, 'overlap': 0}),
    }
    case = simulated(head, args.voxel_mm, 100.0)
    title = f'Samplers, {args.voxel_mm:g} mm, {args.steps} steps of the published ones'
    table, maps = Table(title, (*COLUMNS[1:], *COST), []), {}
    for name, (method, parameters) in runs.items():
        inversion, cost = measure(run, case, method, parameters)
        maps[name] = inversion.chi_ppm
        table.add(name, *scores(inversion.chi_ppm, case), cost.cpu_s, cost.wall_s, cost.peak_gb)
    table.write(args.out, 'samplers')
    draw_maps(maps, case, 'samplers', args.out / 'samplers.png')

    table = Table('Spread', ('SNR', 'samples', 'within 1 spread [%]', 'within 2 [%]'), [])
    for snr in (100.0, 30.0):
        case = simulated(head, args.voxel_mm, snr)
        inversion = run(case, 'diffusion', {'samples': args.samples})
        table.add(snr, args.samples, *coverage(inversion, case))
    table.write(args.out, 'spread')


if __name__ == '__main__':
    main()

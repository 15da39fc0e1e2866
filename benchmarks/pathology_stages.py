"""Which stage costs how much: each stage of the default chain replaced by its truth in turn.

The heads are those of ``pathology.py``, the true brain mask is given. A row starts at the stage
whose truth it takes; what follows is done as the graph does it. "Even noise" gives the stages the
median of the noise map for all voxels.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pathology
import torch
from arguments import benchmark_parser
from measure import Table
from pathology_cases import CASES, simulate
from qsm_ci.qsm_eval import score_arrays

from qsmprep.qsm.background import remove_background
from qsmprep.qsm.grid import hz_to_ppm
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.simulate import Scan
from qsmprep.training.heads import find_heads, read_head

COLUMNS = ('case', 'from', 'local field [%]', 'NRMSE [%]', 'XSIM', 'slope', 'lesion mean [%]')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, 'labels', out='folder for the table')
    add = parser.add_argument
    add('--voxel', type=float, default=2.5, help='edge of a voxel [mm]')
    add('--cases', nargs='+', default=list(CASES)[:4], metavar='CASE', help='some of the cases')
    add('--background', default='pdf', help='background field removal')
    add('--inversion', default='tv', help='dipole inversion')
    return parser


def stages(scan: Scan, images: dict[str, np.ndarray], background: str) -> dict[str, tuple]:
    """Local field [Hz], its mask and its noise [Hz] by the stage that was replaced."""
    brain, reliable = scan.brain, images['reliable_mask'] > 0
    noise = images['field_noise']
    even = np.full_like(noise, np.median(noise[reliable]))
    error = images['total_field'] - scan.total_field_hz
    error -= np.median(error[reliable])
    found = {'wrapped phase': (images['local_field'], reliable, images['local_noise'])}

    def removed(total: np.ndarray, mask: np.ndarray, sd: np.ndarray) -> tuple:
        removal = remove_background(total, mask, scan.grid, background, noise=sd, tissue=brain)
        return removal.local_field, removal.mask, removal.noise

    found['true total field'] = removed(scan.total_field_hz, reliable, noise)
    found['true total field, even noise'] = removed(scan.total_field_hz, brain, even)
    found['true local field, error of the total'] = scan.local_field_hz + error, reliable, noise
    found['true local field'] = scan.local_field_hz, reliable, noise
    found['true local field, even noise'] = scan.local_field_hz, brain, even
    return found


def score(scan: Scan, lesion: np.ndarray, field: tuple, inversion: str) -> list[float]:
    """Columns of the table from a local field on."""
    local, mask, noise = field
    field_ppm, noise_ppm = (hz_to_ppm(i * mask, scan.field_strength_t) for i in (local, noise))
    chi = invert(
        field_ppm,
        mask,
        scan.grid,
        inversion,
        tissue=scan.brain,
        noise_ppm=noise_ppm,
        after_background=True,
    ).chi_ppm.astype(np.float64)
    brain, truth = scan.brain, (scan.chi * scan.brain).astype(np.float64)
    chi = np.where(brain, chi - chi[brain].mean(), 0)
    metrics, _ = score_arrays(chi, truth, brain.astype(np.uint8), 'chi')
    a, b = (i[brain] - i[brain].mean() for i in (chi, truth))
    mean, expected = (i[lesion].mean() - i[brain].mean() for i in (chi, truth))
    error = pathology.relative_error(local, scan.local_field_hz, mask)
    return [error, metrics['nrmse'], metrics['xsim'], float(a @ b / (b @ b)), 100 * mean / expected]


def main() -> None:
    """Run the benchmark."""
    args = build_parser().parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    heads = find_heads(args.labels)
    pathology.OUTPUTS += ('field_noise',)
    chain = f'{args.background} + {args.inversion}'
    table = Table(f'Stages replaced by their truth, {args.voxel:g} mm, {chain}', COLUMNS, [])
    for name in args.cases:
        seed = list(CASES).index(name)
        head = read_head(heads[seed % len(heads)]) if heads else None
        scan, lesion, _ = simulate(CASES[name], head, args.voxel, seed)
        with tempfile.TemporaryDirectory() as folder:
            images = pathology.run_chain(scan, Path(folder), args.background, args.inversion)
        for stage, field in stages(scan, images, args.background).items():
            table.add(name, stage, *score(scan, lesion, field, args.inversion))
    table.write(args.out, 'pathology_stages')


if __name__ == '__main__':
    main()

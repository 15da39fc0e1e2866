"""DM-QSM's three tasks in one table: inversion, super-resolution, and both at once.

A head is seen by a scanner of twice its voxels, which crops its k-space (:mod:`superres`). From the
coarse field comes a coarse map, scored against the crop of the truth; from the coarse truth with
0.002 ppm of noise a fine map; and from the coarse field a fine map, in one step or in two. DM-QSM
is one sampler with three operators; beside it stand what needs no prior and what qsmprep does by
default. Maps are scored by the scorer of QSM-CI.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from arguments import benchmark_parser, parse
from measure import Table, measure
from superres import (
    MAP_NOISE_PPM,
    Case,
    draw_maps,
    interpolated,
    resolved,
    resolved_field,
    scores,
    simulate,
)

from qsmprep.qsm.diffusion.ancestral import sample, through_network
from qsmprep.qsm.diffusion.guidance import Guide
from qsmprep.qsm.diffusion.schedules import sigma_levels
from qsmprep.qsm.diffusion.weights import load_weights
from qsmprep.qsm.diffusion.windows import windowed_denoiser
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.operators import KSpaceCrop
from qsmprep.qsm.resolution import FieldOfView
from qsmprep.qsm.superres import CoarseMap, coarse_field
from qsmprep.training.heads import find_heads

COLUMNS = ('task', 'head', 'method', 'NRMSE [%]', 'HFEN [%]', 'XSIM', 'CPU [s]', 'peak [GB]')
LEVELS = (6, 0.08, 0.01)
"""Noise levels on the fine grid: their number, the first and the last [ppm]."""
SCAN = '2mm'
INVERSIONS = ('tkd', 'tikhonov', 'tv', 'diffusion', 'dm-qsm')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, 'threads', out='folder for the table and the pictures')
    add = parser.add_argument
    add('--labels', type=Path, required=True, help='folder of label volumes')
    add('--heads', type=int, default=2, help='how many heads, the last of the folder')
    add('--voxel-mm', type=float, default=1.0, help='fine voxels')
    add('--size', type=int, nargs=3, help='fine voxels; by default a field of view of the brain')
    add('--seed', type=int, default=0, help='of simulation and sampler')
    return parser


def inverted(case: Case, method: str) -> np.ndarray:
    """Coarse map of the coarse field."""
    return invert(case.field, case.mask, case.grid, method, noise_ppm=case.noise).chi_ppm


def fine_mm(case: Case) -> float:
    """Edge of a fine voxel [mm]."""
    return case.grid.voxel_size[0] * case.grid.shape[0] / case.truth.shape[0]


def dm_qsm_from_map(chi: np.ndarray, case: Case) -> np.ndarray:
    """Fine map of a coarse one, by DM-QSM's sampler."""
    view = FieldOfView.of(case.mask, case.grid, fine_mm(case), 'cpu')
    coarse, operator = view.cropped('map', chi), view.operator
    guide = CoarseMap(operator, coarse, MAP_NOISE_PPM, view.mask, view.support)
    start = view.support * operator.zero_filled(coarse)
    return _sampled(view, guide, start, lambda image, sigma: image / sigma**2)


def dm_qsm_from_field(case: Case) -> np.ndarray:
    """Fine map of the coarse field, by DM-QSM's sampler."""
    view = FieldOfView.of(case.mask, case.grid, fine_mm(case), 'cpu')
    field, noise = view.cropped('field', case.field), view.cropped('noise', case.noise)
    guide, start = coarse_field(view, field, noise)

    def whiten(image: torch.Tensor, sigma: float) -> torch.Tensor:
        return guide.dipole.filter(image, guide.stiffness(sigma))

    return _sampled(view, guide, start, whiten)


def _sampled(view: FieldOfView, guide: Guide, start: torch.Tensor, whiten) -> np.ndarray:
    denoise = windowed_denoiser(load_weights().denoiser, view.fine, view.support)
    correct = through_network(guide, whiten, view.support)
    levels = sigma_levels(*LEVELS, rho=math.inf).tolist()
    return view.uncropped(sample(denoise, correct, start, view.support, levels))


def run(case: Case, head: str, table: Table) -> dict[str, np.ndarray]:
    """Score every method on every task of one head; return the fine maps."""
    crop = KSpaceCrop(case.truth.shape, case.grid.shape)
    truth = crop.forward(torch.from_numpy(case.truth)).numpy()
    coarse = replace(case, truth=truth, truth_mask=case.mask)
    prior = (fine_mm(case), None, 'cpu')
    maps = {'truth': case.truth}

    def score(task: str, method: str, function, *arguments) -> np.ndarray:
        chi, cost = measure(function, *arguments)
        against = coarse if chi.shape == coarse.truth.shape else case
        table.add(task, head, method, *scores(chi, against), cost.cpu_s, cost.peak_gb)
        if against is case:
            maps[f'{task}: {method}'] = chi
        return chi

    found = {name: score('inversion', name, inverted, case, name) for name in INVERSIONS}
    for name in ('cubic', 'zero-filling'):
        score('super-resolution', name, interpolated, case.chi, case, name)
    score('super-resolution', 'default', resolved, case.chi, case, *prior)
    score('super-resolution', 'dm-qsm', dm_qsm_from_map, case.chi, case)
    for name in ('tikhonov', 'tv'):
        score('both', f'{name}, cubic', interpolated, found[name], case, 'cubic')
    score('both', 'dm-qsm twice', dm_qsm_from_map, found['dm-qsm'], case)
    score('both', 'default', resolved_field, case, *prior)
    score('both', 'dm-qsm', dm_qsm_from_field, case)
    return maps


def main() -> None:
    """Run the benchmark."""
    args = parse(build_parser())
    table = Table(f'Tasks of DM-QSM, {args.threads} thread(s)', COLUMNS, [])
    heads = find_heads(args.labels)[-args.heads :]
    for number, head in enumerate(heads):
        case = simulate(head, SCAN, args.size, args.seed + number, args.voxel_mm)
        name = head.name.partition('.')[0]
        draw_maps(run(case, name, table), case, args.out / f'tasks_{name}.png')
    table.write(args.out, 'tasks')


if __name__ == '__main__':
    main()

"""The samplers on one prior: diffusion, Diffusion-QSM, DM-QSM, their ablations, and the spread.

A head that training holds out is simulated; each sampler is run with and without what its paper
adds, and under the settings of its paper; then with each condition that differs from those taken
back alone. The overlap of the windows is seen at their borders, in a block of the head that windows
without overlap fill exactly: the mean step from voxel to voxel across a border, over that
elsewhere; of the error, and of a map drawn without any data. The share of voxels whose error lies
within one and two of the spread is counted for ``diffusion``, on the simulated head with two noise
levels.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from arguments import benchmark_parser, parse
from inversion import COLUMNS, COST, WINDOW_PPM, Case, draw_maps, scores
from measure import Table, measure

from qsmprep.qsm.diffusion import ancestral, published
from qsmprep.qsm.diffusion.weights import load_weights
from qsmprep.qsm.diffusion.windows import Windows, windowed_denoiser
from qsmprep.qsm.inversion import Inversion, invert
from qsmprep.qsm.inversion.wiener import wiener
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate import simulate_local_field
from qsmprep.training.heads import find_heads, read_head

PARTS = ('samplers', 'conditions', 'windows', 'spread')
WINDOW = 48
BLOCK = (2 * WINDOW, 2 * WINDOW, WINDOW)
OVERLAPS = (0, 8)
BATCH = 4


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, 'threads', out='folder for tables and pictures')
    add = parser.add_argument
    add('--labels', type=Path, required=True, help='folder of label volumes; the last is used')
    add('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    add('--voxel-mm', type=float, default=2.0, help='of the head; 0.7 of that in the block')
    add('--steps', type=int, default=48, help="steps under the papers' settings")
    add('--samples', type=int, default=4, help='posterior samples for the spread')
    return parser


def simulated(
    head: Path, voxel_mm: float, snr: float, shape: tuple[int, int, int] | None = None
) -> Case:
    """Simulate the local field of a head, or of a block about its middle."""
    scan = simulate_local_field(
        read_head(head),
        voxel_size=(voxel_mm,) * 3,
        shape=shape,
        supersampling=(2, 2, 2),
        snr=snr,
        seed=5,
    )
    field = scan.measured_ppm.astype(np.float32)
    return Case(field, scan.chi, scan.mask, scan.grid, scan.noise_ppm)


def run(case: Case, method: str, parameters: dict) -> Inversion:
    """Invert a case; what is a function of positions does not pass between processes."""
    inversion = invert(case.field, case.mask, case.grid, method, noise_ppm=case.noise, **parameters)
    return replace(inversion, function=None)


def coverage(inversion: Inversion, case: Case) -> tuple[float, float]:
    """Percentage of voxels with an error within one and within two of the spread."""
    error = (inversion.chi_ppm - case.truth)[case.mask]
    ratio = np.abs(error - error.mean()) / inversion.sd_ppm[case.mask]
    return 100 * float((ratio < 1).mean()), 100 * float((ratio < 2).mean())


def borders(length: int, overlap: int) -> list[int]:
    """First voxels behind the edges of the windows along an axis.

    Examples
    --------
    >>> borders(96, 0), borders(96, 8), borders(48, 8)
    ([48], [40, 48, 88], [])

    """
    starts = {*range(0, length - WINDOW, WINDOW - overlap), length - WINDOW}
    edges = starts | {start + WINDOW for start in starts}
    return sorted(edges - {0, length})


def seam(image: np.ndarray, mask: np.ndarray, overlap: int) -> float:
    """Mean step across the borders of windows, over that between other voxels."""
    at_borders, elsewhere = [], []
    for axis in range(3):
        step = np.abs(np.diff(image, axis=axis))
        inside = np.delete(mask, 0, axis) & np.delete(mask, -1, axis)
        border = np.isin(np.arange(1, image.shape[axis]), borders(image.shape[axis], overlap))
        border = np.expand_dims(border, tuple({0, 1, 2} - {axis}))
        at_borders.append(step[inside & border])
        elsewhere.append(step[inside & ~border])
    return float(np.concatenate(at_borders).mean() / np.concatenate(elsewhere).mean())


def compare_samplers(head: Path, args: argparse.Namespace) -> None:
    """Tabulate and draw all samplers on one head."""
    published = {'steps': args.steps, 'published': True}
    runs = {
        'tkd': ('tkd', {}),
        'tikhonov': ('tikhonov', {}),
        'tv': ('tv', {}),
        'diffusion': ('diffusion', {}),
        'inr-qsm': ('inr-qsm', {}),
        'diffusion-qsm': ('diffusion-qsm', {}),
        'dm-qsm': ('dm-qsm', {}),
        "diffusion-qsm, paper's settings": ('diffusion-qsm', published),
        "dm-qsm, paper's settings": ('dm-qsm', published),
    }
    case = simulated(head, args.voxel_mm, 100.0)
    title = f"Samplers, {args.voxel_mm:g} mm, {args.steps} steps under the papers' settings"
    table, maps = Table(title, (*COLUMNS[1:], *COST), []), {}
    for name, (method, parameters) in runs.items():
        inversion, cost = measure(run, case, method, parameters)
        maps[name] = inversion.chi_ppm
        table.add(name, *scores(inversion.chi_ppm, case), cost.cpu_s, cost.wall_s, cost.peak_gb)
    table.write(args.out, 'samplers')
    draw_maps(maps, case, 'samplers', args.out / 'samplers.png')


CONDITIONS = {
    'as it is': {},
    'no voxel weights': {'noise': None},
    'field outside the mask: completed': {'error_share': 1.0},
    'start: the map of wiener': {'tv': wiener},
    'levels from 0.03 ppm': {'HIGHEST_PPM': 0.03},
    'levels from 0.5 ppm': {'HIGHEST_PPM': 0.5},
    'levels down to 0.005 ppm': {'LOWEST_PPM': 0.005},
    'tolerance 1': {'EXACT_TOLERANCE': 1.0, 'COMPLETED_TOLERANCE': 1.0},
    'windows of 64': {'window': 64},
    'no time travel': {'late_steps': 0},
    'time travel on all levels': {'late_steps': 3},
    '12 levels': {'steps': 12},
    '50 levels': {'steps': 50},
}
"""Departures of Diffusion-QSM from its default: names in its module, or its parameters."""


def run_under(case: Case, condition: dict) -> np.ndarray:
    """Map of Diffusion-QSM under a condition."""
    parameters = dict(condition)
    for name in condition.keys() & vars(ancestral).keys():
        setattr(ancestral, name, parameters.pop(name))
    case = replace(case, noise=parameters.pop('noise', case.noise))
    return run(case, 'diffusion-qsm', parameters).chi_ppm


def compare_conditions(head: Path, args: argparse.Namespace) -> None:
    """Tabulate what each condition of Diffusion-QSM is worth."""
    case = simulated(head, args.voxel_mm, 100.0)
    title = f'Conditions of diffusion-qsm, {args.voxel_mm:g} mm'
    table = Table(title, ('condition', *COLUMNS[2:], 'CPU [s]'), [])
    for name, condition in CONDITIONS.items():
        chi, cost = measure(run_under, case, condition)
        table.add(name, *scores(chi, case), cost.cpu_s)
    table.write(args.out, 'conditions')


def compare_windows(head: Path, args: argparse.Namespace) -> None:
    """Tabulate and draw DM-QSM under its paper's settings in windows with and without overlap."""
    voxel_mm = 0.7 * args.voxel_mm
    case = simulated(head, voxel_mm, 100.0, BLOCK)
    title = f'Windows of DM-QSM, a block of {voxel_mm:g} mm, {args.steps} steps'
    columns = ('map', 'overlap [voxels]', 'seam', 'seam at 48', 'NRMSE [%]', 'XSIM', 'CPU [s]')
    table, drawn, inverted = Table(title, columns, []), {}, {}
    for overlap in OVERLAPS:
        chi, cost = measure(draw_from_prior, case, args.steps, overlap)
        drawn[f'overlap {overlap}: drawn'] = chi
        seams = (seam(chi, case.mask, overlap), seam(chi, case.mask, 0))
        table.add('drawn', overlap, *seams, None, None, cost.cpu_s)
    for overlap in OVERLAPS:
        parameters = {'published': True, 'steps': args.steps, 'window': WINDOW, 'overlap': overlap}
        inversion, cost = measure(run, case, 'dm-qsm', parameters)
        chi = inverted[f'overlap {overlap}'] = inversion.chi_ppm
        nrmse, _, _, xsim, _ = scores(chi, case)
        seams = (seam(chi - case.truth, case.mask, n) for n in (overlap, 0))
        table.add('inverted', overlap, *seams, nrmse, xsim, cost.cpu_s)
    table.write(args.out, 'windows')
    draw_windows(drawn, inverted, case, args.out / 'dmqsm-windows.png')


def draw_from_prior(case: Case, steps: int, overlap: int) -> np.ndarray:
    """Sample DM-QSM's way, under its paper's settings but with no step towards the field."""
    field, mask = torch.from_numpy(case.field), torch.from_numpy(case.mask)
    windows = Windows(WINDOW, overlap, 'uniform')
    denoise = windowed_denoiser(load_weights(None).denoiser, case.grid, mask, windows, BATCH)
    dipole = Dipole(case.grid)
    return published.dm_qsm(denoise, field, mask, dipole, guidance=0.0, steps=steps).numpy()


def draw_windows(
    drawn: dict[str, np.ndarray], inverted: dict[str, np.ndarray], case: Case, path: Path
) -> None:
    """Draw maps and errors in the middle slice; ticks mark the borders of the windows."""
    from matplotlib.figure import Figure

    images = {**drawn, 'truth': case.truth, **inverted}
    images |= {f'{name}: error': chi - case.truth for name, chi in inverted.items()}
    figure = Figure(figsize=(3 * len(images), 3.4), layout='constrained')
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    for panel, (name, image) in zip(panels, images.items(), strict=True):
        centred = np.where(case.mask, image - image[case.mask].mean(), 0)
        window = {'cmap': 'gray', 'vmin': -WINDOW_PPM, 'vmax': WINDOW_PPM, 'origin': 'lower'}
        panel.imshow(centred[:, :, BLOCK[2] // 2].T, **window)
        panel.set_title(name)
        overlap = next((n for n in OVERLAPS if name.startswith(f'overlap {n}')), None)
        edges = [] if overlap is None else borders(BLOCK[0], overlap)
        panel.set_xticks([edge - 0.5 for edge in edges], edges)
        panel.set_yticks([edge - 0.5 for edge in edges], edges)
    figure.savefig(path, dpi=110)


def compare_spread(head: Path, args: argparse.Namespace) -> None:
    """Tabulate how many errors lie within the spread of posterior samples."""
    table = Table('Spread', ('SNR', 'samples', 'within 1 spread [%]', 'within 2 [%]'), [])
    for snr in (100.0, 30.0):
        case = simulated(head, args.voxel_mm, snr)
        inversion = run(case, 'diffusion', {'samples': args.samples})
        table.add(snr, args.samples, *coverage(inversion, case))
    table.write(args.out, 'spread')


def main() -> None:
    """Run the benchmark."""
    args = parse(build_parser())
    head = find_heads(args.labels)[-1]
    parts = {
        'samplers': compare_samplers,
        'conditions': compare_conditions,
        'windows': compare_windows,
        'spread': compare_spread,
    }
    for part in args.parts:
        parts[part](head, args)


if __name__ == '__main__':
    main()

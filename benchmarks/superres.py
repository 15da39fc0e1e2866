"""Super-resolution of simulated heads against cubic interpolation and zero-filling.

A fine head is seen by a scanner that crops its k-space, noise included: 2 mm to 1 mm, and slices of
3 mm to 1 mm. Fine maps are made from three coarse ones: the true susceptibility with white noise,
a map inverted from the coarse field, and the coarse field itself. Maps are scored by the scorer of
QSM-CI against the fine truth, within both masks.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from arguments import benchmark_parser, parse
from measure import Table, measure
from qsm_ci import qsm_eval
from scipy.ndimage import zoom

from qsmprep.methods import INVERSIONS
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.operators import Dipole, KSpaceCrop
from qsmprep.qsm.resolution import finer_grid
from qsmprep.qsm.simulate import simulate_local_field
from qsmprep.qsm.superres import super_resolve, super_resolve_field
from qsmprep.training.heads import find_heads, read_head

SCANS = {'2mm': ((2, 2, 2), 1.0), '1x1x3mm': ((1, 1, 3), 'iso')}
"""Fine voxels to a coarse one, and the resolution that is asked for."""
COLUMNS = ('scan', 'from', 'method', 'NRMSE [%]', 'HFEN [%]', 'XSIM', 'CPU [s]', 'peak [GB]')
SOURCES = ('true-map', 'inverted-map', 'field')
MAP_NOISE_PPM = 0.002
WINDOW_PPM = 0.1


@dataclass(frozen=True)
class Case:
    """Coarse data, and the fine map that they come from."""

    chi: np.ndarray
    field: np.ndarray
    noise: np.ndarray
    mask: np.ndarray
    grid: Grid
    truth: np.ndarray
    truth_mask: np.ndarray


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(
        __doc__, 'labels', 'threads', 'device', out='folder for the table and the pictures'
    )
    add = parser.add_argument
    add('--heads', type=int, default=2, help='how many heads, the last of the folder')
    add('--scans', nargs='+', choices=SCANS, default=list(SCANS))
    add('--sources', nargs='+', choices=SOURCES, default=SOURCES, help='what is made finer')
    add('--inversion', choices=INVERSIONS, default='wiener', help='of the coarse field')
    add('--prior', help='weights of the prior (default: those that come with qsmprep)')
    add('--size', type=int, nargs=3, help='fine voxels; by default a field of view of the brain')
    add('--seed', type=int, default=0, help='of simulation and sampler')
    return parser


def simulate(
    head: Path | None, name: str, size: list[int] | None, seed: int, voxel_mm: float = 1.0
) -> Case:
    """Simulate a fine head, of 1 mm by default, and the coarse scan of it."""
    factors, _ = SCANS[name]
    scan = simulate_local_field(
        head and read_head(head),
        seed=seed,
        voxel_size=(voxel_mm, voxel_mm, voxel_mm),
        supersampling=(2, 2, 2),
        shape=size,
    )
    after = [-n % (2 * factor) for n, factor in zip(scan.mask.shape, factors, strict=True)]

    def padded(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.pad(image, [(0, n) for n in after]))

    truth, mask = padded(scan.chi), padded(scan.mask)
    fine = Grid(truth.shape, scan.grid.voxel_size, scan.grid.b0_direction)
    noise = padded(scan.measured_ppm - scan.local_field_ppm)
    field = Dipole(fine, padding=2).forward(truth) + noise
    shape = tuple(n // factor for n, factor in zip(fine.shape, factors, strict=True))
    operator = KSpaceCrop(fine.shape, shape)
    inside = block_mean(mask.float(), factors) > 0.5
    generator = torch.Generator().manual_seed(seed)
    chi = operator.forward(truth) + MAP_NOISE_PPM * torch.randn(shape, generator=generator)
    spread = block_mean(padded(scan.noise_ppm), factors) * operator.share**0.5
    images = (chi * inside, operator.forward(field) * inside, spread, inside)
    edges = tuple(float(v * f) for v, f in zip(fine.voxel_size, factors, strict=True))
    grid = Grid(shape, edges, fine.b0_direction)
    return Case(*(image.numpy() for image in images), grid, truth.numpy(), mask.numpy())


def block_mean(image: torch.Tensor, factors: tuple[int, int, int]) -> torch.Tensor:
    """Mean over blocks of voxels."""
    return torch.nn.functional.avg_pool3d(image.float()[None], factors)[0]


def interpolated(chi: np.ndarray, case: Case, method: str) -> np.ndarray:
    """Coarse map on the fine grid without a prior."""
    if method == 'zero-filling':
        operator = KSpaceCrop(case.truth.shape, case.grid.shape)
        return operator.zero_filled(torch.from_numpy(chi)).numpy()
    factors = np.divide(case.truth.shape, case.grid.shape)
    return zoom(chi, factors, order=3, mode='nearest', grid_mode=True)


def resolved(
    chi: np.ndarray, case: Case, resolution: float | str, prior: str | None, device: str
) -> np.ndarray:
    """Super-resolved map."""
    options = {'prior': prior, 'device': device}
    return super_resolve(chi, case.mask, case.grid, resolution, **options).chi_ppm


def resolved_field(
    case: Case, resolution: float | str, prior: str | None, device: str
) -> np.ndarray:
    """Fine map straight from the coarse field."""
    options = {'noise_ppm': case.noise, 'prior': prior, 'device': device}
    return super_resolve_field(case.field, case.mask, case.grid, resolution, **options).chi_ppm


def scores(chi: np.ndarray, case: Case) -> list[float]:
    """NRMSE, HFEN and XSIM of a fine map, where there are coarse data."""
    factors = [m // n for m, n in zip(case.truth.shape, case.grid.shape, strict=True)]
    mask = np.kron(case.mask, np.ones(factors, bool)) & case.truth_mask
    errors = qsm_eval.nrmse_challenge(chi.astype(float), case.truth.astype(float), mask)
    return [errors[0], *(f(chi, case.truth, mask) for f in (qsm_eval.hfen, qsm_eval.xsim))]


def draw_maps(maps: dict[str, np.ndarray], case: Case, path: Path) -> None:
    """Draw the maps, and a part of them enlarged, in an axial and a sagittal slice."""
    from matplotlib.figure import Figure

    middle = [int(np.median(indices)) for indices in np.nonzero(case.truth_mask)]
    part = tuple(slice(max(m - 30, 0), m + 30) for m in middle)
    figure = Figure(figsize=(2.6 * len(maps), 10), layout='constrained', facecolor='black')
    axes = figure.subplots(4, len(maps), squeeze=False)
    for column, (name, chi) in enumerate(maps.items()):
        centred = np.where(case.truth_mask, chi - chi[case.truth_mask].mean(), 0)
        for row, (axis, image) in enumerate(
            (axis, image) for axis in (2, 0) for image in (centred, centred[part])
        ):
            index = middle[axis] - (part[axis].start if row % 2 else 0)
            panel = axes[row, column]
            panel.axis('off')
            window = {'vmin': -WINDOW_PPM, 'vmax': WINDOW_PPM}
            panel.imshow(image.take(index, axis).T, cmap='gray', origin='lower', **window)
        axes[0, column].set_title(name, color='white', fontsize=9)
    figure.savefig(path, dpi=90)


def run(case: Case, name: str, label: str, args: argparse.Namespace, table: Table) -> dict:
    """Score every method on one scan; return the maps."""
    resolution = SCANS[name][1]
    fine = finer_grid(case.grid, resolution)
    if fine.shape != case.truth.shape:
        raise RuntimeError(f'The fine grid is {fine.shape}, the truth {case.truth.shape}.')
    options = (resolution, args.prior, args.device)
    maps, coarse = {'truth': case.truth}, {}
    if 'true-map' in args.sources:
        coarse['true map'] = case.chi
    if 'inverted-map' in args.sources:
        coarse[f'{args.inversion} map'] = invert(
            case.field, case.mask, case.grid, args.inversion, noise_ppm=case.noise, seed=args.seed
        ).chi_ppm
    for source, chi in coarse.items():
        for method in ('cubic', 'zero-filling', 'prior'):
            function, rest = (resolved, options) if method == 'prior' else (interpolated, (method,))
            result, cost = measure(function, chi, case, *rest)
            maps[f'{source}, {method}'] = result
            table.add(label, source, method, *scores(result, case), cost.cpu_s, cost.peak_gb)
    if 'field' in args.sources:
        result, cost = measure(resolved_field, case, *options)
        maps['field, prior'] = result
        table.add(label, 'field', 'prior', *scores(result, case), cost.cpu_s, cost.peak_gb)
    return maps


def main() -> None:
    """Run the benchmark."""
    args = parse(build_parser())
    heads = find_heads(args.labels)[-args.heads :] or [None]
    table = Table(f'Super-resolution, {args.threads} thread(s)', COLUMNS, [])
    for number, head in enumerate(heads):
        for name in args.scans:
            case = simulate(head, name, args.size, args.seed + number)
            label = name if head is None else f'{name} {head.name.partition(".")[0]}'
            maps = run(case, name, label, args, table)
            draw_maps(maps, case, args.out / f'superres_{label.replace(" ", "_")}.png')
    table.write(args.out, 'superres')


if __name__ == '__main__':
    main()

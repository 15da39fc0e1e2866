"""What the calibrated likelihood is worth, and whether its spectra are right.

On a simulated head (with white noise of several levels; at 2 mm with uneven noise and a planted
coloured error of several strengths) and, where a folder is given, on scans in vivo with a
reference map: the error of each method with each part of the likelihood, and the power of the
true residual beside what was estimated from the field alone; and the error on small parts of the
scans. The folder holds
``NAME_phs.nii.gz`` (local field, ppm), ``NAME_susc.nii.gz`` (susceptibility, ppm) and
``NAME_msk.nii.gz``, B0 along the third axis; such files came with the public SNU data of QSMnet.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import torch
from arguments import benchmark_parser

from qsmprep.qsm.calibration import OFF_CONE, calibrate
from qsmprep.qsm.grid import Grid, bounding_box
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.metrics import detrended_nrmse, hfen, nrmse, xsim
from qsmprep.qsm.operators import PADDING, Dipole
from qsmprep.qsm.simulate import simulate_local_field

COLUMNS = ('data', 'method', 'NRMSE [%]', 'detrended [%]', 'HFEN [%]', 'XSIM')
TIKHONOV = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2)
TKD = (0.1, 0.15, 0.2, 0.3, 0.4)
EDGES = np.geomspace(0.02, 0.85, 22)
STRENGTHS = (0.0, 0.4, 0.7, 1.0)
UNEVEN_SNR = 20.0
CROPS_MM = (48, 64)
CROP_SHIFT_MM = 24
PARTS = ('white noise', 'voxel weights', 'spectral part', 'both')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, 'threads', out='folder for the table and the figures')
    add = parser.add_argument
    add('--in-vivo', type=Path, help='folder of scans with a reference map')
    add('--noise-ppb', type=float, nargs='+', default=(0.0, 1.0, 3.0, 6.0))
    add('--voxel-mm', type=float, default=1.2, help='voxel size of the simulated head')
    return parser


def uneven(strength: float, voxel_mm: float = 2.0) -> tuple:
    """Field, truth, mask, grid and noise map of a head with uneven noise and coloured error.

    The error has the spectrum of residuals against COSMOS, 3.3e-4 ppm^2 mm^3 at 0.15 cycles/mm and
    falling with the power 2.6 of |k|, times the square of the strength.
    """
    head = simulate_local_field(voxel_size=(voxel_mm,) * 3, seed=7, snr=UNEVEN_SNR)
    generator = np.random.default_rng(8)
    wide = tuple(3 * n // 2 for n in head.mask.shape)
    axes = np.meshgrid(*[np.fft.fftfreq(n, voxel_mm) for n in wide], indexing='ij')
    k = np.sqrt(sum(axis**2 for axis in axes)).clip(0.02)
    amplitude = strength * np.sqrt(3.3e-4 * (k / 0.15) ** -2.6 / voxel_mm**3)
    error = np.fft.ifftn(np.fft.fftn(generator.standard_normal(wide)) * amplitude).real
    error = error[tuple(slice(n) for n in head.mask.shape)]
    field = (head.measured_ppm + error) * head.mask
    name = f'uneven noise, model error {strength:g}'
    return name, field, head.chi, head.mask, head.grid, head.noise_ppm


def simulated(noise_ppb: float, voxel_mm: float) -> tuple[str, np.ndarray, ...]:
    """Field, truth, mask and grid of a simulated head with white noise."""
    head = simulate_local_field(voxel_size=(voxel_mm,) * 3, seed=7)
    noise = noise_ppb * 1e-3 * np.random.default_rng(7).standard_normal(head.mask.shape)
    field = (head.local_field_ppm + noise) * head.mask
    return f'simulated, {noise_ppb:g} ppb', field, head.chi, head.mask, head.grid


def in_vivo(folder: Path) -> list[tuple]:
    """Field, reference map, mask and grid of the scans in a folder."""
    scans = []
    for path in sorted(folder.glob('*_phs.nii.gz')):
        name = path.name.removesuffix('_phs.nii.gz')
        load = {k: nb.load(folder / f'{name}_{k}.nii.gz') for k in ('phs', 'susc', 'msk')}
        images = {k: np.asarray(v.dataobj, dtype=np.float32) for k, v in load.items()}
        mask = images['msk'] > 0
        box = bounding_box(mask)
        grid = Grid(mask[box].shape, load['phs'].header.get_zooms()[:3])
        maps = (images['phs'][box] * mask[box], images['susc'][box] * mask[box], mask[box])
        scans.append((name, *maps, grid))
    return scans


def crops(name: str, field, truth, mask, grid) -> list[tuple]:
    """Cubes of a scan to both sides of its middle along the second axis."""
    middle = [(side.start + side.stop) // 2 for side in bounding_box(mask)]
    found = []
    for size in CROPS_MM:
        for shift in (-CROP_SHIFT_MM, CROP_SHIFT_MM):
            half = [round(size / v) // 2 for v in grid.voxel_size]
            centre = middle.copy()
            centre[1] += round(shift / grid.voxel_size[1])
            box = tuple(slice(max(0, c - h), c + h) for c, h in zip(centre, half, strict=True))
            images = (field[box], truth[box] * mask[box], mask[box])
            found.append(
                (f'{name}, {size} mm, {shift:+d} mm', *images, replace(grid, shape=mask[box].shape))
            )
    return found


def scores(chi: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> list[float]:
    """The four measures."""
    return [f(chi, truth, mask) for f in (nrmse, detrended_nrmse, hfen, xsim)]


def compare(name: str, field, truth, mask, grid) -> list[list]:
    """Rows of the table for one field."""
    rows = []
    for label, method, parameter, values in (
        ('TKD, best threshold', 'tkd', 'threshold', TKD),
        ('Tikhonov, best weight', 'tikhonov', 'regularisation', TIKHONOV),
    ):
        maps = [invert(field, mask, grid, method, **{parameter: v}).chi_ppm for v in values]
        rows.append([name, label, *min(scores(m, truth, mask) for m in maps)])
    return rows + with_defaults(
        name, field, truth, mask, grid, methods=('tikhonov', 'wiener', 'tv')
    )


def with_defaults(name: str, field, truth, mask, grid, *, methods=('wiener', 'tv')) -> list[list]:
    """Rows of methods with their defaults."""
    rows = []
    for method in methods:
        chi = invert(field, mask, grid, method).chi_ppm
        rows.append([name, method, *scores(chi, truth, mask)])
    return rows


def ablate(name: str, field, truth, mask, grid, noise=None) -> list[list]:
    """Rows for one field: filter and total variation with each part of the likelihood."""
    rows = []
    for part in PARTS if noise is not None else PARTS[::2]:
        weights = noise if part in ('voxel weights', 'both') else None
        share = {} if part in ('spectral part', 'both') else {'error_share': 0.0}
        for method in ('wiener', 'tv'):
            chi = invert(field, mask, grid, method, noise_ppm=weights, **share).chi_ppm
            rows.append([name, f'{method}, {part}', *scores(chi, truth, mask)])
    return rows


def draw(name: str, field, truth, mask, grid, path: Path) -> None:
    """Plot the power of the true residual on and off the cone, and the estimate from the field."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    dipole = Dipole(grid)
    image, chi = (torch.from_numpy(a.astype(np.float32)) for a in (field, truth))
    inside = torch.from_numpy(mask)
    spectra = calibrate(image, inside, grid, padding=PADDING)
    residual = (image - dipole.forward(chi)) * inside
    k, kernel = dipole.wavenumber(), dipole.kernel.abs()
    error = spectra.model_error + spectra.noise
    cone = spectra.model_error / OFF_CONE + spectra.noise
    power = {
        'true residual': dipole.transform(residual).abs().square() / inside.sum(),
        'field': dipole.transform(image).abs().square() / inside.sum(),
        'estimated: error on the cone': cone,
        'estimated: acting as noise': error,
        'estimated: field': kernel.square() * spectra.susceptibility + error,
    }
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout='constrained')
    for panel, cone in zip(panels, (True, False), strict=True):
        region = kernel < 0.08 if cone else kernel > 0.2
        for label, spectrum in power.items():
            cells = [
                region & (k > low) & (k < high)
                for low, high in zip(EDGES[:-1], EDGES[1:], strict=True)
            ]
            values = [float(spectrum[c].mean()) if c.any() else np.nan for c in cells]
            line = '--' if label.startswith('est') else '-'
            panel.loglog(np.sqrt(EDGES[1:] * EDGES[:-1]), values, line, label=label)
        panel.set_title(f'{name}: ' + ('on the cone, |D| < 0.08' if cone else '|D| > 0.2'))
        panel.set_xlabel('|k| [cycles/mm]')
        panel.xaxis.set_minor_formatter('')
    panels[0].set_ylabel('power per voxel [ppm$^2$]')
    panels[1].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the benchmark."""
    options = build_parser().parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    cases = [simulated(noise, options.voxel_mm) for noise in options.noise_ppb]
    scans = in_vivo(options.in_vivo) if options.in_vivo is not None else []
    rows, parts, small = [], [], []
    for case in cases + scans:
        rows += show(compare(*case))
        stem = case[0].replace(', ', '-').replace(' ', '')
        draw(*case, options.out / f'spectra-{stem}.png')
    for case in scans:
        parts += show(ablate(*case))
        for crop in crops(*case):
            small += show(with_defaults(*crop))
    for strength in STRENGTHS:
        parts += show(ablate(*uneven(strength)))
    for name, table in (('likelihood', rows), ('parts', parts), ('crops', small)):
        with (options.out / f'{name}.csv').open('w', newline='') as file:
            csv.writer(file).writerows([COLUMNS, *table])


def show(rows: list[list]) -> list[list]:
    """Print rows and return them."""
    for row in rows:
        print(f'{row[0]:34s} {row[1]:26s}', *(f'{v:7.3f}' for v in row[2:]), flush=True)
    return rows


if __name__ == '__main__':
    main()

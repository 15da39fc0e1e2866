"""The prior over susceptibility maps: its training stream and its denoising beside maps in vivo.

Draws ``stream.png``, which compares windows of the training stream with maps in vivo (power
spectrum, gradient histogram, region statistics), and tabulates the denoising error of the prior at
each noise level against a Gaussian smoother and a total-variation denoiser, both tuned on each
volume and level *with the truth*. Windows against the whole volume, and the time to load and to
run, come last.

Maps in vivo need a folder that holds ``NAME_susc.nii.gz`` (COSMOS susceptibility, ppm) and
``NAME_msk.nii.gz`` (mask), as came with the public SNU data of QSMnet. Region statistics need a
folder of ``NAME_QSM.nii.gz`` (ppm) and ``NAME_Q_QSM_SyNAggro_moved_ROIs.nii.gz`` (labels 1-2
caudate, 3-4 putamen, 5-6 pallidum), as in the public THOMAS QSM data.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
import torch
from arguments import benchmark_parser
from measure import Table
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.optimize import minimize_scalar
from skimage.restoration import denoise_tv_chambolle

from qsmprep.qsm.diffusion.weights import load_weights
from qsmprep.qsm.diffusion.windows import Windows
from qsmprep.qsm.simulate import simulate_local_field
from qsmprep.qsm.simulate.anatomy import Tissue
from qsmprep.qsm.simulate.stream import draw_windows, make_specimen
from qsmprep.training.heads import find_heads, read_head

LEVELS_PPM = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
GAUSSIAN_SD = (0.2, 8.0)
TV_WEIGHTS = (0.02, 12.0)
TV_ITERATIONS = 40
SETTINGS = 12
CROP = 80
EDGE = 48
EDGES = np.array([0.02, 0.05, 0.08, 0.12, 0.17, 0.22, 0.28, 0.34, 0.4, 0.46, 0.5])
REGIONS = {
    'caudate': ((1, 2), Tissue.CAUDATE),
    'putamen': ((3, 4), Tissue.PUTAMEN),
    'pallidum': ((5, 6), Tissue.PALLIDUM),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, 'threads', out='folder for tables and pictures')
    add = parser.add_argument
    add('--labels', type=Path, required=True, help='folder of label volumes; the last two are '
        'those that training holds out')  # fmt:skip
    add('--slabs', type=Path, required=True, help='folder of COSMOS maps')
    add('--regions', type=Path, help='folder of maps with labelled deep grey matter')
    add('--prior', type=Path, help='weights other than those of the package')
    add('--windows', type=int, default=60, help='windows for the statistics of each source')
    return parser


def slabs(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Maps in vivo and their masks."""
    maps = {}
    for path in sorted(folder.glob('*_susc.nii.gz')):
        name = path.name.removesuffix('_susc.nii.gz')
        mask = nb.load(folder / f'{name}_msk.nii.gz').get_fdata() > 0
        maps[name] = (nb.load(path).get_fdata(dtype=np.float32) * mask, mask)
    return maps


def cut(chi: np.ndarray, number: int, seed: int = 0) -> list[np.ndarray]:
    """Windows of a map that hold at least 40 % tissue."""
    rng = np.random.default_rng(seed)
    windows = []
    while len(windows) < number:
        corner = [rng.integers(0, n - EDGE + 1) for n in chi.shape]
        window = chi[tuple(slice(c, c + EDGE) for c in corner)]
        if (window != 0).mean() > 0.4:
            windows.append(window)
    return windows


def drawn(heads: list[Path], number: int) -> list[np.ndarray]:
    """Windows of the training stream at 1 mm that hold at least 40 % tissue."""
    generator = torch.Generator().manual_seed(0)
    specimens = [make_specimen(read_head(head), generator) for head in heads[:4]]
    windows = []
    while len(windows) < number:
        window = draw_windows(specimens, (EDGE,) * 3, 1, generator, (1.0, 1.0, 1.0)).chi[0, 0]
        if (window != 0).float().mean() > 0.4:
            windows.append(window.numpy())
    return windows


def spectrum(window: np.ndarray) -> np.ndarray:
    """Radial power per voxel [ppm^2] of a tapered window."""
    inside = window != 0
    taper = np.hanning(EDGE + 2)[1:-1]
    taper = taper[:, None, None] * taper[:, None] * taper * inside
    centred = (window - window[inside].mean()) * taper
    power = np.abs(np.fft.fftn(centred)) ** 2 / (taper**2).sum()
    k = np.fft.fftfreq(EDGE)
    length = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    shells = np.digitize(length, EDGES)
    return np.array([power[shells == n].mean() for n in range(1, len(EDGES))])


def gradients(window: np.ndarray) -> np.ndarray:
    """Differences between neighbours within the tissue [ppm]."""
    inside = window != 0
    parts = []
    for axis in range(3):
        both = inside.take(range(1, EDGE), axis) & inside.take(range(EDGE - 1), axis)
        parts.append(np.diff(window, axis=axis)[both])
    return np.concatenate(parts)


def region_statistics(folder: Path | None, heads: list[Path]) -> dict[str, list]:
    """Mean over white-matter-like background and SD within deep nuclei [ppm], by source."""
    rows = {name: ([], []) for name in REGIONS}
    for path in sorted(folder.glob('*_QSM.nii.gz')) if folder else []:
        labels = path.name.replace('_QSM.', '_Q_QSM_SyNAggro_moved_ROIs.')
        chi, regions = nb.load(path).get_fdata(), nb.load(folder / labels).get_fdata()
        for name, (numbers, _) in REGIONS.items():
            values = chi[np.isin(regions, numbers)]
            rows[name][0].append((values.mean(), values.std()))
    for seed, head in enumerate(heads[:6]):
        scan = simulate_local_field(read_head(head), seed=seed)
        for name, (_, tissue) in REGIONS.items():
            values = scan.chi[scan.labels == int(tissue)]
            rows[name][1].append((values.mean(), values.std()))
    return rows


def draw_stream(sources: dict[str, list[np.ndarray]], regions: dict, path: Path) -> None:
    """Draw spectra, gradients and regions of all sources."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.6), layout='constrained')
    left, middle, right = figure.subplots(1, 3)
    centres = (EDGES[1:] + EDGES[:-1]) / 2
    bins = np.linspace(-0.12, 0.12, 97)
    for name, windows in sources.items():
        power = np.array([spectrum(window) for window in windows])
        low, median, high = np.percentile(power, (10, 50, 90), axis=0)
        line = left.loglog(centres, median, label=name)[0]
        left.fill_between(centres, low, high, color=line.get_color(), alpha=0.15)
        values = np.concatenate([gradients(window) for window in windows])
        middle.hist(values, bins, density=True, histtype='step', log=True, label=name)
    left.set(xlabel='|k| [cycles/mm]', ylabel='power per voxel [ppm$^2$]: median, 10-90 %')
    middle.set(xlabel='difference between neighbours [ppm]', ylabel='density')
    left.legend()
    for n, sides in enumerate(regions.values()):
        for m, (label, values) in enumerate(zip(('in vivo', 'simulated'), sides, strict=True)):
            for mean, sd in values:
                right.errorbar(n + 0.25 * m + 0.1 * np.random.default_rng(int(1e6 * sd)).random(),
                               1e3 * mean, 1e3 * sd, fmt='o', color=f'C{m}', alpha=0.6,
                               label=label if n == 0 and mean == values[0][0] else None)  # fmt:skip
    right.set_xticks(range(len(regions)), regions)
    right.set(ylabel='mean and SD within a region [ppb]')
    right.legend()
    figure.savefig(path, dpi=110)


def best(
    denoise: Callable[[np.ndarray, float], np.ndarray],
    limits: tuple[float, float],
    noisy: np.ndarray,
    truth: np.ndarray,
    mask: np.ndarray,
) -> float:
    """Least error over the setting of a denoiser, chosen with the truth."""

    def error(log_setting: float) -> float:
        return rms(denoise(noisy, np.exp(log_setting)), truth, mask)

    settings = np.linspace(*np.log(limits), SETTINGS)
    errors = [error(setting) for setting in settings]
    near = int(np.argmin(errors))
    bounds = settings[max(near - 1, 0)], settings[min(near + 1, SETTINGS - 1)]
    found = minimize_scalar(error, bounds=bounds, options={'maxiter': 8, 'xatol': 0.02})
    return min(found.fun, *errors, rms(noisy, truth, mask))


def rms(chi: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Root mean square error in a mask [ppm]."""
    return float(np.sqrt(np.mean((chi - truth)[mask] ** 2)))


def denoising(prior: torch.nn.Module, maps: dict, table: Table) -> None:
    """Add a row for each map and level."""
    for name, (chi, mask, voxel_size) in maps.items():
        chi, mask = middle(chi), middle(mask)
        rng = np.random.default_rng(0)
        for sigma in LEVELS_PPM:
            noisy = (chi + sigma * rng.standard_normal(chi.shape) * mask).astype(np.float32)
            smooth = best(gaussian_filter, GAUSSIAN_SD, noisy, chi, mask)
            tv = best(
                lambda x, weight, sigma=sigma: denoise_tv_chambolle(
                    x, weight * sigma, max_num_iter=TV_ITERATIONS
                ),
                TV_WEIGHTS,
                noisy,
                chi,
                mask,
            )
            ours = rms(evaluate(prior, noisy, sigma, voxel_size), chi, mask)
            errors = [1e3 * e for e in (smooth, tv, ours)]
            gain = 100 * (1 - errors[2] / min(errors[:2]))
            table.add(name, 1e3 * sigma, *errors, gain)


def middle(image: np.ndarray) -> np.ndarray:
    """At most 80 voxels along each axis, from the middle of an image."""
    corner = [max(0, (n - CROP) // 2) for n in image.shape]
    return np.ascontiguousarray(image[tuple(slice(c, c + CROP) for c in corner)])


def evaluate(
    prior: torch.nn.Module, noisy: np.ndarray, sigma: float, voxel_size: tuple
) -> np.ndarray:
    """Denoised map of a whole volume."""
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        chi = prior(torch.from_numpy(noisy)[None, None], torch.tensor([sigma]),
                    torch.tensor(voxel_size))  # fmt:skip
    return chi[0, 0].numpy()


def held_out(heads: Sequence[Path]) -> dict:
    """Simulated maps of the heads that training holds out: 1 mm, anisotropic, 2 mm.

    The outermost voxels, parts of which are bone or air, are left out.
    """
    maps = {}
    for head, voxel_size in zip(
        (heads[-1], heads[-2], heads[-1]),
        ((1.0, 1.0, 1.0), (0.8, 0.8, 2.0), (2.0, 2.0, 2.0)),
        strict=True,
    ):
        scan = simulate_local_field(
            read_head(head), voxel_size=voxel_size, supersampling=(2, 2, 2), seed=77
        )
        name = 'simulated, ' + ' x '.join(f'{v:g}' for v in voxel_size) + ' mm'
        mask = binary_erosion(scan.mask)
        maps[name] = (scan.chi * mask, mask, voxel_size)
    return maps


def windows_and_cost(path: Path | None, chi: np.ndarray, table: Table) -> None:
    """Seams between windows, time to load the weights and to run them on 64^3 voxels."""
    start = time.perf_counter()
    prior = load_weights(path).denoiser
    table.add('load the weights [s]', time.perf_counter() - start)
    noisy = torch.randn(64, 64, 64) * 0.02
    start = time.perf_counter()
    evaluate(prior, noisy.numpy(), 0.02, (1.0, 1.0, 1.0))
    table.add('one evaluation of 64^3 [s]', time.perf_counter() - start)
    volume = torch.from_numpy(chi) + 0.02 * torch.randn(chi.shape)

    def run(windows: torch.Tensor) -> torch.Tensor:
        return prior(windows, torch.tensor([0.02]), torch.ones(3))

    with torch.no_grad():
        whole = run(volume[None, None])[0, 0]
        for halo in (0, 16, 32):
            tiles = Windows(size=64, overlap=0, halo=halo, multiple=8).apply(run, volume)
            worst = 1e3 * float((tiles - whole).abs().max())
            table.add(f'windows of 64, halo {halo}: largest difference [ppb]', worst)


def main() -> None:
    """Run the benchmark."""
    args = build_parser().parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    heads, in_vivo = find_heads(args.labels), slabs(args.slabs)
    sources = {'training stream': drawn(heads[:-2], args.windows)}
    sources |= {name: cut(chi, args.windows) for name, (chi, _) in in_vivo.items()}
    draw_stream(sources, region_statistics(args.regions, heads), args.out / 'stream.png')

    columns = ('map', 'noise [ppb]', 'Gaussian [ppb]', 'TV [ppb]', 'prior [ppb]', 'gain [%]')
    table = Table('Denoising error in the mask', columns, [])
    maps = {name: (chi, mask, (1.0, 1.0, 1.0)) for name, (chi, mask) in in_vivo.items()}
    denoising(load_weights(args.prior).denoiser, held_out(heads) | maps, table)
    table.write(args.out, 'denoising')

    table = Table(f'Windows and cost, {args.threads} thread(s)', ('what', 'value'), [])
    crop = next(iter(in_vivo.values()))[0]
    windows_and_cost(args.prior, crop, table)
    table.write(args.out, 'windows')


if __name__ == '__main__':
    main()

"""Phantoms: balls, and tubes along and across B0, in water, inverted from the field that they have.

    python benchmarks/phantoms.py --out tables

Six objects of -0.1 to 0.8 ppm in a cylinder of water along B0, 76 mm long and 80 mm wide; noise of
1 ppb. Such objects look nothing like a brain: their field is mostly smooth, or lies in one plane of
k-space. Slope and correlation of each map with the truth, for the field as it is and for the same
field where it is said to come from background removal.
"""

from __future__ import annotations

import numpy as np
import torch
from arguments import benchmark_parser
from measure import QUICK_METHODS, Table

from qsmprep.methods import INVERSIONS
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.metrics import slope
from qsmprep.qsm.operators import Dipole

VALUES_PPM = (0.05, 0.1, 0.2, 0.4, 0.8, -0.1)
NOISE_PPM = 1e-3
SIZE_MM = (108.0, 108.0, 90.0)
COLUMNS = ('phantom', 'method', 'voxel [mm]', 'slope', 'r', 'slope, removed', 'r, removed')


def balls(x: np.ndarray, y: np.ndarray, z: np.ndarray, number: int) -> np.ndarray:
    """Balls of 8 mm radius in a ring."""
    angle = np.pi * number / 3
    return (x - 23 * np.cos(angle)) ** 2 + (y - 23 * np.sin(angle)) ** 2 + z**2 < 8**2


def lying_tubes(x: np.ndarray, y: np.ndarray, z: np.ndarray, number: int) -> np.ndarray:
    """Tubes across B0, of 4 mm radius."""
    away = x - (8 if number % 2 else -8)
    return ((z + 25 - 10 * number) ** 2 + away**2 < 4**2) & (abs(y) < 25)


def standing_tubes(radius: float, half_length: float):
    """Tubes along B0 in a ring, their size in mm."""

    def tube(x: np.ndarray, y: np.ndarray, z: np.ndarray, number: int) -> np.ndarray:
        angle = np.pi * number / 3
        away = np.hypot(x - 23 * np.cos(angle), y - 23 * np.sin(angle))
        return (away < radius) & (abs(z) < half_length)

    return tube


PHANTOMS = {
    'balls': balls,
    'tubes across B0': lying_tubes,
    'thin tubes along B0': standing_tubes(2.5, 25),
    'vials along B0': standing_tubes(6, 12),
    'tubes along B0, as long as the water': standing_tubes(7, 40),
}


def make(name: str, voxel_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, Grid]:
    """Field, susceptibility [ppm], mask and grid of a phantom."""
    grid = Grid(tuple(round(size / voxel_mm) for size in SIZE_MM), (voxel_mm,) * 3)
    x, y, z = (
        (index - (n - 1) / 2) * voxel_mm
        for index, n in zip(np.indices(grid.shape), grid.shape, strict=True)
    )
    mask = (np.hypot(x, y) < 40) & (abs(z) < 38)
    chi = np.zeros(grid.shape, np.float32)
    for number, value in enumerate(VALUES_PPM):
        chi[PHANTOMS[name](x, y, z, number) & mask] = value
    field = Dipole(grid, padding=2.0).forward(torch.from_numpy(chi)).numpy()
    field += NOISE_PPM * np.random.default_rng(0).standard_normal(grid.shape)
    return field * mask, chi, mask, grid


def scores(name: str, voxel_mm: float, method: str, removed: bool) -> tuple[float, float]:
    """Slope and correlation of a map with the truth; not a number where it is refused."""
    field, chi, mask, grid = make(name, voxel_mm)
    noise = NOISE_PPM * mask
    try:
        found = invert(field, mask, grid, method, noise_ppm=noise, after_background=removed).chi_ppm
    except ValueError:
        return np.nan, np.nan
    return slope(found, chi, mask), np.corrcoef(found[mask], chi[mask])[0, 1]


def main() -> None:
    """Print a row for each phantom, voxel size and method."""
    parser = benchmark_parser(__doc__, 'threads')
    parser.add_argument('--methods', nargs='+', choices=INVERSIONS, default=list(QUICK_METHODS))
    parser.add_argument('--voxels-mm', nargs='+', type=float, default=[1.5, 1.0])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    table = Table('Phantoms', COLUMNS, [])
    for name in PHANTOMS:
        for method in args.methods:
            for voxel_mm in args.voxels_mm:
                pairs = [scores(name, voxel_mm, method, removed) for removed in (False, True)]
                table.add(name, method, voxel_mm, *pairs[0], *pairs[1])
    table.write(args.out, 'phantoms')


if __name__ == '__main__':
    main()

"""The inversions on an accelerator: agreement with the CPU, and time at full size.

An ellipsoid that fills the grid holds a Gaussian random map with the spectrum of susceptibility;
its field has 2 ppb of noise. On a small grid of 3 mm every inversion runs on the CPU and on the
device. Then each runs on the device at 160 x 200 x 176 voxels of 1 mm and 256^3 of 0.7 mm, from
arrays in memory to arrays in memory. What takes longer than ``--cap`` or more memory than there is
is stopped and said so. Every row is written as it comes.
"""

from __future__ import annotations

import argparse
import signal
import time

import numpy as np
import torch
from arguments import benchmark_parser
from measure import Table

from qsmprep.methods import INVERSIONS
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.metrics import nrmse
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate.anatomy import Axes
from qsmprep.qsm.simulate.susceptibility import correlated_noise

SMALL = ((48, 56, 52), 3.0)
SIZES = (((160, 200, 176), 1.0), ((256, 256, 256), 0.7))
SD_PPM, NOISE_PPM = 0.03, 0.002


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__)
    add = parser.add_argument
    add('--device', default='cuda', help="'cuda[:N]', or 'cpu' to try the script")
    add('--methods', nargs='+', default=list(INVERSIONS), help='inversions to run')
    add('--cap', type=int, default=600, metavar='SECONDS', help='stop a run that takes longer')
    return parser


def make_scan(shape: tuple[int, int, int], voxel: float) -> tuple:
    """Field and mask, grid, and the true map."""
    generator = torch.Generator().manual_seed(0)
    chi = SD_PPM * correlated_noise(Axes(shape, (voxel,) * 3), generator)
    x = [(torch.arange(n) + 0.5) / n * 2 - 1 for n in shape]
    mask = x[0][:, None, None] ** 2 + x[1][:, None] ** 2 + x[2] ** 2 < 1
    chi = chi * mask
    grid = Grid(shape, (voxel,) * 3, (0.1, 0.0, 0.995))
    field = Dipole(grid).forward(chi) + NOISE_PPM * torch.randn(shape, generator=generator)
    return (field * mask).numpy(), mask.numpy(), grid, chi.numpy()


def run(method: str, scan: tuple, device: str, cap: int) -> tuple[float, np.ndarray | str]:
    """Seconds and map of an inversion, or why there is none."""
    field, mask, grid, _ = scan
    noise = np.full(field.shape, NOISE_PPM, np.float32)
    start = time.perf_counter()
    signal.alarm(cap)
    try:
        chi = invert(field, mask, grid, method, noise_ppm=noise, device=device).chi_ppm
    except TimeoutError:
        chi = 'stopped'
    except torch.OutOfMemoryError:
        chi = 'out of memory'
    finally:
        signal.alarm(0)
        torch.cuda.empty_cache()
    return time.perf_counter() - start, chi


def _stop(*_) -> None:
    raise TimeoutError


def main() -> None:
    """Run the benchmark."""
    args = build_parser().parse_args()
    signal.signal(signal.SIGALRM, _stop)
    columns = ('inversion', 'device [s]', 'CPU [s]', 'NRMSE [%]', 'largest [ppb]')
    table = Table('Device against CPU, the first run of each', columns, [])
    scan = make_scan(*SMALL)
    for method in args.methods:
        (there, found), (here, expected) = (
            run(method, scan, device, args.cap) for device in (args.device, 'cpu')
        )
        why = next((chi for chi in (found, expected) if isinstance(chi, str)), None)
        if why is None:
            largest = 1e3 * float(np.abs(found - expected).max())
            table.add(method, there, here, nrmse(found, expected, scan[1]), largest)
        else:
            table.add(method, there, here, why, why)
        table.save(args.out, 'device_agreement')
    table = Table('Time on the device', ('inversion', 'voxels', 'time [s]', 'memory [GiB]'), [])
    scans = [make_scan(*size) for size in SIZES]
    for method in args.methods:
        for scan in scans:
            if args.device != 'cpu':
                torch.cuda.reset_peak_memory_stats()
            seconds, chi = run(method, scan, args.device, args.cap)
            memory = torch.cuda.max_memory_allocated() / 2**30 if args.device != 'cpu' else '-'
            size = ' x '.join(map(str, scan[0].shape))
            table.add(method, size, chi if isinstance(chi, str) else seconds, memory)
            table.save(args.out, 'device_time')


if __name__ == '__main__':
    main()

"""Does compiling pay? Loops that numba compiles beside NumPy or SciPy.

``python benchmarks/compiled.py --out tables``. "First" includes the compilation, which a container
with a read-only root pays in every run; "again" does not.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ['NUMBA_CACHE_DIR'] = tempfile.mkdtemp()

import numpy as np
from measure import Table
from scipy.ndimage import distance_transform_edt

from qsmprep.qsm.background.lbv import _relax
from qsmprep.qsm.distance import squared_distance
from qsmprep.qsm.fieldmap import RANDOM_PHASE_SD, _weighted_slope

COLUMNS = ('loop', 'voxels', 'first [s]', 'again [s]', 'library [s]', 'largest difference')


def relax_with_numpy(u, interior, weights, relaxation, sweeps, tolerance) -> None:
    """Red-black relaxation as :func:`qsmprep.qsm.background.lbv._relax`, a colour at a time."""
    colour = np.indices(u.shape).sum(axis=0) % 2
    inner = (slice(1, -1),) * 3
    parts = [(interior & (colour == c))[inner] for c in (0, 1)]
    for _ in range(sweeps):
        change = 0.0
        for part in parts:
            step = -u[inner]
            for axis, weight in enumerate(weights):
                lower, upper = list(inner), list(inner)
                lower[axis], upper[axis] = slice(0, -2), slice(2, None)
                step += 0.5 * weight * (u[tuple(lower)] + u[tuple(upper)])
            u[inner][part] += relaxation * step[part]
            change = max(change, float(np.abs(step[part]).max()))
        if change < tolerance:
            break


def slope_with_numpy(phase, magnitude, times, noise, slope, information, misfit, spread) -> None:
    """Weighted slope as :func:`qsmprep.qsm.fieldmap._weighted_slope`, on whole arrays."""
    weight = np.maximum(magnitude / noise, 1 / RANDOM_PHASE_SD) ** 2
    moment = np.einsum('e,en,en->n', times, weight, phase)
    information[:] = np.einsum('e,en->n', times**2, weight)
    slope[:] = moment / information
    misfit[:] = np.einsum('en,en->n', weight, (phase - times[:, None] * slope) ** 2)
    spread[:] = np.maximum(misfit / (times.size - 1), 1) / information


def relaxation(edge: int) -> tuple:
    """Arguments of the relaxation in a ball."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, edge)] * 3, indexing='ij')
    interior = x**2 + y**2 + z**2 < 0.9
    u = np.where(interior, 0, x * y + z)
    return u, interior, np.full(3, 1 / 3), 2 / (1 + np.pi / edge), 200, 0.0


def echoes(edge: int) -> tuple:
    """Arguments of the slope over four echoes, none of which contradicts the others."""
    rng = np.random.default_rng(0)
    times = np.array([0.004, 0.012, 0.020, 0.028])
    magnitude = rng.uniform(1, 100, (4, edge**3)).astype(np.float32)
    phase = times[:, None] * rng.normal(0, 200, edge**3) + rng.uniform(-1, 1, magnitude.shape) / 100
    return phase.astype(np.float32), magnitude, times, 1.0, *np.zeros((4, edge**3), np.float32)


def distances(mask, voxel_size, squared) -> None:
    """Squared distances by lower envelopes."""
    squared[:] = squared_distance(mask, voxel_size)


def distances_with_scipy(mask, voxel_size, squared) -> None:
    """Squared distances by SciPy."""
    squared[:] = distance_transform_edt(mask, sampling=voxel_size) ** 2


def ball(edge: int) -> tuple:
    """Arguments of the distances within a ball."""
    interior = relaxation(edge)[1]
    return interior, (1.0, 1.0, 1.0), np.empty(interior.shape)


def timed(function: Callable, arguments: tuple) -> tuple[float, tuple]:
    """Seconds of a call on copies of its arguments, and the copies."""
    copies = tuple(x.copy() if isinstance(x, np.ndarray) else x for x in arguments)
    start = time.perf_counter()
    function(*copies)
    return time.perf_counter() - start, copies


def main() -> None:
    """Time every loop both ways."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--out', type=Path, required=True, help='folder for the table')
    parser.add_argument('--edge', type=int, default=128, help='edge of the volume [voxels]')
    args = parser.parse_args()
    table = Table('Compiled loops', COLUMNS, [])
    for name, compiled, plain, arguments, results in (
        ('relaxation of LBV', _relax, relax_with_numpy, relaxation(args.edge), slice(0, 1)),
        ('field of four echoes', _weighted_slope, slope_with_numpy, echoes(args.edge), slice(4, 8)),
        ('distances', distances, distances_with_scipy, ball(args.edge), slice(2, 3)),
    ):
        first, _ = timed(compiled, arguments)
        again, ours = timed(compiled, arguments)
        library, theirs = timed(plain, arguments)
        pairs = zip(ours[results], theirs[results], strict=True)
        difference = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
        table.add(name, args.edge**3, first, again, library, difference)
    table.write(args.out, 'compiled')


if __name__ == '__main__':
    main()

"""A fitted function on another grid of the same field of view."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qsmprep.qsm.grid import Grid


def evaluate_on(
    function: Callable[[Sequence[np.ndarray]], np.ndarray], mask: np.ndarray, grid: Grid, fine: Grid
) -> np.ndarray:
    """Map of a function of positions on a finer grid, zero where the nearest voxel is not masked.

    Parameters
    ----------
    function
        Susceptibility [ppm] on the product of three vectors of positions, in voxels of ``grid``.
    mask
        Voxels of the map, of the shape of ``grid``.
    grid, fine
        Grids that fill one field of view.

    Examples
    --------
    >>> coarse, fine = Grid((2, 1, 1), (2, 1, 1)), Grid((4, 1, 1), (1, 1, 1))
    >>> evaluate_on(lambda p: p[0][:, None, None], np.ones((2, 1, 1)), coarse, fine)[:, 0, 0]
    array([-0.25,  0.25,  0.75,  1.25])

    """
    positions = [
        (np.arange(m) + 0.5) * n / m - 0.5 for n, m in zip(grid.shape, fine.shape, strict=True)
    ]
    nearest = [
        np.rint(p).clip(0, n - 1).astype(int) for p, n in zip(positions, grid.shape, strict=True)
    ]
    return function(positions) * (mask[np.ix_(*nearest)] > 0)

"""Laplacian boundary value method (LBV)."""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import ndimage

from qsmprep.qsm.background.box import fill_in, paste
from qsmprep.qsm.grid import Grid, bounding_box, depth_mm


def lbv(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    tissue: np.ndarray,
    *,
    erosion_mm: float = 1.0,
    sweeps: int = 600,
    tolerance: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """Laplacian boundary value method (LBV).

    The background is the solution of Laplace's equation inside the tissue that equals the total
    field on its outermost voxels, found by successive over-relaxation in red-black order. The
    local field is taken to vanish there, and errors at the boundary spread inwards. The field is
    needed on that boundary alone; where it is unknown it is filled in from around.

    Parameters
    ----------
    total_field, mask, grid, tissue
        As for :func:`~qsmprep.qsm.background.sharp.vsharp`.
    erosion_mm
        Rim to drop before its next voxels serve as the boundary [mm].
    sweeps, tolerance
        Relaxation ends at this count, or when no voxel changes by more than this fraction of the
        field's standard deviation.

    References
    ----------
    Zhou D et al., NMR Biomed 27 (2014) 312, 10.1002/nbm.3064.

    """
    box = bounding_box(tissue)
    domain = np.pad(depth_mm(tissue[box], grid.voxel_size) > erosion_mm, 1)
    interior = ndimage.binary_erosion(domain)
    if not interior.any():
        raise ValueError(
            f'Nothing of the mask is left {erosion_mm} mm inside its edge; LBV needs a larger mask.'
        )
    complete = fill_in(total_field[box], mask[box], tissue[box], grid.voxel_size)
    field = np.where(domain, np.pad(complete, 1), 0).astype(np.float64)
    background = np.where(interior, 0, field)
    weights = np.array([1 / size**2 for size in grid.voxel_size])
    longest = max(interior.shape)
    relaxation = 2 / (1 + np.pi / longest)
    _relax(
        background,
        interior,
        weights / weights.sum(),
        relaxation,
        sweeps,
        tolerance * field[domain].std(),
    )
    inner = (slice(1, -1),) * 3
    local = np.where(interior, field - background, 0)[inner].astype(np.float32)
    return paste(local, box, mask.shape), paste(interior[inner], box, mask.shape)


@njit(cache=True)
def _relax(u, interior, weights, relaxation, sweeps, tolerance):  # pragma: no cover (compiled)
    a, b, c = 0.5 * weights
    for _ in range(sweeps):
        change = 0.0
        for colour in range(2):
            for i in range(1, u.shape[0] - 1):
                for j in range(1, u.shape[1] - 1):
                    for k in range(1 + (i + j + 1 + colour) % 2, u.shape[2] - 1, 2):
                        if interior[i, j, k]:
                            step = (
                                a * (u[i - 1, j, k] + u[i + 1, j, k])
                                + b * (u[i, j - 1, k] + u[i, j + 1, k])
                                + c * (u[i, j, k - 1] + u[i, j, k + 1])
                                - u[i, j, k]
                            )
                            u[i, j, k] += relaxation * step
                            change = max(change, abs(step))
        if change < tolerance:
            break

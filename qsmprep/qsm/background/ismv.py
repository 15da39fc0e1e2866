"""Iterative spherical mean values (iSMV)."""

from __future__ import annotations

import numpy as np

from qsmprep.qsm.background.spheres import Spheres
from qsmprep.qsm.grid import Grid


def ismv(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    tissue: np.ndarray,
    *,
    radius_mm: float = 4.0,
    tolerance: float = 1e-3,
    iterations: int = 500,
) -> tuple[np.ndarray, np.ndarray]:
    """Iterative spherical mean values (iSMV).

    The background is the field that equals its mean over a sphere wherever the sphere lies in the
    tissue, and the total field in the rim: means are taken repeatedly while the rim is kept.

    Parameters
    ----------
    total_field, mask, grid, tissue
        As for :func:`~qsmprep.qsm.background.sharp.vsharp`.
    radius_mm
        Radius of the sphere [mm], at least the longest edge of a voxel; a rim of that is lost.
    tolerance, iterations
        Relative change of the background in one iteration, and their number, at which they end.

    Raises
    ------
    ValueError
        If no voxel lies deeper in the mask than the radius.

    References
    ----------
    Wen Y et al., Magn Reson Med 72 (2014) 1065, 10.1002/mrm.24998.

    """
    spheres = Spheres.of(total_field, mask, grid, tissue, radius_mm, 'iSMV')
    field, core = spheres.field, spheres.core
    background = field
    for _ in range(iterations):
        average = spheres.filtered(background, spheres.mean)
        previous, background = background, np.where(core, average, field)
        change = np.linalg.norm(background - previous)
        if change < tolerance * np.linalg.norm(background[core]):
            break
    return spheres.result(field - background)

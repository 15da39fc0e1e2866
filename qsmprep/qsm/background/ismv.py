"""Iterative spherical mean values (iSMV)."""

from __future__ import annotations

import numpy as np
from scipy import fft

from qsmprep.qsm.background.box import fill_in, padded_shape, paste
from qsmprep.qsm.background.sharp import sphere_spectrum
from qsmprep.qsm.grid import Grid, bounding_box, depth_mm


def ismv(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    tissue: np.ndarray,
    *,
    radius_mm: float = 5.0,
    tolerance: float = 1e-3,
    iterations: int = 500,
) -> tuple[np.ndarray, np.ndarray]:
    """Iterative spherical mean values (iSMV).

    The background is the field that equals its mean over a sphere wherever the sphere lies in the
    tissue, and the total field in the rim outside: means are taken again and again, the rim held.

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
    radius = max(radius_mm, *grid.voxel_size)
    box = bounding_box(tissue)
    inside = np.asarray(tissue[box], dtype=bool)
    core = depth_mm(inside, grid.voxel_size) > radius * (1 + 1e-5)
    if not core.any():
        raise ValueError(
            f'No voxel of the mask lies {radius} mm deep: it is too thin for iSMV; '
            'give a larger mask or a smaller radius.'
        )
    shape = padded_shape(inside.shape, grid.voxel_size, radius)
    crop = tuple(slice(0, n) for n in inside.shape)
    mean = sphere_spectrum(shape, grid.voxel_size, radius)
    field = fill_in(total_field[box], mask[box], inside, grid.voxel_size).astype(np.float32)
    background = field
    for _ in range(iterations):
        average = fft.irfftn(fft.rfftn(background, shape) * mean, shape)[crop]
        previous, background = background, np.where(core, average, field)
        change = np.linalg.norm(background - previous)
        if change < tolerance * np.linalg.norm(background[core]):
            break
    local = np.where(core, field - background, 0).astype(np.float32)
    return paste(local, box, mask.shape), paste(core, box, mask.shape)

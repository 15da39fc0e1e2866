"""Regularised SHARP (RESHARP)."""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy.sparse.linalg import LinearOperator, cg

from qsmprep.qsm.background.box import fill_in, padded_shape, paste
from qsmprep.qsm.background.sharp import sphere_spectrum
from qsmprep.qsm.grid import Grid, bounding_box, depth_mm


def resharp(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    tissue: np.ndarray,
    *,
    radius_mm: float = 6.0,
    regularisation: float = 1e-3,
    tolerance: float = 1e-2,
    iterations: int = 100,
) -> tuple[np.ndarray, np.ndarray]:
    """Regularised SHARP (RESHARP).

    The mean over a sphere is subtracted from each voxel whose sphere lies in the tissue, which
    cancels the background, and of all local fields that explain the rest the one is taken that
    minimises :math:`\\|M (1 - S) (x - f)\\|^2 + \\lambda \\|x\\|^2`, by conjugate gradients.

    Parameters
    ----------
    total_field, mask, grid, tissue
        As for :func:`~qsmprep.qsm.background.sharp.vsharp`.
    radius_mm
        Radius of the sphere [mm], at least the longest edge of a voxel; a rim of that is lost.
    regularisation
        Lambda.
    tolerance, iterations
        Relative residual and number of steps at which the iteration ends.

    Raises
    ------
    ValueError
        If no voxel lies deeper in the mask than the radius.

    References
    ----------
    Sun H, Wilman AH, Magn Reson Med 71 (2014) 1151, 10.1002/mrm.24765.

    """
    radius = max(radius_mm, *grid.voxel_size)
    box = bounding_box(tissue)
    inside = np.asarray(tissue[box], dtype=bool)
    core = depth_mm(inside, grid.voxel_size) > radius * (1 + 1e-5)
    if not core.any():
        raise ValueError(
            f'No voxel of the mask lies {radius} mm deep: it is too thin for RESHARP; '
            'give a larger mask or a smaller radius.'
        )
    shape = padded_shape(inside.shape, grid.voxel_size, radius)
    crop = tuple(slice(0, n) for n in inside.shape)
    gain = 1 - sphere_spectrum(shape, grid.voxel_size, radius)

    def filtered(image: np.ndarray) -> np.ndarray:
        return fft.irfftn(fft.rfftn(image, shape) * gain, shape)[crop]

    def normal(x: np.ndarray) -> np.ndarray:
        image = x.reshape(inside.shape).astype(np.float32)
        return (filtered(core * filtered(image)) + regularisation * image).ravel()

    field = fill_in(total_field[box], mask[box], inside, grid.voxel_size).astype(np.float32)
    operator = LinearOperator((inside.size,) * 2, normal, dtype=np.float32)
    target = filtered(core * filtered(field)).ravel()
    local = cg(operator, target, rtol=tolerance, maxiter=iterations)[0].reshape(inside.shape)
    local = np.where(core, local, 0).astype(np.float32)
    return paste(local, box, mask.shape), paste(core, box, mask.shape)

"""Regularised SHARP (RESHARP)."""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from qsmprep.qsm.background.spheres import Spheres
from qsmprep.qsm.grid import Grid


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
    spheres = Spheres.of(total_field, mask, grid, tissue, radius_mm, 'RESHARP')
    field, core, gain = spheres.field, spheres.core, 1 - spheres.mean

    def filtered(image: np.ndarray) -> np.ndarray:
        return spheres.filtered(image, gain)

    def normal(x: np.ndarray) -> np.ndarray:
        image = x.reshape(field.shape).astype(np.float32)
        return (filtered(core * filtered(image)) + regularisation * image).ravel()

    operator = LinearOperator((field.size,) * 2, normal, dtype=np.float32)
    target = filtered(core * filtered(field)).ravel()
    local = cg(operator, target, rtol=tolerance, maxiter=iterations)[0]
    return spheres.result(local.reshape(field.shape))

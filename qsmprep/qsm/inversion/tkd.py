"""Thresholded k-space division."""

from __future__ import annotations

import torch
from torch import Tensor

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.estimate import Estimate, check_range
from qsmprep.qsm.operators import Dipole


def tkd(field: Tensor, mask: Tensor, grid: Grid, *, threshold: float = 0.25) -> Estimate:
    """Thresholded k-space division.

    Where the response is below the threshold it is replaced by the threshold of the same sign;
    at k = 0, which no field tells of, the map is zero, as that of
    :func:`~qsmprep.qsm.inversion.tikhonov.tikhonov`.
    Strong sources come out too weak by a few percent to a fifth; dividing by the height of the
    point spread function would undo that, but raises the error on every scan tried.

    Parameters
    ----------
    field
        Local field [ppm], zero outside the mask.
    mask
        Voxels of the map.
    grid
        Their grid.
    threshold
        Least response that is divided by, between 0 and 2/3.

    References
    ----------
    Shmueli et al. 2009, 10.1002/mrm.22135.

    """
    check_range('threshold', threshold, 0, 2 / 3)
    dipole = Dipole(grid, device=field.device, dtype=field.dtype)
    response = dipole.kernel
    sign = torch.where(response < 0, -1.0, 1.0)
    inverse = sign / response.abs().clamp(min=threshold)
    inverse[0, 0, 0] = 0
    return Estimate(dipole.filter(field, inverse) * mask, {})

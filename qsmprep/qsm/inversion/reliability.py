"""How far voxels can be relied on, by what a first map leaves of their field."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor

from qsmprep.qsm.calibration import Calibration
from qsmprep.qsm.grid import Grid, depth_mm
from qsmprep.qsm.noise import field_roughness

DEPTHS_MM = (1.2, 2.2, 3.2, 4.5, 6.0, 8.0, 11.0, 15.0)
OUTLIER = 2.5
OF_FIELD = 0.1
NORMAL_MEDIAN = 0.6745


def reliability(
    residual: Tensor, field: Tensor, measured: Tensor, noise: float, grid: Grid
) -> Tensor:
    """Precision of voxels, 0 to 1, from the residual of a first map.

    The residual grows towards the rim of the mask, and has heavier tails than a Gaussian: at strong
    sources the model errs most. A voxel counts by the inverse of its variance: that at its
    depth and, beyond 2.5 standard deviations, its own. What lies within the noise, or within a
    tenth of the field, counts in full: a strong source is no outlier.

    Parameters
    ----------
    residual
        Measured minus predicted field (X, Y, Z) [ppm].
    field
        Measured field [ppm].
    measured
        Voxels with a field.
    noise
        Standard deviation of the noise [ppm]; the median residual, if that is more.
    grid
        Their grid.

    """
    return 1 / torch.mul(*_variances(residual, field, measured, noise, grid))


def outliers(residual: Tensor, field: Tensor, measured: Tensor, noise: float, grid: Grid) -> Tensor:
    """Precision of voxels, 0 to 1, below one for outliers alone: :func:`reliability` at any depth.

    Parameters
    ----------
    residual, field, measured, noise, grid
        See :func:`reliability`.

    """
    _, own = _variances(residual, field, measured, noise, grid)
    return 1 / own


def _variances(
    residual: Tensor, field: Tensor, measured: Tensor, noise: float, grid: Grid
) -> tuple[Tensor, Tensor]:
    """Variance at the depth of a voxel over that of noise, and its own over that, at least one.

    Infinite where there is no field.
    """
    depth = torch.from_numpy(depth_mm(measured.cpu().numpy(), grid.voxel_size)).to(residual)
    values = residual[measured].abs()
    noise = max(noise, float(values.median()) / NORMAL_MEDIAN)
    shells = torch.bucketize(depth[measured], torch.tensor(DEPTHS_MM).to(depth))
    at_depth, own = torch.full((2, *residual.shape), torch.inf).to(residual)
    typical = torch.ones_like(values)
    for shell in shells.unique():
        here = shells == shell
        typical[here] = (values[here].median() / (NORMAL_MEDIAN * noise)).square().clamp(min=1)
    expected = torch.hypot(noise * typical.sqrt(), OF_FIELD * field[measured])
    at_depth[measured] = typical
    own[measured] = (values / (OUTLIER * expected)).square().clamp(min=1)
    return at_depth, own


def reweighted(calibration: Calibration, chi: Tensor, mask: Tensor) -> Calibration:
    """Calibration with weights and noise by what a first map leaves of the field.

    Voxels count as far as :func:`reliability` says, and what they still leave above the noise is
    noise to the next map: it stems from what no map on this grid explains, such as voxels that
    average over finer structures. That holds as far as the field has no model error; where it has
    one, that is what the map leaves, and the calibrated likelihood knows of it.

    Parameters
    ----------
    calibration
        That of the scan.
    chi
        First map [ppm].
    mask
        Voxels of tissue.

    """
    certain = 1 - calibration.error_share
    if not certain:
        return calibration
    field, dipole = calibration.field, calibration.dipole
    weight = calibration.weights(mask)
    measured = weight > 0
    residual = (field - dipole.forward(chi)) * measured
    known = calibration.known_noise
    least = known or field_roughness(field, mask)
    precision = reliability(residual, field, measured, least, dipole.grid)
    weight = weight * precision ** (certain / 2)
    left = float((residual * weight)[measured].square().mean())

    def raised(noise: float) -> float:
        return noise + certain * max(left - noise, 0.0)

    return replace(
        calibration,
        weight=weight,
        noise=raised(calibration.noise),
        known_noise=None if known is None else sqrt(raised(known**2)),
    )

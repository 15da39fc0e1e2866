"""Fields of susceptibility on a grid finer than the image, and their shim."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.operators import Dipole, dipole_kernel
from qsmprep.qsm.simulate.anatomy import Axes, smooth
from qsmprep.qsm.simulate.susceptibility import Phantom, block_mean

_BODY_MM = 60.0


def fields_ppm(
    phantom: Phantom, b0_direction: Sequence[float], sources: Tensor, extend_below: bool = False
) -> Tensor:
    """Field of susceptibility sources at the parts of the voxels [ppm].

    The sources, smoothed over a voxel, are convolved on the image's grid, zero-padded (a linear
    convolution), and their field is interpolated; what the smoothing left out has no far field and
    is convolved on the finer grid.

    Parameters
    ----------
    phantom
        Gives the grids.
    b0_direction
        Direction of B0 in the frame of the axes.
    sources
        Susceptibility on the finer grid [ppm], zero in the surroundings; overwritten.
    extend_below
        Whether the lowest slice goes on for 60 mm below the image, as a neck does.

    Returns
    -------
    torch.Tensor
        Field on the finer grid [ppm].

    """
    axes, factors = phantom.axes, phantom.factors
    coarse = block_mean(sources, factors)
    if factors != (1, 1, 1):
        # what is smooth can be interpolated; the rest has no far field
        coarse = smooth(coarse, 1.0)
    below = math.ceil(_BODY_MM / axes.voxel_size[2]) if extend_below else 0
    grid = Grid((*axes.shape[:2], axes.shape[2] + below), axes.voxel_size, tuple(b0_direction))
    extended = torch.cat([coarse[:, :, :1].expand(-1, -1, below), coarse], dim=2)
    field = Dipole(grid, padding=2.0, device=axes.device).forward(extended)[:, :, below:]
    if factors == (1, 1, 1):
        return field
    sources -= _upsample(coarse, factors)
    kernel = dipole_kernel(
        tuple(sources.shape),
        axes.finer(factors).voxel_size,
        grid.b0_direction,
        device=axes.device,
    )
    spectrum = torch.fft.rfftn(sources).mul_(kernel)
    del kernel
    return torch.fft.irfftn(spectrum, s=sources.shape).add_(_upsample(field, factors))


def _upsample(volume: Tensor, factors: Sequence[int]) -> Tensor:
    shape = [n * f for n, f in zip(volume.shape, factors, strict=True)]
    return functional.interpolate(
        volume[None, None], size=shape, mode='trilinear', align_corners=False
    )[0, 0]


def solid_harmonics(axes: Axes, order: int = 2) -> list[Tensor]:
    """Solid harmonics up to second order on a grid (coordinates in units of 100 mm)."""
    x, y, z = (
        (axes.coordinates(a) - axes.centre[a]).reshape([-1 if b == a else 1 for b in range(3)])
        / 100
        for a in range(3)
    )
    terms = [torch.ones(1, 1, 1, device=axes.device)]
    if order > 0:
        terms += [x, y, z]
    if order > 1:
        terms += [x * y, x * z, y * z, x * x - y * y, 2 * z * z - x * x - y * y]
    return terms


def shim(field: Tensor, phantom: Phantom, order: int) -> None:
    """Remove from the field, in place, the harmonics that fit it over the brain."""
    terms = solid_harmonics(phantom.axes, order)
    coarse = block_mean(field, phantom.factors)[phantom.mask].double()
    design = torch.stack([t.expand(phantom.axes.shape)[phantom.mask] for t in terms], 1).double()
    normal = design.T @ design
    weights = torch.linalg.solve(normal, design.T @ coarse).tolist()
    fine = solid_harmonics(phantom.axes.finer(phantom.factors), order)
    for weight, term in zip(weights, fine, strict=True):
        field -= weight * term

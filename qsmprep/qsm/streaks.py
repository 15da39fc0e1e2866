"""Streaks tell a model error: what sources in the mask cannot explain they put on the cone."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, prod

import numpy as np
import torch
from torch import Tensor

from qsmprep.qsm.grid import Grid, block_means, bounding_box
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.periodogram import ERROR_RATIO
from qsmprep.qsm.posterior import PosteriorPrecision

BLOCK_MM = 2.0
LEAST_BLOCKS = 64
BANDS = (0.05, 0.08, 0.12)
ON_CONE, OFF_CONE = 0.1, 0.2
STEPS = 16
LEAST_NOISE = 1e-9
SPREAD = 0.6


def error_probability(
    field: Tensor,
    mask: Tensor,
    weight: Tensor,
    grid: Grid,
    power: Callable[[Dipole], Tensor],
    noise: float,
) -> float:
    r"""Probability that a field has the model error of scans in vivo, by its streaks.

    A map of sources in the mask that explains a model error takes large values near the cone D = 0,
    where sources hardly show. So three fields are fitted by such sources, sixteen steps of
    conjugate gradients each: the measured one; a simulated one of sources of the same spectrum and
    noise; and that one plus a model error of 0.035 times the power of susceptibility. The power
    near the cone of the first map and of the third, over that of the second, are the excess of
    streaks that is found, :math:`\rho`, and the one to expect of a model error, :math:`\rho_1`:
    geometric means over three bands of wavenumbers. Each is divided by the root of the same ratio
    far from the cone, as the spectrum is uncertain. Logarithms of excesses spread by 0.6 about
    their expectation, as heads are not Gaussian, and both cases are equally likely beforehand:

    .. math:: p = 1 / (1 + e^{-u}), \quad
        u = \log\rho_1 \, (\log\rho - \tfrac12 \log\rho_1) / 0.6^2.

    Noise, mask and voxels act on all three alike. Where noise drowns the streaks,
    :math:`\rho_1` is near one, and p near one half.

    Fields are compared in blocks of about 2 mm, or of 1/64 of the object where that is less.

    Parameters
    ----------
    field
        Local field (X, Y, Z) [ppm], zero outside the mask.
    mask
        Voxels of tissue.
    weight
        Voxel weights, at most one; zero where nothing was measured.
    grid
        Their grid.
    power
        Expected power of susceptibility per voxel of the grid of an operator [ppm^2].
    noise
        Variance of the white noise where the weight is one [ppm^2].

    Examples
    --------
    >>> grid = Grid((48, 48, 48), (2.0, 2.0, 2.0))
    >>> mask = torch.ones(grid.shape)
    >>> generator = torch.Generator().manual_seed(1)
    >>> white, error = 0.01 * torch.randn((2, *grid.shape), generator=generator)
    >>> field = Dipole(grid).forward(white)
    >>> flat = lambda dipole: torch.full_like(dipole.kernel, 1e-4)
    >>> error_probability(field, mask > 0, mask, grid, flat, 1e-8) < 0.1
    True
    >>> error_probability(field + 0.2 * error, mask > 0, mask, grid, flat, 1e-8) > 0.9
    True

    """
    factors = _block(mask, grid)
    precision, weighted, filled = (
        torch.from_numpy(block_means(image.cpu().numpy(), factors)).to(field)
        for image in (weight.square(), weight.square() * field, mask.to(field.dtype))
    )
    inside = (filled >= 0.5).to(field.dtype)
    root = inside * precision.sqrt()
    size = tuple(v * f for v, f in zip(grid.voxel_size, factors, strict=True))
    dipole = Dipole(
        Grid(tuple(inside.shape), size, grid.b0_direction), padding=1.1, device=field.device
    )
    expected = power(dipole)
    strongest = float((dipole.kernel.square() * expected).max())
    white = max(noise / prod(factors), LEAST_NOISE * strongest)

    generator = torch.Generator().manual_seed(0)
    sources, noises, errors = torch.randn((3, *inside.shape), generator=generator).to(field)
    simulated = dipole.forward(dipole.filter(sources, expected.sqrt()) * inside)
    simulated += white**0.5 * noises / root.clamp(min=1e-3)
    model_error = dipole.filter(errors, (ERROR_RATIO[0] * expected).sqrt())

    posterior = PosteriorPrecision(dipole, inside, 1 / white, 1 / expected, root)

    def streaks(field: Tensor) -> np.ndarray:
        chi = posterior.solve(posterior.data_term(field), iterations=STEPS, tolerance=1e-3)
        return _streaks(chi, dipole)

    usual = streaks(simulated)
    if not usual.size:
        return 0.5
    measured = weighted / precision.clamp(min=1e-6)
    found, of_error = (
        float((streaks(field) - usual).mean()) for field in (measured, simulated + model_error)
    )
    return 1 / (1 + exp(-of_error * (found - of_error / 2) / SPREAD**2))


def _block(mask: Tensor, grid: Grid) -> tuple[int, ...]:
    """Voxels along each edge of a block."""
    box = bounding_box(mask.cpu().numpy())
    extent = max((s.stop - s.start) * v for s, v in zip(box, grid.voxel_size, strict=True))
    edge = min(BLOCK_MM, extent / LEAST_BLOCKS)
    return tuple(max(1, round(edge / v)) for v in grid.voxel_size)


def _streaks(chi: Tensor, dipole: Dipole) -> np.ndarray:
    """Log of the power of a map near the cone over the root of that far from it, in each band.

    Bands without frequencies on either side are left out.
    """
    power, k = dipole.transform(chi).abs().square(), dipole.wavenumber()
    response = dipole.kernel.abs()
    found = []
    for centre in BANDS:
        band = (k - centre).abs() < 0.15 * centre
        near, far = power[band & (response < ON_CONE)], power[band & (response > OFF_CONE)]
        if near.numel() and far.numel():
            found.append(float(near.mean().log() - 0.5 * far.mean().log()))
    return np.array(found)

"""What sources in the mask cannot explain: a model error makes streaks, sources outside a rim."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import pad

from qsmprep.qsm.grid import Grid, block_means, bounding_box, depth_mm
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.periodogram import ERROR_RATIO
from qsmprep.qsm.posterior import PosteriorPrecision

BLOCK_MM = 2.0
LEAST_BLOCKS = 64
MARGIN = 4
RIM = 2
BANDS = (0.05, 0.08, 0.12)
ON_CONE, OFF_CONE = 0.1, 0.2
STEPS = 16
LEAST_NOISE = 1e-9
STREAKS_SPREAD, RIM_SPREAD = 0.4, 0.3


class Doubts(NamedTuple):
    """Probabilities that a field is more than that of sources in the mask, and noise.

    Parameters
    ----------
    error
        That it has the model error of scans in vivo.
    outside
        That there are sources just outside the mask.

    """

    error: float
    outside: float


def doubts(
    field: Tensor,
    mask: Tensor,
    weight: Tensor,
    grid: Grid,
    power: Callable[[Dipole], Tensor],
    noise: float,
) -> Doubts:
    r"""Probabilities of a model error and of sources outside the mask, by the map they make.

    Sources in the mask and a rim of two blocks around it are fitted to four fields by sixteen steps
    of conjugate gradients: the measured one; a simulated one of sources in the mask, of the
    same spectrum and noise; that one plus a model error of 0.035 times the power of susceptibility;
    and that one plus the field of sources in the rim.

    A map that explains a model error takes large values near the cone D = 0, where sources hardly
    show: streaks. One that explains sources outside the mask has them in the rim. Two excesses
    are compared, each over the simulated field of sources in the mask: the power near the cone over
    the root of that far from it, a geometric mean over three bands of wavenumbers; and the power in
    the block next to the mask over that in its outer two blocks. With :math:`\rho` the logarithm of
    the measured excess and :math:`\rho_1` that of what was added, which are taken to spread
    by :math:`s` about zero and :math:`\rho_1`, both equally likely beforehand,

    .. math:: p = 1 / (1 + e^{-u}), \quad u = \rho_1 (\rho - \tfrac12 \rho_1) / s^2.

    s is 0.4 for streaks and 0.3 for the rim, as heads are not Gaussian. Noise, mask and voxels act
    on all fields alike: sources in the mask are simulated on its own grid. Where noise drowns the
    excess, :math:`\rho_1` is near zero, and p near one half.

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
    >>> mask = torch.zeros(grid.shape)
    >>> mask[8:-8, 8:-8, 8:-8] = 1
    >>> generator = torch.Generator().manual_seed(1)
    >>> white, error = 0.01 * torch.randn((2, *grid.shape), generator=generator)
    >>> dipole = Dipole(grid)
    >>> flat = lambda dipole: torch.full_like(dipole.kernel, 1e-4)
    >>> field = mask * dipole.forward(mask * white)
    >>> [round(p) for p in doubts(field, mask > 0, mask, grid, flat, 1e-8)]
    [0, 0]
    >>> round(doubts(field + 0.2 * mask * error, mask > 0, mask, grid, flat, 1e-8).error)
    1
    >>> round(doubts(mask * dipole.forward(white), mask > 0, mask, grid, flat, 1e-8).outside)
    1

    """
    factors = _block(mask, grid)
    generator = torch.Generator().manual_seed(0)
    own = _field_of_sources(mask, grid, power, generator)

    def means(image: Tensor) -> Tensor:
        return torch.from_numpy(block_means(image.cpu().numpy(), factors)).to(field)

    inside, precision = means(mask.to(field.dtype)) >= 0.5, means(weight.square())
    measured, simulated = (
        means(weight.square() * image) / precision.clamp(min=1e-6) for image in (field, own)
    )
    size = tuple(v * f for v, f in zip(grid.voxel_size, factors, strict=True))
    inside, root, measured, simulated = (
        pad(image, (MARGIN,) * 6)
        for image in (inside, inside * precision.sqrt(), measured, simulated)
    )
    whole = Grid(tuple(inside.shape), size, grid.b0_direction)
    dipole = Dipole(whole, padding=1.02, device=field.device)
    rim, next_to, outer = _shells(inside, size)
    expected = power(dipole)
    strongest = float((dipole.kernel.square() * expected).max())
    white = max(noise / prod(factors), LEAST_NOISE * strongest)
    noises, errors, sources = torch.randn((3, *inside.shape), generator=generator).to(field)
    simulated = simulated * inside + white**0.5 * noises * inside / root.clamp(min=1e-3)
    error = dipole.filter(errors, (ERROR_RATIO[0] * expected).sqrt())
    outside = dipole.forward(rim * dipole.filter(sources, expected.sqrt()))
    posterior = PosteriorPrecision(dipole, inside | rim, 1 / white, 1 / expected, root)

    def seen(field: Tensor) -> tuple[np.ndarray, float]:
        chi = posterior.solve(posterior.data_term(field), iterations=STEPS, tolerance=1e-3)
        beyond, within = (float(chi[part].square().mean().log()) for part in (next_to, outer))
        return _streaks(chi, dipole), beyond - within

    streaks, beyond = seen(simulated)
    found_streaks, found_beyond = seen(measured)
    error_streaks, _ = seen(simulated + error)
    _, outside_beyond = seen(simulated + outside)
    excess = [
        float((some - streaks).mean()) if streaks.size else 0.0
        for some in (found_streaks, error_streaks)
    ]
    return Doubts(
        _probability(*excess, spread=STREAKS_SPREAD),
        _probability(found_beyond - beyond, outside_beyond - beyond, spread=RIM_SPREAD),
    )


def _shells(inside: Tensor, size: tuple[float, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Rim around a mask, the part of it next to the mask, and the mask's own outer blocks."""
    mask, block = inside.cpu().numpy(), 1.01 * max(size)
    far = np.pad(~mask, MARGIN, constant_values=True)
    distance = depth_mm(far, size)[(slice(MARGIN, -MARGIN),) * 3]
    rim = ~mask & (distance <= RIM * block)
    shells = (rim, rim & (distance <= block), mask & (depth_mm(mask, size) <= RIM * block))
    first, second, third = (torch.from_numpy(shell).to(inside.device) for shell in shells)
    return first, second, third


def _probability(found: float, expected: float, *, spread: float) -> float:
    """Probability that an excess is the expected one rather than none."""
    return float(expit(expected * (found - expected / 2) / spread**2))


def _field_of_sources(
    mask: Tensor, grid: Grid, power: Callable[[Dipole], Tensor], generator: torch.Generator
) -> Tensor:
    """Field [ppm] of Gaussian sources of a power in a mask."""
    dipole = Dipole(grid, padding=1.1, device=mask.device)
    sources = torch.randn(grid.shape, generator=generator).to(dipole.kernel)
    return dipole.forward(mask * dipole.filter(sources, power(dipole).sqrt()))


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

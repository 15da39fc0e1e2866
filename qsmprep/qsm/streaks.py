"""What sources in the mask cannot explain, by the map they make: streaks, and power at the rim."""

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
STEPS = 12
LEAST_NOISE = 1e-9
SPREAD = np.array([0.4, 0.3, 0.3])


class Doubts(NamedTuple):
    """How likely it is that a field is more than that of sources in the mask, and noise.

    Parameters
    ----------
    error
        Probability that it has the model error of scans in vivo.
    outside
        Expected power of sources just outside the mask over that of those inside, at most 1.
    remnant
        Logarithm of how much likelier the map is with the remnant than without; 0 of none.

    """

    error: float
    outside: float
    remnant: float


def doubts(
    field: Tensor,
    mask: Tensor,
    weight: Tensor,
    dipole: Dipole,
    power: Callable[[Dipole], Tensor],
    remnant: Callable[[Dipole], Tensor] | None,
    noise: float,
    *,
    outside: bool = True,
) -> Doubts:
    r"""How likely model error and remnant are, and how strong sources outside, by their map.

    Sources in the mask and a rim of two blocks around it are fitted to some fields by twelve steps
    of conjugate gradients: the measured one; a simulated one of sources in the mask, of the
    same spectrum and noise; and that one plus a model error of 0.035 times the power of
    susceptibility, plus the field of sources in the rim, and plus the smooth remnant.

    A map that explains a model error takes large values near the cone D = 0, where sources hardly
    show: streaks. One that explains sources outside the mask, or a smooth remnant, has power in the
    rim, and the fit needs it there. Three excesses are compared, each over the simulated field of
    sources in the mask: the power near the cone over the root of that far from it, a geometric mean
    over three bands of wavenumbers; the power in the block next to the mask over that in the mask
    or in its outer two blocks, whichever is more; and, with the part :math:`x_r` of the map in the
    rim, the posterior precision A and the least cost J of the fit (misfit and prior),
    :math:`x_r^T A x_r / J`. With
    :math:`\rho` the logarithm of the measured excess and :math:`\rho_1` that of what was added,
    which are taken to spread by :math:`s` about zero and :math:`\rho_1`, the logarithm of how much
    likelier it is with what was added is

    .. math:: u = \rho_1 (\rho - \tfrac12 \rho_1) / s^2,

    and where both are equally likely beforehand :math:`p = 1 / (1 + e^{-u})`. s is 0.4 for streaks
    and 0.3 for the rim, as heads are not Gaussian. Noise, mask and voxels act on all fields alike:
    sources in the mask are simulated on its own grid. Where noise drowns the excess,
    :math:`\rho_1` is near zero, and u too. Sources outside, if there are any, have the power
    :math:`(e^\rho - 1) / (e^{\rho_1} - 1)` of those inside; p times that is expected. Of both
    excesses of the rim the larger such power counts: one misses sources where the map is strong at
    its own edge, the other where voxels average over the edge. A remnant is judged by the power.

    Fields are compared in blocks of about 2 mm, or of 1/64 of the object where that is less.

    Parameters
    ----------
    field
        Local field (X, Y, Z) [ppm], zero outside the mask.
    mask
        Voxels of tissue.
    weight
        Voxel weights, at most one; zero where nothing was measured.
    dipole
        The dipole operator on their grid.
    power, remnant
        Expected power of susceptibility, and of a smooth remnant if there may be one, per voxel of
        the grid of an operator [ppm^2].
    noise
        Variance of the white noise where the weight is one [ppm^2].
    outside
        Whether there may be sources outside; else they are not asked about, and none.

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
    >>> scan = (mask > 0, mask, dipole, flat, None, 1e-8)
    >>> [round(p) for p in doubts(field, *scan)]
    [0, 0, 0]
    >>> round(doubts(field + 0.2 * mask * error, *scan).error)
    1
    >>> round(doubts(mask * dipole.forward(white), *scan).outside)
    1

    """
    grid, generator = dipole.grid, torch.Generator().manual_seed(0)
    factors = _block(mask, grid)
    own = _field_of_sources(mask, dipole, power, generator)

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
    blocks = Dipole(whole, padding=1.02, device=field.device)
    rim, *shells = _shells(inside, size)
    expected = power(blocks)
    strongest = float((blocks.kernel.square() * expected).max())
    white = max(noise / prod(factors), LEAST_NOISE * strongest)
    noises, *draws = torch.randn((4, *inside.shape), generator=generator).to(field)
    simulated = simulated * inside + white**0.5 * noises * inside / root.clamp(min=1e-3)
    posterior = PosteriorPrecision(blocks, inside | rim, 1 / white, 1 / expected, root)

    def seen(field: Tensor) -> np.ndarray:
        target = posterior.data_term(field)
        chi = posterior.solve(target, iterations=STEPS, tolerance=1e-3)
        beyond, whole, outer = (float(chi[part].square().mean().log()) for part in shells)
        edge = chi * rim
        cost = _product(root * field, root * field) / white - _product(chi, target)
        needed = np.log(_product(edge, posterior(edge)) / cost)
        return np.array([_streaks(chi, blocks), beyond - max(whole, outer), needed])

    null = seen(simulated)
    found = seen(measured) - null

    def excess(added: Tensor) -> np.ndarray:
        return seen(simulated + added) - null

    def likelier(expected: np.ndarray) -> np.ndarray:
        return expected * (found - expected / 2) / SPREAD**2

    streaks = likelier(excess(blocks.filter(draws[0], (ERROR_RATIO[0] * expected).sqrt())))[0]
    beyond = smooth = 0.0
    if outside:
        sources = excess(blocks.forward(rim * blocks.filter(draws[1], expected.sqrt())))
        strength = np.expm1(found) / np.expm1(sources).clip(LEAST_NOISE)
        beyond = (expit(likelier(sources)) * strength)[1:].max()
    if remnant is not None:
        smooth = likelier(excess(blocks.filter(draws[2], remnant(blocks).sqrt())))[1]
    return Doubts(float(expit(streaks)), float(np.clip(beyond, 0, 1)), float(smooth))


def _product(one: Tensor, other: Tensor) -> float:
    """Inner product, in double precision: the cost is a small difference of two."""
    return float((one.double() * other.double()).sum())


def _shells(inside: Tensor, size: tuple[float, ...]) -> list[Tensor]:
    """Rim around a mask, the part of it next to the mask, the mask, and its outer blocks."""
    mask, block = inside.cpu().numpy(), 1.01 * max(size)
    far = np.pad(~mask, MARGIN, constant_values=True)
    distance = depth_mm(far, size)[(slice(MARGIN, -MARGIN),) * 3]
    rim, next_to = (~mask & (distance <= blocks * block) for blocks in (RIM, 1))
    outer = mask & (depth_mm(mask, size) <= RIM * block)
    return [torch.from_numpy(shell).to(inside.device) for shell in (rim, next_to, mask, outer)]


def _field_of_sources(
    mask: Tensor, dipole: Dipole, power: Callable[[Dipole], Tensor], generator: torch.Generator
) -> Tensor:
    """Field [ppm] of Gaussian sources of a power in a mask."""
    sources = torch.randn(dipole.grid.shape, generator=generator).to(dipole.kernel)
    return dipole.forward(mask * dipole.filter(sources, power(dipole).sqrt()))


def _block(mask: Tensor, grid: Grid) -> tuple[int, ...]:
    """Voxels along each edge of a block."""
    box = bounding_box(mask.cpu().numpy())
    extent = max((s.stop - s.start) * v for s, v in zip(box, grid.voxel_size, strict=True))
    edge = min(BLOCK_MM, extent / LEAST_BLOCKS)
    return tuple(max(1, round(edge / v)) for v in grid.voxel_size)


def _streaks(chi: Tensor, dipole: Dipole) -> float:
    """Log of the power of a map near the cone over the root of that far from it, mean of bands.

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
    return float(np.mean(found)) if found else 0.0

r"""Susceptibility separation: paramagnetic and diamagnetic sources of one voxel told apart.

A voxel's susceptibility is the sum of both shares, :math:`\chi = \chi^+ + \chi^-` with
:math:`\chi^+ \ge 0 \ge \chi^-`; its reversible relaxation grows with both,
:math:`R_2' = r (\chi^+ + |\chi^-|)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from qsmprep.methods import choose
from qsmprep.qsm.calibration import calibrate
from qsmprep.qsm.grid import Grid, bounding_box
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.noise import field_roughness
from qsmprep.qsm.operators import Dipole

R2PRIME_PER_PPM = 137.0
"""R2' of sources of either sign at 3 T [1/s per ppm]: 10.1016/j.neuroimage.2021.118371."""
R2STAR_PER_PPM = 274.0
"""R2* per ppm at 3 T, as if R2' were half of R2*: 10.3390/tomography8030127."""
R2_OF_TISSUE = (13.0, 3.0)
"""R2 of brain tissue at 3 T and how much it differs between tissues [1/s]: T2 of 60 to 100 ms."""
LEAST_SD = 0.5
"""Least standard deviation of a relaxation rate [1/s]."""
STEP_PPM = 0.01
INNER_STEPS = 8


def at_field_strength(rate: float, field_strength_t: float) -> float:
    """Relaxation rate [1/s (per ppm)] at a field strength, in proportion to that at 3 T.

    Examples
    --------
    >>> at_field_strength(R2PRIME_PER_PPM, 1.5)
    68.5

    """
    return rate * field_strength_t / 3


@dataclass(frozen=True)
class Separation:
    """Two maps that sum up to a susceptibility.

    Parameters
    ----------
    paramagnetic
        Susceptibility of paramagnetic sources [ppm], from 0 up; zero outside the tissue.
    diamagnetic
        That of diamagnetic sources [ppm], from 0 down.
    parameters
        Every constant and parameter of the method.

    """

    paramagnetic: np.ndarray
    diamagnetic: np.ndarray
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """What is known of the sources in a box of tissue: tensors of one shape.

    Parameters
    ----------
    field, noise
        Local field and its standard deviation [ppm]; the noise may be missing.
    chi
        Susceptibility [ppm] that an inversion made of the field.
    rate, rate_sd
        R2' or, where R2 is not known, R2* [1/s]; its standard deviation.
    reversible
        Whether the rate is R2'.
    mask, tissue
        Voxels that have a field; those of the maps.
    grid
        Their grid.
    field_strength_t
        Field strength [T].
    remnant
        Whether background removal came before, whose remnants the likelihood must allow for.
    progress
        Called with the iteration, their greatest number, and the relative change of the maps.

    """

    field: Tensor
    noise: Tensor | None
    chi: Tensor
    rate: Tensor
    rate_sd: Tensor
    reversible: bool
    mask: Tensor
    tissue: Tensor
    grid: Grid
    field_strength_t: float
    remnant: bool = False
    progress: Callable[[int, int, float], None] | None = None


def r2prime(r2star_hz: np.ndarray, r2_hz: np.ndarray) -> np.ndarray:
    """Reversible relaxation rate R2' = R2* - R2, at least 0 [1/s], where R2* and R2 are known.

    Examples
    --------
    >>> r2prime(np.array([20.0, 10.0, 0.0]), np.array([14.0, 12.0, 14.0])).tolist()
    [6.0, 0.0, 0.0]

    """
    known = (r2star_hz > 0) & (r2_hz > 0)
    return np.where(known, np.maximum(r2star_hz - r2_hz, 0), 0)


def r2star_sd(
    r2star_hz: np.ndarray, s0: np.ndarray, echo_times_s: tuple[float, ...], noise_sd: float
) -> np.ndarray:
    """Standard deviation of a fitted R2* [1/s], by the Cramer-Rao bound.

    Parameters
    ----------
    r2star_hz, s0
        The fit: rate [1/s], and magnitude at an echo time of zero.
    echo_times_s
        Echo times [s].
    noise_sd
        Noise of the real or imaginary part, in units of the magnitude.

    Examples
    --------
    >>> sd = r2star_sd(np.array([0.0]), np.array([100.0]), (0.0, 0.02), 1.0)
    >>> round(float(sd[0]), 3)
    0.707

    """
    total = first = second = np.zeros(np.shape(r2star_hz), dtype=np.float64)
    for te in echo_times_s:
        power = (s0 * np.exp(-r2star_hz * te)) ** 2
        total, first, second = total + power, first + power * te, second + power * te**2
    information = second - first**2 / np.maximum(total, 1e-30)
    return (noise_sd / np.sqrt(np.maximum(information, 1e-30))).astype(np.float32)


def separate(
    field_ppm: np.ndarray,
    chi_ppm: np.ndarray,
    rate_hz: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    method: str = 'joint',
    *,
    field_strength_t: float,
    reversible: bool,
    rate_sd_hz: np.ndarray | None = None,
    noise_ppm: np.ndarray | None = None,
    tissue: np.ndarray | None = None,
    remnant: bool = False,
    device: str = 'cpu',
    progress: Callable[[int, int, float], None] | None = None,
    **parameters: Any,
) -> Separation:
    """Paramagnetic and diamagnetic susceptibility of a scan.

    Parameters
    ----------
    field_ppm, chi_ppm
        Local field, and susceptibility that was computed from it [ppm].
    rate_hz, rate_sd_hz
        R2' or R2* [1/s], and its standard deviation.
    mask
        Voxels that have a local field.
    grid
        Their grid.
    method
        Key of :data:`qsmprep.methods.SEPARATIONS`.
    field_strength_t
        Field strength [T].
    reversible
        Whether the rate is R2', not R2*.
    noise_ppm
        Standard deviation of the field [ppm].
    tissue
        Voxels of the maps beyond the mask and its holes.
    remnant
        Whether background removal came before.
    device
        Torch device.
    progress
        Called by iterative methods.
    **parameters
        Parameters of the method that differ from their defaults.

    Raises
    ------
    ValueError
        If shapes differ, the mask is empty, a value in it is not finite, the rate is nowhere above
        zero, or a parameter is unknown.

    """
    chosen = choose('separation', method)
    settings = chosen.complete(parameters)
    inside = np.asarray(mask) > 0
    if not inside.any():
        raise ValueError('The mask is empty, so there is nothing to separate; check the mask.')
    whole = inside if tissue is None else inside | (np.asarray(tissue) > 0)
    whole = binary_fill_holes(whole)
    box = bounding_box(whole)

    def cropped(name: str, image: np.ndarray) -> Tensor:
        return _cropped(name, image, inside, box, device)

    rate = cropped('rate', rate_hz)
    if not (rate > 0).any():
        raise ValueError('The relaxation rate is nowhere above zero in the mask; check its map.')
    even = torch.full_like(rate, LEAST_SD)
    sources = Sources(
        field=cropped('field', field_ppm),
        chi=cropped('chi', chi_ppm),
        rate=rate,
        rate_sd=even if rate_sd_hz is None else cropped('rate_sd', rate_sd_hz),
        noise=None if noise_ppm is None else cropped('noise', noise_ppm),
        reversible=reversible,
        mask=torch.from_numpy(inside[box]).to(device),
        tissue=torch.from_numpy(whole[box]).to(device),
        grid=replace(grid, shape=inside[box].shape),
        field_strength_t=field_strength_t,
        remnant=remnant,
        progress=progress,
    )
    positive, negative, constants = chosen.run(sources, scan={}, **settings)

    def uncropped(share: Tensor) -> np.ndarray:
        volume = np.zeros(grid.shape, dtype=np.float32)
        volume[box] = (share * sources.tissue).cpu().numpy() + 0.0
        return volume

    return Separation(uncropped(positive), uncropped(-negative), {**settings, **constants})


def _cropped(name: str, image: np.ndarray, inside: np.ndarray, box: tuple, device: str) -> Tensor:
    if image.shape != inside.shape:
        raise ValueError(
            f'The {name} has the shape {image.shape}, but the mask {inside.shape}; '
            'resample them to one grid.'
        )
    if not np.isfinite(image[inside]).all():
        raise ValueError(f'The {name} is not finite in the mask; repair it.')
    return torch.from_numpy(np.nan_to_num(image[box]).astype(np.float32)).to(device)


def closed_form(sources: Sources) -> tuple[Tensor, Tensor, dict[str, float]]:
    r"""Both shares from the susceptibility map and the rate, voxel by voxel.

    .. math:: \chi^\pm = (R / r \pm \chi) / 2

    with r = 137 1/s per ppm at 3 T for R2' and 274 for R2*, in proportion to the field strength.
    A share of the wrong sign becomes zero. With R2* all irreversible relaxation counts as
    sources: R2*-QSM takes R2' for half of R2*, which holds for no tissue exactly.

    Parameters
    ----------
    sources
        What is known of the tissue.

    Returns
    -------
    positive, negative
        Size of both shares [ppm].
    constants
        The rate of one ppm.

    References
    ----------
    Shin et al. 2021, 10.1016/j.neuroimage.2021.118371; Dimov et al. 2022,
    10.3390/tomography8030127.

    """
    per_ppm = at_field_strength(
        R2PRIME_PER_PPM if sources.reversible else R2STAR_PER_PPM, sources.field_strength_t
    )
    both = sources.rate / per_ppm
    positive, negative = ((both + sign * sources.chi) / 2 for sign in (1, -1))
    return positive.clamp(min=0), negative.clamp(min=0), {'rate_per_ppm': per_ppm}


def joint(
    sources: Sources,
    *,
    variation: float = 50.0,
    iterations: int = 30,
    tolerance: float = 2e-3,
) -> tuple[Tensor, Tensor, dict[str, float]]:
    r"""Both shares from field and rate at once.

    .. math:: -\log p(f | p - n) + \tfrac12 \sum \left(\frac{R - R_2 - r (p + n)}{s}\right)^2
        + \lambda\, [\mathrm{TV}(p) + \mathrm{TV}(n)], \quad p, n \ge 0

    The first term is the likelihood of the field under calibrated spectra of noise and model error
    that the inversions use. For R2' R_2 is zero and s the error of the map; for R2* R_2 is that of
    brain tissue, 13 1/s, and s holds 3 1/s more, by which tissues differ (at 3 T; both grow by
    40 % per 3 T). The field knows p - n up to the cone of the dipole, the rate knows p + n:
    neither share is from one of them alone, and the two bounds also fill in the cone and set the
    zero of susceptibility.

    ADMM: the susceptibility p - n is split off, and solved for by conjugate gradients; the shares
    by a few steps of a primal-dual method with a closed form in each voxel.

    Parameters
    ----------
    sources
        What is known of the tissue.
    variation
        Weight of the total variation [1/ppm], differences taken per mean voxel edge.
    iterations
        Of the splitting, at most.
    tolerance
        Relative change of the maps that ends it.

    Returns
    -------
    positive, negative
        Size of both shares [ppm].
    constants
        The rate of one ppm, R2 that was taken off, and its spread.

    References
    ----------
    Shin et al. 2021, 10.1016/j.neuroimage.2021.118371 (the model); Chambolle and Pock 2011,
    10.1007/s10851-010-0251-1 (the steps of the shares).

    """
    if variation <= 0:
        raise ValueError(f'The parameter variation lies above 0, unlike {variation}.')
    both, precision, constants = _sum_of_shares(sources)
    precision = precision * sources.tissue
    likelihood = _likelihood(sources)
    shares = _Shares(both, precision, sources.tissue, sources.grid.voxel_size, variation)
    chi = sources.chi * sources.tissue
    dual = torch.zeros_like(chi)
    variance = STEP_PPM**2
    posterior = likelihood.posterior(sources.tissue, 1 / variance)
    pull = posterior.pull(likelihood.field)
    positive, negative = shares.solve(chi, variance, 5 * INNER_STEPS)
    for iteration in range(1, iterations + 1):
        net = positive - negative
        target = pull + posterior.inside * (net - dual) / variance
        chi = posterior.solve(target, start=chi, iterations=8, tolerance=1e-2)
        positive, negative = shares.solve(chi + dual, variance, INNER_STEPS)
        previous, net = net, positive - negative
        dual = dual + chi - net
        change = float((net - previous).norm() / net.norm().clamp(min=1e-12))
        if sources.progress is not None:
            sources.progress(iteration, iterations, change)
        if change < tolerance:
            break
    return positive, negative, constants


def _sum_of_shares(sources: Sources) -> tuple[Tensor, Tensor, dict[str, float]]:
    """What the rate says of p + n [ppm], and its precision [1/ppm^2]."""
    per_ppm = at_field_strength(R2PRIME_PER_PPM, sources.field_strength_t)
    constants = {'rate_per_ppm': per_ppm}
    mean, spread = 0.0, 0.0
    if not sources.reversible:
        mean, spread = (r * (0.6 + 0.4 * sources.field_strength_t / 3) for r in R2_OF_TISSUE)
        constants |= {'r2_hz': mean, 'r2_spread_hz': spread}
    both = (sources.rate - mean) / per_ppm
    variance = sources.rate_sd.square() + spread**2 + LEAST_SD**2
    known = (sources.rate > 0).to(both.dtype)
    return both, known * per_ppm**2 / variance, constants


def _likelihood(sources: Sources) -> Likelihood:
    field, mask, noise = sources.field * sources.mask, sources.tissue, sources.noise
    dipole = Dipole(sources.grid, padding=1.1, device=field.device, dtype=field.dtype)
    noise = None if noise is None else noise * sources.mask
    calibration = calibrate(
        field, mask, dipole, noise=noise, error_share=1.0 if sources.remnant else None
    )
    weight = calibration.weight
    if weight is None:
        weight = sources.mask.to(field.dtype)
    # below a tenth of its roughness nothing is known of a field, whatever the noise map says
    least = 0.1 * field_roughness(field, mask)
    return Likelihood(field, calibration, weight, least_noise=least)


class _Shares:
    """Shares of a known net susceptibility and sum, under total variation; warm started."""

    def __init__(
        self,
        both: Tensor,
        precision: Tensor,
        tissue: Tensor,
        voxel_size: tuple[float, ...],
        variation: float,
    ) -> None:
        self.both, self.precision, self.tissue = both, precision, tissue
        self.variation = variation
        edge = prod(voxel_size) ** (1 / 3)
        self.edges = []
        for axis, (n, v) in enumerate(zip(tissue.shape, voxel_size, strict=True)):
            pair = tissue.narrow(axis, 0, n - 1) & tissue.narrow(axis, 1, n - 1)
            self.edges.append(pair.to(both.dtype) * (edge / v))
        self.squared_norm = sum(4 * (edge / v) ** 2 for v in voxel_size)
        self.shares = torch.zeros((2, *both.shape), dtype=both.dtype, device=both.device)
        self.duals = [
            torch.zeros((2, *e.shape), dtype=e.dtype, device=e.device) for e in self.edges
        ]

    def solve(self, net: Tensor, variance: float, steps: int) -> Tensor:
        """Minimiser, nearly, with 1/2 (p - n - net)^2 / variance as the term of the field."""
        shares, stiff = self.shares, 1 / variance
        # the step that a voxel's own curvature asks for, and its counterpart
        tau = 1 / stiff
        sigma = 1 / (tau * self.squared_norm)
        leading = shares
        for _ in range(steps):
            self._ascend(leading, sigma)
            moved = self._descend(shares - tau * self._divergence(), net, stiff, 1 / tau)
            leading = 2 * moved - shares
            shares = moved
        self.shares = shares
        return shares

    def _ascend(self, shares: Tensor, sigma: float) -> None:
        length = torch.zeros_like(shares)
        for axis, (dual, edge) in enumerate(zip(self.duals, self.edges, strict=True), start=1):
            dual.add_(shares.diff(dim=axis).mul_(edge), alpha=sigma)
            length.narrow(axis, 0, dual.shape[axis]).addcmul_(dual, dual)
        shrink = self.variation / length.sqrt_().clamp_(min=self.variation)
        for axis, dual in enumerate(self.duals, start=1):
            dual.mul_(shrink.narrow(axis, 0, dual.shape[axis]))

    def _divergence(self) -> Tensor:
        """Adjoint of the differences, applied to the duals."""
        result = torch.zeros_like(self.shares)
        for axis, (dual, edge) in enumerate(zip(self.duals, self.edges, strict=True), start=1):
            flow, n = dual * edge, dual.shape[axis]
            result.narrow(axis, 1, n).add_(flow)
            result.narrow(axis, 0, n).sub_(flow)
        return result

    def _descend(self, near: Tensor, net: Tensor, stiff: float, pull: float) -> Tensor:
        """Exact minimiser in each voxel: a quadratic form over two numbers from 0 up."""
        a, s0 = self.precision, self.both
        p, n = near
        total = (a * s0 + pull / 2 * (p + n)) / (a + pull / 2)
        difference = (stiff * net + pull / 2 * (p - n)) / (stiff + pull / 2)
        positive, negative = (total + difference) / 2, (total - difference) / 2
        alone = a + stiff + pull
        only_p = ((a * s0 + stiff * net + pull * p) / alone).clamp(min=0)
        only_n = ((a * s0 - stiff * net + pull * n) / alone).clamp(min=0)
        no_p, no_n = positive < 0, negative < 0
        p = torch.where(no_n, only_p, torch.where(no_p, 0, positive))
        n = torch.where(no_p, only_n, torch.where(no_n, 0, negative))
        return torch.stack((p, n)) * self.tissue

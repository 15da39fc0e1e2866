"""Both shares of susceptibility from field and rate at once."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from qsmprep.qsm.calibration import calibrate
from qsmprep.qsm.inversion.penalty import edges_inside
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.noise import field_roughness
from qsmprep.qsm.separation.rates import (
    LEAST_SD,
    R2_OF_TISSUE,
    R2PRIME_PER_PPM,
    at_field_strength,
    r2_at_field_strength,
)
from qsmprep.qsm.separation.sources import Sources

STEP_PPM = 0.01


INNER_STEPS = 8


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
    data_term = posterior.data_term(likelihood.field)
    positive, negative = shares.solve(chi, variance, 5 * INNER_STEPS)
    for iteration in range(1, iterations + 1):
        net = positive - negative
        target = data_term + posterior.inside * (net - dual) / variance
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
        mean, spread = (
            r2_at_field_strength(rate, sources.field_strength_t) for rate in R2_OF_TISSUE
        )
        constants |= {'r2_hz': mean, 'r2_spread_hz': spread}
    both = (sources.rate - mean) / per_ppm
    variance = sources.rate_sd.square() + spread**2 + LEAST_SD**2
    known = (sources.rate > 0).to(both.dtype)
    return both, known * per_ppm**2 / variance, constants


def _likelihood(sources: Sources) -> Likelihood:
    field, mask, noise = sources.field * sources.mask, sources.tissue, sources.noise
    noise = None if noise is None else noise * sources.mask
    calibration = calibrate(
        field, mask, sources.grid, noise=noise, after_background=sources.remnant
    )
    weight = calibration.weights(sources.mask)
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
        self.edges = edges_inside(tissue, voxel_size)
        edge = prod(voxel_size) ** (1 / 3)
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

    def _descend(self, near: Tensor, net: Tensor, stiff: float, near_weight: float) -> Tensor:
        """Exact minimiser in each voxel: a quadratic form over two numbers from 0 up."""
        a, s0 = self.precision, self.both
        p, n = near
        total = (a * s0 + near_weight / 2 * (p + n)) / (a + near_weight / 2)
        difference = (stiff * net + near_weight / 2 * (p - n)) / (stiff + near_weight / 2)
        positive, negative = (total + difference) / 2, (total - difference) / 2
        alone = a + stiff + near_weight
        only_p = ((a * s0 + stiff * net + near_weight * p) / alone).clamp(min=0)
        only_n = ((a * s0 - stiff * net + near_weight * n) / alone).clamp(min=0)
        no_p, no_n = positive < 0, negative < 0
        p = torch.where(no_n, only_p, torch.where(no_p, 0, positive))
        n = torch.where(no_p, only_n, torch.where(no_n, 0, negative))
        return torch.stack((p, n)) * self.tissue

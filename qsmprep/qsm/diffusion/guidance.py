"""How a scan guides the sampler: proximal steps under its likelihood."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.posterior import PosteriorPrecision

SOLVED_TO = 1e-3


class Guide(Protocol):
    """Joins what the network expects with what the scan says."""

    def prox(
        self,
        expected: Tensor,
        sigma: float,
        *,
        start: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Minimiser of -log p(f|x) + 1/2 (x - expected)' Q^-1 (x - expected) [ppm].

        With a generator, a sample of the Gaussian whose mean that is, by solving for randomly
        perturbed data (Papandreou and Yuille 2010, "Gaussian sampling by local perturbations").
        """


def stiffness(likelihood: Likelihood, sigma: float, tolerance: float) -> Tensor:
    r"""Inverse spectrum of the error of a denoised map, 1 / Q(k) [1/ppm^2].

    Q(k) = tolerance / (1 / S(k) + 1 / sigma^2): for a tolerance of one, the error that the best
    linear denoiser leaves of noise sigma on maps of the power S(k). With that denoiser in
    the network's place a sampler then rests at the Wiener solution, whatever its noise levels.
    """
    return (1 / likelihood.prior + 1 / sigma**2) / tolerance


class Posterior:
    """Maps that are zero outside the mask; the field there is unknown.

    Solved by conjugate gradients, preconditioned in k-space within the mask.

    Parameters
    ----------
    likelihood
        What the field says.
    mask
        Voxels of the map.
    tolerance
        See :func:`stiffness`.
    iterations
        Of the conjugate gradients, at most.

    """

    def __init__(
        self, likelihood: Likelihood, mask: Tensor, *, tolerance: float = 1.0, iterations: int = 8
    ) -> None:
        self.likelihood, self.tolerance, self.iterations = likelihood, tolerance, iterations
        self.mask = mask

    def prox(
        self,
        expected: Tensor,
        sigma: float,
        *,
        start: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See :class:`Guide`; the iteration begins at ``start``."""
        dipole, error = self.likelihood.dipole, self.likelihood.error
        stiff = stiffness(self.likelihood, sigma, self.tolerance)
        precision = PosteriorPrecision(
            dipole, self.mask, self.likelihood.precision(), stiff, self.likelihood.weight
        )
        inside, weight = precision.inside, precision.weight
        target = precision.pull(self.likelihood.field)
        target += inside * dipole.filter(inside * expected, stiff)
        if generator is not None:
            data = weight * dipole.inverse(error.rsqrt() * _white(dipole, generator))
            pull = dipole.kernel * dipole.transform(data)
            target += inside * dipole.inverse(pull + stiff.sqrt() * _white(dipole, generator))
        return precision.solve(target, start=start, iterations=self.iterations, tolerance=SOLVED_TO)


class CompletedPosterior:
    """Maps that are free outside the mask, where the field is filled in from the map.

    What is filled in counts by the share of the field that the dipole model explains; the rest
    counts as a field of zero. In closed form after each completion (expectation-maximisation), as
    in :meth:`~qsmprep.qsm.likelihood.Likelihood.posterior_mean`: in vivo, where the field is not
    quite that of any map, this spreads less of the error than an exact solution does.

    Parameters
    ----------
    likelihood, mask, tolerance
        See :class:`Posterior`.
    completions
        How often the field is filled in.

    """

    def __init__(
        self, likelihood: Likelihood, mask: Tensor, *, tolerance: float = 1.0, completions: int = 2
    ) -> None:
        self.likelihood, self.tolerance, self.completions = likelihood, tolerance, completions
        self.mask = mask
        dipole = likelihood.dipole
        unknown = likelihood.explained()
        n0, n1, n2 = mask.shape
        self.measured = likelihood.field.new_full(dipole.padded_shape, 1 - unknown)
        weight = mask.to(dipole.dtype) if likelihood.weight is None else likelihood.weight
        weight = weight.square().clamp(max=1)
        self.measured[:n0, :n1, :n2] = torch.where(mask, weight, 1 - unknown)
        self.field = self.measured.clone()
        self.field[:n0, :n1, :n2] *= likelihood.field
        self.field[n0:], self.field[:, n1:], self.field[:, :, n2:] = 0, 0, 0

    def prox(
        self,
        expected: Tensor,
        sigma: float,
        *,
        start: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See :class:`Guide`; the field is first filled in from ``start``."""
        dipole, kernel = self.likelihood.dipole, self.likelihood.dipole.kernel
        pull = kernel / self.likelihood.error
        stiff = stiffness(self.likelihood, sigma, self.tolerance)
        target = stiff * dipole.transform(expected * self.mask)
        if generator is not None:
            target += kernel / self.likelihood.error.sqrt() * _white(dipole, generator)
            target += stiff.sqrt() * _white(dipole, generator)
        spectrum = dipole.transform(start)
        for _ in range(self.completions):
            predicted = torch.fft.irfftn(kernel * spectrum, s=dipole.padded_shape)
            field = self.field + (1 - self.measured) * predicted
            solution = (pull * torch.fft.rfftn(field) + target) / (kernel * pull + stiff)
            x = dipole.inverse(solution) * self.mask
            spectrum = dipole.transform(x)
        return x


def _white(dipole: Dipole, generator: torch.Generator) -> Tensor:
    """Half spectrum of white noise of unit variance on the padded grid."""
    noise = torch.randn(dipole.padded_shape, generator=generator)
    return torch.fft.rfftn(noise.to(dipole.kernel))

"""How a scan guides the sampler: proximal steps under its likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from qsmprep.qsm.calibration import Calibration
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.noise import field_roughness
from qsmprep.qsm.operators import Dipole

SOLVED_TO = 1e-3
COMPLETIONS = 2


class Guide(Protocol):
    """Joins what the network expects with what was measured."""

    def prox(self, expected: Tensor, sigma: float, *, start: Tensor) -> Tensor:
        """Minimiser of -log p(f|x) + 1/2 (x - expected)' Q^-1 (x - expected) [ppm].

        Q is the covariance of the error of ``expected``, a map that was denoised at the noise
        level sigma [ppm]. An iteration begins at ``start``.
        """
        ...


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
        Of the field.
    mask
        Voxels of the map.
    tolerance
        See :func:`stiffness`.
    iterations
        Of the conjugate gradients, at most.
    generator
        If given, a step draws a sample of the Gaussian of which it otherwise takes the mean, by
        solving for randomly perturbed data (Papandreou and Yuille 2010, "Gaussian sampling by
        local perturbations").

    """

    def __init__(
        self,
        likelihood: Likelihood,
        mask: Tensor,
        *,
        tolerance: float = 1.0,
        iterations: int = 8,
        generator: torch.Generator | None = None,
    ) -> None:
        self.likelihood, self.mask, self.tolerance = likelihood, mask, tolerance
        self.iterations, self.generator = iterations, generator

    def prox(self, expected: Tensor, sigma: float, *, start: Tensor) -> Tensor:
        """See :class:`Guide`."""
        dipole, error = self.likelihood.dipole, self.likelihood.error
        stiff = stiffness(self.likelihood, sigma, self.tolerance)
        precision = self.likelihood.posterior(self.mask, stiff)
        inside, weight = precision.inside, precision.weight
        target = precision.data_term(self.likelihood.field)
        target += inside * dipole.filter(inside * expected, stiff)
        if self.generator is not None:
            data = weight * dipole.inverse(error.rsqrt() * _white(dipole, self.generator))
            drawn = dipole.kernel * dipole.transform(data)
            target += inside * dipole.inverse(drawn + stiff.sqrt() * _white(dipole, self.generator))
        return precision.solve(target, start=start, iterations=self.iterations, tolerance=SOLVED_TO)


class CompletedPosterior:
    """Maps that are free outside the mask, where the field is filled in from the map.

    The field is filled in twice. What is filled in counts by the share of the field that the dipole
    model explains; the rest counts as a field of zero. In closed form after each completion
    (expectation-maximisation), as in :meth:`~qsmprep.qsm.likelihood.Likelihood.posterior_mean`: in
    vivo, where the field is not quite that of any map, this spreads less of the error than an exact
    solution does.

    Parameters
    ----------
    likelihood, mask, tolerance, generator
        See :class:`Posterior`.

    """

    def __init__(
        self,
        likelihood: Likelihood,
        mask: Tensor,
        *,
        tolerance: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        self.likelihood, self.mask, self.tolerance = likelihood, mask, tolerance
        self.generator = generator
        self.measured, self.field = likelihood.measured(mask)

    def prox(self, expected: Tensor, sigma: float, *, start: Tensor) -> Tensor:
        """See :class:`Guide`; the field is first filled in from ``start``."""
        dipole, kernel = self.likelihood.dipole, self.likelihood.dipole.kernel
        gain = kernel / self.likelihood.error
        stiff = stiffness(self.likelihood, sigma, self.tolerance)
        target = stiff * dipole.transform(expected * self.mask)
        if self.generator is not None:
            error = self.likelihood.error.sqrt()
            target += kernel / error * _white(dipole, self.generator)
            target += stiff.sqrt() * _white(dipole, self.generator)
        spectrum = dipole.transform(start)
        for _ in range(COMPLETIONS):
            predicted = torch.fft.irfftn(kernel * spectrum, s=dipole.padded_shape)
            field = self.field + (1 - self.measured) * predicted
            solution = (gain * torch.fft.rfftn(field) + target) / (kernel * gain + stiff)
            x = dipole.inverse(solution) * self.mask
            spectrum = dipole.transform(x)
        return x


@dataclass(frozen=True)
class Mixture:
    """Exact and completed steps, each with its part in the map.

    Parameters
    ----------
    likelihood
        Of the field.
    parts
        Weights that add up to one, and the kinds of step.

    """

    likelihood: Likelihood
    parts: list[tuple[float, Guide]]

    @classmethod
    def of(
        cls,
        field: Tensor,
        mask: Tensor,
        calibration: Calibration,
        *,
        exact: float,
        completed: float,
        generator: torch.Generator | None = None,
    ) -> Mixture:
        """Parts by the freedom outside the mask: none of it, exact; all of it, completed.

        Parameters
        ----------
        field, mask
            Local field [ppm], zero outside the mask; voxels of the map.
        calibration
            Of the field.
        exact, completed
            Tolerance of each kind of step, see :func:`stiffness`.
        generator
            See :class:`Posterior`.

        """
        least = field_roughness(field, mask) / 2 if calibration.known_noise is None else 0.0
        calibration = calibration.seen_through(mask)
        likelihood = Likelihood(field, calibration, calibration.weight, least_noise=least)
        share = calibration.freedom
        parts = (
            (1 - share, Posterior(likelihood, mask, tolerance=exact, generator=generator)),
            (
                share,
                CompletedPosterior(likelihood, mask, tolerance=completed, generator=generator),
            ),
        )
        return cls(likelihood, [(part, guide) for part, guide in parts if part > 0])

    def prox(self, expected: Tensor, sigma: float, *, start: Tensor) -> Tensor:
        """See :class:`Guide`."""
        chi = torch.zeros_like(expected)
        for part, guide in self.parts:
            chi += part * guide.prox(expected, sigma, start=start)
        return chi


def _white(dipole: Dipole, generator: torch.Generator) -> Tensor:
    """Half spectrum of white noise of unit variance on the padded grid."""
    noise = torch.randn(dipole.padded_shape, generator=generator)
    return torch.fft.rfftn(noise.to(dipole.kernel))

"""Self-calibrated inversion with a prior whose variance follows the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qsmprep.qsm.classical import Estimate
from qsmprep.qsm.dipole import AXES, Dipole, frequencies
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.likelihood import INCOHERENT, Likelihood, calibrate

LEAST_VARIANCE = 1e-3


def scale_mixture(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    noise: Tensor | None = None,
    magnitude: Tensor | None = None,
    incoherent: float = INCOHERENT,
    sparsity: float = 0.2,
    tolerance: float = 5e-3,
    iterations: int = 40,
    progress: Callable[[int, int, float], None] | None = None,
) -> Estimate:
    r"""Gaussian scale mixture on whitened gradients, with the calibrated likelihood.

    The Wiener filter gives all places the same expected power S(k). Here the gradients, filtered
    so that their spectrum under S is white, have a variance of their own in every voxel,
    :math:`v \propto (|z|^2 + c)^s`, of mean one; c is the share of the power that the field leaves
    open, so that a field which says little leaves the Wiener filter as it is, and one that says
    much gets sharp edges. The field outside the mask is unknown and is completed with what the
    current map predicts, as far as the calibration trusts the model; noisy voxels likewise by
    their share. Solved by ADMM: one closed form in k-space and one product per voxel in each
    iteration.

    Parameters
    ----------
    field, mask, grid
        See :func:`~qsmprep.qsm.wiener.wiener`.
    noise
        Standard deviation of the field [ppm], for voxel weights; where the model error dominates
        they are evened out.
    magnitude
        Magnitude [arbitrary], whose inverse stands for the noise where that is not given.
    incoherent
        Share of the coloured model error that acts as noise.
    sparsity
        The power s; 0 is the Wiener filter, 0.5 a Laplace distribution.
    tolerance
        Relative change of x between two iterations at which the iteration ends.
    iterations
        Most iterations.
    progress
        Called with iteration, ``iterations`` and the relative change.

    References
    ----------
    Wainwright and Simoncelli 2000 (scale mixtures); Milovic et al. 2018, 10.1002/mrm.27073 (ADMM).

    """
    dipole = Dipole(grid, device=field.device)
    spectra, weights = calibrate(field, mask, dipole, noise=noise, magnitude=magnitude)
    reliable = mask.to(field.dtype) if weights is None else weights.square().clamp(max=1)
    likelihood = Likelihood(field, dipole, spectra, incoherent=incoherent)
    trust = likelihood.explained()
    uncertain = float((1 - likelihood.gain()).mean())
    filters = _whitened_gradients(dipole, likelihood.prior)
    pull = dipole.kernel / likelihood.error
    precision = dipole.kernel * pull + 1 / likelihood.prior

    spectrum = pull * dipole.transform(field) / precision
    x = dipole.inverse(spectrum)
    reliable = torch.where(mask, reliable, 1 - trust)
    reliable = _padded(reliable, dipole, outside=1 - trust)
    padded_mask = _padded(mask.to(field.dtype), dipole)
    measured = reliable * _padded(field * mask, dipole)
    kept = duals = None
    for iteration in range(1, iterations + 1):
        image = _inverse(dipole.kernel * spectrum, dipole)
        completed = measured + (1 - reliable) * image
        coefficients = [_inverse(h * spectrum, dipole) for h in filters]
        kept, duals = _shrink(coefficients, duals, padded_mask, uncertain, sparsity)
        target = sum(
            h.conj() * torch.fft.rfftn(z - u) for h, z, u in zip(filters, kept, duals, strict=True)
        )
        spectrum = (pull * torch.fft.rfftn(completed, dim=AXES) + target) / precision
        previous, x = x, dipole.inverse(spectrum) * mask
        change = float((x - previous * mask).norm() / x.norm().clamp(min=1e-30))
        if progress is not None:
            progress(iteration, iterations, change)
        if change < tolerance:
            break
    return Estimate(x, {})


def _shrink(
    coefficients: list[Tensor],
    duals: list[Tensor] | None,
    mask: Tensor,
    uncertain: float,
    sparsity: float,
) -> tuple[list[Tensor], list[Tensor]]:
    """Proximal step of the mixture: each voxel's coefficients by its own variance."""
    variance = (sum(c.square() for c in coefficients) + uncertain) ** sparsity
    variance *= mask.sum() / (variance * mask).sum()
    factor = 1 - 1 / (1 + variance.clamp(min=LEAST_VARIANCE))
    shifted = (
        coefficients if duals is None else [c + u for c, u in zip(coefficients, duals, strict=True)]
    )
    kept = [factor * s for s in shifted]
    return kept, [s - k for s, k in zip(shifted, kept, strict=True)]


def _whitened_gradients(dipole: Dipole, prior: Tensor) -> list[Tensor]:
    """Filters along the three axes whose squared magnitudes add up to 1 / S(k)."""
    axes = frequencies(
        dipole.padded_shape, dipole.grid.voxel_size, device=dipole.device, dtype=dipole.dtype
    )
    steps = [
        (torch.exp(2j * torch.pi * k * v) - 1) / v
        for k, v in zip(axes, dipole.grid.voxel_size, strict=True)
    ]
    power = sum(s.abs().square() for s in steps)
    power[0, 0, 0] = 1
    scale = (power * prior).rsqrt()
    return [s * scale for s in steps]


def _padded(image: Tensor, dipole: Dipole, outside: float = 0.0) -> Tensor:
    padded = image.new_full(dipole.padded_shape, outside)
    n0, n1, n2 = image.shape
    padded[:n0, :n1, :n2] = image
    return padded


def _inverse(spectrum: Tensor, dipole: Dipole) -> Tensor:
    return torch.fft.irfftn(spectrum, s=dipole.padded_shape, dim=AXES)

"""The likelihood: posterior means are minima, and the spread is that of the error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qsmprep.qsm.calibration import Calibration
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.operators import Dipole


def small(weighted):
    """Small random likelihood in double precision."""
    generator = torch.Generator().manual_seed(0)
    grid = Grid((12, 10, 14), (1, 1.2, 0.9), (0.2, 0.1, 1))
    dipole = Dipole(grid, dtype=torch.float64)
    k = dipole.wavenumber().clamp(min=0.03)
    field = 0.01 * torch.randn(grid.shape, generator=generator, dtype=torch.float64)
    spectra = Calibration(field, dipole, 1e-2 * (k / 0.1) ** -3, 2e-5 * (k / 0.1) ** -2.2, 4e-6)
    weight = torch.rand(grid.shape, generator=generator, dtype=torch.float64) if weighted else None
    chi = 0.03 * torch.randn(grid.shape, generator=generator, dtype=torch.float64)
    return Likelihood(field, spectra, weight), chi


def gradient(likelihood, chi):
    """D w N^-1 w (D x - f), by differentiation of half the squared whitened residual."""
    x = chi.clone().requires_grad_(True)
    dipole, weight = likelihood.dipole, likelihood.weight
    if weight is None:
        residual = dipole.transform(likelihood.field) - dipole.kernel * dipole.transform(x)
    else:
        residual = dipole.transform(weight * (likelihood.field - dipole.forward(x)))
    white = torch.fft.irfftn(residual / likelihood.error.sqrt(), s=dipole.padded_shape)
    (0.5 * white.square().sum()).backward()
    return x.grad


def test_the_posterior_mean_is_a_minimum_within_the_mask():
    likelihood, chi = small(weighted=True)
    mask = torch.ones(chi.shape, dtype=torch.bool)
    posterior = likelihood.posterior(mask, 1e3)
    target = posterior.data_term(likelihood.field) + 1e3 * chi
    x = posterior.solve(target, iterations=300, tolerance=1e-10)
    slope = gradient(likelihood, x) + (x - chi) / 1e-3
    assert slope.norm() < 1e-4 * gradient(likelihood, chi).norm()


def test_the_closed_posterior_mean_is_a_minimum_on_the_padded_grid():
    likelihood, _ = small(weighted=False)
    dipole = likelihood.dipole
    whole = dipole.on_padded_grid()
    field = torch.zeros(dipole.padded_shape, dtype=torch.float64)
    field[:12, :10, :14] = likelihood.field
    spectra = Calibration(field, whole, likelihood.prior, likelihood.error, 0.0)
    padded = Likelihood(field, spectra)
    x = padded.posterior_mean()
    slope = gradient(padded, x) + whole.filter(x, 1 / padded.prior)
    assert slope.norm() < 1e-6 * gradient(padded, torch.zeros_like(field)).norm()
    torch.testing.assert_close(x[:12, :10, :14], likelihood.posterior_mean())


def test_posterior_sd_is_the_error_of_the_posterior_mean(coloured, brain_spectrum):
    shape = (40, 40, 40)
    dipole = Dipole(Grid(shape), padding=1)
    k = dipole.wavenumber().numpy()
    spectrum = torch.from_numpy(brain_spectrum(np.maximum(k, 1e-3)).astype(np.float32))
    nothing = torch.zeros_like(spectrum)
    generator = torch.Generator().manual_seed(0)
    errors = []
    for seed in range(24):
        chi = torch.from_numpy(coloured(shape, brain_spectrum, seed))
        noise = 2e-3 * torch.randn(shape, generator=generator)
        field = dipole.forward(chi) + noise
        likelihood = Likelihood(field, Calibration(field, dipole, spectrum, nothing, 4e-6))
        errors.append((likelihood.posterior_mean() - chi).square().mean())
    predicted = likelihood.posterior_sd()
    assert predicted.shape == shape
    error = float(torch.stack(errors).mean().sqrt())
    assert error == pytest.approx(float(predicted.mean()), rel=0.08)

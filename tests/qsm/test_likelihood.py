"""The likelihood: planted spectra come back, derivatives and proximal steps are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qsmprep.qsm.dipole import Dipole
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.likelihood import Likelihood, build_likelihood, voxel_weights
from qsmprep.qsm.spectrum import Spectra, estimate_spectra

SHAPE = (64, 72, 60)


def coloured(shape, power, seed):
    """Periodic Gaussian field with the power spectrum power(|k|) per voxel."""
    white = np.random.default_rng(seed).standard_normal(shape)
    axes = [np.fft.fftfreq(n) for n in shape]
    k = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing='ij')))
    k[0, 0, 0] = 1
    filtered = np.fft.ifftn(np.fft.fftn(white) * np.sqrt(power(k)) * (k < 0.9)).real
    return (filtered - filtered.mean()).astype(np.float32)


def brain_spectrum(k):
    return 1.5e-2 * (np.maximum(k, 0.02) / 0.1) ** -3


def ball(shape):
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing='ij')
    return sum(g**2 for g in grid) < 0.95


@pytest.fixture(scope='module')
def world():
    """Textured ball: mask, true map, its field and the operator."""
    mask = ball(SHAPE)
    wide = tuple(2 * n for n in SHAPE)
    chi = coloured(wide, brain_spectrum, 0)[tuple(slice(n) for n in SHAPE)] * mask
    dipole = Dipole(Grid(SHAPE), padding=2)
    field = dipole.forward(torch.from_numpy(chi)).numpy() * mask
    return mask, chi, field, dipole


def spectra_of(field, mask, dipole):
    return estimate_spectra(torch.from_numpy(field * mask), torch.from_numpy(mask), dipole)


def level(spectrum, dipole, low, high):
    k = dipole.wavenumber()
    return float(spectrum[(k > low) & (k < high)].log().mean().exp())


@pytest.mark.parametrize('strength', [5e-4, 2e-3])
def test_planted_model_error_is_recovered(world, strength):
    mask, _, field, dipole = world

    def planted(k):
        return strength * (np.maximum(k, 0.02) / 0.1) ** -2.4

    wide = tuple(2 * n for n in SHAPE)
    error = coloured(wide, planted, 3)[tuple(slice(n) for n in SHAPE)]
    found = spectra_of(field + error, mask, dipole)
    for k in (0.1, 0.15, 0.25):
        ratio = level(found.model_error + found.noise, dipole, k * 0.95, k * 1.05) / planted(k)
        assert 0.7 < ratio < 1.45
    assert found.slope == pytest.approx(2.4, abs=0.4)


def test_no_model_error_where_there_is_none(world):
    mask, _, field, dipole = world
    found = spectra_of(field, mask, dipole)
    signal = level(found.susceptibility, dipole, 0.1, 0.3) / 9
    assert level(found.model_error, dipole, 0.1, 0.3) < 0.05 * signal
    assert found.noise < (2e-4) ** 2


@pytest.mark.parametrize('sd', [1e-3, 3e-3, 6e-3])
def test_white_noise_is_measured(world, sd):
    mask, _, field, dipole = world
    noise = sd * np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    found = spectra_of(field + noise, mask, dipole)
    assert np.sqrt(found.noise) == pytest.approx(sd, rel=0.06)


def test_spectrum_of_susceptibility_is_recovered(world):
    mask, _, field, dipole = world
    noise = 5e-4 * np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    found = spectra_of(field + noise, mask, dipole)
    for k in (0.08, 0.15, 0.3):
        ratio = level(found.susceptibility, dipole, 0.95 * k, 1.05 * k) / brain_spectrum(k)
        assert 0.6 < ratio < 1.6


def test_field_of_zeros_is_an_error():
    zeros = torch.zeros((16, 16, 16))
    with pytest.raises(ValueError, match='zero everywhere'):
        estimate_spectra(zeros, zeros == 0, Dipole(Grid((16, 16, 16))))


def small(weighted):
    """Small random likelihood in double precision."""
    generator = torch.Generator().manual_seed(0)
    grid = Grid((12, 10, 14), (1, 1.2, 0.9), (0.2, 0.1, 1))
    dipole = Dipole(grid, dtype=torch.float64)
    k = dipole.wavenumber().clamp(min=0.03)
    spectra = Spectra(1e-2 * (k / 0.1) ** -3, 1e-4 * (k / 0.1) ** -2.2, 4e-6, 2.2)
    field = 0.01 * torch.randn(grid.shape, generator=generator, dtype=torch.float64)
    weight = torch.rand(grid.shape, generator=generator, dtype=torch.float64) if weighted else None
    chi = 0.03 * torch.randn(grid.shape, generator=generator, dtype=torch.float64)
    return Likelihood(field, dipole, spectra, weight), chi


@pytest.mark.parametrize('weighted', [False, True])
def test_gradient_is_that_of_the_likelihood(weighted):
    likelihood, chi = small(weighted)
    x = chi.clone().requires_grad_(True)
    likelihood.negative_log_likelihood(x).backward()
    torch.testing.assert_close(likelihood.gradient(chi), x.grad, rtol=1e-8, atol=1e-8)


def test_weighted_prox_is_a_minimum():
    likelihood, chi = small(weighted=True)
    x = likelihood.prox(chi, 1e-3, iterations=300, tolerance=1e-10)
    slope = likelihood.gradient(x) + (x - chi) / 1e-3
    scale = likelihood.gradient(chi).norm()
    assert slope.norm() < 1e-4 * scale
    warm = likelihood.prox(chi, 1e-3, start=x, iterations=1)
    torch.testing.assert_close(warm, x, rtol=1e-3, atol=1e-5)


def test_closed_prox_is_a_minimum_on_the_padded_grid():
    likelihood, chi = small(weighted=False)
    dipole = likelihood.dipole
    grid = Grid(dipole.padded_shape, dipole.grid.voxel_size, dipole.grid.b0_direction)
    whole = Dipole(grid, padding=1, dtype=torch.float64)
    spectra = Spectra(likelihood.prior, likelihood.error / 0.25, 0.0, 2.2)
    field = torch.zeros(grid.shape, dtype=torch.float64)
    field[:12, :10, :14] = likelihood.field
    whole.kernel = dipole.kernel
    padded = Likelihood(field, whole, spectra)
    x = padded.prox(torch.zeros_like(field), padded.prior)
    slope = padded.gradient(x) + whole.filter(x, 1 / padded.prior)
    assert slope.norm() < 1e-6 * padded.gradient(torch.zeros_like(field)).norm()
    torch.testing.assert_close(x[:12, :10, :14], likelihood.posterior_mean())


def test_discrepancy_of_the_truth_is_the_expected_one(world):
    mask, chi, field, dipole = world
    sd = 2e-3
    noise = sd * np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)
    found = spectra_of(field + noise, mask, dipole)
    weight = torch.from_numpy(mask.astype(np.float32))
    likelihood = Likelihood(torch.from_numpy((field + noise) * mask), dipole, found, weight)
    truth = float(likelihood.negative_log_likelihood(torch.from_numpy(chi)))
    assert truth == pytest.approx(likelihood.expected_discrepancy(), rel=0.15)


def test_posterior_sd_is_the_error_of_the_posterior_mean():
    shape = (40, 40, 40)
    dipole = Dipole(Grid(shape), padding=1)
    k = dipole.wavenumber().numpy()
    spectrum = torch.from_numpy(brain_spectrum(np.maximum(k, 1e-3)).astype(np.float32))
    spectra = Spectra(spectrum, torch.zeros_like(spectrum), 4e-6, 2.2)
    generator = torch.Generator().manual_seed(0)
    errors = []
    for seed in range(24):
        chi = torch.from_numpy(coloured(shape, brain_spectrum, seed))
        noise = 2e-3 * torch.randn(shape, generator=generator)
        likelihood = Likelihood(dipole.forward(chi) + noise, dipole, spectra)
        errors.append((likelihood.posterior_mean() - chi).square().mean())
    predicted = likelihood.posterior_sd()
    assert predicted.shape == shape
    error = float(torch.stack(errors).mean().sqrt())
    assert error == pytest.approx(float(predicted.mean()), rel=0.08)


def test_weights_follow_noise_only_where_it_dominates(world):
    mask, _, field, dipole = world
    found = spectra_of(field, mask, dipole)
    inside = torch.from_numpy(mask)
    noise = torch.full(SHAPE, 0.01) * inside
    noise[:32] *= 2
    weight = voxel_weights(noise, inside, found, dipole)
    ratio = weight[40:][inside[40:]].mean() / weight[:32][inside[:32]].mean()
    assert float(ratio) == pytest.approx(2, rel=0.05)
    assert float(weight[~inside].abs().max()) == 0
    loud = Spectra(found.susceptibility, found.model_error + 1, found.noise, found.slope)
    even = voxel_weights(noise, inside, loud, dipole)[inside]
    assert float(even.max() - even.min()) < 0.01


def test_builder_takes_noise_magnitude_or_neither(world):
    mask, _, field, _ = world
    grid = Grid(SHAPE)
    assert build_likelihood(field, mask, grid).weight is None
    for extra in ({'noise_ppm': np.full(SHAPE, 1e-3)}, {'magnitude': np.ones(SHAPE)}):
        weight = build_likelihood(field, mask, grid, **extra).weight
        assert weight is not None
        assert weight.dtype == torch.float32
    with pytest.raises(ValueError, match='one shape'):
        build_likelihood(field, mask, Grid((8, 8, 8)))


def test_white_power_beyond_a_known_noise_is_model_error():
    spectra = Spectra(torch.ones(2), torch.full((2,), 4.0), noise=9.0, slope=2.2)
    assert spectra.at_error_share(0.0, 1.0, 0.0).noise == 1
    assert spectra.at_error_share(0.5, 1.0, 0.0).noise == 5
    assert spectra.at_error_share(0.5, 4.0, 0.0).noise == 16
    assert spectra.at_error_share(0.0, None, 0.0).noise == 9
    assert spectra.at_error_share(0.0, 1.0, 2.0).noise == 4
    assert spectra.at_error_share(0.25, None, 0.0).model_error.tolist() == [1, 1]


@pytest.mark.parametrize('seed', range(3))
def test_susceptibility_keeps_some_power_everywhere(seed):
    grid = Grid((8, 7, 6), (2.0, 2.0, 3.0))
    field = 1e-4 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(seed))
    power = estimate_spectra(field, torch.ones_like(field) > 0, Dipole(grid)).susceptibility
    assert 1e-10 < power.min() / power.max() < 1

"""Proximal steps under the likelihood: exact, at rest where they should be, and sampled rightly."""

import numpy as np
import pytest
import torch

from qsmprep.qsm.calibration import Calibration
from qsmprep.qsm.diffusion.guidance import CompletedPosterior, Posterior, stiffness
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.operators import Dipole


def small_problem(shape=(7, 6, 8)):
    """Likelihood on a grid that is small enough for dense matrices, and its mask."""
    dipole = Dipole(Grid(shape, (1, 1, 1.5), (0, 0.6, 0.8)))
    k = dipole.wavenumber().clamp(min=0.05)
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[1:6, 1:5, 1:7] = True
    field = 0.02 * torch.randn(shape, generator=generator) * mask
    spectra = Calibration(field, dipole, 2e-5 * k**-2, 2.5e-7 * k**-2, 1e-6)
    weight = (0.5 + torch.rand(shape, generator=generator)) * mask
    return Likelihood(field, spectra, weight), mask


def dense(likelihood, mask, sigma, tolerance=1.0):
    """Precision of the exact step and the data term, over the voxels of the mask."""
    dipole, n = likelihood.dipole, int(mask.sum())
    precision, stiff = 1 / likelihood.error, stiffness(likelihood, sigma, tolerance)

    def normal(x):
        residual = likelihood.weight * dipole.filter(x, dipole.kernel)
        whitened = likelihood.weight * dipole.filter(residual, precision)
        return dipole.filter(whitened, dipole.kernel) + dipole.filter(x, stiff)

    matrix = torch.zeros(n, n)
    for i in range(n):
        unit = torch.zeros(mask.shape)
        unit[mask] = torch.eye(n)[i]
        matrix[:, i] = normal(unit)[mask]
    weighted = likelihood.weight * dipole.filter(likelihood.weight * likelihood.field, precision)
    return matrix.double(), dipole.filter(weighted, dipole.kernel), stiff


def test_the_exact_step_is_that_of_the_dense_matrix():
    likelihood, mask = small_problem()
    expected = 0.02 * torch.randn(mask.shape, generator=torch.Generator().manual_seed(1)) * mask
    matrix, data, stiff = dense(likelihood, mask, 0.01)
    target = (data + likelihood.dipole.filter(expected, stiff))[mask].double()
    truth = torch.linalg.solve(matrix, target)
    guide = Posterior(likelihood, mask, iterations=60)
    x = guide.prox(expected, 0.01, start=torch.zeros(mask.shape))
    assert not x[~mask].any()
    assert float((x[mask].double() - truth).norm() / truth.norm()) < 0.01


def test_samples_have_the_covariance_of_the_posterior():
    likelihood, mask = small_problem()
    matrix, _, _ = dense(likelihood, mask, 0.01)
    variance = torch.linalg.inv(matrix).diagonal().mean()
    generator = torch.Generator().manual_seed(2)
    guide = Posterior(likelihood, mask, iterations=40, generator=generator)
    zero = torch.zeros(mask.shape)
    draws = torch.stack([guide.prox(zero, 0.01, start=zero)[mask] for _ in range(150)])
    mean = Posterior(likelihood, mask, iterations=40).prox(zero, 0.01, start=zero)[mask]
    assert float(draws.var(0).mean() / variance) == pytest.approx(1, abs=0.1)
    assert float((draws.mean(0) - mean).square().mean() / variance) < 0.02


@pytest.mark.parametrize('guide_of', [Posterior, CompletedPosterior])
def test_with_a_linear_denoiser_it_rests_at_one_map_at_every_noise_level(guide_of, make_scan):
    scan = make_scan(shape=(24, 22, 20), noise=0.002)
    dipole = Dipole(scan.grid)
    k = dipole.wavenumber().clamp(min=0.02)
    spectra = Calibration(scan.field, dipole, 2e-5 * k**-2, 5e-7 * k**-2, 4e-6)
    likelihood = Likelihood(scan.field, spectra)
    guide = guide_of(likelihood, torch.ones_like(scan.mask))
    found = []
    for sigma in (0.02, 0.06):
        x = torch.zeros_like(scan.field)
        smoother = likelihood.prior / (likelihood.prior + sigma**2)
        for _ in range(150):
            x = guide.prox(dipole.filter(x, smoother), sigma, start=x)
        found.append(x)
    difference = float((found[0] - found[1]).norm() / found[0].norm())
    assert difference < 0.1
    assert np.isfinite(difference)

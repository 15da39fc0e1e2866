"""The self-calibrated filter against division and Tikhonov of the best weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.metrics import nrmse
from qsmprep.qsm.operators import Dipole

SHAPE = (48, 54, 45)


@pytest.fixture(scope='module')
def phantom():
    """Ball of white and grey matter with nuclei and texture: mask, map, field [ppm]."""
    rng = np.random.default_rng(4)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing='ij')
    radius = np.sqrt(sum(a**2 for a in axes))
    mask = radius < 0.92
    chi = np.where(gaussian_filter(rng.standard_normal(SHAPE), 4) > 0, 0.02, -0.02)
    for centre in rng.uniform(-0.5, 0.5, (8, 3)):
        near = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) < 0.02
        chi[near] = rng.uniform(0.05, 0.15)
    chi = gaussian_filter(chi, 0.5) + 0.003 * gaussian_filter(rng.standard_normal(SHAPE), 1) * 6
    chi = (chi * mask).astype(np.float32)
    field = Dipole(Grid(SHAPE), padding=2).forward(torch.from_numpy(chi)).numpy() * mask
    return mask, chi, field


def score(method, field, phantom, **parameters):
    mask, chi, _ = phantom
    found = invert(field, mask, Grid(SHAPE), method, **parameters).chi_ppm
    return nrmse(found, chi, mask)


@pytest.mark.parametrize('sd', [0.0, 1e-3, 3e-3, 6e-3])
def test_wiener_needs_no_tuning(phantom, sd):
    noise = sd * np.random.default_rng(0).standard_normal(SHAPE)
    field = phantom[2] + noise * phantom[0]
    best = min(
        score('tikhonov', field, phantom, regularisation=r)
        for r in (1e-3, 3e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2)
    )
    found = score('wiener', field, phantom)
    assert found < best
    assert found < min(score('tkd', field, phantom, threshold=t) for t in (0.1, 0.2, 0.3))


def test_a_field_without_model_error_is_inverted_exactly(phantom):
    """The closed form takes the field outside the mask for zero, or for that of a first map."""
    mask, _, field = phantom
    noise = 5e-4 * np.random.default_rng(1).standard_normal(SHAPE) * mask
    exact, filtered = (
        invert(field + noise, mask, Grid(SHAPE), 'wiener', error_share=share)
        for share in (None, 1.0)
    )
    assert exact.parameters['error_share'] == 0
    assert not exact.chi_ppm[~mask].any()
    errors = [nrmse(found.chi_ppm, phantom[1], mask) for found in (exact, filtered)]
    assert errors[0] < 0.7 * errors[1]


def test_between_the_ends_both_maps_are_mixed(phantom):
    mask, _, field = phantom
    share = 0.3
    found = score('wiener', field, phantom, error_share=share)
    ends = [score('wiener', field, phantom, error_share=end) for end in (0.0, 1.0)]
    assert ends[0] < found < 1.05 * ends[1]
    with pytest.raises(ValueError, match='error_share lies between 0 and 1'):
        score('wiener', field, phantom, error_share=1.5)


@pytest.mark.parametrize('kind', ['noise_ppm', 'magnitude'])
def test_noisy_voxels_count_less(phantom, kind):
    mask, chi, field = phantom
    sd = np.where(np.arange(SHAPE[2]) > 40, 0.02, 5e-4) * mask
    field = field + sd * np.random.default_rng(2).standard_normal(SHAPE)
    image = {'noise_ppm': sd, 'magnitude': 1e-3 / np.where(mask, sd, 1)}[kind]
    grid = Grid(SHAPE)
    plain = invert(field, mask, grid, 'wiener').chi_ppm
    found = invert(field, mask, grid, 'wiener', **{kind: image}).chi_ppm
    assert nrmse(found, chi, mask) < 0.9 * nrmse(plain, chi, mask)


def test_voxels_that_no_map_explains_count_less(phantom):
    """A few voxels at the rim with the field of a source that touches them from outside."""
    mask, _, field = phantom
    rim = np.argwhere(mask & ~(gaussian_filter(mask.astype(float), 1) > 0.8))
    spoilt = field.copy()
    spoilt[tuple(rim[:: len(rim) // 6].T)] = 1.5
    clean, found = (score('wiener', f, phantom, error_share=1.0) for f in (field, spoilt))
    assert found < 1.2 * clean

"""The self-calibrated filter against division and Tikhonov of the best weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from qsmprep.qsm.dipole import Dipole
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.invert import invert
from qsmprep.qsm.metrics import nrmse

SHAPE = (72, 80, 68)


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

"""The field of sources around a mask is told apart from a coloured local field."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qsmprep.qsm import remnant
from qsmprep.qsm.grid import Grid, depth_mm
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.remnant import harmonic_remnant

SHAPE = (32, 28, 30)
SOURCES_PPM = 0.1
NOISE_PPM = 1e-4


@pytest.fixture(scope='module')
def scene():
    """Operator, mask, voxels of the sources and their field in the mask."""
    dipole = Dipole(Grid(SHAPE, (1, 1.2, 1.1), (0.2, 0, 1)), padding=1.5)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing='ij')
    mask = torch.from_numpy(sum(x**2 for x in axes) < 0.4)
    outside = np.ones(dipole.padded_shape, dtype=bool)
    outside[: SHAPE[0], : SHAPE[1], : SHAPE[2]] = ~mask.numpy()
    distance = depth_mm(outside, dipole.grid.voxel_size)
    around = torch.from_numpy((distance > 3) & (distance < 9))
    generator = torch.Generator().manual_seed(0)
    sources = SOURCES_PPM * torch.randn(dipole.padded_shape, generator=generator) * around
    field = dipole.on_padded_grid().forward(sources)[: SHAPE[0], : SHAPE[1], : SHAPE[2]] * mask
    noise = NOISE_PPM * torch.randn(SHAPE, generator=generator) * mask
    return dipole, mask, around, field, noise


def estimate(scene, measured, variance, error):
    dipole, mask, around, *_ = scene
    return harmonic_remnant(measured, mask, dipole, error, around, variance, mask.float())


def test_it_is_recovered_where_all_else_is_noise(scene):
    dipole, mask, _, field, noise = scene
    error = torch.full_like(dipole.kernel, NOISE_PPM**2)
    found = estimate(scene, field + noise, SOURCES_PPM**2, error)
    assert field[mask].std() > 10 * NOISE_PPM
    assert (found - field)[mask].std() < NOISE_PPM
    assert not found[~mask].any()


def test_more_steps_find_the_same(scene, monkeypatch):
    dipole, _, _, field, noise = scene
    error = torch.full_like(dipole.kernel, 0.01 * float(field.square().mean()))
    found = estimate(scene, field + noise, SOURCES_PPM**2, error)
    monkeypatch.setattr(remnant, 'STEPS', 5 * remnant.STEPS)
    monkeypatch.setattr(remnant, 'TOLERANCE', 0.0)
    exact = estimate(scene, field + noise, SOURCES_PPM**2, error)
    assert (found - exact).norm() < 0.02 * exact.norm()


def test_sources_that_are_weaker_than_the_local_field_take_little_of_it(scene):
    dipole, mask, _, field, _ = scene
    error = torch.full_like(dipole.kernel, float(field[mask].var()))
    found = estimate(scene, field, (0.01 * SOURCES_PPM) ** 2, error)
    assert found.norm() < 0.05 * field.norm()

"""Smooth fields, and those of sources around a mask, are told from a coloured local field."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qsmprep.qsm import remnant
from qsmprep.qsm.grid import Grid, depth_mm
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.remnant import harmonic_remnant, smooth_remnant

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
    return harmonic_remnant(measured, mask, dipole, error, variance * around, mask.float())


def test_it_is_recovered_where_all_else_is_noise(scene):
    dipole, mask, _, field, noise = scene
    error = torch.full_like(dipole.kernel, NOISE_PPM**2)
    found = estimate(scene, field + noise, SOURCES_PPM**2, error)
    assert field[mask].std() > 10 * NOISE_PPM
    assert (found - field)[mask].std() < NOISE_PPM
    assert not found[~mask].any()


def test_few_sources_are_found_better_than_gaussian_ones(scene, monkeypatch):
    """Beside a local field of which sources in the mask make the spectrum."""
    dipole, mask, around, *_ = scene
    generator = torch.Generator().manual_seed(3)
    few = around & (torch.rand(around.shape, generator=generator) < 20 / around.sum())
    strength = torch.randn(around.shape, generator=generator)
    whole, box = dipole.on_padded_grid(), tuple(map(slice, SHAPE))
    field = whole.forward(strength * few)[box] * mask
    spectrum = 1 / (dipole.wavenumber() ** 2 + 0.03**2)
    local = dipole.filter(torch.randn(SHAPE, generator=generator), spectrum.sqrt()) * mask
    scale = 0.3 * field[mask].std() / local[mask].std()
    variance = float(few.sum() / around.sum())

    def error():
        found = estimate(scene, field + scale * local, variance, scale**2 * spectrum)
        return float((found - field)[mask].std() / field[mask].std())

    heavy = error()
    monkeypatch.setattr(remnant, 'REWEIGHTINGS', 0)
    assert heavy < 0.8 * error()


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


def test_a_smooth_field_is_the_mean_of_its_gaussian_posterior():
    """On a grid small enough for dense matrices."""
    shape = (6, 5, 6)
    dipole = Dipole(Grid(shape, (2, 2, 3)), padding=1.2)
    k = dipole.wavenumber()
    power, error = 1e-2 * torch.exp(-200 * k**2), 1e-4 / (k**2 + 0.05**2)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[1:5, 1:4, 1:5] = True
    weight = mask * torch.rand(shape, generator=torch.Generator().manual_seed(1))
    field = torch.randn(shape, generator=torch.Generator().manual_seed(2)) * mask
    found = smooth_remnant(field, mask, dipole, error, power, weight)

    whole = dipole.on_padded_grid()
    precision = 1 / error
    precision[0, 0, 0] = 0

    def dense(spectrum):
        units = torch.eye(count).reshape(-1, *whole.grid.shape)
        return whole.filter(units, spectrum).flatten(1).double()

    count = int(np.prod(whole.grid.shape))
    box = tuple(map(slice, shape))
    w, f = (torch.zeros(whole.grid.shape, dtype=torch.float64) for _ in range(2))
    w[box], f[box] = weight.double(), field.double()
    data = w.flatten()[:, None] * dense(precision) * w.flatten()
    root = dense(power.sqrt())
    eye = torch.eye(count, dtype=torch.float64)
    white = torch.linalg.solve(eye + root @ data @ root, root @ data @ f.flatten())
    truth = (root @ white).reshape(whole.grid.shape)[box]
    assert float((found.double() - truth)[mask].norm() / truth[mask].norm()) < 0.01
    assert not found[~mask].any()

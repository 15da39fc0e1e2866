"""Weights and noise by what a first map leaves of the field."""

import numpy as np
import pytest
import torch

from qsmprep.qsm.calibration import calibrate
from qsmprep.qsm.grid import depth_mm
from qsmprep.qsm.inversion.reliability import outliers, reliability, reweighted
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate import simulate_local_field

PATCH = (slice(10, 14), slice(12, 16), slice(11, 15))


@pytest.fixture(scope='module')
def head():
    """Head, its map and exact field [ppm]."""
    head = simulate_local_field(voxel_size=(5.0, 5.0, 5.0), seed=3)
    chi = torch.from_numpy(np.asarray(head.chi * head.mask, dtype=np.float32))
    return head, chi, Dipole(head.grid).forward(chi) * torch.from_numpy(head.mask)


def calibration_and_mask(head, field, sd, share):
    mask = torch.from_numpy(head.mask)
    noise = torch.full_like(field, sd) * mask
    return calibrate(field * mask, mask, head.grid, noise=noise, error_share=share), mask


def white(field, sd):
    return sd * torch.randn(field.shape, generator=torch.Generator().manual_seed(1))


def test_what_a_map_leaves_above_the_stated_noise_is_noise(head):
    head, chi, exact = head
    before, mask = calibration_and_mask(head, exact + white(exact, 0.005), 0.001, 0.0)
    assert before.known_noise == pytest.approx(0.001)
    found = reweighted(before, chi, mask)
    assert found.known_noise == pytest.approx(0.005, rel=0.15)


def test_voxels_that_a_map_does_not_explain_count_less(head):
    head, chi, exact = head
    field = exact + white(exact, 0.001)
    field[PATCH] += 0.1
    before, mask = calibration_and_mask(head, field, 0.001, 0.0)
    weight = reweighted(before, chi, mask).weight
    inside = torch.zeros_like(mask)
    inside[PATCH] = mask[PATCH]
    assert weight[inside].median() < 0.3 * weight[mask & ~inside].median()


def test_rim_and_outliers_count_less_and_outliers_alone_at_any_depth(head):
    """A residual that is three times as large at the rim, and twenty times in one voxel deep."""
    head, _, exact = head
    mask = torch.from_numpy(head.mask)
    depth = torch.from_numpy(depth_mm(head.mask, head.grid.voxel_size))
    rim, deep = mask & (depth < 6), mask & (depth > 15)
    residual = white(exact, 0.001) * torch.where(rim, 3, 1) * mask
    spot = tuple(np.argwhere(deep.numpy())[0])
    residual[spot] = 0.02
    by_depth, own = (
        precision(residual, 1e-3 * exact, mask, 0.001, head.grid)
        for precision in (reliability, outliers)
    )
    usual = float(residual[mask].abs().median()) / 0.6745
    assert float(by_depth[rim].median()) == pytest.approx((usual / 0.003) ** 2, rel=0.15)
    assert own[rim].median() == by_depth[deep].median() == own[deep].median() == 1
    assert by_depth[spot] == float(own[spot]) == pytest.approx((2.5 * usual / 0.02) ** 2, rel=1e-3)
    assert not torch.stack([by_depth, own])[:, ~mask].any()


def test_where_the_field_has_a_model_error_the_likelihood_knows_of_it(head):
    head, chi, exact = head
    before, mask = calibration_and_mask(head, exact + white(exact, 0.005), 0.001, 1.0)
    found = reweighted(before, chi, mask)
    torch.testing.assert_close(found.weight, before.weight)
    assert (found.noise, found.known_noise) == (before.noise, pytest.approx(before.known_noise))

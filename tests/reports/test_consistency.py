"""Echoes, masks, fields and maps that fit one another, and some that do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from qsmprep.qsm.grid import Grid, depth_mm
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate import simulate_head
from qsmprep.reports import consistency

GRID = Grid((40, 44, 48), (2.0, 2.0, 2.5))


@pytest.fixture(scope='module')
def tissue():
    """A smooth random susceptibility [ppm] in an ellipsoid."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID.shape), indexing='ij')
    mask = sum(a**2 for a in axes) < 0.8
    noise = np.random.default_rng(5).normal(size=GRID.shape)
    chi = ndimage.gaussian_filter(noise, 1.2)
    return (0.04 * chi / chi.std() * mask).astype(np.float32), mask


@pytest.mark.parametrize('direction', [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.3, -0.2, 0.933)])
def test_the_field_shows_the_direction_of_b0(tissue, direction):
    chi, mask = tissue
    grid = replace(GRID, b0_direction=direction)
    field = Dipole(grid).forward(torch.from_numpy(chi)).numpy()
    field += np.random.default_rng(6).normal(0, 0.002, field.shape)
    angle, correlation = consistency.b0_angle_deg(field, mask, grid)
    assert angle < 6
    assert correlation > 0.4
    turned = replace(grid, b0_direction=tuple(np.roll(direction, 1)))
    between = np.degrees(np.arccos(abs(np.dot(direction, turned.b0_direction))))
    wrong, _ = consistency.b0_angle_deg(field, mask, turned)
    assert wrong == pytest.approx(between, abs=6)
    # stripes at the rim, as background removal leaves them
    rim = mask & (depth_mm(mask, grid.voxel_size) < 4)
    stripes = np.cos(2 * np.pi * 0.06 * grid.voxel_size[0] * np.arange(grid.shape[0]))
    field += 0.1 * rim * stripes[:, np.newaxis, np.newaxis]
    assert consistency.b0_angle_deg(field, mask, grid)[0] < 6


@pytest.mark.parametrize('ppm', [2.0, -2.0])
@pytest.mark.parametrize('along', [(0.6, 0.0, 0.8), (0.3, 0.5, 0.81)])
def test_a_strong_vein_does_not_turn_the_direction_of_b0(tissue, along, ppm):
    """One that runs at 36 degrees to B0 has its own direction of least power."""
    chi, mask = tissue
    steps = np.arange(-8, 8, 0.3)[:, np.newaxis] * along
    vein = chi.copy()
    vein[tuple(np.round(np.array(GRID.shape) / 2 + steps).astype(int).T)] = ppm
    field = Dipole(GRID).forward(torch.from_numpy(vein)).numpy()
    assert consistency.b0_angle_deg(field, mask, GRID)[0] < 6
    turned = replace(GRID, b0_direction=(1.0, 0.0, 0.0))
    assert consistency.b0_angle_deg(field, mask, turned)[0] > 84


def test_a_field_that_is_mostly_one_number_still_shows_the_direction_of_b0(tissue):
    """Its robust standard deviation is zero, which must not bound what is left of it away."""
    chi, mask = tissue
    field = Dipole(GRID).forward(torch.from_numpy(chi)).numpy()
    half = mask & (np.arange(GRID.shape[0]) < GRID.shape[0] * 0.45)[:, np.newaxis, np.newaxis]
    field = np.where(half, field, 0)
    turned = replace(GRID, b0_direction=(1.0, 0.0, 0.0))
    assert consistency.b0_angle_deg(field, mask, GRID)[0] < 6
    assert consistency.b0_angle_deg(field, mask, turned)[0] > 84


@pytest.mark.parametrize('shift', [(0.0, 0.0, 0.0), (0.0, 0.8, 0.0), (-0.5, 0.0, 0.6)])
def test_displacement_of_an_echo_comes_out(tissue, shift):
    chi, mask = tissue
    first = np.where(mask, 1 + 4 * chi, 0.02).astype(np.float32)
    second = 0.7 * ndimage.shift(first, shift, order=3)
    found = consistency.echo_shift_voxels(np.stack([first, second], axis=-1), mask, GRID)
    true = np.linalg.norm(np.array(shift) * GRID.voxel_size) / 2.5
    assert found == pytest.approx(true, abs=0.12)


def test_signal_that_one_side_loses_from_echo_to_echo_is_no_motion():
    scan = simulate_head(
        voxel_size=(3.0, 3.0, 3.0),
        field_strength_t=7.0,
        echo_times_s=(0.01, 0.02, 0.03, 0.04, 0.05),
    )
    assert consistency.echo_shift_voxels(scan.magnitude, scan.brain, scan.grid) < 0.2
    moved = scan.magnitude.copy()
    moved[..., 2] = ndimage.shift(moved[..., 2], (0, 0.6, 0))
    found = consistency.echo_shift_voxels(moved, scan.brain, scan.grid)
    assert found == pytest.approx(0.6, abs=0.15)


def test_masks_beside_the_brain_are_seen(tissue):
    _, brain = tissue
    signal = np.where(brain, 1.0, 0.02)
    moved, small = np.roll(brain, 8, axis=1), ndimage.binary_erosion(brain, iterations=3)
    assert consistency.dark_percent(signal, brain) == 0
    assert consistency.dark_percent(signal, moved) > 15
    assert consistency.brain_beyond_percent(signal, brain, GRID) == 0
    assert consistency.brain_beyond_percent(signal, small, GRID) > 90


def test_a_high_pass_takes_the_coarse_waves_of_a_total_field():
    grid = Grid((50, 60, 50), (3.0, 3.0, 3.0), (0.0, 0.0, 1.0))
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing='ij')
    radius = np.sqrt(sum(a**2 for a in axes))
    brain = radius < 0.7
    rng = np.random.default_rng(3)
    tissue = ndimage.gaussian_filter(rng.normal(size=grid.shape), 1.5) * brain
    air = (radius > 0.75) & (ndimage.gaussian_filter(rng.normal(size=grid.shape), 4) > 0)
    sources = 0.03 * tissue / tissue[brain].std() + 9.4 * air
    total = Dipole(grid, padding=2).forward(torch.from_numpy(sources).float()).numpy()
    low = ndimage.gaussian_filter(total, 2.0)
    ratio = consistency.coarse_to_fine(total, brain, grid)
    assert ratio > 3
    assert consistency.coarse_to_fine(5 * total + 2, brain, grid) == pytest.approx(ratio, rel=1e-3)
    assert consistency.coarse_to_fine(total - low, brain, grid) < 2
    slab = brain & (np.abs(axes[2]) < 0.2)
    assert np.isnan(consistency.coarse_to_fine(total, slab, grid))


def test_wraps_left_are_counted():
    phase = np.zeros((10, 10, 10))
    phase[5:] = 2 * np.pi
    everywhere = np.ones(phase.shape, dtype=bool)
    assert consistency.jumps_percent(phase, everywhere) == pytest.approx(100 / 27)
    assert consistency.jumps_percent(phase / 3, everywhere) == 0


def test_sign_and_scale_follow_r2star(tissue):
    chi, mask = tissue
    chi = np.where(mask, np.maximum(chi, 0) ** 2 / 0.04, 0)
    rate = 15 + 137 * 7 / 3 * chi
    found = consistency.relaxation_per_chi(rate, chi, mask, 7.0)
    assert found == pytest.approx(137 / 3, rel=1e-3)
    assert consistency.relaxation_per_chi(rate, 2 * chi, mask, 7.0) == pytest.approx(137 / 6)
    assert consistency.relaxation_per_chi(rate, -chi, mask, 7.0) < 15
    asymmetry = consistency.tail_asymmetry(chi, mask)
    assert asymmetry > 0.5
    assert consistency.tail_asymmetry(-chi, mask) == pytest.approx(-asymmetry)


@pytest.mark.parametrize(('field_t', 'rate'), [(0.55, 11.3), (1.5, 13.5), (7.0, 33.7), (9.4, 45.3)])
def test_usual_r2star_is_that_of_the_literature(field_t, rate):
    assert consistency.usual_r2star_hz(field_t) == pytest.approx(rate, abs=0.1)

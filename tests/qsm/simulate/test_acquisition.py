"""Fields against closed forms and a peer; signal, noise and quirks against what was asked for."""

import math

import numpy as np
import pytest
import qsm_forward
import torch

from qsmprep.qsm.grid import PROTON_GYROMAGNETIC_RATIO, Grid
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate.acquisition import _signal, oblique_affine, scan
from qsmprep.qsm.simulate.anatomy import Axes, Tissue
from qsmprep.qsm.simulate.fields import fields_ppm
from qsmprep.qsm.simulate.susceptibility import Phantom, block_mean, majority, make_phantom

B0 = (0.0, 0.6, 0.8)


def coordinates(axes):
    return torch.meshgrid(*(axes.coordinates(a) for a in range(3)), indexing='ij')


def phantom_of(chi_fine, axes, factors, inside=Tissue.WHITE_MATTER, mask=None):
    labels = torch.full(chi_fine.shape, int(inside), dtype=torch.uint8)
    chi = block_mean(chi_fine, factors)
    mask = torch.ones(axes.shape, dtype=torch.bool) if mask is None else mask
    return Phantom(axes, factors, labels, chi_fine, majority(labels, factors), chi, mask)


@pytest.mark.parametrize('b0', [(0.0, 0.0, 1.0), B0])
@pytest.mark.parametrize('factors', [(1, 1, 1), (2, 2, 2)])
def test_field_of_a_sphere(b0, factors):
    """Outside: chi/3 (a/r)^3 (3 cos^2 - 1); inside: nothing, by the Lorentz correction."""
    axes = Axes((64, 64, 64), (1.0, 1.0, 1.0))
    fine = axes.finer(factors)
    x, y, z = coordinates(fine)
    radius = 9.0
    chi = ((x * x + y * y + z * z).sqrt() < radius).float()
    field = fields_ppm(phantom_of(chi, axes, factors), b0, chi.clone())
    r = (x * x + y * y + z * z).sqrt()
    cosine = (b0[0] * x + b0[1] * y + b0[2] * z) / r
    expected = (radius / r) ** 3 * (3 * cosine**2 - 1) / 3
    # voxelised surfaces ring within a voxel or two
    outside = (r > radius + 2.5) & (r < 29)
    assert (field - expected)[outside].abs().max() < (0.04 if factors == (1, 1, 1) else 0.02)
    assert (field - expected)[outside].square().mean().sqrt() < 0.06 * expected[outside].std()
    assert field[r < radius - 3].abs().mean() < (0.02 if factors == (1, 1, 1) else 0.01)


@pytest.mark.parametrize('angle', [90, 60])
def test_field_of_a_long_cylinder(angle):
    """Outside: chi/2 sin^2 (a/r)^2 cos 2 phi; inside: chi/6 (3 cos^2 - 1)."""
    axes = Axes((64, 64, 256), (1.0, 1.0, 1.0))
    x, y, _ = coordinates(axes)
    radius, theta = 6.0, math.radians(angle)
    r = (x * x + y * y).sqrt()
    fine = axes.finer((2, 2, 1))
    u, v, _ = coordinates(fine)
    chi = ((u * u + v * v).sqrt() < radius).float()
    b0 = (math.sin(theta), 0.0, math.cos(theta))
    field = block_mean(fields_ppm(phantom_of(chi, axes, (2, 2, 1)), b0, chi), (2, 2, 1))
    middle, r = field[:, :, 128], r[:, :, 128]
    phi = torch.atan2(y, x)[:, :, 128]
    inside = (3 * math.cos(theta) ** 2 - 1) / 6
    assert middle[r < radius - 2].mean() == pytest.approx(inside, abs=0.015)
    expected = 0.5 * math.sin(theta) ** 2 * (radius / r) ** 2 * torch.cos(2 * phi)
    outside = (r > radius + 2.5) & (r < 24)
    assert (middle - expected)[outside].abs().max() < 0.025


def test_field_agrees_with_qsm_forward():
    rng = np.random.default_rng(0)
    chi = np.zeros((40, 44, 48), dtype=np.float32)
    for _ in range(6):
        low = rng.integers(8, 28, 3)
        high = low + rng.integers(3, 9, 3)
        chi[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] += rng.normal()
    padded = np.pad(chi, 24)
    theirs = qsm_forward.generate_field(padded, voxel_size=[1, 1, 1.5], B0_dir=B0)
    theirs = theirs[24:-24, 24:-24, 24:-24]
    axes = Axes(chi.shape, (1.0, 1.0, 1.5))
    sources = torch.from_numpy(chi)
    ours = fields_ppm(phantom_of(sources, axes, (1, 1, 1)), B0, sources).numpy()
    difference = (ours - ours.mean()) - (theirs - theirs.mean())
    assert difference.std() < 0.03 * theirs.std()


def test_two_grids_give_the_field_of_the_fine_one():
    """Interpolated far field plus fine near field: the fine grid's own linear convolution."""
    axes, factors = Axes((30, 38, 36), (6.0, 6.0, 6.0)), (2, 2, 2)
    phantom = make_phantom(None, axes, factors=factors, generator=torch.Generator().manual_seed(0))
    sources = phantom.chi_fine - 9.4
    fine = Grid(tuple(sources.shape), (3.0, 3.0, 3.0), B0)
    expected = block_mean(Dipole(fine, padding=2.0).forward(sources), factors)[phantom.mask]
    field = block_mean(fields_ppm(phantom, B0, sources), factors)[phantom.mask]
    assert (field - expected).std() < 0.02 * expected.std()


def ball_scan(shape=(24, 24, 24), factors=(2, 2, 2), chi=0.0, voxel=2.0, **keywords):
    axes = Axes(shape, (voxel,) * 3)
    x, y, z = coordinates(axes)
    mask = (x * x + y * y + z * z).sqrt() < 0.35 * shape[0] * voxel
    fine_shape = axes.finer(factors).shape
    phantom = phantom_of(torch.full(fine_shape, chi), axes, factors, mask=mask)
    settings = {
        'field_strength_t': 3.0,
        'b0_direction': (0, 0, 1),
        'echo_times_s': (0.005, 0.010),
        'snr': math.inf,
        'generator': torch.Generator().manual_seed(5),
    }
    return scan(phantom, **(settings | keywords))


def test_noise_has_the_stated_snr():
    clean, noisy = ball_scan(), ball_scan(snr=25.0)
    signal = clean.magnitude[..., 0][clean.brain].mean()
    assert noisy.noise_sd == pytest.approx(signal / 25, rel=1e-5)
    difference = noisy.magnitude * np.exp(1j * noisy.phase)
    difference = difference - clean.magnitude * np.exp(1j * clean.phase)
    assert difference.real.std() == pytest.approx(noisy.noise_sd, rel=0.02)
    assert difference.imag.std() == pytest.approx(noisy.noise_sd, rel=0.02)


def test_phase_follows_the_field_up_to_wraps():
    """Without offset, phase - 2 pi TE df is a multiple of 2 pi where a voxel does not dephase."""
    result = ball_scan(factors=(1, 1, 1), phase_offset=False)
    for echo, te in enumerate(result.echo_times_s):
        turns = (2 * np.pi * te * result.total_field_hz - result.phase[..., echo]) / (2 * np.pi)
        assert np.abs(turns - np.rint(turns)).max() < 1e-3
    assert np.abs(np.rint(turns)).max() >= 1
    assert result.phase.min() >= -np.pi
    assert result.phase.max() < np.pi


def test_a_steep_field_dephases_coarse_voxels():
    """A linear field g over voxels of length d leaves sinc(g d TE) of the magnitude."""
    axes, factors = Axes((16, 16, 16), (3.0, 3.0, 3.0)), (6, 1, 1)
    phantom = phantom_of(torch.zeros(axes.finer(factors).shape), axes, factors)
    hz_per_mm = 20.0
    ramp = axes.finer(factors).coordinates(0)[:, None, None] * hz_per_mm
    field = (ramp / (PROTON_GYROMAGNETIC_RATIO * 3.0)).expand(axes.finer(factors).shape)
    signal = _signal(phantom, field, 3.0, (1e-6, 0.008))
    decay = float(signal[1].abs().mean() / signal[0].abs().mean())
    rate = ball_scan(factors=(1, 1, 1)).r2star_hz.mean()
    expected = abs(np.sinc(hz_per_mm * 3.0 * 0.008)) * math.exp(-0.008 * rate)
    assert decay == pytest.approx(expected, rel=0.03)


def test_local_field_is_that_of_the_brain_alone():
    """A uniform surrounding adds nothing to it, and the shim removes what is smooth."""
    result = ball_scan(chi=0.0)
    assert np.abs(result.local_field_hz).max() < 1e-3
    assert result.total_field_hz[result.brain].mean() == pytest.approx(0, abs=0.1)
    assert not result.local_field_hz[~result.brain].any()


def test_quirks_change_the_phase_as_asked():
    plain, bipolar = ball_scan(), ball_scan(bipolar_rad=1.0)
    ramp = np.angle(np.exp(1j * (bipolar.phase - plain.phase)))
    np.testing.assert_allclose(ramp[..., 0], 0, atol=1e-4)
    np.testing.assert_allclose(ramp[[0, -1], :, :, 1].mean((1, 2)), [-0.5, 0.5], atol=1e-4)
    turned = ball_scan(alternate_slices=True)
    flips = np.abs(np.angle(np.exp(1j * (turned.phase - plain.phase))))
    np.testing.assert_allclose(flips[:, :, ::2], 0, atol=1e-4)
    np.testing.assert_allclose(flips[:, :, 1::2], np.pi, atol=1e-4)


@pytest.mark.parametrize('b0', [(0, 0, 1), (0, 0, -1), B0, (-0.5, 0.5, 0.7)])
def test_affine_tells_the_direction_of_b0(b0):
    grid = Grid((10, 12, 14), (1.0, 2.0, 3.0), b0)
    affine = oblique_affine(grid)
    again = Grid.from_affine(grid.shape, affine)
    np.testing.assert_allclose(again.b0_direction, grid.b0_direction, atol=1e-6)
    np.testing.assert_allclose(again.voxel_size, grid.voxel_size)
    assert np.linalg.det(affine[:3, :3]) > 0


@pytest.mark.parametrize('wrong', [{'snr': 0}, {'echo_times_s': (0.0,)}, {'field_strength_t': -1}])
def test_numbers_that_must_be_positive(wrong):
    with pytest.raises(ValueError, match='positive'):
        ball_scan(**wrong)

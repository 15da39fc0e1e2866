"""Super-resolution: exact proximal steps, and maps that agree with what was measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qsmprep.qsm import superres
from qsmprep.qsm.calibration import Calibration
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.likelihood import Likelihood
from qsmprep.qsm.operators import Dipole, KSpaceCrop
from qsmprep.qsm.resolution import FieldOfView
from qsmprep.qsm.simulate import simulate_local_field
from qsmprep.qsm.superres import (
    CoarseField,
    CoarseMap,
    coarse_field,
    super_resolve,
    super_resolve_field,
)

NOISE_PPM = 0.002


@pytest.fixture(scope='module')
def scan():
    """Fine head of 3 mm, the scanner of 6 x 3 x 4.5 mm, and what it measures."""
    head = simulate_local_field(
        voxel_size=(3.0, 3.0, 3.0), shape=(48, 60, 48), b0_direction=(0.2, 0.3, 0.9)
    )
    fine = head.grid
    operator = KSpaceCrop(fine.shape, (24, 60, 32))
    truth = torch.from_numpy(head.chi)
    field = Dipole(fine, padding=2).forward(truth)
    mask = torch.nn.functional.interpolate(
        torch.from_numpy(head.mask).float()[None, None], size=operator.coarse, mode='area'
    )[0, 0]
    mask = mask > 0.5
    noise = NOISE_PPM * torch.randn(operator.coarse, generator=torch.Generator().manual_seed(0))
    grid = Grid(operator.coarse, (6.0, 3.0, 4.5), fine.b0_direction)
    return {
        'fine': fine,
        'grid': grid,
        'operator': operator,
        'truth': truth,
        'support': torch.from_numpy(head.mask),
        'mask': mask,
        'chi': (operator.forward(truth) + noise) * mask,
        'field': (operator.forward(field) + noise) * mask,
    }


def test_without_masks_only_the_measured_band_changes():
    operator = KSpaceCrop((12, 10, 8), (7, 10, 4))
    generator = torch.Generator().manual_seed(0)
    chi, expected = (torch.randn(s, generator=generator) for s in ((7, 10, 4), (12, 10, 8)))
    everywhere = (torch.ones(x.shape, dtype=torch.bool) for x in (chi, expected))
    guide = CoarseMap(operator, chi, 0.5, *everywhere, iterations=1)
    x = guide.prox(expected, 0.7, start=0 * expected).requires_grad_()
    misfit = (chi - operator.forward(x)).square().sum() / (2 * 0.5**2)
    (misfit + (x - expected).square().sum() / (2 * 0.7**2)).backward()
    assert x.grad.abs().max() < 1e-4
    beyond = expected - operator.zero_filled(operator.forward(expected))
    found = x.detach() - operator.zero_filled(operator.forward(x.detach()))
    torch.testing.assert_close(found, beyond, atol=1e-5, rtol=0)


def test_with_a_mask_only_its_voxels_and_the_support_count():
    operator = KSpaceCrop((12, 10, 8), (7, 10, 4))
    generator = torch.Generator().manual_seed(0)
    chi, expected = (torch.randn(s, generator=generator) for s in ((7, 10, 4), (12, 10, 8)))
    mask, support = chi > -0.5, expected > -1
    guide = CoarseMap(operator, chi, 0.5, mask, support, iterations=60)
    x = guide.prox(expected, 0.7, start=0 * expected)
    assert not x[~support].any()
    x.requires_grad_()
    misfit = (mask * (chi - operator.forward(x))).square().sum() / (2 * 0.5**2)
    (misfit + (x - expected).square().sum() / (2 * 0.7**2)).backward()
    assert x.grad[support].abs().max() < 2e-3
    other = CoarseMap(operator, torch.where(mask, chi, 9.0), 0.5, mask, support, iterations=60)
    torch.testing.assert_close(other.prox(expected, 0.7, start=0 * expected), x.detach())


def test_a_step_from_a_field_is_the_minimiser():
    """Of the misfit in the measured voxels and the distance from the expected map."""
    fine, grid = Grid((16, 14, 12), (1.0, 1.0, 1.0)), Grid((8, 14, 8), (2.0, 1.0, 1.5))
    operator, dipole = KSpaceCrop(fine.shape, grid.shape), Dipole(grid)
    generator = torch.Generator().manual_seed(0)
    field, draw = torch.randn((2, *grid.shape), generator=generator)
    expected = torch.randn(fine.shape, generator=generator)
    weight, support = (draw > -0.5) * draw.abs(), expected > -1
    k = dipole.wavenumber()
    calibration = Calibration(field, dipole, 1 / (0.1 + k) ** 2, 0.1 / (0.2 + k), 0.3)
    likelihood = Likelihood(field, calibration, weight)
    guide = CoarseField(operator, likelihood, fine, support, iterations=80)
    x = guide.prox(expected, 0.7, start=0 * expected)
    assert not x[~support].any()
    x.requires_grad_()
    residual = weight * (field - dipole.forward(operator.forward(x)))
    misfit = (residual * dipole.filter(residual, 1 / likelihood.error)).sum()
    away = x - support * expected
    distance = (away * guide.dipole.filter(away, guide.stiffness(0.7))).sum()
    ((misfit + distance) / 2).backward()
    assert x.grad[support].abs().max() < 0.02


def test_a_field_says_nothing_beyond_its_band(scan):
    view = FieldOfView.of(scan['mask'].numpy(), scan['grid'], 3.0, 'cpu')
    guide, start = coarse_field(view, view.cropped('field', scan['field'].numpy()))
    band = view.operator.band(guide.dipole)
    assert 0.2 < float(band.float().mean()) < 0.5
    generator = torch.Generator().manual_seed(0)
    expected = 0.01 * torch.randn(view.fine.shape, generator=generator)
    everywhere = torch.ones_like(view.support)
    guide = CoarseField(view.operator, guide.likelihood, view.fine, everywhere)
    x = guide.prox(expected, 0.02, start=expected)
    change = guide.dipole.transform(x - expected).abs()
    assert change[~band].square().mean() < 0.02 * change[band].square().mean()
    inside = view.support & scan['support'][view.fine_box]
    truth = scan['truth'][view.fine_box]
    assert np.corrcoef(start[inside], truth[inside])[0, 1] > 0.68


def test_spectra_are_carried_with_the_ratio_of_the_voxels(scan):
    """A coarse map has more power to a fine voxel after zero-filling."""
    dipole = Dipole(scan['grid'], padding=1.0)
    spectrum = 1e-4 / (0.02 + dipole.wavenumber()) ** 2
    calibration = Calibration(scan['field'], dipole, spectrum, 0 * spectrum, 1e-6)
    likelihood = Likelihood(scan['field'], calibration, scan['mask'].float())
    guide = CoarseField(scan['operator'], likelihood, scan['fine'], scan['support'])
    noise = torch.randn(scan['operator'].coarse, generator=torch.Generator().manual_seed(1))
    filled = scan['operator'].zero_filled(dipole.filter(noise, spectrum.sqrt()))
    power = guide.dipole.transform(filled).abs().square() / filled.numel()
    high = scan['operator'].band(guide.dipole) & (guide.dipole.wavenumber() > 0.04)
    assert 0.8 < float(guide.prior[high].mean() / power[high].mean()) < 1.25


def test_the_result_is_what_was_measured(scan, prior):
    result = super_resolve(
        scan['chi'].numpy(), scan['mask'].numpy(), scan['grid'], 3.0, prior=prior
    )
    assert result.grid.shape == scan['fine'].shape
    assert result.chi_ppm.dtype == np.float32
    assert not result.chi_ppm[~result.mask].any()
    seen = scan['operator'].forward(torch.from_numpy(result.chi_ppm))
    residual = (seen - scan['chi'])[scan['mask']]
    assert residual.square().mean().sqrt() < 1.2 * NOISE_PPM
    assert len(result.parameters['PriorSHA256']) == 64


def test_the_field_of_the_result_is_what_was_measured(scan, prior):
    result = super_resolve_field(
        scan['field'].numpy(), scan['mask'].numpy(), scan['grid'], 3.0, prior=prior
    )
    field = Dipole(scan['fine'], padding=2).forward(torch.from_numpy(result.chi_ppm))
    residual = (scan['operator'].forward(field) - scan['field'])[scan['mask']]
    assert residual.square().mean().sqrt() < 1.4 * NOISE_PPM
    inside = result.mask & scan['support'].numpy()
    assert np.corrcoef(result.chi_ppm[inside], scan['truth'].numpy()[inside])[0, 1] > 0.63


def test_a_fine_map_that_is_not_the_native_one_is_refused(scan, prior, monkeypatch):
    given = scan['field'].numpy(), scan['mask'].numpy(), scan['grid'], 3.0
    assert 0 < super_resolve_field(*given, prior=prior).parameters['DepartureFromNative'] < 0.6

    def diverged(denoise, guide, start, *args, **kwargs):
        return 0.01 - 1.5 * start

    monkeypatch.setattr(superres, 'anneal', diverged)
    message = 'local field departs from the map of the native grid by 2[0-9]{2} % .* is refused'
    with pytest.raises(ValueError, match=message):
        super_resolve_field(*given, prior=prior)


def test_a_field_of_little_noise_is_followed_to_it(scan):
    """What lies beyond the band does not pass for an error of the field."""
    sd, operator = 0.1 * NOISE_PPM, scan['operator']
    noise = torch.randn(operator.coarse, generator=torch.Generator().manual_seed(0))
    dipole = Dipole(scan['fine'], padding=2)
    field = (operator.forward(dipole.forward(scan['truth'])) + sd * noise) * scan['mask']
    result = super_resolve_field(
        field.numpy(), scan['mask'].numpy(), scan['grid'], 3.0,
        noise_ppm=np.full(operator.coarse, sd, np.float32),
    )  # fmt:skip
    found = operator.forward(dipole.forward(torch.from_numpy(result.chi_ppm)))
    assert (found - field)[scan['mask']].square().mean().sqrt() < 1.4 * sd
    inside = result.mask & scan['support'].numpy()
    assert np.corrcoef(result.chi_ppm[inside], scan['truth'].numpy()[inside])[0, 1] > 0.82


def test_a_seed_tells_the_map(scan, prior):
    maps = [
        super_resolve(
            scan['chi'].numpy(), scan['mask'].numpy(), scan['grid'], 3.0, prior=prior, seed=seed
        ).chi_ppm
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[2]).max() > 0


def test_the_box_around_a_mask_keeps_the_voxels_sizes(prior):
    """A small mask in a wide field of view, whose voxels coincide every fifth fine one only."""
    grid = Grid((40, 36, 32), (1.5, 1.5, 1.0))
    mask = np.zeros(grid.shape, bool)
    mask[12:22, 9:21, 8:20] = True
    result = super_resolve(0.01 * mask, mask, grid, 0.9, prior=prior)
    assert result.grid.shape == (67, 60, 36)
    view = FieldOfView.of(mask, grid, 0.9, 'cpu')
    sizes = [[f.shape[a] * f.voxel_size[a] for a in range(3)] for f in (view.grid, view.fine)]
    np.testing.assert_allclose(*sizes)
    assert view.grid.shape[1] < 36
    shares = np.argwhere(result.mask).mean(0) + 0.5, np.argwhere(mask).mean(0) + 0.5
    shapes = (result.grid.shape, grid.shape)
    ends = [share / shape for share, shape in zip(shares, shapes, strict=True)]

    np.testing.assert_allclose(*ends, atol=0.01)


def test_nothing_is_done_where_voxels_are_small_enough(scan, prior):
    chi, mask = scan['truth'].numpy(), scan['support'].numpy()
    assert super_resolve(chi, mask, scan['fine'], 3.0, prior=prior) is None
    assert super_resolve_field(chi, mask, scan['fine'], 'iso', prior=prior) is None


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'mask': np.zeros((24, 60, 32), bool)}, 'at least one'),
        ({'mask': np.ones((4, 4, 4), bool)}, 'in the shape'),
        ({'chi_ppm': np.full((24, 60, 32), np.nan)}, 'finite values'),
        ({'chi_ppm': np.zeros((4, 4, 4))}, 'finite values in the shape'),
    ],
)
def test_wrong_input_is_explained(scan, prior, changes, message):
    given = {'chi_ppm': scan['chi'].numpy(), 'mask': scan['mask'].numpy()} | changes
    with pytest.raises(ValueError, match=message):
        super_resolve(grid=scan['grid'], resolution_mm=3.0, prior=prior, **given)

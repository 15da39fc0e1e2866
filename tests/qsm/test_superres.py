"""Super-resolution: exact proximal steps, and maps that agree with what was measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qsmprep.qsm.diffusion.guidance import Posterior
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.operators import Dipole, KSpaceCrop
from qsmprep.qsm.resolution import FieldOfView
from qsmprep.qsm.simulate import simulate_local_field
from qsmprep.qsm.superres import CoarseMap, coarse_field, super_resolve, super_resolve_field

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


def test_a_field_says_nothing_beyond_its_band(scan):
    likelihood, start = coarse_field(
        scan['field'], scan['mask'], scan['grid'], scan['operator'], scan['support'], scan['fine']
    )
    band = scan['operator'].band(likelihood.dipole)
    assert likelihood.error[~band].isinf().all()
    assert likelihood.error[band].isfinite().all()
    assert 0.2 < float(band.float().mean()) < 0.5
    generator = torch.Generator().manual_seed(0)
    expected = 0.01 * torch.randn(scan['fine'].shape, generator=generator)
    everywhere = torch.ones_like(scan['support'])
    x = Posterior(likelihood, everywhere).prox(expected, 0.02, start=expected)
    change = likelihood.dipole.transform(x - expected).abs()
    assert change[~band].square().mean() < 0.02 * change[band].square().mean()
    correlation = np.corrcoef(start[scan['support']], scan['truth'][scan['support']])[0, 1]
    assert correlation > 0.68


def test_spectra_are_carried_with_the_ratio_of_the_voxels(scan):
    """White noise of a coarse field has more power to a fine voxel after zero-filling."""
    noise = torch.randn(scan['operator'].coarse, generator=torch.Generator().manual_seed(1))
    likelihood, _ = coarse_field(
        scan['field'] + 0.01 * noise * scan['mask'],
        scan['mask'], scan['grid'], scan['operator'], scan['support'], scan['fine'],
    )  # fmt:skip
    dipole = likelihood.dipole
    filled = dipole.transform(0.01 * scan['operator'].zero_filled(noise))
    power = filled.abs().square() / np.prod(scan['fine'].shape)
    high = scan['operator'].band(dipole) & (dipole.wavenumber() > 0.09)
    ratio = float(likelihood.error[high].mean() / power[high].mean())
    assert 0.7 < ratio < 1.4


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

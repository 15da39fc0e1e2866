"""The published form: windows, phase compensation, the network and its fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.inversion.inr_qsm.published import fit_siren
from qsmprep.qsm.inversion.inr_qsm.siren import Siren
from qsmprep.qsm.inversion.inr_qsm.windows import PublishedLoss, WindowedDipole, draw_windows
from qsmprep.qsm.inversion.penalty import edges_inside
from qsmprep.qsm.operators import Dipole

GRIDS = {
    'isotropic': Grid((26, 30, 24)),
    'anisotropic and oblique': Grid((30, 24, 14), (1, 1, 2), (0.3, -0.2, 0.9)),
}
WINDOW = (slice(5, 17), slice(8, 21), slice(3, 11))
SMALL = {'width': 64, 'warm_up': 3, 'epochs': 4, 'learning_rate': 1e-4}
AS_PUBLISHED = {**SMALL, 'published': True}


@pytest.fixture(params=GRIDS, ids=list(GRIDS))
def scan(request):
    """Grid, mask, map and field in double precision, as tensors."""
    grid = GRIDS[request.param]
    generator = torch.Generator().manual_seed(0)
    ends = [torch.linspace(-1, 1, n) for n in grid.shape]
    mask = sum(a**2 for a in torch.meshgrid(*ends, indexing='ij')) < 0.9
    chi = torch.randn(grid.shape, generator=generator, dtype=torch.float64) * mask
    dipole = Dipole(grid, dtype=torch.float64)
    field = dipole.forward(torch.randn(grid.shape, generator=generator, dtype=torch.float64))
    return grid, mask, chi, field, dipole


def gradient_of_volume_loss(chi, field, mask, dipole):
    """Gradient, in the window, of the window's squared error under physics of the volume."""
    free = chi.clone().requires_grad_()
    error = (mask * (dipole.forward(free) - field))[WINDOW]
    (error.square().sum() / mask[WINDOW].sum()).backward()
    return free.grad[WINDOW]


def test_exact_compensation_gives_the_gradient_of_the_volume(scan):
    grid, mask, chi, field, dipole = scan
    edges = edges_inside(mask, grid.voxel_size)
    loss = PublishedLoss(WindowedDipole(dipole), mask, edges, 0.0, 0.0)
    expected = gradient_of_volume_loss(chi, field, mask, dipole)
    outside = loss.operator.compensation(chi, dipole.forward(chi), WINDOW)
    _, compensated = loss(chi[WINDOW], field[WINDOW] - outside, WINDOW)
    torch.testing.assert_close(compensated, expected, rtol=1e-6, atol=1e-9)
    _, bare = loss(chi[WINDOW], field[WINDOW], WINDOW)
    assert (bare - expected).norm() > 0.1 * expected.norm()


def test_compensation_is_the_field_of_what_lies_outside(scan):
    _, _, chi, _, dipole = scan
    rest = chi.clone()
    rest[WINDOW] = 0
    found = WindowedDipole(dipole).compensation(chi, dipole.forward(chi), WINDOW)
    torch.testing.assert_close(found, dipole.forward(rest)[WINDOW])


def test_windowed_operator_is_its_own_adjoint(scan):
    _, _, chi, field, dipole = scan
    operator = WindowedDipole(dipole)
    left = (operator.forward(chi[WINDOW]) * field[WINDOW]).sum()
    right = (chi[WINDOW] * operator.forward(field[WINDOW])).sum()
    assert float(left) == pytest.approx(float(right))


def test_gradient_of_the_published_loss(scan):
    grid, mask, chi, field, dipole = scan
    edges = [e.double() for e in edges_inside(mask, grid.voxel_size)]
    loss = PublishedLoss(WindowedDipole(dipole), mask, edges, 0.3, 0.7)
    turn = torch.randn(chi[WINDOW].shape, generator=torch.Generator().manual_seed(1)).double()
    below, above = (loss(chi[WINDOW] + s * turn, field[WINDOW], WINDOW)[0] for s in (-1e-4, 1e-4))
    _, gradient = loss(chi[WINDOW], field[WINDOW], WINDOW)
    slope = float(above - below) / 2e-4
    assert slope == pytest.approx(float((gradient * turn).sum()), rel=1e-6)


def test_windows_tile_the_mask():
    mask = torch.zeros(40, 30, 20, dtype=torch.bool)
    mask[3:36, 2:27] = True
    generator = torch.Generator().manual_seed(0)
    first, second = (draw_windows(mask, (16, 16, 32), 0.0, generator) for _ in range(2))
    assert first != second
    for boxes in (first, second):
        seen = torch.zeros(mask.shape)
        for box in boxes:
            seen[box] += 1
        assert bool((seen[mask] == 1).all())
    sparse = draw_windows(mask, (16, 16, 32), 0.5, generator)
    assert all(mask[box].float().mean() >= 0.5 for box in sparse)


def test_network_sees_millimetres():
    """On voxels of 1 x 1 x 2 mm, two voxels along the first axis are one along the third."""
    grid = Grid((33, 33, 17), (1, 1, 2))
    network = Siren(
        grid, width=16, generator=torch.Generator().manual_seed(0), hidden_dtype=torch.float32
    )
    for weight in network.weights[:1]:
        weight.data[:, 2] = weight.data[:, 0]
    centre = torch.tensor([16.0, 16.0, 8.0])
    along, across = centre + torch.tensor([2.0, 0, 0]), centre + torch.tensor([0, 0, 1.0])
    torch.testing.assert_close(network(along[None]), network(across[None]))
    assert not torch.allclose(network(centre[None]), network(across[None]))


@pytest.fixture(scope='module')
def smooth():
    """Grid, mask, map and field [ppm] of a smooth map on unequal voxels, B0 oblique."""
    grid = Grid((20, 22, 12), (1, 1, 2), (0.2, 0.1, 0.95))
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in grid.shape], indexing='ij')
    mask = sum(a**2 for a in axes) < 0.95
    chi = 0.1 * torch.exp(-((axes[0] - 0.2) ** 2 + axes[1] ** 2 + axes[2] ** 2) / 0.1) * mask
    return grid, mask, chi, Dipole(grid).forward(chi) * mask


def test_fit_explains_the_field(smooth):
    grid, mask, chi, field = smooth
    losses = []
    found = invert(
        field.numpy(),
        mask.numpy(),
        grid,
        'inr-qsm',
        **{**AS_PUBLISHED, 'warm_up': 20, 'epochs': 40},
        progress=lambda iteration, total, loss: losses.append(loss),
    )
    assert losses[-1] < 0.7 * losses[20]
    inside = mask.numpy()
    assert np.corrcoef(found.chi_ppm[inside], chi.numpy()[inside])[0, 1] > 0.9


def test_seed_decides(smooth):
    grid, mask, _, field = smooth
    maps = [
        invert(field.numpy(), mask.numpy(), grid, 'inr-qsm', seed=s, **AS_PUBLISHED).chi_ppm
        for s in (0, 0, 1)
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[2]).max() > 1e-4


def test_function_is_the_map_at_voxel_centres_and_smooth_between(smooth):
    grid, mask, _, field = smooth
    inversion = invert(field.numpy(), mask.numpy(), grid, 'inr-qsm', **AS_PUBLISHED)
    centres = [np.arange(n) for n in grid.shape]
    inside = mask.numpy()
    values = inversion.function(centres)
    np.testing.assert_allclose(values[inside], inversion.chi_ppm[inside], atol=2e-3)
    finer = inversion.function([np.arange(0, n - 0.75, 0.5) for n in grid.shape])
    assert finer.shape == tuple(2 * n - 1 for n in grid.shape)
    np.testing.assert_allclose(finer[::2, ::2, ::2], values, atol=2e-3)


def test_weights_of_another_subject_replace_the_warm_up(smooth):
    grid, mask, _, field = smooth
    parameters = {'regularisation': 0.15, 'gradient_weight': 1.0, **SMALL}
    first = fit_siren(field, mask, grid, **parameters)
    seen = []
    fit_siren(
        field,
        mask,
        grid,
        **{**parameters, 'epochs': 2},
        initial_weights=first.state_dict(),
        progress=lambda *report: seen.append(report[:2]),
    )
    assert seen == [(1, 2), (2, 2)]


def test_callback_can_cancel(smooth):
    grid, mask, _, field = smooth

    def cancel(epoch, total, loss):
        assert (epoch, total) == (1, 7)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert(field.numpy(), mask.numpy(), grid, 'inr-qsm', progress=cancel, **AS_PUBLISHED)


def test_a_field_that_is_too_strong_ends_in_an_error(smooth):
    grid, mask, _, field = smooth
    with pytest.raises(ValueError, match='The fit diverged at iteration'):
        invert(
            field.numpy(),
            mask.numpy(),
            grid,
            'inr-qsm',
            **{**AS_PUBLISHED, 'learning_rate': 1e30},
        )

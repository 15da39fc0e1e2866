"""The grid form: its function, its loss, and maps better than those it starts from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import inr, invert
from qsmprep.qsm.inversion import tv as total_variation
from qsmprep.qsm.inversion.penalty import edges_inside
from qsmprep.qsm.metrics import nrmse
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate import simulate_local_field

NOISE_PPM = 5e-4
CASES = {
    'isotropic': Grid((40, 44, 36)),
    'anisotropic and oblique': Grid((44, 40, 20), (1, 1, 2), (0.3, -0.2, 0.9)),
}


def balls(grid, mask, seed=0):
    """Balls of constant susceptibility [ppm] on a smooth background, within a mask."""
    rng = np.random.default_rng(seed)
    axes = [(np.arange(n) - n / 2) * v for n, v in zip(grid.shape, grid.voxel_size, strict=True)]
    mesh = np.meshgrid(*axes, indexing='ij')
    chi = 0.01 * np.sin(mesh[0] / 7) * np.cos(mesh[1] / 9)
    for _ in range(14):
        centre, radius = rng.uniform(-15, 15, 3), rng.uniform(2, 6)
        near = sum((m - c) ** 2 for m, c in zip(mesh, centre, strict=True)) < radius**2
        chi[near] += rng.uniform(-0.08, 0.15)
    return (chi * mask).astype(np.float32)


@pytest.fixture(scope='module', params=CASES, ids=list(CASES))
def scan(request):
    """Grid, mask, map, field and noise [ppm]."""
    grid = CASES[request.param]
    ends = [np.linspace(-1, 1, n) for n in grid.shape]
    mask = sum(a**2 for a in np.meshgrid(*ends, indexing='ij')) < 0.95
    chi = balls(grid, mask)
    field = Dipole(grid, padding=2).forward(torch.from_numpy(chi)).numpy()
    field += NOISE_PPM * np.random.default_rng(1).standard_normal(grid.shape)
    return grid, mask, chi, field * mask, np.full(grid.shape, NOISE_PPM)


@pytest.mark.parametrize(
    'scanner', [{}, {'voxel_size': (3.0, 3.0, 5.0), 'b0_direction': (0.3, -0.2, 0.9)}]
)
def test_fit_is_better_than_total_variation(scanner, monkeypatch):
    monkeypatch.setattr(total_variation, 'LEAST_WHITENING', 0.0)
    head = simulate_local_field(**{'voxel_size': (4.0, 4.0, 4.0), 'seed': 3, **scanner})
    given = (head.measured_ppm, head.mask, head.grid)
    convex, fitted = (invert(*given, method, noise_ppm=head.noise_ppm) for method in ('tv', 'inr'))
    assert fitted.parameters['trust'] >= 0.7
    assert 80 <= fitted.parameters['iterations'] < 200
    errors = [nrmse(found.chi_ppm, head.chi, head.mask) for found in (convex, fitted)]
    assert errors[1] < 0.95 * errors[0]


def test_complex_fidelity_forgives_wraps(scan):
    """Whole turns of the phase change the gradient of the linear fidelity only."""
    grid, mask, chi, field, _ = scan
    phase_noise = 0.05
    turn = 2 * np.pi / phase_noise * NOISE_PPM
    wraps = turn * (np.random.default_rng(2).random(grid.shape) < 0.01)
    inside = torch.from_numpy(mask)
    edges = edges_inside(inside, grid.voxel_size)
    gradients = []
    for phase in (phase_noise, 0.0):
        for image in (field, field + wraps * mask):
            tensor = torch.from_numpy(image.astype(np.float32))
            objective = inr._Objective(
                Dipole(grid), tensor, inside.float(), inside, edges, NOISE_PPM, 1e-5, phase
            )
            gradients.append(objective(torch.from_numpy(chi))[2])
    scale = gradients[0].abs().max()
    assert (gradients[1] - gradients[0]).abs().max() < 1e-2 * scale
    assert (gradients[3] - gradients[2]).abs().max() > 10 * scale


def test_without_trust_it_is_the_warm_start(scan):
    grid, mask, _, field, noise = scan
    start, half, fitted = (
        invert(field, mask, grid, method, noise_ppm=noise, **trust).chi_ppm
        for method, trust in (
            ('tv', {}),
            ('inr', {'trust': 0.5, 'iterations': 8}),
            ('inr', {'trust': 1, 'iterations': 8}),
        )
    )
    none = invert(field, mask, grid, 'inr', noise_ppm=noise, trust=0).chi_ppm
    np.testing.assert_allclose(none, start, atol=1e-7)
    np.testing.assert_allclose(half, 0.5 * (start + fitted), atol=1e-6)


def test_function_is_the_map_at_voxel_centres_and_continuous_between(scan):
    grid, mask, chi, field, noise = scan
    wide = [(3, 2), (1, 4), (2, 2)]
    shape = tuple(n + sum(w) for n, w in zip(grid.shape, wide, strict=True))
    larger = Grid(shape, grid.voxel_size, grid.b0_direction)
    field, mask, noise = (np.pad(a, wide) for a in (field, mask, noise))
    inversion = invert(field, mask, larger, 'inr', noise_ppm=noise, iterations=20)
    centres = [np.arange(n) for n in larger.shape]
    at_centres = inversion.function(centres)
    np.testing.assert_allclose(at_centres * mask, inversion.chi_ppm, atol=1e-6)
    step = 1e-3
    nearby = inversion.function([c + step for c in centres])
    assert np.abs(nearby - at_centres).max() < 3 * step * np.abs(at_centres).max() * 2


def test_callback_can_cancel(scan):
    grid, mask, _, field, noise = scan
    seen = []

    def cancel(iteration, total, loss):
        seen.append((iteration, total, loss))
        if iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert(field, mask, grid, 'inr', noise_ppm=noise, trust=1, progress=cancel)
    assert [s[:2] for s in seen[-3:]] == [(1, 200), (2, 200), (3, 200)]


def test_trust_outside_its_range_is_an_error(scan):
    grid, mask, _, field, _ = scan
    with pytest.raises(ValueError, match='trust lies between 0 and 1, unlike 2'):
        invert(field, mask, grid, 'inr', trust=2)


@pytest.mark.parametrize('grid', CASES.values(), ids=list(CASES))
def test_gradient_of_the_loss(grid):
    generator = torch.Generator().manual_seed(0)
    draw = {'generator': generator, 'dtype': torch.float64}
    mask = torch.rand(grid.shape, **draw) < 0.9
    chi, field, turn = (torch.randn(grid.shape, **draw) * mask for _ in range(3))
    edges = [e.double() for e in edges_inside(mask, grid.voxel_size)]
    dipole = Dipole(grid, dtype=torch.float64)
    for phase_noise in (0.0, 0.3):
        objective = inr._Objective(dipole, field, 1.0 * mask, mask, edges, 0.5, 0.1, phase_noise)
        step = 1e-5
        values = [float(objective(chi + s * step * turn)[0]) for s in (-1, 1)]
        slope = (values[1] - values[0]) / (2 * step)
        assert slope == pytest.approx(float((objective(chi)[2] * turn).sum()), rel=1e-4)


def test_between_voxels_the_function_is_linear_and_beyond_them_it_goes_on():
    x, y, z = torch.meshgrid(*[torch.arange(float(n)) for n in (13, 10, 7)], indexing='ij')
    positions = [
        torch.tensor([-2.0, 0.0, 3.3, 12.0, 12.6]),
        torch.tensor([1.25, 8.5]),
        torch.tensor([0.1, 5.9]),
    ]
    a, b, c = torch.meshgrid(*positions, indexing='ij')
    found = inr.interpolated(x - 2 * y + 0.5 * z, positions)
    torch.testing.assert_close(found, a.clamp(0, 12) - 2 * b + 0.5 * c)


def test_a_fit_that_diverges_is_tried_again(scan, monkeypatch):
    grid, mask, _, field, noise = scan
    rates, descend = [], inr._descend

    def stumble(values, objective, rate, *rest):
        rates.append(rate)
        if len(rates) == 1:
            objective.field[tuple(n // 2 for n in grid.shape)] *= float('nan')
            try:
                return descend(values, objective, rate, *rest)
            finally:
                objective.field.nan_to_num_(0.0)
        return descend(values, objective, rate, *rest)

    monkeypatch.setattr(inr, '_descend', stumble)
    chi = invert(field, mask, grid, 'inr', noise_ppm=noise, trust=1, iterations=10).chi_ppm
    assert rates == pytest.approx([0.1, 0.025])
    assert np.isfinite(chi).all()

"""The exact posterior: its precision is that of dense matrices, and its systems are solved."""

from __future__ import annotations

import pytest
import torch

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.posterior import PosteriorPrecision

SHAPE = (7, 6, 8)


def precision(coloured, weighted):
    """Precision on a grid that is small enough for dense matrices."""
    generator = torch.Generator().manual_seed(0)
    dipole = Dipole(Grid(SHAPE, (1, 1, 1.5), (0, 0.6, 0.8)), dtype=torch.float64)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[1:6, 1:5, 1:7] = True
    k = dipole.wavenumber().clamp(min=0.05)
    weight = torch.rand(SHAPE, generator=generator, dtype=torch.float64) * mask
    data = 1e5 * k**2 if coloured else 1e6
    return PosteriorPrecision(dipole, mask, data, 5e2 * k**3, weight if weighted else None)


def dense(operator, voxels):
    """Matrix of an operator between the voxels of a mask."""
    columns = []
    for index in voxels.nonzero():
        unit = torch.zeros(SHAPE, dtype=torch.float64)
        unit[tuple(index)] = 1
        columns.append(operator(unit)[voxels])
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('coloured', [False, True])
def test_precision_is_that_of_dense_matrices(coloured, weighted):
    found = precision(coloured, weighted)
    dipole, everywhere = found.dipole, torch.ones(SHAPE, dtype=torch.bool)
    inside = found.inside.bool()
    response = dense(dipole.forward, everywhere)[:, inside[everywhere]]
    data = found.data if coloured else torch.full_like(dipole.kernel, found.data)
    noise = dense(lambda x: dipole.filter(x, data), everywhere)
    weight = found.weight.flatten().diag()
    prior = dense(lambda x: dipole.filter(x, found.prior), inside)
    expected = response.T @ weight @ noise @ weight @ response + prior
    matrix = dense(found, inside)
    torch.testing.assert_close(matrix, expected, rtol=1e-8, atol=1e-6)
    field = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected_term = response.T @ weight @ noise @ weight @ field.flatten()
    torch.testing.assert_close(found.data_term(field)[inside], expected_term, rtol=1e-8, atol=1e-6)
    x = found.solve(found.data_term(field), iterations=300, tolerance=1e-10)
    torch.testing.assert_close(
        x[inside], torch.linalg.solve(expected, expected_term), rtol=1e-5, atol=1e-7
    )
    assert not x[~inside].any()


def test_a_good_start_saves_steps_and_changes_nothing():
    found = precision(coloured=False, weighted=True)
    target = found.data_term(torch.ones(SHAPE, dtype=torch.float64))
    steps = []
    exact = found.solve(target, iterations=300, tolerance=1e-9)
    for start in (None, exact, exact + 1e-4):
        calls = []
        x = found.solve(
            target,
            start=start,
            iterations=300,
            tolerance=1e-6,
            progress=lambda *step, calls=calls: calls.append(step),
        )
        assert (x - exact).norm() < 1e-2 * exact.norm()
        assert all(ratio > 1e-6 for _, _, ratio in calls[:-1])
        steps.append(len(calls))
    assert steps[1] == 0
    assert steps[2] <= steps[0]


def test_few_steps_suffice_at_little_noise(make_scan):
    scan = make_scan(noise=2e-4)
    dipole = Dipole(scan.grid)
    k = dipole.wavenumber().clamp(min=0.02)
    found = PosteriorPrecision(dipole, scan.mask, 2e-4**-2, 1 / (1e-3 * (k / 0.1) ** -3))
    target = found.data_term(scan.field)
    calls = []
    quick = found.solve(
        target, iterations=60, tolerance=2e-3, progress=lambda *step: calls.append(step)
    )
    assert len(calls) < 45
    exact = found.solve(target, iterations=300, tolerance=1e-5)
    assert abs(scan.error(quick) - scan.error(exact)) < 3

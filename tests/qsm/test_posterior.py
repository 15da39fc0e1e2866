"""The exact posterior: its precision is that of dense matrices, and its systems are solved."""

from __future__ import annotations

import pytest
import torch

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.posterior import FadingPosterior, PosteriorPrecision

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


def fading(coloured, weighted, outside):
    """Posterior of a fading map of the grid and data of :func:`precision`."""
    exact = precision(coloured, weighted)
    exact.data = exact.data if coloured else 1e4
    return FadingPosterior(
        exact.dipole,
        exact.inside.bool(),
        exact.data,
        1 / exact.prior,
        exact.weight,
        outside=outside,
    )


@pytest.mark.parametrize('outside', [0.0, 0.4, 1.0])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('coloured', [False, True])
def test_the_mean_of_a_fading_map_is_that_of_dense_matrices(coloured, weighted, outside):
    found, small = fading(coloured, weighted, outside), precision(coloured, weighted)
    whole = small.dipole.on_padded_grid()
    inside = tuple(slice(n) for n in SHAPE)

    def matrix(spectrum):
        units = torch.eye(whole.kernel.new_zeros(whole.padded_shape).numel(), dtype=torch.float64)
        images = whole.filter(units.reshape(-1, *whole.padded_shape), spectrum)
        return images.flatten(1).T

    def enlarged(image, value=0.0):
        wide = torch.full(whole.padded_shape, value, dtype=torch.float64)
        wide[inside] = image
        return wide.flatten()

    amplitude = enlarged(outside + (1 - outside) * small.inside, outside)
    data = found.data if coloured else torch.full_like(whole.kernel, found.data)
    response = enlarged(small.weight)[:, None] * matrix(whole.kernel) * amplitude
    field = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise = matrix(data)
    u = torch.linalg.solve(
        response.T @ noise @ response + matrix(small.prior),
        response.T @ noise @ enlarged(small.weight * field),
    )
    expected = (amplitude * u).reshape(whole.padded_shape)
    spectrum = found.mean(field, iterations=500, tolerance=1e-8)
    torch.testing.assert_close(found.map(spectrum), expected[inside], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        found.field(spectrum), whole.forward(expected)[inside], rtol=1e-5, atol=1e-8
    )
    again = found.mean(field, start=1.1 * spectrum, iterations=500, tolerance=1e-8)
    torch.testing.assert_close(again, spectrum, rtol=1e-5, atol=1e-6)


def test_the_tolerance_is_in_standard_deviations_of_the_posterior():
    found = fading(coloured=True, weighted=True, outside=0.0)
    field = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = found.mean(field, iterations=500, tolerance=1e-9)
    errors = []
    for tolerance in (0.3, 0.03):
        left = found.mean(field, iterations=500, tolerance=tolerance) - exact
        coefficients = torch.view_as_real(left / found._synthesis)
        cost = (coefficients * found(coefficients)).sum() / found.inside.sum()
        errors.append(float(cost.sqrt()) / tolerance)
    assert all(0.3 < error < 3 for error in errors)


def test_a_map_that_is_strong_at_its_edge_is_not_drawn_to_zero_there():
    shape = (40, 36, 44)
    dipole = Dipole(Grid(shape, (2.0, 2.0, 2.0)), padding=1.3)
    k = dipole.wavenumber().clamp(min=0.03)
    power = 2e-3 * (k / 0.1) ** -4
    generator = torch.Generator().manual_seed(3)
    white, noise = torch.randn((2, *shape), generator=generator)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[6:34, 6:30, 6:38] = True
    chi = mask * dipole.filter(white, power.sqrt())
    field = (dipole.forward(chi) + 1e-3 * noise) * mask
    drawn = PosteriorPrecision(dipole, mask, 1e6, 1 / power)
    before = drawn.solve(drawn.data_term(field), iterations=100, tolerance=1e-4)
    posterior = FadingPosterior(dipole, mask, 1e6, power)
    found = posterior.map(posterior.mean(field, iterations=100, tolerance=0.01))
    edge = mask.clone()
    edge[7:33, 7:29, 7:37] = False
    for voxels in (mask, edge):
        errors = [float((x - chi)[voxels].square().mean()) for x in (before, found)]
        assert errors[1] < 0.75 * errors[0]

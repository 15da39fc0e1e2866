"""Conjugate gradients against dense linear algebra."""

import pytest
import torch

from qsmprep.qsm.solvers import conjugate_gradients

DIAGONAL = torch.logspace(0, 3, 40, dtype=torch.float64)


@pytest.fixture
def system():
    """A symmetric positive definite matrix and a right-hand side."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(40, 40, generator=generator, dtype=torch.float64)
    target = torch.randn(40, generator=generator, dtype=torch.float64)
    return DIAGONAL.diag() + 0.1 * basis @ basis.T, target


@pytest.mark.parametrize('preconditioned', [False, True])
def test_solution_is_that_of_dense_linear_algebra(system, preconditioned):
    matrix, target = system
    options = {'precondition': lambda x: x / DIAGONAL} if preconditioned else {}
    calls = []
    found = conjugate_gradients(
        matrix.mv,
        target,
        iterations=200,
        tolerance=1e-10,
        progress=lambda *step: calls.append(step),
        **options,
    )
    torch.testing.assert_close(found, torch.linalg.solve(matrix, target))
    assert len(calls) < (25 if preconditioned else 80)
    assert calls[-1][2] <= 1e-10 < calls[-2][2]


def test_a_solution_at_the_start_is_kept(system):
    matrix, target = system
    start = torch.linalg.solve(matrix, target)
    calls = []

    def operator(x):
        calls.append(1)
        return matrix @ x

    found = conjugate_gradients(operator, target, start=start, iterations=9, tolerance=1e-6)
    assert len(calls) == 1
    assert torch.equal(found, start)
    assert found is not start

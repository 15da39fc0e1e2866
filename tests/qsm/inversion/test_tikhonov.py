"""Tikhonov regularisation on a small phantom whose field is known exactly."""

import pytest
import torch

from qsmprep.qsm.diffusion.published import closest
from qsmprep.qsm.inversion.tikhonov import tikhonov
from qsmprep.qsm.operators import Dipole


@pytest.fixture(scope='module')
def scan(make_scan):
    return make_scan(shape=(56, 60, 52), noise=5e-4)


def run(scan, **parameters):
    return tikhonov(scan.field, scan.mask, scan.grid, **parameters).chi


def test_identity_penalty_is_the_closed_form_next_to_zero(scan):
    zero = torch.zeros_like(scan.field)
    expected = closest(scan.field, zero, Dipole(scan.grid), 0.03) * scan.mask
    found = run(scan, regularisation=0.03)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_gradient_penalty_solves_its_normal_equations(make_scan):
    scan = make_scan(shape=(20, 24, 18), voxel_size=(1, 1.5, 0.8), b0=(0, 0.6, 0.8))
    dipole = Dipole(scan.grid)
    weight = 0.05
    spectrum = dipole.kernel * dipole.transform(scan.field)
    differences = torch.zeros(dipole.padded_shape)
    edge = (1 * 1.5 * 0.8) ** (1 / 3)
    for axis, v in enumerate(scan.grid.voxel_size):
        differences[0, 0, 0] += 2 * (edge / v) ** 2
        for step in (1, -1):
            place = [0, 0, 0]
            place[axis] = step
            differences[tuple(place)] -= (edge / v) ** 2
    response = torch.fft.rfftn(differences).real
    expected = dipole.inverse(spectrum / (dipole.kernel.square() + weight * response + 1e-9))
    whole = torch.ones_like(scan.mask)
    found = tikhonov(scan.field, whole, scan.grid, regularisation=weight, order=1).chi
    expected, found = expected - expected.mean(), found - found.mean()
    assert (found - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize('order', [0, 1])
@pytest.mark.parametrize('noise', [5e-4, 5e-3])
def test_default_weight_is_near_the_best(make_scan, order, noise):
    scan = make_scan(noise=noise)
    weights = [10**e for e in (-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0)]
    best = min(scan.error(run(scan, order=order, regularisation=w)) for w in weights)
    assert scan.error(run(scan, order=order)) < 1.15 * best


@pytest.mark.parametrize('order', [0, 1])
@pytest.mark.parametrize('kind', ['magnitude', 'noise'])
def test_weights_hold_off_a_corrupt_region(make_scan, kind, order):
    scan = make_scan(noise=5e-4, seed=2)
    corrupt = torch.zeros_like(scan.mask)
    corrupt[26:33, 24:32, 17:25] = True
    scan.field[corrupt] += 0.05 * torch.randn(
        int(corrupt.sum()), generator=torch.Generator().manual_seed(0)
    )
    image = {'magnitude': 100.0 - 99.0 * corrupt, 'noise': 5e-4 + 0.05 * corrupt}[kind]
    plain = scan.error(run(scan, order=order))
    steps = []
    found = run(
        scan,
        order=order,
        progress=lambda *step: steps.append(step),
        **{kind: image * scan.mask},
    )
    assert not found[~scan.mask].any()
    assert scan.error(found) < 0.8 * plain
    assert steps[-1][2] <= 2e-3 < steps[0][2]


@pytest.mark.parametrize(('name', 'value'), [('regularisation', 0), ('order', 2)])
def test_parameters_out_of_range_are_refused(scan, name, value):
    with pytest.raises(ValueError, match=name):
        run(scan, **{name: value})

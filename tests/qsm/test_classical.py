"""Classical inversions on a small phantom with veins, nuclei and a field known exactly."""

import numpy as np
import pytest
import torch

from qsmprep.qsm import classical
from qsmprep.qsm.dipole import Dipole
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.metrics import nrmse, slope


class Scan:
    """A ball-shaped brain with ellipsoids of 0.03 to 0.12 ppm and a vein."""

    def __init__(self, shape=(56, 60, 52), voxel_size=(1, 1, 1), b0=(0, 0, 1), noise=0.0, seed=0):
        self.grid = Grid(shape, voxel_size, b0)
        rng = np.random.default_rng(seed)
        axes = [(np.arange(n) - n / 2) * v for n, v in zip(shape, voxel_size, strict=True)]
        x = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
        radius = 0.42 * min(n * v for n, v in zip(shape, voxel_size, strict=True))
        mask = np.linalg.norm(x, axis=-1) < radius
        chi = np.full(shape, -0.02)
        for _ in range(9):
            centre, size = rng.uniform(-0.6, 0.6, 3) * radius, rng.uniform(0.15, 0.35, 3) * radius
            chi[(((x - centre) / size) ** 2).sum(-1) < 1] = rng.uniform(0.03, 0.12)
        chi[np.hypot(x[..., 0] - 3, x[..., 1] + 4) < 1.2] = 0.25
        self.mask = torch.from_numpy(mask)
        self.chi = torch.tensor(np.where(mask, chi, 0), dtype=torch.float32)
        field = Dipole(self.grid, padding=2).forward(self.chi)
        field += noise * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        self.field = field * self.mask

    def error(self, chi):
        return nrmse(chi.numpy(), self.chi.numpy(), self.mask.numpy())


@pytest.fixture(scope='module')
def scan():
    return Scan(noise=5e-4)


def run(method, scan, **parameters):
    return method(scan.field, scan.mask, scan.grid, **parameters).chi


def test_total_variation_recovers_the_map_and_beats_division(scan):
    chi = run(classical.tv, scan)
    assert scan.error(chi) < 20
    assert slope(chi.numpy(), scan.chi.numpy(), scan.mask.numpy()) == pytest.approx(1, abs=0.1)
    assert scan.error(run(classical.tkd, scan)) > 2 * scan.error(chi)
    assert not chi[~scan.mask].any()


def test_lower_thresholds_divide_by_less_of_the_cone(scan):
    low, high = (run(classical.tkd, scan, threshold=t) for t in (0.1, 0.4))
    slopes = [slope(x.numpy(), scan.chi.numpy(), scan.mask.numpy()) for x in (low, high)]
    assert 1.1 > slopes[0] > slopes[1] > 0.4
    assert scan.error(low) < 75


def test_identity_penalty_is_the_dipole_prox(scan):
    dipole = Dipole(scan.grid)
    expected = dipole.prox(scan.field, torch.zeros_like(scan.field), 0.03) * scan.mask
    found = run(classical.tikhonov, scan, regularisation=0.03)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_gradient_penalty_solves_its_normal_equations():
    scan = Scan(shape=(20, 24, 18), voxel_size=(1, 1.5, 0.8), b0=(0, 0.6, 0.8))
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
    found = classical.tikhonov(
        scan.field, whole, scan.grid, regularisation=weight, penalty='gradient'
    ).chi
    expected, found = expected - expected.mean(), found - found.mean()
    assert (found - expected).norm() < 0.02 * expected.norm()


def test_total_variation_is_a_minimum():
    scan = Scan(shape=(28, 26, 30), noise=2e-3)
    weight, ridge = 4e-4, 0.01
    dipole = Dipole(scan.grid, padding=1.1)

    def objective(x):
        inner = x * scan.mask
        flow = torch.zeros_like(x)
        for axis, n in enumerate(x.shape):
            edge = scan.mask.narrow(axis, 0, n - 1) & scan.mask.narrow(axis, 1, n - 1)
            flow.narrow(axis, 0, n - 1).add_((inner.diff(dim=axis) * edge).square())
        data = ((dipole.forward(inner) - scan.field) * scan.mask).square().sum() / 2
        return float(data + weight * flow.sqrt().sum() + ridge / 2 * inner.square().sum())

    chi = run(
        classical.tv,
        scan,
        regularisation=weight,
        ridge=ridge,
        completion=1.0,
        tolerance=1e-7,
        iterations=600,
    )
    best = objective(chi)
    generator = torch.Generator().manual_seed(1)
    for size in (1e-3, 1e-2):
        for smooth in (False, True):
            change = torch.randn(chi.shape, generator=generator)
            if smooth:
                change = dipole.filter(change, torch.exp(-200 * dipole.wavenumber().square()))
            change *= size * chi.norm() / change.norm()
            assert objective(chi + change) > best
            assert objective(chi - change) > best
    assert objective(0.99 * chi) > best
    assert objective(1.01 * chi) > best
    assert (
        objective(run(classical.tv, scan, regularisation=weight, ridge=ridge, completion=1.0))
        < 1.03 * best
    )


@pytest.mark.parametrize('kind', ['magnitude', 'noise'])
def test_weights_hold_off_a_corrupt_region(kind):
    scan = Scan(noise=5e-4, seed=2)
    corrupt = torch.zeros_like(scan.mask)
    corrupt[30:37, 28:36, 20:28] = True
    scan.field[corrupt] += 0.05 * torch.randn(
        int(corrupt.sum()), generator=torch.Generator().manual_seed(0)
    )
    image = {'magnitude': 100.0 - 99.0 * corrupt, 'noise': 1e-3 + 0.05 * corrupt}[kind]
    plain = scan.error(run(classical.tv, scan, regularisation=5e-5, ridge=0))
    weighted = scan.error(run(classical.tv, scan, regularisation=5e-5, ridge=0, **{kind: image}))
    assert weighted < 0.6 * plain


def test_oblique_anisotropic_scan():
    scan = Scan((60, 56, 32), (0.8, 0.8, 1.6), (0.3, -0.2, 0.9), noise=5e-4)
    assert scan.error(run(classical.tv, scan)) < 25


def test_roughness_is_the_noise_of_a_smooth_field():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.linspace(-0.1, 0.1, 40).reshape(40, 1, 1).expand(40, 40, 40)
    field = smooth + 0.003 * torch.randn(40, 40, 40, generator=generator)
    mask = torch.ones(40, 40, 40, dtype=torch.bool)
    assert classical.field_roughness(field, mask) == pytest.approx(0.003, rel=0.03)


def test_model_error_is_found_but_not_overrated():
    scan = Scan((72, 72, 72), seed=3)
    dipole = Dipole(scan.grid)
    assert classical.model_error(scan.field, scan.mask, dipole) < 0.01
    stray = scan.chi.flip((0, 1))
    wrong = (scan.field + 0.25 * (stray - stray[scan.mask].mean())) * scan.mask
    assert 0.25**2 / 8 < classical.model_error(wrong, scan.mask, dipole) < 0.25**2


def test_progress_ends_at_the_tolerance(scan):
    calls = []
    run(classical.tv, scan, tolerance=0.02, progress=lambda *step: calls.append(step))
    assert calls[-1][2] < 0.02 <= min(change for _, _, change in calls[:-1])
    assert [step[0] for step in calls] == list(range(1, len(calls) + 1))
    assert calls[-1][0] < calls[-1][1]


@pytest.mark.parametrize(
    ('method', 'parameters'),
    [
        (classical.tkd, {'threshold': 0}),
        (classical.tkd, {'threshold': 0.7}),
        (classical.tikhonov, {'regularisation': 0}),
        (classical.tikhonov, {'penalty': 'lasso'}),
        (classical.tv, {'regularisation': -1.0}),
        (classical.tv, {'ridge': -0.1}),
        (classical.tv, {'completion': 1.5}),
    ],
)
def test_parameters_out_of_range_are_refused(scan, method, parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        run(method, scan, **parameters)

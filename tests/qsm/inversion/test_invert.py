"""All inversions by one function: inputs, outputs, parameters and complaints."""

import inspect

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_fill_holes

from qsmprep.methods import INVERSIONS, Method
from qsmprep.qsm import calibration
from qsmprep.qsm.grid import Grid, bounding_box
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.qsm.inversion.inr_qsm import fit
from qsmprep.qsm.metrics import nrmse, slope
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate import simulate_local_field

CHEAP = {
    'inr-qsm': {'width': 32, 'warm_up': 1, 'epochs': 2},
    'diffusion-qsm': {'steps': 6, 'late_steps': 2},
    'dm-qsm': {'steps': 4},
}
"""Parameters of methods that take long."""


@pytest.fixture
def few_steps(monkeypatch):
    """A network that is fitted in a few steps."""
    monkeypatch.setattr(fit, 'LEAST_STEPS', 60)


@pytest.fixture
def scan():
    rng = np.random.default_rng(0)
    grid = Grid((30, 28, 26), (1, 1, 1.2), (0, 0.1, 0.99))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[4:25, 6:24, 3:22] = True
    return rng.normal(0, 0.01, grid.shape), mask, grid


@pytest.mark.parametrize('method', INVERSIONS)
@pytest.mark.usefixtures('few_steps')
def test_every_method_gives_a_finite_map_inside_the_mask(scan, method):
    field, mask, grid = scan
    field[~mask] = np.nan
    inversion = invert(field, mask, grid, method, **CHEAP.get(method, {}))
    assert inversion.chi_ppm.dtype == np.float32
    assert inversion.chi_ppm.shape == grid.shape
    assert np.isfinite(inversion.chi_ppm).all()
    assert inversion.chi_ppm[mask].std() > 0
    assert not inversion.chi_ppm[~mask].any()
    assert set(inversion.parameters) >= set(INVERSIONS[method].parameters())
    assert None not in inversion.parameters.values()


@pytest.mark.parametrize('method', ['tv', 'wiener', 'inr'])
def test_a_map_does_not_change_with_the_size_of_a_small_object(scan, method):
    field, mask, grid = scan
    found = [invert(field, mask, grid.magnified(scale), method) for scale in (0.3, 0.01)]
    np.testing.assert_allclose(*(one.chi_ppm for one in found), atol=1e-5)
    volume = np.count_nonzero(mask) * 1.2 * 0.3**3
    size = found[0].parameters['length_scale']
    assert 4 / 3 * np.pi * (20 * size) ** 3 == pytest.approx(volume, rel=1e-3)
    lowest = [
        one.parameters['spectra']['wavenumber'][0] for one in found if 'spectra' in one.parameters
    ]
    assert lowest[1:] == pytest.approx([30 * k for k in lowest[:1]], rel=1e-3)


@pytest.mark.parametrize('method', [m for m in INVERSIONS if INVERSIONS[m].calibrates({})])
@pytest.mark.usefixtures('few_steps')
def test_a_field_is_calibrated_once(monkeypatch, head, method):
    found: list = []
    monkeypatch.setattr(calibration, '_calibrate', counted(calibration._calibrate, found))
    given = head.measured_ppm, head.mask, head.grid, method
    invert(*given, after_background=True, **CHEAP.get(method, {}))
    assert [spectra.error_share for spectra, *_ in found] == [1]


def counted(function, results):
    """The function, which appends what it returns to a list."""

    def wrapper(*args, **kwargs):
        results.append(function(*args, **kwargs))
        return results[-1]

    return wrapper


@pytest.mark.parametrize('method', INVERSIONS)
@pytest.mark.usefixtures('few_steps')
def test_result_does_not_depend_on_the_field_of_view(scan, method):
    field, mask, grid = scan
    wide = Grid((50, 40, 33), grid.voxel_size, grid.b0_direction)
    margin = [(7, 13), (4, 8), (5, 2)]
    cheap = CHEAP.get(method, {})
    small = invert(field, mask, grid, method, **cheap).chi_ppm
    large = invert(np.pad(field, margin), np.pad(mask, margin), wide, method, **cheap).chi_ppm
    np.testing.assert_allclose(large, np.pad(small, margin), atol=1e-7)


@pytest.mark.parametrize('method', INVERSIONS)
@pytest.mark.usefixtures('few_steps')
def test_result_repeats_itself(scan, method):
    cheap = CHEAP.get(method, {})
    first, second = (invert(*scan, method, seed=3, **cheap).chi_ppm for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize('method', ['tkd', 'tikhonov', 'tv'])
def test_a_mask_of_one_voxel_is_no_error(scan, method):
    field, mask, grid = scan
    lonely = np.zeros_like(mask)
    lonely[10, 11, 12] = True
    assert np.isfinite(invert(field, lonely, grid, method).chi_ppm).all()


@pytest.mark.parametrize('name', ['magnitude', 'noise_ppm'])
def test_weights_reach_total_variation(scan, name):
    field, mask, grid = scan
    image = np.full(grid.shape, 2.0)
    image[8:14] = {'magnitude': 0.02, 'noise_ppm': 200.0}[name]
    even, uneven = (
        invert(field, mask, grid, 'tv', regularisation=1e-4, **given).chi_ppm
        for given in ({}, {name: image})
    )
    assert np.linalg.norm(uneven - even) > 0.05 * np.linalg.norm(even)


def test_uncertainty_is_on_the_grid_of_the_map(scan):
    field, mask, grid = scan
    sd = invert(field, mask, grid, 'wiener').sd_ppm
    assert sd.dtype == np.float32
    assert sd.shape == grid.shape
    assert (sd[mask] > 0).all()
    assert not sd[~mask].any()
    assert invert(field, mask, grid, 'tkd').sd_ppm is None


def test_methods_share_their_first_arguments():
    for method in INVERSIONS.values():
        assert list(inspect.signature(method.load()).parameters)[:3] == ['field', 'mask', 'grid']


def test_given_parameters_are_used_and_recorded(scan):
    field, mask, grid = scan
    head = grid.magnified(2)
    low, high = (invert(field, mask, head, 'tkd', threshold=t) for t in (0.1, 0.3))
    assert low.parameters == {'threshold': 0.1}
    assert low.chi_ppm.std() > 1.1 * high.chi_ppm.std()


def test_unknown_names_are_answered_with_the_choices(scan):
    with pytest.raises(ValueError, match="no inversion 'tvv'; choose one of tkd, tikhonov, tv"):
        invert(*scan, 'tvv')
    with pytest.raises(ValueError, match="no parameter 'lamda'; it has threshold"):
        invert(*scan, 'tkd', lamda=3)
    with pytest.raises(ValueError, match="no parameter 'noise'"):
        invert(*scan, 'tv', noise=3)
    with pytest.raises(ValueError, match='device'):
        invert(*scan, 'tkd', device='auto')


def test_absent_gpu_is_named(scan):
    with pytest.raises(ValueError, match='cuda:99'):
        invert(*scan, 'tkd', device='cuda:99')


def test_broken_inputs_are_refused(scan):
    field, mask, grid = scan
    with pytest.raises(ValueError, match='mask is empty'):
        invert(field, np.zeros_like(mask), grid)
    with pytest.raises(ValueError, match='mask has the shape'):
        invert(field, mask[1:], grid)
    with pytest.raises(ValueError, match='field has the shape'):
        invert(field[1:], mask, grid)
    with pytest.raises(ValueError, match='magnitude has the shape'):
        invert(field, mask, grid, magnitude=field[1:])
    with pytest.raises(ValueError, match='zero everywhere'):
        invert(np.zeros_like(field), mask, grid)
    with pytest.raises(ValueError, match='noise is nowhere above zero'):
        invert(field, mask, grid, noise_ppm=np.zeros_like(field))
    field[10, 10, 10], field[10, 10, 11] = np.nan, np.inf
    with pytest.raises(ValueError, match='not finite in 2 voxels'):
        invert(field, mask, grid)


@pytest.fixture(scope='module')
def head():
    return simulate_local_field(
        voxel_size=(4.0, 4.0, 4.0), supersampling=(2, 2, 2), b0_direction=(0.2, 0, 1), snr=50.0
    )


def invert_by(monkeypatch, head, of_truth, field=None):
    """Invert by a method that returns a function of the true map."""
    box = bounding_box(head.mask)

    def method(field, mask, grid):
        return Estimate(of_truth(torch.from_numpy(head.chi[box])) * mask, {})

    monkeypatch.setitem(INVERSIONS, 'wrong', Method('wrong', method, '', ''))
    given = head.measured_ppm if field is None else field
    return invert(given, head.mask, head.grid, 'wrong')


@pytest.mark.parametrize(
    'of_truth',
    [torch.zeros_like, torch.negative, lambda chi: 1000 * chi, lambda chi: 1e-3 * chi],
    ids=['empty', 'of the other sign', 'in ppb', 'in thousands of ppm'],
)
def test_a_map_that_cannot_explain_the_field_is_refused(monkeypatch, head, of_truth):
    with pytest.raises(ValueError, match=r"'wrong' explains .* % of the power .* refused; check"):
        invert_by(monkeypatch, head, of_truth)


def test_a_map_of_another_head_is_refused(monkeypatch, head):
    with pytest.raises(ValueError, match='refused'):
        invert_by(monkeypatch, head, lambda chi: chi.flip(0, 1, 2))


def test_a_map_that_is_not_finite_is_refused(monkeypatch, head):
    def broken(chi):
        return torch.where(chi == chi.max(), torch.nan, chi)

    with pytest.raises(ValueError, match='not finite in 1 voxels of the mask, and is refused'):
        invert_by(monkeypatch, head, broken)


def test_the_true_map_explains_all_but_the_noise(monkeypatch, head):
    def share(field):
        return invert_by(monkeypatch, head, torch.clone, field).explained

    noise = np.square((head.measured_ppm - head.local_field_ppm)[head.mask]).sum()
    power = np.square(head.measured_ppm[head.mask]).sum()
    assert share(head.local_field_ppm) == pytest.approx(1, abs=1e-3)
    assert share(head.measured_ppm) == pytest.approx(1 - noise / power, abs=0.01)
    with_error = head.local_field_ppm + 0.7 * np.roll(head.local_field_ppm, 9, axis=0)
    assert 0 < share(with_error) < 0.9


@pytest.mark.parametrize('method', ['tkd', 'tikhonov', 'wiener', 'tv', 'inr', 'diffusion'])
@pytest.mark.parametrize('noise_sds', [0, 10], ids=['clean', 'mostly noise'])
def test_no_map_of_a_valid_field_is_refused(head, method, noise_sds):
    noise = np.random.default_rng(1).normal(
        0, head.local_field_ppm[head.mask].std(), head.mask.shape
    )
    field = head.local_field_ppm + noise_sds * noise
    explained = invert(field, head.mask, head.grid, method).explained
    assert explained > (0.9 if noise_sds == 0 else -0.05)


@pytest.mark.parametrize('method', ['tikhonov', 'tv', 'wiener', 'inr', 'diffusion'])
def test_holes_in_the_mask_hold_sources_of_unknown_field(head, method):
    centre = np.argwhere(head.mask).mean(axis=0)
    away = np.indices(head.mask.shape) - centre[:, None, None, None]
    mask = head.mask & (np.linalg.norm(away, axis=0) > 3.5)

    def error(measured):
        chi = invert(head.measured_ppm, measured, head.grid, method, noise_ppm=head.noise_ppm)
        whole = binary_fill_holes(head.mask)
        assert not chi.chi_ppm[~whole].any()
        np.testing.assert_array_equal(chi.estimated, whole & ~measured)
        return nrmse(chi.chi_ppm, head.chi, mask)

    assert error(mask) < 1.06 * error(head.mask)


@pytest.mark.parametrize('method', ['tv', 'wiener'])
@pytest.mark.parametrize('opens', [False, True], ids=['enclosed', 'open to the outside'])
def test_a_strong_source_without_a_field_of_its_own_stays_in_the_map(head, method, opens):
    centre = np.argwhere(head.mask).mean(axis=0)
    x, y, z = np.indices(head.mask.shape) - centre[:, None, None, None]
    ball = (x**2 + y**2 + z**2 < 1.8**2) & head.mask
    measured = head.mask & ~ball
    if opens:
        measured &= ~((y**2 + z**2 < 1) & (x > 0))
    chi = np.where(ball, -1.0, head.chi).astype(np.float32)
    field = Dipole(head.grid).forward(torch.from_numpy(chi)).numpy()
    found = invert(field, measured, head.grid, method, noise_ppm=head.noise_ppm, tissue=head.mask)
    np.testing.assert_array_equal(found.estimated, binary_fill_holes(head.mask) & ~measured)
    assert found.chi_ppm[ball].mean() == pytest.approx(-1, rel=0.1)
    assert nrmse(found.chi_ppm, chi, measured) < 65


@pytest.mark.parametrize('method', ['tikhonov', 'tv', 'wiener'])
def test_a_field_that_is_said_to_be_mere_noise_is_not_looked_at(head, method):
    noise = np.where(head.mask, np.median(head.noise_ppm[head.mask]), 0)
    wrong = np.zeros_like(head.mask)
    wrong[tuple(slice(n // 2 - 2, n // 2 + 3) for n in wrong.shape)] = True
    wrong &= head.mask
    noise[wrong] = 10.0
    maps = []
    for error in (0.0, 0.3):
        field = head.measured_ppm + error * wrong
        found = invert(field, head.mask, head.grid, method, noise_ppm=noise)
        whole = binary_fill_holes(head.mask)
        np.testing.assert_array_equal(found.estimated, whole & ~(head.mask & ~wrong))
        maps.append(found.chi_ppm)
    np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize('after_background', [False, True])
@pytest.mark.parametrize('method', ['tikhonov', 'wiener', 'tv'])
@pytest.mark.parametrize(('radius', 'half_length'), [(2, 13), (5, 7), (5, 14)])
def test_tubes_along_b0_are_no_remnant_of_the_background(
    method, after_background, radius, half_length
):
    """Their field is smooth or lies in the plane k_z = 0, unlike that of a brain."""
    grid = Grid((44, 44, 40), (1.5, 1.5, 1.5))
    x, y, z = (i - (n - 1) / 2 for i, n in zip(np.indices(grid.shape), grid.shape, strict=True))
    mask = (np.hypot(x, y) < 20) & (abs(z) < 18)
    chi = np.zeros(grid.shape, dtype=np.float32)
    for number, value in enumerate((0.1, 0.2, 0.4, 0.8, -0.1)):
        angle = 2 * np.pi * number / 5
        away = np.hypot(x - 11 * np.cos(angle), y - 11 * np.sin(angle))
        chi[(away < radius) & (abs(z) < half_length) & mask] = value
    noise = 1e-3 * mask
    field = Dipole(grid, padding=2.0).forward(torch.from_numpy(chi)).numpy()
    field = (field + noise * np.random.default_rng(0).standard_normal(grid.shape)) * mask
    found = invert(
        field, mask, grid, method, noise_ppm=noise, after_background=after_background
    ).chi_ppm
    # a model error, which is expected after background removal, costs some
    error, correlation = (0.3, 0.75) if after_background else (0.05, 0.95)
    assert slope(found, chi, mask) == pytest.approx(1, abs=error)
    assert np.corrcoef(found[mask], chi[mask])[0, 1] > correlation

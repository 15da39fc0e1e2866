"""The calibration: planted spectra come back, and a model error is found where there is one."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import chain, repeat

import numpy as np
import pytest
import torch

from qsmprep.qsm import calibration, periodogram, remnant
from qsmprep.qsm.background import remove_background
from qsmprep.qsm.calibration import Calibration, calibrate
from qsmprep.qsm.grid import Grid, depth_mm
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.periodogram import Periodogram
from qsmprep.qsm.streaks import Doubts

SHAPE = (48, 54, 45)


def ball(shape):
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing='ij')
    return sum(g**2 for g in grid) < 0.95


@pytest.fixture(scope='module')
def world(coloured, brain_spectrum):
    """Textured ball: mask, true map, its field and the operator."""
    mask = ball(SHAPE)
    wide = tuple(2 * n for n in SHAPE)
    chi = coloured(wide, brain_spectrum, 0)[tuple(slice(n) for n in SHAPE)] * mask
    dipole = Dipole(Grid(SHAPE), padding=2)
    field = dipole.forward(torch.from_numpy(chi)).numpy() * mask
    return mask, chi, field, dipole


def calibrated(field, mask, dipole, **scan):
    field, mask = torch.from_numpy(field * mask), torch.from_numpy(mask)
    return calibrate(field, mask, dipole.grid, padding=2, **scan)


@pytest.fixture(scope='module')
def clean(world):
    """Calibration of the field alone."""
    mask, _, field, dipole = world
    return calibrated(field, mask, dipole)


@pytest.fixture(scope='module')
def noisy(world):
    """Calibration of the field with white noise of a standard deviation [ppm]."""
    mask, _, field, dipole = world
    noise = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    return cache(lambda sd: calibrated(field + sd * noise, mask, dipole))


def level(spectrum, dipole, low, high):
    k = dipole.wavenumber()
    return float(spectrum[(k > low) & (k < high)].log().mean().exp())


def smooth_remnant(sd_mm, seed):
    """Gaussian random field, smoothed, of unit standard deviation."""
    from scipy.ndimage import gaussian_filter

    wide = tuple(2 * n for n in SHAPE)
    white = np.random.default_rng(seed).standard_normal(wide)
    image = gaussian_filter(white, sd_mm, mode='wrap')[tuple(slice(n) for n in SHAPE)]
    return ((image - image.mean()) / image.std()).astype(np.float32)


@pytest.mark.parametrize('ratio', [0.1, 0.4])
def test_planted_model_error_is_recovered(world, coloured, brain_spectrum, ratio):
    mask, _, field, dipole = world
    wide = tuple(2 * n for n in SHAPE)
    error = coloured(wide, lambda k: ratio * brain_spectrum(k), 3)
    found = calibrated(field + error[tuple(slice(n) for n in SHAPE)], mask, dipole)
    assert found.error_share > 0.9
    # 0.3 of what the cone shows acts as noise
    assert found.error_ratio / (0.3 * ratio) == pytest.approx(1, abs=0.4)


def zero_filled(field, axes):
    """Field of which only the inner half of the frequencies along some axes was acquired."""
    spectrum = np.fft.fftn(field)
    for axis in axes:
        inner = np.abs(np.fft.fftfreq(field.shape[axis])) < 0.25
        spectrum *= np.expand_dims(inner, tuple({0, 1, 2} - {axis}))
    return np.fft.ifftn(spectrum).real.astype(np.float32)


@pytest.mark.parametrize('axes', [(2,), (0, 1), (0, 1, 2)])
def test_what_zero_filling_left_empty_does_not_count(world, clean, coloured, brain_spectrum, axes):
    mask, _, field, dipole = world
    wide = tuple(2 * n for n in SHAPE)
    error = coloured(wide, lambda k: 0.1 * brain_spectrum(k), 3)[tuple(slice(n) for n in SHAPE)]
    whole = calibrated(field + error, mask, dipole)
    found = calibrated(zero_filled((field + error) * mask, axes), mask, dipole)
    share = found.cells.samples.sum() / whole.cells.samples.sum()
    assert share == pytest.approx(0.5 ** len(axes), rel=0.15)
    assert clean.cells.samples.sum() == whole.cells.samples.sum()
    assert found.cells.misfit() < 0.05
    assert found.error_ratio == pytest.approx(whole.error_ratio, rel=0.5)
    low = [level(x.susceptibility, dipole, 0.05, 0.2) for x in (found, whole)]
    assert low[0] == pytest.approx(low[1], rel=0.3)


@pytest.mark.parametrize('sd', [2e-4, 1e-3])
def test_no_model_error_where_sources_explain_the_field(noisy, sd):
    found = noisy(sd)
    assert found.error_share <= 0.1
    assert found.model_error.max() < 0.01 * found.susceptibility.max()


def test_sources_leave_less_than_the_known_noise_where_they_explain_the_field(world):
    mask, _, field, dipole = world
    noise = 1e-3 * np.random.default_rng(7).standard_normal(SHAPE).astype(np.float32)
    known = torch.from_numpy(np.where(mask, np.float32(1e-3), 0))
    found = calibrated(field + noise, mask, dipole, noise=known)
    inside = torch.from_numpy(mask)
    sources = found.dipole.inverse(found.sources) * inside
    residual = (found.field - found.dipole.forward(sources))[inside]
    assert residual.std() < 1e-3
    assert found.unexplained < 0.5e-6
    assert found.white() == pytest.approx(1e-6, rel=0.1)


def test_sources_beyond_a_mask_show_and_are_no_model_error(world):
    mask, _, field, dipole = world
    noise = 1e-3 * np.random.default_rng(6).standard_normal(SHAPE).astype(np.float32)
    assert calibrated(field + noise, mask, dipole).outside_share < 0.2
    depth = depth_mm(mask, dipole.grid.voxel_size)
    for rim in (1, 2):
        found = calibrated(field + noise, mask & (depth > rim), dipole)
        assert found.outside_share > 0.5
        assert found.error_share < 0.5


def test_sources_beyond_a_mask_show_where_the_map_is_strong_at_its_edge(world):
    """Three times as strong in the outer 4 mm, of which the mask loses one."""
    mask, chi, _, dipole = world
    depth = depth_mm(mask, dipole.grid.voxel_size)
    strong = torch.from_numpy((chi * np.where(depth < 4, 3, 1)).astype(np.float32))
    noise = 1e-3 * np.random.default_rng(6).standard_normal(SHAPE).astype(np.float32)
    field = dipole.forward(strong).numpy() + noise
    assert calibrated(field, mask, dipole).outside_share < 0.2
    assert calibrated(field, mask & (depth > 1), dipole).outside_share > 0.5


def test_background_removal_leaves_an_error_that_no_streaks_show(world):
    mask, _, field, dipole = world
    assert calibrated(field, mask, dipole, after_background=True).error_share == 1
    given = calibrated(field, mask, dipole, after_background=True, error_share=0.2)
    assert given.error_share == given.error_probability == 0.2


def test_after_background_removal_a_planted_model_error_still_shows(
    world, coloured, brain_spectrum
):
    mask, _, field, dipole = world
    wide = tuple(2 * n for n in SHAPE)
    error = coloured(wide, lambda k: 0.03 * brain_spectrum(k), 3)[tuple(slice(n) for n in SHAPE)]
    noise = 5e-4 * np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)
    known = torch.from_numpy(np.where(mask, np.float32(5e-4), 0))
    probabilities = []
    for added in (0, error):
        total = ((field + added + noise) * mask).astype(np.float32)
        removed = remove_background(total, mask, dipole.grid, noise=known.numpy())
        scan = {'noise': known, 'after_background': True}
        found = calibrated(removed.local_field, mask, dipole, **scan)
        assert found.error_share == 1
        probabilities.append(found.error_probability)
    # beforehand it is 0.9
    assert probabilities[0] < 0.8
    assert probabilities[1] == 1


@pytest.mark.parametrize('sd', [0.002, 0.03])
def test_background_removal_leaves_a_smooth_remnant_and_no_sources_around(world, sd):
    mask, _, field, dipole = world
    remnant = sd * smooth_remnant(12, 5)
    found = calibrated(field + remnant, mask, dipole, after_background=True)
    assert 0.4 < float(found.remnant.mean()) ** 0.5 / remnant[mask].std() < 2.5
    assert found.background_ppm == 0


@pytest.mark.parametrize('seed', range(3))
def test_a_field_without_a_remnant_has_none(world, noisy, coloured, brain_spectrum, seed):
    mask, _, field, dipole = world
    wide = tuple(2 * n for n in SHAPE)
    error = coloured(wide, lambda k: 0.06 * brain_spectrum(k), 20 + seed)
    noise = 1e-3 * np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
    field = field + error[tuple(slice(n) for n in SHAPE)] + noise
    found = calibrated(field, mask, dipole)
    assert found.background_ppm == 0
    assert not found.remnant.any()


@pytest.mark.parametrize(('sd_ppb', 'mm', 'left'), [(30, 12, 0.2), (100, 25, 0.06)])
def test_a_smooth_remnant_of_the_background_is_taken_off(world, clean, sd_ppb, mm, left):
    mask, _, field, dipole = world
    remnant = 1e-3 * sd_ppb * smooth_remnant(mm, 5)
    found = calibrated(field + remnant, mask, dipole)
    error = (found.field.numpy() - field)[mask]
    assert error.std() < left * remnant[mask].std()
    assert found.background_ppm == pytest.approx(remnant[mask].std(), rel=0.15)
    expected = float(found.remnant.mean() / calibration.UNCERTAIN) ** 0.5
    assert error.std() == pytest.approx(expected, rel=0.5)
    assert found.error_share >= 0.5
    levels = [level(made.susceptibility, dipole, 0.08, 0.3) for made in (clean, found)]
    assert 0.7 < levels[1] / levels[0] < 1.4


def test_what_leaks_of_a_strong_remnant_is_no_weak_one(world, monkeypatch):
    """Taken off together with it, the fit of leakage takes more of the local field along."""
    mask, _, field, dipole = world
    errors = []
    for strong in (remnant.STRONG, 0.0):
        monkeypatch.setattr(remnant, 'STRONG', strong)
        found = calibrated(field + 0.1 * smooth_remnant(25, 6), mask, dipole)
        errors.append((found.field.numpy() - field)[mask].std())
    assert errors[0] < 0.85 * errors[1]


@pytest.mark.parametrize('offset', [-0.1, 0.02])
def test_a_constant_is_taken_off(world, clean, offset):
    mask, _, field, dipole = world
    found = calibrated(field + offset, mask, dipole)
    error = (found.field.numpy() - field)[mask]
    assert np.sqrt(np.mean(error**2)) < 0.2 * abs(offset)
    assert found.error_share == clean.error_share
    assert clean.background_ppm == 0


def test_a_mean_as_that_of_tissue_is_no_remnant(world, coloured, brain_spectrum, monkeypatch):
    """It is expected of a field, and speaks less for a constant than it would otherwise."""
    mask, _, field, dipole = world
    wide = tuple(2 * n for n in SHAPE)
    error = coloured(wide, lambda k: 0.06 * brain_spectrum(k), 20)[tuple(slice(n) for n in SHAPE)]
    scan = field + error + 0.7 * field[mask].std()
    assert calibrated(scan, mask, dipole).background_ppm == 0
    scan, mask = torch.from_numpy(scan * mask), torch.from_numpy(mask)
    evidence = []
    for mean in (periodogram.TISSUE_MEAN, 1e-6):
        monkeypatch.setattr(periodogram, 'TISSUE_MEAN', mean)
        made = Periodogram(scan, mask, dipole, None)
        kinds = periodogram.NO_REMNANT, periodogram.CONSTANT
        evidence.append(made.evidence(*[made.fit(None, remnants=kind) for kind in kinds]))
    assert evidence[0] < evidence[1] - 0.2


@pytest.mark.parametrize(
    ('sd', 'remnant', 'mm', 'seed'), [(0.008, 0.2, 25, 1), (0.004, 0.1, 40, 2)]
)
def test_white_noise_is_not_lost_beside_a_strong_remnant(world, sd, remnant, mm, seed):
    """On the way to the fit the power of the noise vanishes, and must come back."""
    mask, _, field, dipole = world
    smooth = smooth_remnant(mm, seed)
    noise = sd * np.random.default_rng(seed).standard_normal(SHAPE)
    scan = (field + remnant / smooth[mask].std() * smooth + noise) * mask
    scan, mask = torch.from_numpy(scan.astype(np.float32)), torch.from_numpy(mask)
    fit = Periodogram(scan, mask, dipole, None).fit(None, remnants=periodogram.ALL_REMNANTS)
    assert fit.white**0.5 == pytest.approx(sd, rel=0.15)


def test_nothing_tells_an_error_from_none_where_noise_drowns_the_streaks(noisy):
    shares = [noisy(sd).error_share for sd in (1e-3, 3e-3, 0.01, 0.1)]
    assert shares[0] <= 0.1
    assert shares == sorted(shares)
    assert shares[-1] == 0.5


@pytest.mark.parametrize('sd', [0.0, 1e-3, 3e-3])
def test_a_model_error_shows_through_noise(world, coloured, brain_spectrum, sd):
    mask, _, field, dipole = world
    wide = tuple(2 * n for n in SHAPE)
    error = coloured(wide, lambda k: 0.06 * brain_spectrum(k), 7)[tuple(slice(n) for n in SHAPE)]
    noise = sd * np.random.default_rng(8).standard_normal(SHAPE).astype(np.float32)
    found = calibrated(field + error + noise, mask, dipole)
    assert found.error_share > 0.7


def test_noise_that_is_known_or_not_leaves_the_verdict(world):
    mask, _, field, dipole = world
    noise = np.full(SHAPE, 1e-3, dtype=np.float32)
    measured = field + noise * np.random.default_rng(9).standard_normal(SHAPE).astype(np.float32)
    known = calibrated(measured, mask, dipole, noise=torch.from_numpy(noise * mask)).error_share
    assert abs(known - calibrated(measured, mask, dipole).error_share) <= 0.1


@pytest.fixture(scope='module')
def harmonic(world):
    """Field of sources around the mask, of a standard deviation [ppb] in it."""
    mask = world[0]
    wide = tuple(n + 24 for n in SHAPE)
    corner = tuple(slice(12, 12 + n) for n in SHAPE)
    around = np.ones(wide, dtype=bool)
    around[corner] = ~mask
    around &= depth_mm(around, (1.0, 1.0, 1.0)) > 3
    sources = np.random.default_rng(2).standard_normal(wide) * around
    outside = Dipole(Grid(wide), padding=1.5).forward(torch.from_numpy(sources.astype(np.float32)))
    field = outside.numpy()[corner]
    field = 1e-3 * (field - field[mask].mean()) / field[mask].std()
    return lambda sd_ppb: sd_ppb * field


@pytest.mark.parametrize(('sd_ppb', 'left'), [(5, 0.8), (40, 0.2)])
def test_the_field_of_outside_sources_is_taken_off(world, clean, harmonic, sd_ppb, left):
    mask, _, field, dipole = world
    remnant = harmonic(sd_ppb)
    found = calibrated(field + remnant, mask, dipole)
    error = (found.field.numpy() - field)[mask]
    assert error.std() < left * remnant[mask].std()
    assert found.background_ppm == pytest.approx(1e-3 * sd_ppb, rel=0.3)
    levels = [level(made.susceptibility, dipole, 0.08, 0.3) for made in (clean, found)]
    assert 0.5 < levels[1] / levels[0] < 2


def test_strong_sources_that_touch_the_mask_are_taken_off(world):
    mask, _, field, dipole = world
    margin = 20
    wide = tuple(n + 2 * margin for n in mask.shape)
    around = np.ones(wide, dtype=bool)
    around[(slice(margin, -margin),) * 3] = ~mask
    distance = depth_mm(around, (1.0, 1.0, 1.0))
    places = np.argwhere((distance > 0) & (distance < 20))
    rng = np.random.default_rng(3)
    sources = np.zeros(wide, dtype=np.float32)
    sources[tuple(places[rng.integers(len(places), size=60)].T)] = rng.standard_normal(60)
    outside = Dipole(Grid(wide), padding=1.5).forward(torch.from_numpy(sources)).numpy()
    outside = outside[(slice(margin, -margin),) * 3] * mask
    outside *= 0.04 / outside[mask].std()
    found = calibrated(field + outside, mask, dipole)
    error = (found.field.numpy() - field)[mask]
    assert np.abs(outside).max() > 0.5
    assert np.abs(error).max() < 0.25 * np.abs(outside).max()
    assert error.std() < 0.2 * outside[mask].std()


def test_sources_next_to_the_mask_are_asked_about_only_beside_others(world):
    mask, _, field, dipole = world
    made = Periodogram(torch.from_numpy(field), torch.from_numpy(mask), dipole, None)
    tissue = made.fit(None, remnants=periodogram.NO_REMNANT)
    evidence, fit, kinds = made.with_remnants(tissue)
    assert evidence < 0
    assert kinds is not periodogram.ALL_REMNANTS
    assert not fit.remnants[periodogram.NOT_NEAR.stop :].any()


def test_a_constant_is_seen_sooner_by_itself_than_among_all(world):
    mask, _, field, dipole = world
    scan = torch.from_numpy((field + 0.02) * mask)
    made = Periodogram(scan, torch.from_numpy(mask), dipole, None)
    kinds = periodogram.NO_REMNANT, periodogram.CONSTANT, periodogram.ALL_REMNANTS
    plain, alone, among = (made.fit(None, remnants=kind) for kind in kinds)
    assert np.count_nonzero(alone.remnants) == 1
    assert made.evidence(plain, alone) > max(made.evidence(plain, among), 0)


def test_what_was_taken_off_had_some_of_the_local_field(world, clean, harmonic, monkeypatch):
    """Then a model error is at least half as likely as not, where no streaks show one.

    The map speaks against more remnants once one was taken off.
    """
    mask, _, field, dipole = world
    said = chain([Doubts(0.0, 0.0, 0.0)], repeat(Doubts(0.0, 0.0, -9.0)))
    monkeypatch.setattr(calibration, 'doubts', lambda *_, **__: next(said))
    found = calibrated(field + harmonic(10), mask, dipole)
    assert found.background_ppm > 0.005
    assert (clean.error_share, found.error_share) == (0.0, 0.5)


@pytest.mark.parametrize('sd', [1e-3, 3e-3, 6e-3])
def test_white_noise_is_measured(noisy, sd):
    assert np.sqrt(noisy(sd).noise) == pytest.approx(sd, rel=0.1)


def test_spectrum_of_susceptibility_is_recovered(world, noisy, brain_spectrum):
    found, dipole = noisy(5e-4), world[3]
    for k in (0.08, 0.15, 0.3):
        ratio = level(found.susceptibility, dipole, 0.95 * k, 1.05 * k) / brain_spectrum(k)
        assert 0.6 < ratio < 1.6


def test_the_model_fits_what_it_describes_and_says_when_not(world, noisy):
    mask, _, field, dipole = world
    fits = noisy(1e-3).cells
    assert fits.misfit() < 0.02
    stripes = 0.02 * np.sin(np.arange(SHAPE[2]) * 2.0).astype(np.float32)
    assert calibrated(field + stripes, mask, dipole).cells.misfit() > 5 * fits.misfit()


def test_a_patch_of_stated_noise_is_no_model_error(world):
    mask, _, field, dipole = world
    noise = np.full(SHAPE, 5e-4, dtype=np.float32)
    noise[20:36, 20:36, 20:36] = 0.02
    measured = field + noise * np.random.default_rng(4).standard_normal(SHAPE).astype(np.float32)
    found = calibrated(measured, mask, dipole, noise=torch.from_numpy(noise * mask))
    assert found.error_share <= 0.1
    assert found.known_noise == pytest.approx(5e-4)


def test_field_of_zeros_is_an_error():
    zeros = torch.zeros((16, 16, 16))
    with pytest.raises(ValueError, match='zero everywhere'):
        calibrate(zeros, zeros == 0, Grid((16, 16, 16)))


def test_weights_follow_noise_only_where_it_dominates(world):
    mask, _, field, dipole = world
    noise = np.full(SHAPE, 0.01, dtype=np.float32) * mask
    noise[:32] *= 2
    scan = {'noise': torch.from_numpy(noise)}
    weight = calibrated(field, mask, dipole, error_share=0.0, **scan).weight.numpy()
    ratio = weight[40:][mask[40:]].mean() / weight[:32][mask[:32]].mean()
    assert ratio == pytest.approx(2, rel=0.05)
    assert np.abs(weight[~mask]).max() == 0
    loud = field + 5 * smooth_remnant(4, 1)
    even = calibrated(loud, mask, dipole, noise=scan['noise'] / 3).weight.numpy()[mask]
    assert even.max() - even.min() < 0.01


def test_weights_need_noise_or_magnitude(world, clean):
    mask, _, field, dipole = world
    assert clean.weight is None
    magnitude = torch.from_numpy(mask.astype(np.float32))
    assert calibrated(field, mask, dipole, magnitude=magnitude).weight.dtype == torch.float32


def test_white_power_beyond_a_known_noise_is_model_error():
    zero = torch.zeros(2)

    def white(share, known, least=0.0):
        dipole = Dipole(Grid((4, 4, 4)))
        spectra = Calibration(zero, dipole, zero, zero, 9.0, error_share=share, known_noise=known)
        return spectra.white(least)

    assert white(0.0, 1.0) == 1
    assert white(0.5, 1.0) == 5
    assert white(0.5, 4.0) == 16
    assert white(0.0, None) == 9
    assert white(0.0, 1.0, 2.0) == 4


@pytest.mark.parametrize('seed', range(3))
def test_susceptibility_keeps_some_power_everywhere(seed):
    grid = Grid((8, 7, 6), (2.0, 2.0, 3.0))
    field = 1e-4 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(seed))
    power = calibrate(field, torch.ones_like(field) > 0, grid).susceptibility
    assert 1e-10 < power.min() / power.max() < 1


def test_a_map_is_wholly_free_under_a_model_error_alone(make_scan):
    scan = make_scan(shape=(20, 18, 22), noise=1e-3)
    found = calibrate(scan.field, scan.mask, scan.grid)
    free = replace(found, error_share=0.0, outside_share=1.0)
    assert 0.5 < free.freedom < 1
    assert replace(free, error_share=1.0).freedom == 1

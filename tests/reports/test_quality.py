"""Quality measures against fields and maps whose values are known."""

import math

import numpy as np
import pytest
from scipy import ndimage

from qsmprep.qsm.grid import Grid
from qsmprep.reports.agreement import disagreement_percent
from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.distribution import modified_z_scores
from qsmprep.reports.flips import flip_gain, turn_gain
from qsmprep.reports.measures import implausible, quality_warnings
from qsmprep.reports.quality import (
    cone_power_ratio,
    measure_quality,
    rim_to_core_sd,
)

RNG = np.random.default_rng(3)


def ball(shape=(48, 48, 48), radius=0.8):
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing='ij')
    return sum(a**2 for a in axes) < radius**2


def kernel_of(grid):
    axes = np.meshgrid(
        *(np.fft.fftfreq(n, v) for n, v in zip(grid.shape, grid.voxel_size, strict=True)),
        indexing='ij',
    )
    squared = sum(a**2 for a in axes)
    squared[0, 0, 0] = np.inf
    along = sum(a * b for a, b in zip(axes, grid.b0_direction, strict=True))
    return 1 / 3 - along**2 / squared


def test_known_values_come_out():
    grid = Grid((48, 48, 48), (1, 1, 2))
    brain = ball()
    reliable = brain.copy()
    reliable[:20] = False
    final = reliable.copy()
    final[..., :24] = False
    local = np.where(brain, RNG.choice([-1.0, 1.0], brain.shape), 0)
    chi = np.where(final, RNG.choice([-0.03, 0.03], brain.shape), 0)
    chi[30:32, 30:32, 36] = 1.5
    estimated = np.zeros_like(brain)
    estimated[30:32, 30:32, 30:35] = True
    local[estimated] = 1000
    found = measure_quality(
        grid,
        3.0,
        chi,
        final,
        estimated=estimated,
        brain_mask=brain,
        reliable_mask=reliable,
        total_field_hz=10 * local,
        field_noise_hz=np.full(brain.shape, 0.7),
        echo_misfit=np.full(brain.shape, 0.1),
        local_field_hz=local,
        model_field_hz=np.where(estimated, 0, 0.6 * local) + 3,
        r2star_hz=np.where(chi > 0, 25.0, 22.0),
        magnitude=np.stack([np.where(brain, 1.0, 0.0)] * 2, axis=-1),
        unwrapped=np.stack([0 * local, 3 * local], axis=-1),
        echo_times_s=(0.005, 0.02),
        spectrum_misfit=0.01,
    )
    assert found['brain_dark_percent'] == found['brain_holes_percent'] == 0
    assert found['echo_shift_voxels'] == pytest.approx(0, abs=1e-6)
    assert found['total_to_local_field'] == pytest.approx(10, rel=1e-6)
    assert found['local_field_to_noise'] == pytest.approx(1 / 0.7, rel=0.01)
    assert found['phase_jumps_percent'] == pytest.approx(50, abs=1)
    assert found['map_estimated_ml'] == pytest.approx(20 * 0.002)
    # the map is too small for waves of 45 mm, and to show the direction of B0; its field is white
    none = ('total_coarse_to_fine', 'b0_angle_deg', 'echo_disagreement_percent')
    assert list(found) == [measure.key for measure in MEASURES if measure.key not in none]
    assert all(type(value) is float for value in found.values())
    assert found['brain_volume_ml'] == pytest.approx(brain.sum() * 0.002)
    assert found['map_volume_ml'] == pytest.approx(final.sum() * 0.002)
    lost = 100 * (1 - reliable.sum() / brain.sum())
    assert found['lost_to_phase_quality_percent'] == pytest.approx(lost)
    assert found['lost_to_background_percent'] == pytest.approx(50, abs=0.1)
    assert found['total_field_sd_hz'] == pytest.approx(10, rel=0.01)
    assert found['local_field_sd_ppb'] == pytest.approx(1000 / 127.732, rel=0.01)
    assert found['data_consistency'] == pytest.approx(0.4, rel=0.01)
    assert found['chi_beyond_1ppm_percent'] == pytest.approx(100 * 4 / final.sum())
    assert found['field_noise_median_hz'] == pytest.approx(0.7)
    assert found['r2star_median_hz'] in (22, 25)


def test_an_empty_map_gives_volumes_only():
    grid = Grid((16, 16, 16))
    nothing = np.zeros(grid.shape)
    found = measure_quality(grid, 3.0, nothing, nothing > 0, brain_mask=nothing > 0)
    assert found == {'brain_volume_ml': 0.0, 'map_volume_ml': 0.0}


def test_a_noisy_rim_is_seen():
    grid, mask = Grid((48, 48, 48)), ball()
    chi = np.where(mask, RNG.normal(0, 0.03, mask.shape), 0)
    assert rim_to_core_sd(chi, mask, grid) == pytest.approx(1, abs=0.05)
    edge = mask & ~ball(radius=0.7)
    assert rim_to_core_sd(np.where(edge, 10 * chi, chi), mask, grid) > 4


@pytest.mark.parametrize('direction', [(0, 0, 1), (1, 0, 0), (0.2, -0.3, 0.9)])
@pytest.mark.parametrize('voxel_size', [(1, 1, 1), (0.8, 0.8, 2.0)])
def test_streaks_are_seen_along_any_b0(direction, voxel_size):
    grid, mask = Grid((48, 48, 48), voxel_size, direction), ball()
    truth = np.where(mask, RNG.normal(0, 0.05, mask.shape), 0)
    assert cone_power_ratio(truth, mask, grid) == pytest.approx(1, abs=0.25)
    kernel = kernel_of(grid)
    field = np.fft.ifftn(np.fft.fftn(truth) * kernel).real + RNG.normal(0, 0.004, mask.shape)
    flat = np.where(np.abs(kernel) < 0.02, 0.02 * np.where(kernel < 0, -1, 1), kernel)
    streaky = np.fft.ifftn(np.fft.fftn(field) / flat).real
    damped = np.fft.ifftn(np.fft.fftn(field) * kernel / (kernel**2 + 0.05)).real
    assert cone_power_ratio(np.where(mask, streaky, 0), mask, grid) > 1.5
    assert cone_power_ratio(np.where(mask, damped, 0), mask, grid) < 0.5


def test_warnings_name_value_band_and_advice():
    good = {}
    for m in MEASURES:
        low = (m.high or 0) - 1 if m.low is None else m.low
        good[m.key] = low + 0.1 * (low + 1 if m.high is None else m.high - low)
    assert quality_warnings(good) == []
    sentence = quality_warnings({'chi_sd_ppb': 211.0, 'unknown': 9e9})
    assert len(sentence) == 1
    assert sentence[0].startswith('Spread of susceptibility: 211 ppb, expected 10 to 120 ppb. ')
    assert len(quality_warnings({'chi_sd_ppb': math.nan})) == 1


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_a_map_that_is_flipped_against_the_magnitude_is_told(axis):
    grid = Grid((48, 40, 44), (2, 2, 2))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[6:38, 4:36, 2:38] = True  # not in the middle
    iron = RNG.normal(size=grid.shape)
    chi = mask * (0.02 * iron + 0.02 * RNG.normal(size=grid.shape))
    rate = 20 + 2 * iron + 5 * RNG.normal(size=grid.shape)
    # the details correlate by 0.26, and white noise by 1 / sqrt(voxels) where nothing belongs
    turned, moved = np.flip(chi, axis), np.flip(mask, axis)
    as_is = flip_gain(rate, chi, mask, grid)
    gain = flip_gain(rate, turned, moved & mask, grid)
    voxels = np.count_nonzero(moved & mask)
    assert as_is == pytest.approx(-0.26 * math.sqrt(np.count_nonzero(mask) / 2), rel=0.2)
    assert gain == pytest.approx(0.26 * math.sqrt(voxels / 2), rel=0.2)
    head = {'map_volume_ml': 900.0, 'r2star_median_hz': 20.0, 'flip_gain_errors': gain}
    assert 'is flipped' in implausible(head)[0]
    assert implausible(head | {'flip_gain_errors': as_is}) == []


@pytest.mark.parametrize('flipped', [False, True])
@pytest.mark.parametrize('b1', [0.0, 1.5])
def test_the_magnitude_of_one_echo_tells_of_a_flip(flipped, b1):
    grid = Grid((48, 40, 44), (3, 3, 3))
    mask = ball(grid.shape, 0.9)
    iron = RNG.normal(size=grid.shape)
    chi = mask * (0.02 * iron + 0.02 * RNG.normal(size=grid.shape))
    coil = np.exp(b1 * np.linspace(-1, 1, 48))[:, None, None]  # brighter at one side
    magnitude = coil * np.exp(-0.1 * iron + 0.2 * RNG.normal(size=grid.shape))
    given = np.flip(chi, 0) if flipped else chi
    quality = measure_quality(grid, 3.0, given, mask, magnitude=magnitude[..., None])
    assert 'r2star_median_hz' not in quality
    assert (quality['flip_gain_errors'] > 10) == flipped
    sentences = ' '.join(implausible({'map_volume_ml': 900.0} | quality))
    assert ('flip its array' in sentences) == flipped


@pytest.mark.parametrize('smooth_mm', [0.0, 5.0])
def test_details_that_have_nothing_in_common_gain_by_chance_alone(smooth_mm):
    grid, mask = Grid((40, 40, 40), (3, 3, 3)), ball((40, 40, 40), 0.9)
    gains = []
    for seed in range(20):
        chi, rate = np.random.default_rng(seed).normal(size=(2, *grid.shape))
        chi, rate = (ndimage.gaussian_filter(x, smooth_mm / 3) for x in (chi, rate))
        gains.append(flip_gain(rate, mask * chi, mask, grid))
    # the best of three flips over none, or over zero if that is more: 0.45 of a standard error
    assert np.mean(gains) == pytest.approx(0.45, abs=0.45)
    assert max(gains) < 3


@pytest.mark.parametrize('degrees', [6, -10, 14])
@pytest.mark.parametrize('axes', [(0, 1), (1, 2), (0, 2)])
def test_a_mask_that_is_turned_against_the_brain_is_told(axes, degrees):
    grid = Grid((56, 64, 48), (3, 3, 3))
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing='ij')
    brain = (z / 0.7) ** 2 + (y / 0.85) ** 2 + ((x - 0.3 * y * (y > 0)) / 0.65) ** 2 < 1
    scalp = ndimage.binary_dilation(brain, iterations=5)
    scalp &= ~ndimage.binary_dilation(brain, iterations=3)
    signal = brain + 0.8 * scalp + 0.15 * RNG.normal(size=grid.shape)
    turned = ndimage.rotate(brain.astype(float), degrees, axes, reshape=False, order=1) > 0.5
    assert turn_gain(signal, brain, grid) < 0
    assert turn_gain(signal, turned, grid) > 0.01


def test_echoes_disagree_by_what_neighbours_share():
    grid, mask = Grid((40, 40, 40), (2, 2, 2)), ball((40, 40, 40), 0.9)
    times = (0.005, 0.015, 0.025)
    local, other = (ndimage.gaussian_filter(RNG.normal(size=grid.shape), 3) for _ in range(2))
    local, other = local / local[mask].std(), other / other[mask].std()
    ramp = np.linspace(-20, 20, 40)[:, None, None] + np.zeros(grid.shape)
    phase = 2 * np.pi * np.stack([local * t for t in times], axis=-1)
    noise = 0.05 * RNG.normal(size=phase.shape)
    magnitude = np.ones(phase.shape)

    def told(*changes):
        wrong = phase + noise
        for echo, hertz in changes:
            wrong[..., echo] += 2 * np.pi * hertz * times[echo]
        return disagreement_percent(wrong, magnitude, times, local, local, mask, grid)

    assert told() < 3
    assert told((1, ramp), (2, 0.5 * ramp)) < 3  # background removal takes it off
    assert told((1, 3 * other)) < 3  # the last echo weighs more than the others
    assert told((2, 0.4 * other)) == pytest.approx(40, rel=0.2)


def test_a_small_object_is_told_once_that_values_of_brains_do_not_apply():
    mouse = {
        'brain_volume_ml': 0.5,
        'map_volume_ml': 0.4,
        'local_field_middle_ppb': 3.0,
        'r2star_median_hz': 80.0,
        'echo_misfit': 9.0,
    }
    misfit, other = quality_warnings(mouse)
    assert misfit.startswith('Misfit of the echoes: 9')  # holds of any object
    assert other.startswith('The object has 0.5 ml, and is no human brain')
    assert 'Brain mask 0.5 ml, Volume of the map 0.4 ml, Middle of' in other
    assert len(quality_warnings(mouse | {'brain_volume_ml': 1200.0, 'map_volume_ml': 900.0})) == 3


def test_small_values_of_infants_are_no_sign_of_wrong_echo_times():
    newborn = {
        'brain_volume_ml': 400.0,
        'map_volume_ml': 380.0,
        'local_field_middle_ppb': 3.2,
        'r2star_relative': 0.5,
        'chi_tail_asymmetry': -0.3,
    }
    assert 'Check echo times' in ' '.join(quality_warnings(newborn))
    sign, young = quality_warnings(newborn, infant=True)
    assert sign.startswith('Sign of susceptibility')  # at any age
    assert 'infant by the age that is stated' in young
    assert 'echo times' not in young
    assert len(quality_warnings(newborn | {'local_field_middle_ppb': 40.0}, infant=True)) == 3


def test_measures_have_names_and_meanings_of_their_own():
    keys = [measure.key for measure in MEASURES]
    assert len(set(keys)) == len(keys)
    for measure in MEASURES:
        assert measure.description.endswith('.')
        assert measure.advice.endswith('.')
        assert measure.why.endswith('.')
        assert measure.source or measure.tried
        assert measure.band


def test_outliers_are_those_of_their_site():
    values = [10, 11, 12, 13, 14, 50, 51, 52, 53, 54, 14.5, math.nan]
    sites = ['a'] * 5 + ['b'] * 5 + ['b', 'a']
    scores = modified_z_scores(values, sites)
    assert max(map(abs, scores[:10])) < 3.5 < -scores[10]
    assert math.isnan(scores[11])
    # with all others the value is one of many
    assert abs(modified_z_scores(values, [''] * 12)[10]) < 0.1
    assert all(map(math.isnan, modified_z_scores([1, 2, 3, 40], [''] * 4)))
    # half of the values are equal
    assert modified_z_scores([1, 1, 1, 1, 1, 1, 1, 9], [''] * 8)[-1] > 3.5


@pytest.mark.parametrize('count', [5, 10, 20, 50])
def test_normal_values_are_seldom_outliers_also_where_they_are_few(count):
    draws = np.random.default_rng(0).normal(size=(2000 if count < 20 else 500, count))
    far = [abs(score) > 3.5 for draw in draws for score in modified_z_scores(draw, [''] * count)]
    assert np.mean(far) < 0.02 if count == 5 else np.mean(far) < 0.002

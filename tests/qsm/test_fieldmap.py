"""The field map's noise against the error it stands for, on a simulated head."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from qsmprep.qsm.fieldmap import combine_echoes
from qsmprep.qsm.offset import phase_difference, phase_offset, remove_offset
from qsmprep.qsm.simulate import simulate_head


def nearest_turn(phase, truth):
    return phase + 2 * np.pi * np.round((truth - phase) / (2 * np.pi))


@pytest.fixture(scope='module')
def scan():
    return simulate_head(voxel_size=(3.0, 3.0, 3.0), supersampling=(2, 2, 2), snr=60, seed=4)


@pytest.fixture(scope='module')
def aligned(scan):
    """Phase without offset, perfectly unwrapped."""
    times = np.array(scan.echo_times_s)
    truth = 2 * np.pi * scan.total_field_hz[..., None] * times
    difference, _ = phase_difference(scan.phase, scan.magnitude)
    unwrapped = nearest_turn(difference, truth[..., 1] - truth[..., 0])
    offset = phase_offset(unwrapped, scan.phase, scan.magnitude, scan.echo_times_s, scan.grid)
    return nearest_turn(remove_offset(scan.phase, offset), truth)


def test_the_noise_is_honest_in_the_core_and_at_the_rim(scan, aligned):
    """Fields within a voxel of the rim and its signal vary: thermal noise alone is 3 times less."""
    result = combine_echoes(aligned, scan.magnitude, scan.echo_times_s)
    error = result.field_hz - scan.total_field_hz
    error -= np.median(error[scan.brain])
    depth = distance_transform_edt(scan.brain, sampling=scan.grid.voxel_size)
    for region in (depth > 8, scan.brain & (depth < 4)):
        z = (error / result.noise_hz)[region]
        assert 0.6 < np.std(z) < 1.4
        assert 0.5 < 1.48 * np.median(np.abs(z)) < 1.2
    assert result.noise_sd == pytest.approx(scan.noise_sd, rel=0.15)
    assert 0.7 < np.median(result.misfit[scan.brain]) < 1.3


def test_where_later_echoes_leave_the_mean_field_the_first_count_alone():
    """As around a calcification, whose steepest part loses its signal first."""
    times = np.array([0.003, 0.008, 0.013, 0.018])
    phase = 2 * np.pi * 40.0 * times * np.ones((8, 8, 8, 1))
    phase[2:4, 2:4, 2:4] += [0, 0, -3.0, -7.0]
    found = combine_echoes(phase.astype(np.float32), np.ones(phase.shape), times, noise_sd=0.01)
    np.testing.assert_allclose(found.field_hz, 40, rtol=1e-4)
    assert found.misfit[2, 2, 2] > 30
    assert 1.5 < found.noise_hz[2, 2, 2] / found.noise_hz[6, 6, 6] < 10


@pytest.mark.parametrize('echo', [0, 1, 3])
def test_a_noisy_echo_weighs_by_its_own_noise(scan, aligned, echo):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, *scan.grid.shape)) * 10 * scan.noise_sd
    signal = scan.magnitude * np.exp(1j * aligned)
    signal[..., echo] += noise[0] + 1j * noise[1]
    phase, magnitude = nearest_turn(np.angle(signal), aligned), np.abs(signal)
    clean = combine_echoes(aligned, scan.magnitude, scan.echo_times_s)
    found = combine_echoes(phase, magnitude, scan.echo_times_s)
    alike = combine_echoes(phase, magnitude, scan.echo_times_s, noise_sd=clean.noise_sd)
    assert clean.excess == (1, 1, 1, 1)
    assert [n for n, x in enumerate(found.excess) if x > 1] == [echo]
    assert found.excess[echo] == pytest.approx(10, rel=0.35)
    assert found.noise_sd == pytest.approx(scan.noise_sd, rel=0.2)

    def error_hz(result):
        error = (result.field_hz - scan.total_field_hz)[scan.brain]
        return np.std(error), np.std(error / result.noise_hz[scan.brain])

    without = [e for e in range(4) if e != echo]
    times = tuple(scan.echo_times_s[e] for e in without)
    left_out = combine_echoes(aligned[..., without], scan.magnitude[..., without], times)
    assert error_hz(found)[0] < 1.2 * error_hz(left_out)[0]
    assert error_hz(found)[0] < 0.95 * error_hz(alike)[0]
    assert 0.6 < error_hz(found)[1] < 1.4

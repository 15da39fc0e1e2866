"""Echo times that the phase contradicts, on a simulated head."""

import numpy as np
import pytest

from qsmprep.qsm.growth import times_by_phase
from qsmprep.qsm.simulate import simulate_head


@pytest.fixture(scope='module')
def scan():
    return simulate_head(voxel_size=(3.0, 3.0, 3.0), supersampling=(2, 2, 2), snr=60, seed=4)


def times_of(scan, echo, factor):
    return tuple(t * (factor if e == echo else 1) for e, t in enumerate(scan.echo_times_s))


@pytest.mark.parametrize(('echo', 'factor'), [(0, 2), (1, 0.5), (2, 0.5), (3, 1.3)])
def test_an_echo_time_that_is_wrong_is_named(scan, echo, factor):
    found, time_s = times_by_phase(scan.phase, scan.magnitude, times_of(scan, echo, factor))
    assert found == echo
    assert time_s == pytest.approx(scan.echo_times_s[echo], abs=0.0005)


def ramp(scan, z):
    return z * np.exp(1j * np.linspace(-2, 2, z.shape[1]))[:, None]


def noisy(scan, z, times=6):
    noise = np.random.default_rng(0).normal(size=(2, *z.shape)) * times * scan.noise_sd
    return z + noise[0] + 1j * noise[1]


def noise_alone(scan, z):
    return noisy(scan, 0 * z, 60)


@pytest.mark.parametrize('change', [None, ramp, noisy, noise_alone])
@pytest.mark.parametrize('echo', [0, 1, 3])
def test_right_echo_times_are_not_doubted(scan, change, echo):
    signal = scan.magnitude * np.exp(1j * scan.phase)
    if change:
        signal[..., echo] = change(scan, signal[..., echo])
    assert times_by_phase(np.angle(signal), np.abs(signal), scan.echo_times_s) is None


def test_a_later_start_is_no_contradiction(scan):
    later = tuple(t + 0.002 for t in scan.echo_times_s)
    assert times_by_phase(scan.phase, scan.magnitude, later) is None


@pytest.mark.parametrize('echo', [0, 1, 2])
def test_three_echoes_tell_that_a_time_is_wrong_but_not_which(scan, echo):
    three = scan.phase[..., :3], scan.magnitude[..., :3]
    assert times_by_phase(*three, scan.echo_times_s[:3]) is None
    found, time_s = times_by_phase(*three, times_of(scan, echo, 2)[:3])
    assert found == 1
    assert (abs(time_s - scan.echo_times_s[1]) < 0.0005) == (echo == 1)


def test_two_echoes_fit_any_times(scan):
    two = scan.phase[..., :2], scan.magnitude[..., :2]
    assert times_by_phase(*two, times_of(scan, 1, 0.5)[:2]) is None


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('shape', [(16, 16, 16, 4), (16, 16, 1, 4), (1, 1, 1, 4)])
def test_no_field_tells_nothing(shape):
    rng = np.random.default_rng(0)
    phase = rng.uniform(-np.pi, np.pi, shape)
    assert times_by_phase(phase, np.ones(phase.shape), (0.004, 0.008, 0.012, 0.016)) is None

"""Phases of two echoes bend at the same voxels; what was moved, turned or lost is named."""

import numpy as np
import pytest
from scipy import ndimage

from qsmprep.bids.alignment import check_alignment, check_growth
from qsmprep.bids.notes import Doubt

SHAPE = (40, 44, 36)


def smooth(seed, width=1.0):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), width)
    return field / field.std()


@pytest.fixture
def echoes():
    """Two echoes with noise."""
    return signals(0.05)


def signals(noise, steep_rad=np.pi):
    """Two echoes of a ball, behind coils and steps from slice to slice that both share."""
    rng = np.random.default_rng(1)
    inside = sum((x / n - 0.5) ** 2 for x, n in zip(np.indices(SHAPE), SHAPE, strict=True)) < 0.2
    steps = rng.uniform(-steep_rad, steep_rad, SHAPE[2])
    offset = smooth(2, 6) + steps
    found = [np.exp(1j * (time * smooth(3) + offset)) * inside for time in (0.2, 0.6)]
    return [z + noise * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE)) for z in found]


def named(first, second):
    return check_alignment([('one.nii', first), ('other.nii', second)])


def with_phase(signal, phase):
    return np.abs(signal) * np.exp(1j * phase)


def test_phases_in_their_places_are_not_doubted(echoes):
    assert named(*echoes) == []
    assert check_alignment([('one.nii', echoes[0])]) == []


def test_noise_has_no_place(echoes):
    noise = np.random.default_rng(4).uniform(-np.pi, np.pi, SHAPE)
    assert named(echoes[0], with_phase(echoes[1], noise)) == []


@pytest.mark.parametrize(('axis', 'voxels'), [(0, 1), (1, -2), (2, 5)])
def test_a_phase_that_was_moved_is_doubted(echoes, axis, voxels):
    first, second = echoes
    (warning,) = named(first, with_phase(second, np.roll(np.angle(second), voxels, axis)))
    assert isinstance(warning, Doubt)
    assert f' {voxels} along array axis {axis + 1}' in warning


def test_every_second_slice_that_was_moved_is_doubted(echoes):
    phase = np.angle(echoes[1])
    phase[:, :, 1::2] = np.roll(phase[:, :, 1::2], 1, axis=1)
    (warning,) = named(echoes[0], with_phase(echoes[1], phase))
    assert 'the even slices along array axis 3 fit better' in warning
    assert ' 1 along array axis 2' in warning


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_a_flipped_phase_is_doubted(echoes, axis):
    (warning,) = named(echoes[0], with_phase(echoes[1], np.flip(np.angle(echoes[1]), axis)))
    assert f'flipped along array axis {axis + 1}' in warning


def test_slices_of_the_other_sign_are_doubted(echoes):
    phase = np.angle(echoes[1])
    phase[:, :, 16:18] *= -1
    (warning,) = named(echoes[0], with_phase(echoes[1], phase))
    assert 'in 2 of 36 slices along array axis 3' in warning
    assert 'one has the sign of the other turned' in warning


def finer(volumes):
    """Each voxel as two by two by two."""
    return [np.kron(volume, np.ones((2, 2, 2))) for volume in volumes]


@pytest.mark.parametrize(
    ('times', 'told', 'doubted'),
    [
        ((0.005, 0.015), False, False),
        ((0.005, 0.011), True, False),
        ((0.005, 0.008), True, True),
        ((0.005, 0.045), True, True),
    ],
)
def test_echo_times_that_the_phases_have_not_grown_by_are_told(times, told, doubted):
    warnings = check_growth(finer(signals(0.01, steep_rad=0)), times)
    assert bool(warnings) == told
    assert any(isinstance(text, Doubt) for text in warnings) == doubted


def test_steps_from_slice_to_slice_do_not_grow_and_are_left_alone():
    assert check_growth(finer(signals(0.01)), (0.005, 0.015)) == []


def test_noise_has_no_echo_time(echoes):
    rng = np.random.default_rng(5)
    noise = [rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE) for _ in range(2)]
    assert check_growth(finer(noise), (0.005, 0.006)) == []
    much = [z + n for z, n in zip(echoes, noise, strict=True)]
    assert check_growth(finer(much), (0.005, 0.009)) == []


def test_ringing_at_edges_is_not_doubted(echoes):
    finer = []
    for signal in echoes:
        k = np.pad(np.fft.fftshift(np.fft.fftn(signal)), [(n // 2, n // 2) for n in SHAPE])
        finer.append(np.fft.ifftn(np.fft.ifftshift(k)))
    assert named(*finer) == []

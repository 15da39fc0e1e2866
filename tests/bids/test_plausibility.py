"""A phase that was filtered is found by where it lies, one that was flipped by where it jumps."""

import re

import numpy as np
import pytest
from scipy import ndimage

from qsmprep.bids.notes import Doubt
from qsmprep.bids.plausibility import (
    check_balance,
    check_copies,
    check_differences,
    check_filter,
    check_place,
)

TIMES_S = (0.004, 0.012, 0.020, 0.028)
NAMES = ('mag.nii', 'phase.nii')


def head(offset_rad=0.4, spread_ppm=0.1, shape=(40, 40, 40)):
    """Signal of a smooth field with the spread of that of a head, behind coils of some phase."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    field_hz = 127.7 * spread_ppm * field / field.std()
    return [np.exp(1j * (2 * np.pi * field_hz * time + offset_rad)) for time in TIMES_S]


def filtered(signals, width):
    low = [
        ndimage.gaussian_filter(z.real, width) + 1j * ndimage.gaussian_filter(z.imag, width)
        for z in signals
    ]
    return [z * np.exp(-1j * np.angle(smooth)) for z, smooth in zip(signals, low, strict=True)]


@pytest.mark.parametrize('offset_rad', [-2.0, 0.3, 1.0])
def test_unfiltered_phase_is_not_doubted(offset_rad):
    assert check_filter(head(offset_rad), TIMES_S, 3.0) == []


@pytest.mark.parametrize('echoes', [1, 3, 4])
def test_filtered_phase_is_doubted(echoes):
    signals = filtered(head(), 2)[-echoes:]
    (warning,) = check_filter(signals, TIMES_S[-echoes:], 3.0)
    assert isinstance(warning, Doubt)
    assert 'high-pass filtered, as for SWI; a filter removes susceptibility' in warning


def test_a_wide_filter_is_reported():
    (warning,) = check_filter(filtered(head(spread_ppm=0.2), 5), TIMES_S, 3.0)
    assert not isinstance(warning, Doubt)
    assert 'with a wide window' in warning


def test_one_filtered_echo_among_others_is_doubted():
    signals = head(spread_ppm=0.15)
    second = filtered(signals, 2)[1]
    (warning,) = check_filter([signals[0], second], (0.004, 0.015), 3.0)
    assert isinstance(warning, Doubt)
    assert 'echo 2 lies around zero' in warning
    still = [np.ones_like(signals[0])] * 2  # a phantom without any field
    assert check_filter([np.exp(0.1j) * x for x in still], (0.004, 0.012), 0.5) == []


def test_a_wide_filter_of_one_echo_is_reported():
    (signal,) = filtered(head(spread_ppm=0.2)[2:3], 2.5)
    (warning,) = check_filter([signal], TIMES_S[2:3], 3.0)
    assert 'looks high-pass filtered' in warning


def test_short_echoes_lie_around_zero_by_themselves():
    signals = [np.exp(0.1j * np.angle(z)) for z in head(0.0)]
    assert check_filter(signals, [0.1 * time for time in TIMES_S], 3.0) == []


def neighbours(factor, share=1.0):
    """Pairs of neighbours of a head with noise, the imaginary part in another scale."""
    rng = np.random.default_rng(1)
    x, _, z = np.meshgrid(*[np.linspace(0.5, 1, 40)] * 3, indexing='ij')
    found = []
    for signal in head(spread_ppm=0.1 * share):
        noise = rng.normal(scale=0.02, size=(2, *signal.shape))
        signal = x * z * signal + noise[0] + 1j * noise[1]
        signal = signal.real + 1j * factor * signal.imag
        found.append(np.stack([signal[:-1].ravel(), signal[1:].ravel()], axis=1))
    return found


def test_phases_against_the_echo_before_are_doubted():
    signals = neighbours(1.0)
    earlier = [np.ones_like(signals[0]), *signals[:-1]]
    differences = [z * w.conj() / abs(w) for z, w in zip(signals, earlier, strict=True)]
    (warning,) = check_differences(differences, TIMES_S, 3.0)
    assert isinstance(warning, Doubt)
    assert 'Between the echoes 2 and 3 nothing but noise' in warning


@pytest.mark.parametrize('share', [1.0, 0.5])
def test_a_field_that_changes_the_phase_is_not_doubted(share):
    """Half of the spread of a head is what the quietest specimens have, between echoes of 8 ms."""
    signals = neighbours(1.0, share)
    assert check_differences(signals, TIMES_S, 3.0) == []
    assert check_differences(signals[:1], TIMES_S[:1], 3.0) == []


def test_short_times_between_echoes_tell_nothing():
    signals = neighbours(1.0, 1.0)
    same = [signals[0], signals[0] * np.exp(0.01j)]
    assert check_differences(same, (0.004, 0.006), 1.5) == []


@pytest.mark.parametrize('factor', [0.5, 0.75, 1.5])
def test_parts_in_different_scales_are_doubted(factor):
    (warning,) = check_balance(neighbours(factor))
    assert isinstance(warning, Doubt)
    assert 'real and the imaginary part were stored in different scales' in warning


@pytest.mark.parametrize('factor', [1.0, 0.97])
def test_parts_in_one_scale_are_not_doubted(factor):
    assert check_balance(neighbours(factor)) == []
    assert check_balance([signal[:100] for signal in neighbours(0.5)]) == []  # too few to tell


def test_phase_that_follows_tissue_and_has_not_turned_is_no_matter_of_scales():
    magnitude = np.random.default_rng(0).uniform(0.8, 1.2, (5000, 2))
    echoes = [magnitude * np.exp(0.1j * number * magnitude) for number in (1, 2, 3)]
    assert check_balance(echoes) == []


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_a_flipped_phase_is_doubted(parts, axis):
    _, magnitude, phase = parts
    flipped = np.flip(phase, axis)
    warnings = check_place(magnitude, flipped, 2 * np.pi, NAMES)
    assert isinstance(warnings[0], Doubt)
    assert warnings[0].startswith('phase.nii does not fit mag.nii')
    assert f'if it is flipped along array axis {axis + 1}' in warnings[0]


@pytest.mark.parametrize(('voxels', 'doubted'), [(1, False), (2, True), (3, True), (-7, True)])
def test_a_phase_that_was_moved_is_reported(parts, voxels, doubted):
    _, magnitude, phase = parts
    moved = np.roll(phase, voxels, 1)
    warnings = check_place(magnitude, moved, 2 * np.pi, NAMES)
    assert re.search('if it is moved by -?[124] voxels along array axis 2', warnings[0])
    assert isinstance(warnings[0], Doubt) == doubted


@pytest.mark.parametrize('change', ['none', 'checkerboard', 'ramp', 'mask'])
def test_a_phase_in_its_place_is_not_doubted(parts, change):
    _, magnitude, phase = parts
    index = np.indices(phase.shape)
    added = {
        'none': 0,
        'checkerboard': np.pi * index.sum(axis=0),
        'ramp': 1.3 * index[0],
        'mask': 0,
    }[change]
    phase = np.angle(np.exp(1j * (phase + added)))
    if change == 'mask':
        phase[:, :20] = 0
    assert check_place(magnitude, phase, 2 * np.pi, NAMES) == []


@pytest.mark.parametrize('noise_rad', [0.3, 0.55])
def test_a_phase_that_is_rough_where_there_is_signal_has_no_other_place(parts, noise_rad):
    """As late echoes in a steep field: in the right place a third of the neighbours jump."""
    _, magnitude, phase = parts
    rough = np.roll(phase, 4, 1) + noise_rad * np.random.default_rng(1).normal(size=phase.shape)
    told = check_place(magnitude, rough, 2 * np.pi, NAMES)
    assert bool(told) == (noise_rad == 0.3)


def test_voxels_from_the_nearest_of_a_turned_grid_are_doubted():
    rng = np.random.default_rng(3)
    magnitude = 500 + 20 * rng.normal(size=(40, 40, 24))
    phase = rng.normal(size=magnitude.shape)
    assert check_copies(magnitude, phase) == []
    split = [np.repeat(x, 2, axis=1) for x in (magnitude, phase)]
    assert check_copies(*split) == []
    twelve_bits = [np.rint(x) for x in (magnitude, 600 * phase)]
    assert check_copies(*twelve_bits) == []
    turned = [ndimage.rotate(x, 20, reshape=False, order=0) for x in (magnitude, phase)]
    (doubt,) = check_copies(*turned)
    assert isinstance(doubt, Doubt)
    assert 'resampled by nearest neighbours' in doubt

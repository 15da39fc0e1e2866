"""Bipolar readouts and slices with offsets of their own, on phase whose truth is known."""

import numpy as np
import pytest

from qsmprep.qsm.bipolar import alternation_contrast, find_alternation
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.offset import phase_difference, phase_offset
from qsmprep.qsm.phase import wrap
from qsmprep.qsm.readout import correct_readout

GRID = Grid((40, 34, 30), (2.4, 2.4, 3.0))
EVEN = (0.004, 0.009, 0.014, 0.019)
UNEVEN = (0.0025, 0.0081, 0.0117, 0.0193, 0.0301)
X, Y, Z = np.meshgrid(*[np.linspace(-1, 1, n) for n in GRID.shape], indexing='ij')
HEAD = X**2 + Y**2 + Z**2 < 0.9
FIELD_HZ = 70 * X - 50 * Y * Z + 120 * np.exp(-((X - 0.3) ** 2 + Y**2 + (Z + 0.5) ** 2) / 0.05)
OFFSET = 1.5 + 0.9 * X - 0.7 * Y**2 + 0.5 * X * Z


def scan(times, extra=0.0, snr=60.0, flow=0.0):
    """Phase and magnitude of a head; ``extra`` is phase of each echo beyond offset and field."""
    rng = np.random.default_rng(3)
    times = np.array(times)
    # vessels: a fifth of the voxels, phase quadratic in the echo time and growing along x
    vessels = flow * (rng.random(GRID.shape) < 0.2) * (1 + X)
    phase = OFFSET[..., None] + 2 * np.pi * FIELD_HZ[..., None] * times + extra
    phase = phase + vessels[..., None] * (times / times[-1]) ** 2
    signal = np.where(HEAD, snr, 0)[..., None] * np.exp(-times / 0.03 + 1j * phase)
    noise = rng.standard_normal((2, *signal.shape))
    signal = signal + noise[0] + 1j * noise[1]
    return np.angle(signal).astype(np.float32), np.abs(signal).astype(np.float32)


def ramp_of_even_echoes(times, axis, span, constant=0.0):
    place = (X, Y, Z)[axis][..., None]
    return (constant + span / 2 * place) * (np.arange(len(times)) % 2)


@pytest.mark.parametrize('times', [EVEN, EVEN[:3], UNEVEN, UNEVEN[:3]])
def test_the_contrast_sees_the_alternation_alone(times):
    times = np.array(times)
    contrast = alternation_contrast(times, np.exp(-times / 0.02))
    assert contrast.sum() == pytest.approx(0, abs=1e-12)
    assert contrast @ times == pytest.approx(0, abs=1e-12)
    assert contrast @ (np.arange(len(times)) % 2) == pytest.approx(1)


@pytest.mark.parametrize('times', [EVEN, EVEN[:3], UNEVEN, UNEVEN[:3]])
@pytest.mark.parametrize(('axis', 'span', 'constant'), [(0, 6.0, 0.0), (1, -3.0, 0.8), (2, 1.0, 0)])
def test_the_ramp_of_a_bipolar_readout_is_found(times, axis, span, constant):
    phase, magnitude = scan(times, ramp_of_even_echoes(times, axis, span, constant))
    ramp = find_alternation(phase, magnitude, times).ramp
    assert ramp.axis == axis
    assert ramp.slopes_rad[axis] * (GRID.shape[axis] - 1) == pytest.approx(span, abs=0.03)
    corrected = ramp.remove(phase)
    clean, _ = scan(times)
    np.testing.assert_array_equal(corrected[..., ::2], phase[..., ::2])
    excess = np.where(HEAD[..., None], wrap(corrected - clean), np.nan)[..., 1::2]
    planes = np.nanmean(np.moveaxis(excess, axis, 0)[6:-6], axis=(1, 2))
    assert np.abs(planes).max() < 0.03


@pytest.mark.parametrize('kept', [(0, 1, 3, 4), (1, 2, 4, 5), (0, 1, 3)])
def test_echoes_that_were_left_out_count(kept):
    """Every second echo of the scanner has the ramp, not every second one of the files."""
    every = np.array([0.004, 0.009, 0.014, 0.019, 0.024, 0.029])
    times = tuple(every[list(kept)])
    extra = ramp_of_even_echoes(every, 0, 5.0)[..., list(kept)]
    phase, magnitude = scan(times, extra)
    corrected, readout = correct_readout(phase, magnitude, times)
    odd = [n for n, echo in enumerate(kept) if echo % 2 != kept[0] % 2]
    assert readout.alternation.ramp.echoes == tuple(odd)
    sign = 1 if kept[0] % 2 == 0 else -1
    span = readout.alternation.ramp.slopes_rad[0] * (GRID.shape[0] - 1)
    assert span == pytest.approx(sign * 5.0, abs=0.03)
    assert f'echoes {" and ".join(str(n + 1) for n in odd)} had a' in readout.warnings[0]
    clean, _ = scan(times, 0 if kept[0] % 2 == 0 else extra[..., :1])
    error = wrap(corrected - clean)[HEAD]
    assert np.abs(np.median(error, axis=0)).max() < 0.03
    assert np.median(np.abs(error)) < 0.05


@pytest.mark.parametrize('times', [EVEN, UNEVEN])
def test_a_flip_of_echoes_is_told_with_their_numbers(times):
    stored = [volumes.copy() for volumes in scan(times, snr=30.0)]
    for volumes in stored:
        volumes[..., 1::2] = np.flip(volumes[..., 1::2], 0)
    _, readout = correct_readout(*stored, times)
    assert 'magnitude and phase of echoes 2 and 4 along that axis' in readout.doubts[0]


def test_a_ramp_along_the_slices_too_is_found():
    extra = ramp_of_even_echoes(UNEVEN, 0, 4.0) + ramp_of_even_echoes(UNEVEN, 2, -1.0)
    ramp = find_alternation(*scan(UNEVEN, extra), UNEVEN).ramp
    assert ramp.axis == 0
    spans = np.array(ramp.slopes_rad) * (np.array(GRID.shape) - 1)
    np.testing.assert_allclose(spans, [4.0, 0.0, -1.0], atol=0.03)


@pytest.mark.parametrize('times', [EVEN, EVEN[:3], UNEVEN])
@pytest.mark.parametrize('snr', [100.0, 15.0])
@pytest.mark.parametrize('flow', [0.0, 1.5])
def test_a_monopolar_readout_stays_as_it_is(times, snr, flow):
    phase, magnitude = scan(times, snr=snr, flow=flow)
    corrected, readout = correct_readout(phase, magnitude, times)
    assert readout.alternation.ramp is None
    assert readout.warnings == []
    np.testing.assert_array_equal(corrected, phase)


@pytest.mark.parametrize('times', [EVEN, EVEN[:3], UNEVEN])
def test_an_echo_of_the_other_sign_is_named_and_is_no_bipolar_readout(times):
    """It was taken for a ramp of 27 rad across the object."""
    phase, magnitude = scan(times, snr=15.0)
    for echoes in [(0,), (1,), (2,), tuple(range(len(times)))[1::2]]:
        turned = phase.copy()
        turned[..., echoes] *= -1
        assert find_alternation(turned, magnitude, times).opposite == echoes
        same, readout = correct_readout(turned, magnitude, times)
        np.testing.assert_array_equal(same, turned)
        assert readout.alternation.ramp is None
        numbers = ' and '.join(str(e + 1) for e in echoes)
        assert f'{numbers} has the sign opposite' in readout.warnings[0]


@pytest.mark.parametrize('times', [EVEN, EVEN[:3], UNEVEN])
@pytest.mark.parametrize('axis', [0, 1, 2])
def test_echoes_stored_from_the_other_side_are_named(times, axis):
    """The field would be a mixture of that of the head and its mirror image."""
    stored = [volumes.copy() for volumes in scan(times, snr=30.0)]
    for volumes in stored:
        volumes[..., 1::2] = np.flip(volumes[..., 1::2], axis)
    same, readout = correct_readout(*stored, times)
    np.testing.assert_array_equal(same, stored[0])
    assert readout.alternation.flipped == axis
    (doubt,) = readout.doubts
    assert doubt in readout.warnings
    assert f'from the other side of array axis {axis + 1}' in doubt


@pytest.mark.parametrize('scale', [0.5, 0.9, 1.1])
@pytest.mark.parametrize('times', [EVEN, UNEVEN])
def test_an_echo_of_another_scale_is_no_bipolar_readout(times, scale):
    phase, magnitude = scan(times)
    phase[..., 1] *= scale
    same, readout = correct_readout(phase, magnitude, times)
    np.testing.assert_array_equal(same, phase)
    assert readout.alternation.ramp is None
    assert readout.alternation.opposite == ()


def test_two_echoes_cannot_tell_and_say_so():
    phase, magnitude = scan(EVEN[:2], ramp_of_even_echoes(EVEN[:2], 0, 6.0))
    _, readout = correct_readout(phase, magnitude, EVEN[:2])
    assert readout.alternation.ramp is None
    assert readout.warnings == []
    assert 'bipolar readout could not be distinguished' in readout.notes[0]


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('times', [EVEN, EVEN[1:2]])
def test_slices_that_alternate_by_pi_are_put_right_along_any_axis(axis, times):
    turned = np.pi * (np.indices(GRID.shape)[axis][..., None] % 2)
    phase, magnitude = scan(times, turned)
    corrected, readout = correct_readout(phase, magnitude, times)
    assert readout.alternating == axis
    assert 'pi between slices' in readout.warnings[0]
    clean, _ = scan(times)
    assert np.abs(wrap(corrected - clean))[HEAD].max() < 0.5


@pytest.mark.parametrize('axis', [0, 2])
def test_offsets_of_slices_are_reported_and_leave_the_phase_offset_right(axis):
    jumps = np.random.default_rng(5).uniform(-1.5, 1.5, GRID.shape[axis])
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    jumps = jumps.reshape(shape)
    phase, magnitude = scan(EVEN, jumps)
    same, readout = correct_readout(phase, magnitude, EVEN)
    np.testing.assert_array_equal(same, phase)
    assert readout.stepping[0] == axis
    assert readout.shared
    assert 'went with the phase offset' in readout.warnings[0]
    difference, _ = phase_difference(phase, magnitude)
    truth = 2 * np.pi * FIELD_HZ * (EVEN[1] - EVEN[0])
    unwrapped = difference + 2 * np.pi * np.round((truth - difference) / (2 * np.pi))
    found = phase_offset(unwrapped, phase, magnitude, EVEN, GRID)
    error = wrap(found - OFFSET - jumps[..., 0])[HEAD]
    assert np.sqrt(np.mean(error**2)) < 0.03

    own = jumps * np.array([0, 1, -1, 2])
    _, readout = correct_readout(*scan(EVEN, own), EVEN)
    assert not readout.shared
    assert 'stays in the field' in readout.warnings[0]
    _, readout = correct_readout(*scan(EVEN[:1], jumps), EVEN[:1])
    assert 'one echo cannot tell' in readout.warnings[0]


@pytest.mark.parametrize('scale', [0.08, 1.0])
def test_the_offset_of_a_small_object_is_smoothed_on_its_own_scale(scale):
    grid = Grid(GRID.shape, tuple(4 * scale * v / 2 for v in GRID.voxel_size))
    phase, magnitude = scan(EVEN)
    difference, _ = phase_difference(phase, magnitude)
    truth = 2 * np.pi * FIELD_HZ * (EVEN[1] - EVEN[0])
    unwrapped = difference + 2 * np.pi * np.round((truth - difference) / (2 * np.pi))
    error = wrap(phase_offset(unwrapped, phase, magnitude, EVEN, grid) - OFFSET)[HEAD]
    assert np.sqrt(np.mean(error**2)) < 0.02

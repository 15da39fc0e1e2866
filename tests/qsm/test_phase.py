import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from qsmprep.qsm.fieldmap import (
    align_echoes,
    combine_echoes,
    magnitude_noise,
    measured_steps,
)
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.offset import phase_difference, phase_offset, remove_offset
from qsmprep.qsm.phase import correct_alternate_slices, scale_phase, wrap
from qsmprep.qsm.unwrapping import laplacian_unwrap

GRID = Grid((64, 64, 32), (1.5, 1.5, 3.0))
TIMES = (0.004, 0.010, 0.016, 0.022)
NOISE = 1.0


@pytest.fixture(scope='module')
def scan():
    """Head-sized ellipsoid: field, receive offset, four noisy echoes with a decay."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in GRID.shape], indexing='ij')
    head = x**2 + y**2 + z**2 < 0.85
    field = 60 * x - 40 * y * z + 50 * np.exp(-((x - 0.3) ** 2 + y**2 + z**2) / 0.02)
    offset = 1.5 + 0.9 * x - 0.7 * y**2 + 0.5 * x * z
    echoes = [
        np.where(head, 60 * np.exp(-t / 0.03), 0) * np.exp(1j * (2 * np.pi * field * t + offset))
        for t in TIMES
    ]
    signal = np.stack(echoes, axis=3)
    signal += NOISE * (rng.standard_normal(signal.shape) + 1j * rng.standard_normal(signal.shape))
    phase = np.angle(signal).astype(np.float32)
    return head, field, offset, phase, np.abs(signal).astype(np.float32)


def unwrapped_truth(wrapped, truth):
    return wrapped + 2 * np.pi * np.round((truth - wrapped) / (2 * np.pi))


def test_scaling_maps_the_nominal_range_and_flips_the_sign():
    raw = np.array([0, 1024, 2048, 3072, 4095])
    expected = np.array([-np.pi, -np.pi / 2, 0, np.pi / 2, (4095 / 4096 - 0.5) * 2 * np.pi])
    np.testing.assert_allclose(scale_phase(raw, 0, 4096), expected, atol=1e-6)
    np.testing.assert_allclose(scale_phase(raw[1:], 0, 4096, -1), -expected[1:], atol=1e-6)
    with pytest.raises(ValueError, match='low end below'):
        scale_phase(raw, 4096, 0)
    with pytest.raises(ValueError, match='1 or -1'):
        scale_phase(raw, 0, 4096, 0)


def test_wrapping_alters_only_values_outside_the_circle():
    inside = np.random.default_rng(1).uniform(-3.14, 3.14, 1000).astype(np.float32)
    np.testing.assert_array_equal(wrap(inside), inside)
    np.testing.assert_array_equal(wrap(np.float32([0, -np.pi])), np.float32([0, -np.pi]))
    values = np.random.default_rng(2).uniform(-50, 50, 1000)
    turns = (wrap(values) - values) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-6)
    assert wrap(values).min() >= -np.float32(np.pi)
    assert wrap(values).max() < np.float32(np.pi)


def test_alternate_slices_gain_half_a_turn():
    phase = np.full((4, 4, 5), 0.5, dtype=np.float32)
    corrected = correct_alternate_slices(phase)
    np.testing.assert_array_equal(corrected[:, :, ::2], phase[:, :, ::2])
    np.testing.assert_allclose(corrected[:, :, 1::2], 0.5 - np.pi, atol=1e-6)
    four = correct_alternate_slices(np.stack([phase, phase], axis=3))
    np.testing.assert_array_equal(four[..., 1], corrected)


def test_offset_is_recovered_whatever_the_multiple_of_the_difference(scan):
    head, field, offset, phase, magnitude = scan
    difference, weight = phase_difference(phase, magnitude)
    truth = 2 * np.pi * field * (TIMES[1] - TIMES[0])
    unwrapped = unwrapped_truth(difference, truth)
    np.testing.assert_allclose(weight, magnitude[..., 0] * magnitude[..., 1])
    found = phase_offset(unwrapped, phase, magnitude, TIMES, GRID)
    error = wrap(found - offset)[head]
    assert np.sqrt(np.mean(error**2)) < 0.02
    again = phase_offset(unwrapped + 2 * np.pi, phase, magnitude, TIMES, GRID)
    np.testing.assert_allclose(wrap(again - found)[head], 0, atol=1e-4)


def test_fat_around_the_mask_does_not_bend_the_offset(scan):
    head, field, offset, phase, magnitude = scan
    brain = ndimage.binary_erosion(head, iterations=3)
    turned = np.array([0.0, 3.0, 0, 0], np.float32)  # fat has turned against water
    scalp = (head & ~brain)[..., np.newaxis]
    phase = np.where(scalp, wrap(phase + turned), phase)
    magnitude = magnitude * np.where(scalp, 3, 1)
    truth = 2 * np.pi * field * (TIMES[1] - TIMES[0]) + scalp[..., 0] * turned[1]
    unwrapped = unwrapped_truth(phase_difference(phase, magnitude)[0], truth)
    whole, inside = (
        wrap(phase_offset(unwrapped, phase, magnitude, TIMES, GRID, mask=mask) - offset)[brain]
        for mask in (None, brain)
    )
    assert np.sqrt(np.mean(inside**2)) < 0.02
    assert np.sqrt(np.mean(whole**2)) > 0.1


def test_objects_that_do_not_touch_have_turns_of_their_own(scan):
    head, field, offset, phase, magnitude = scan
    x = np.arange(GRID.shape[0])[:, None, None]
    parts = [head & (x < 30), head & (x > 34)]
    both = parts[0] | parts[1]
    field = np.where(parts[1], field - np.median(field[parts[1]]), field)
    field = np.where(parts[0], field - np.median(field[parts[0]]), field)
    turned = 2 * np.pi * field[..., None] * np.array(TIMES)
    phase = wrap(turned + offset[..., None]).astype(np.float32)
    step = turned[..., 1] - turned[..., 0] + 2 * np.pi * parts[1]
    alone, found = (
        wrap(phase_offset(step, phase, magnitude, TIMES, GRID, mask=both, parts=x) - offset)
        for x in ((), parts)
    )
    assert np.sqrt(np.mean(found[both] ** 2)) < 0.03
    assert np.sqrt(np.mean(alone[both] ** 2)) > 0.5
    shifted = turned + 2 * np.pi * np.array([2, 5, 8, 11]) * parts[1][..., None]
    aligned = align_echoes(shifted, magnitude, TIMES, parts=parts)
    np.testing.assert_allclose(aligned[both], turned[both], atol=1e-4)


def test_field_and_its_noise_are_those_of_the_simulation(scan):
    head, field, offset, phase, magnitude = scan
    corrected = remove_offset(phase, offset)
    times = np.array(TIMES)
    unwrapped = unwrapped_truth(corrected, 2 * np.pi * field[..., None] * times)
    shifted = unwrapped + 2 * np.pi * np.array([1, 0, -2, 3])
    aligned = align_echoes(shifted, magnitude, TIMES, head)
    np.testing.assert_allclose(aligned, unwrapped, atol=1e-4)
    assert align_echoes(unwrapped, magnitude, TIMES, head) is unwrapped

    result = combine_echoes(aligned, magnitude, TIMES)
    z = ((result.field_hz - field) / result.noise_hz)[head]
    assert abs(np.mean(z)) < 0.1
    assert 0.85 < np.std(z) < 1.1
    assert result.noise_sd == pytest.approx(NOISE, rel=0.1)
    # four echoes less the field: chi-square of three degrees of freedom
    assert np.mean(result.misfit[head] ** 2) == pytest.approx(1, rel=0.2)
    assert np.isfinite(result.noise_hz).all()


def test_a_last_echo_that_contradicts_the_others_is_left_out(scan):
    head, field, offset, phase, magnitude = scan
    unwrapped = 2 * np.pi * field[..., None] * np.array(TIMES)
    unwrapped[32, 32, 16, 3] += 2 * np.pi
    result = combine_echoes(unwrapped, magnitude, TIMES, NOISE)
    assert result.misfit[32, 32, 16] > 10
    assert abs(result.field_hz - field)[32, 32, 16] < result.noise_hz[32, 32, 16]


def test_noise_is_raised_where_the_first_echoes_contradict(scan):
    head, field, offset, phase, magnitude = scan
    unwrapped = 2 * np.pi * field[..., None] * np.array(TIMES)
    wrong = unwrapped.copy()
    wrong[32, 32, 16, 0] += 2 * np.pi
    clean, result = (combine_echoes(u, magnitude, TIMES, NOISE) for u in (unwrapped, wrong))
    ratio = result.noise_hz / clean.noise_hz
    assert ratio[32, 32, 16] > 10
    assert abs(result.field_hz - field)[32, 32, 16] < 3 * result.noise_hz[32, 32, 16]
    # its neighbours see a step of the field; voxels beyond them nothing
    ratio[31:34, 31:34, 15:18] = 1
    np.testing.assert_allclose(ratio, 1, rtol=1e-5)


def test_single_echo_field(scan):
    head, field, offset, phase, magnitude = scan
    unwrapped = unwrapped_truth(phase[..., 0] - offset, 2 * np.pi * field * TIMES[0])
    aligned = align_echoes(unwrapped + 4 * np.pi, magnitude[..., 0], TIMES[:1], head)
    np.testing.assert_allclose(aligned, unwrapped, atol=1e-4)
    result = combine_echoes(aligned, magnitude[..., 0], TIMES[:1], NOISE)
    error = (result.field_hz - field)[head]
    assert np.std(error / result.noise_hz[head]) == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(result.misfit, 0, atol=1e-5)


@pytest.mark.parametrize('background', ['noise', 'zero'])
def test_noise_of_the_magnitude(scan, background):
    head, *_, magnitude = scan
    if background == 'zero':
        magnitude = np.where(head[..., None], magnitude, 0)
    assert magnitude_noise(magnitude) == pytest.approx(NOISE, rel=0.1)
    assert magnitude_noise(magnitude[..., 0]) == pytest.approx(NOISE, rel=0.1)


@pytest.mark.parametrize(('factors', 'steps'), [((1, 1, 1), (1, 1, 1)), ((2, 2, 1), (2, 2, 1))])
def test_noise_of_images_that_were_filled_with_zeros_is_that_of_their_voxels(scan, factors, steps):
    phase, magnitude = scan[3:]
    signal = (magnitude * np.exp(1j * phase))[..., 0]
    space = np.fft.fftshift(np.fft.fftn(signal))
    room = [(n * (f - 1) // 2,) * 2 for n, f in zip(signal.shape, factors, strict=True)]
    filled = np.fft.ifftn(np.fft.ifftshift(np.pad(space, room))) * np.prod(factors)
    twelve_bits = np.abs(filled).max() / 4095
    stored = np.rint(np.abs(filled) / twelve_bits) * twelve_bits
    assert measured_steps(stored * np.exp(1j * np.angle(filled))) == steps
    assert magnitude_noise(stored, steps) == pytest.approx(NOISE, rel=0.15)


def test_no_signal_leaves_finite_maps():
    empty = np.zeros((4, 4, 4, 2), dtype=np.float32)
    result = combine_echoes(empty, empty, (0.005, 0.01))
    assert np.isfinite(result.field_hz).all()
    assert np.isfinite(result.noise_hz).all()


def test_laplacian_unwrapping_of_smooth_phase_is_exact():
    x, y, z = np.meshgrid(*[np.arange(n) * s for n, s in zip((32, 24, 16), (1, 1, 2), strict=True)],
                          indexing='ij')  # fmt: skip
    truth = 0.02 * x**2 + 0.3 * y - 0.2 * z + 0.01 * x * y
    unwrapped = laplacian_unwrap(wrap(truth), Grid(x.shape, (1, 1, 2)))
    np.testing.assert_allclose(unwrapped - truth, np.mean(unwrapped - truth), atol=1e-3)
    turns = np.mean(unwrapped - truth) / (2 * np.pi)
    assert turns == pytest.approx(np.round(turns), abs=1e-3)


def test_unwrapping_by_romeo_keeps_the_contract(scan, tmp_path):
    """What the chain relies on: multiples of 2 pi in float32, the same affine, no empty voxel."""
    head, field, offset, phase, magnitude = scan
    affine = np.array([[-1.5, 0, 0.1, 5], [0, 1.5, 0, -7], [0.2, 0, 3, 11], [0, 0, 0, 1.0]])
    corrected = remove_offset(phase, offset)
    corrected[:2] = 0
    for name, data in (('phase', corrected), ('magnitude', magnitude)):
        nib.save(nib.Nifti1Image(data, affine), tmp_path / f'{name}.nii')
    romeo = Path(sys.executable).with_name('niimath')
    times = ','.join(f'{1000 * t:g}' for t in TIMES)
    command = [romeo, 'phase.nii', '-gz', '0', '-romeo', 'magnitude.nii', '-t', times, '-k',
               'nomask', '-g', '-q', '-no-phase-rescale', 'unwrapped.nii']  # fmt: skip
    subprocess.run(command, cwd=tmp_path, check=True)
    image = nib.load(tmp_path / 'unwrapped.nii')
    quality = np.asarray(nib.load(tmp_path / 'unwrapped_quality.nii').dataobj)
    unwrapped = np.asarray(image.dataobj)
    assert unwrapped.dtype == np.float32
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    turns = (unwrapped - corrected) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-5)
    assert quality.shape == head.shape
    assert np.median(quality[head]) > 0.8
    aligned = align_echoes(unwrapped, magnitude, TIMES, head)
    result = combine_echoes(aligned, magnitude, TIMES)
    inside = head.copy()
    inside[:3] = False
    assert np.mean(np.abs(result.field_hz - field)[inside] > 5) < 1e-3


def test_errors_name_what_is_wrong(scan):
    *_, phase, magnitude = scan
    with pytest.raises(ValueError, match='two or more echoes'):
        phase_difference(phase[..., 0], magnitude[..., 0])
    with pytest.raises(ValueError, match='as many echo times'):
        combine_echoes(phase, magnitude, TIMES[:2])
    with pytest.raises(ValueError, match='increasing'):
        combine_echoes(phase, magnitude, TIMES[::-1])

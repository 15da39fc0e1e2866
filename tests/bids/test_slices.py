"""Slices that are copies, that have scales of their own, and that moved between each other."""

import numpy as np
import pytest
from scipy import ndimage

from qsmprep.bids.errors import InputError
from qsmprep.bids.notes import Doubt
from qsmprep.bids.slices import check_gaps, check_interleaves, check_scales, check_slices


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_slices_that_are_copies_are_named(parts, axis):
    write, _, phase = parts
    order = [slice(None)] * 3
    assert check_slices(write('p', phase), phase) == []
    order[axis] = [*range(12), 11, 11, *range(14, 40)]
    (warning,) = check_slices(write('p', phase[tuple(order)]), phase[tuple(order)])
    assert f'p.nii.gz: 2 of 40 slices along array axis {axis + 1} hold the same values' in warning
    order[axis] = [20] * 40
    with pytest.raises(InputError, match='single slice cannot be repeated'):
        check_slices(write('p', phase[tuple(order)]), phase[tuple(order)])


def test_slices_of_one_value_are_no_copies(parts):
    write, _, phase = parts
    phase[:, :, 20:] = 0
    assert check_slices(write('p', phase), phase) == []
    phase[:, :, 7] = 0
    (warning,) = check_slices(write('p', phase), phase)
    assert '1 of 40 slices along array axis 3 hold one value alone between others' in warning
    phase[:, :, 7:] = 0
    phase[5, 5, 30] = 1  # a voxel that a mask left
    assert check_slices(write('p', phase), phase) == []


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_slices_in_scales_of_their_own_are_refused(parts, axis):
    write, _, phase = parts
    check_scales(write('p', phase), phase)
    scales = np.random.default_rng(1).uniform(0.6, 1, 40)
    phase = phase * np.moveaxis(scales[:, None, None], 0, axis)
    with pytest.raises(InputError, match=f'axis {axis + 1} wraps within ranges from') as error:
        check_scales(write('p', phase), phase)
    assert 'p.nii.gz' in str(error.value)


def test_a_masked_phase_has_one_scale(parts):
    """Slices at the top of a head wrap less than others, and are no reason to refuse."""
    write, magnitude, phase = parts
    phase = np.where(magnitude > 50, phase, 0)
    check_scales(write('p', phase), phase)
    assert check_interleaves(np.where(magnitude > 50, magnitude, 0)) == []
    assert check_gaps(np.where(magnitude > 50, magnitude * np.exp(1j * phase), 0)) == []


def textured(noise=0.0, thick=1):
    """A head with anatomy and noise, of which every slice of so many is left."""
    rng = np.random.default_rng(0)
    image = 100 + 400 * ndimage.gaussian_filter(rng.normal(size=(60, 50, 44 * thick)), 2)
    image = np.pad(np.clip(image, 60, None), 4)[:, :, ::thick]
    return np.hypot(image + noise * rng.normal(size=image.shape), noise)


@pytest.mark.parametrize(('noise', 'thick'), [(0, 1), (2, 1), (20, 1), (2, 3)])
def test_slices_that_lie_still_are_not_said_to_have_moved(noise, thick):
    image = textured(noise, thick)
    assert check_interleaves(image) == []
    image[:, :, ::2] *= 1.1  # saturated by their neighbours
    assert check_interleaves(image) == []


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize(('voxels', 'doubted'), [(0.25, False), (1, True)])
def test_odd_slices_that_moved_are_named(axis, voxels, doubted):
    image = textured(2)
    image[:, :, 1::2] = ndimage.shift(image, (0, voxels, 0), order=1)[:, :, 1::2]
    (warning,) = check_interleaves(np.moveaxis(image, 2, axis))
    assert isinstance(warning, Doubt) == doubted
    assert f'Odd and even slices along array axis {axis + 1} lie ' in warning


def test_a_few_slices_or_voxels_tell_nothing():
    for shape in ((3, 3, 3), (40, 40, 1), (2, 60, 60)):
        assert check_interleaves(np.ones(shape)) == check_gaps(np.ones(shape, complex)) == []


def smooth_field(noise=0.01):
    """Signal of a smooth field in a box, with noise."""
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.normal(size=(50, 50, 60)), 6)
    signal = np.exp(2j * field / field.std())
    return signal + noise * (rng.normal(size=field.shape) + 1j * rng.normal(size=field.shape))


@pytest.mark.parametrize('noise', [0.01, 0.3])
def test_slices_that_follow_each_other_have_no_gap(noise):
    signal = smooth_field(noise)
    assert check_gaps(signal) == []
    steps = np.random.default_rng(1).uniform(-np.pi, np.pi, signal.shape[2])
    assert check_gaps(signal * np.exp(1j * steps)) == []  # each slice has an offset of its own


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('missing', [1, 3])
def test_slices_that_are_missing_are_named(axis, missing):
    signal = np.delete(smooth_field(), np.arange(30, 30 + missing), axis=2)
    (warning,) = check_gaps(np.moveaxis(signal, 2, axis))
    assert f'Between the slices 30 and 31 along array axis {axis + 1} the phase' in warning
    assert isinstance(warning, Doubt) == (missing > 1)


def test_the_edge_of_a_head_where_images_ring_tells_of_no_gap():
    signal = np.tile(smooth_field(), (2, 2, 1))  # 10,000 voxels a slice, and 400 at the end
    signal[20:, :, 40:] = signal[:, 20:, 40:] = 0
    assert check_gaps(np.delete(signal, 50, axis=2)) == []
    assert 'Between the slices 20 and 21' in check_gaps(np.delete(signal, 20, axis=2))[0]


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_a_field_that_is_rough_from_slice_to_slice_has_no_gap(axis):
    """As at the round wall of a tube in a phantom, where voxels make stairs."""
    pattern = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(50, 50)), 6)
    heights = np.cumsum(np.where(np.arange(60) % 3, 0.1, 0.18))
    signal = np.exp(1j * pattern[..., None] / pattern.std() * heights)
    assert check_gaps(np.moveaxis(signal, 2, axis)) == []
    even = np.exp(1j * pattern[..., None] / pattern.std() * 0.1 * np.delete(np.arange(60), 30))
    assert 'Between the slices 30 and 31' in check_gaps(np.moveaxis(even, 2, axis))[0]

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from qsmprep.qsm.mask import (
    bare_rim,
    fill_holes,
    largest_component,
    mask_steps,
    reliable_mask,
    signal_mask,
)


@pytest.fixture
def brain():
    x, y, z = np.indices((40, 40, 40)) - 19.5
    return x**2 + y**2 + z**2 < 17**2


def test_only_small_closed_cavities_are_filled(brain):
    mask = brain.copy()
    mask[20, 20, 20] = False
    mask[10:15, 18:23, 18:23] = False
    filled = fill_holes(mask, 0.1, 0.001)
    assert filled[20, 20, 20]
    assert not filled[12, 20, 20]
    assert fill_holes(mask, 1.0, 0.001)[12, 20, 20]


def test_largest_component():
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[:4] = True
    mask[8:] = True
    np.testing.assert_array_equal(np.flatnonzero(largest_component(mask).any((1, 2))), range(4))
    with pytest.raises(ValueError, match='empty'):
        largest_component(np.zeros((3, 3, 3)))


def test_reliable_mask_keeps_dephased_voxels_and_drops_random_phase(brain):
    quality = np.full(brain.shape, 0.9, dtype=np.float32)
    quality[20, 20, 14:26] = 0.02
    quality[14:26, 28:, 20:] = 0.2
    quality[14:26, 14:26, :9] = 0.02
    quality[:5] = np.nan
    mask = reliable_mask(brain, quality, (1, 1, 1))
    assert mask[20, 20, 14:26].all()
    assert not mask[14:26, 14:26, :9].any()
    assert not (mask & ~brain).any()
    kept = brain.copy()
    kept[14:26, 14:26, :9] = False
    kept[:5] = False
    np.testing.assert_array_equal(mask, kept)


def test_uniformly_noisy_phase_keeps_the_brain(brain):
    quality = np.full(brain.shape, 0.3, dtype=np.float32)
    np.testing.assert_array_equal(reliable_mask(brain, quality, (1, 1, 1)), brain)


def test_errors(brain):
    with pytest.raises(ValueError, match='one grid'):
        reliable_mask(brain, np.ones((3, 3, 3)), (1, 1, 1))
    with pytest.raises(ValueError, match='empty'):
        reliable_mask(np.zeros_like(brain), np.ones(brain.shape), (1, 1, 1))


def test_steps_count_volume(brain):
    steps = mask_steps({'brain': brain, 'eroded': binary_erosion(brain)}, (1, 1, 2))
    assert list(steps) == ['brain', 'eroded']
    assert steps['brain'] == pytest.approx(brain.sum() * 0.002, abs=1e-3)
    assert steps['eroded'] < steps['brain']


def test_signal_is_found_with_and_without_background():
    rng = np.random.default_rng(0)
    tissue = rng.uniform(50, 150, (24, 24, 24))
    head = np.abs(rng.normal(0, 2, (24, 24, 24)))
    inside = np.zeros(head.shape, dtype=bool)
    inside[6:18, 6:18, 6:18] = True
    head[inside] = tissue[inside]
    head[12, 12, 12] = 0.0
    np.testing.assert_array_equal(signal_mask(head), inside)
    assert signal_mask(tissue).all()
    with pytest.raises(ValueError, match='empty'):
        signal_mask(np.zeros((4, 4, 4)))


def test_steep_phase_at_the_rim_is_dropped_but_not_around_a_lesion(brain):
    quality = np.ones(brain.shape)
    x, y, z = np.indices(brain.shape) - 19.5
    phase = 0.5 * x
    np.testing.assert_array_equal(reliable_mask(brain, quality, (1, 1, 1), phase), brain)
    lesion = x**2 + y**2 + z**2 < 4
    at_air = (x + 16) ** 2 + y**2 + z**2 < 9
    phase[lesion | at_air] += 2 * np.pi
    mask = reliable_mask(brain, quality, (1, 1, 1), phase)
    assert not (mask & at_air).any()
    assert mask[lesion].all()
    assert mask.sum() > 0.95 * brain.sum()


def test_bone_leaves_a_mask_that_is_too_wide_and_dephased_tissue_stays(brain):
    """Bone around the brain; at its surface a haemorrhage as dark as bone in the first echo."""
    x, y, z = np.indices(brain.shape) - 19.5
    wide = binary_dilation(brain)
    times = (0.004, 0.012)
    lesion = brain & ((x - 15) ** 2 + y**2 + z**2 < 4**2)
    proton, rate = np.where(brain, 1.0, 0.1), np.where(lesion, 300.0, 20.0)
    # coils are four times as sensitive on one side as on the other
    sensitivity = np.exp(x / 29)
    echoes = [sensitivity * proton * np.exp(-te * rate) for te in times]
    magnitude = np.stack(echoes, axis=-1).astype(np.float32)
    for mask in (brain, wide):
        bare = bare_rim(mask, magnitude, times, (2.0, 2.0, 2.0))
        np.testing.assert_array_equal(mask & ~bare, brain)


def test_a_field_of_view_without_a_rim_has_no_bare_one():
    magnitude = np.ones((8, 8, 8, 1), dtype=np.float32)
    magnitude[0] = 0
    assert not bare_rim(np.ones((8, 8, 8), bool), magnitude, (0.01,), (1.0, 1.0, 1.0)).any()


def test_two_specimens_are_both_kept_and_crumbs_are_not():
    signal = np.zeros((40, 24, 24))
    signal[2:18, 4:20, 4:20] = 1
    signal[22:36, 6:18, 6:18] = 1
    signal[38, 2, 2] = 1
    two = signal_mask(signal)
    assert two[10, 10, 10]
    assert two[30, 10, 10]
    assert not two[38, 2, 2]
    quality = np.full(signal.shape, 0.9)
    quality[:, 12, 12] = 0.01
    kept = reliable_mask(two, quality, (1, 1, 1), max_hole_ml=0)
    assert np.count_nonzero(kept) == np.count_nonzero(two & (quality > 0.5))


def test_what_random_phase_cuts_off_a_part_is_not_kept():
    brain = np.zeros((30, 12, 12), dtype=bool)
    brain[2:28, 2:10, 2:10] = True
    quality = np.full(brain.shape, 0.9)
    quality[18:21] = 0.01
    kept = reliable_mask(brain, quality, (1, 1, 1))
    assert kept[:18].any()
    assert not kept[21:].any()

"""Masks: given, extracted, and freed of unreliable phase."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from qsmprep.interfaces import images
from qsmprep.interfaces.mask import ExtractBrain, MatchMask, TrustPhase, deepbet_or_signal


def test_a_small_field_of_view_is_masked_by_its_signal_and_says_so(save, echoes):
    result = ExtractBrain(magnitude=save(echoes['magnitude'], 'magnitude')).run().outputs
    assert result.parameters['Method'] == 'signal'
    assert '64 mm' in result.parameters['Reason']
    np.testing.assert_array_equal(images.read(result.mask, bool), echoes['ball'])


def test_a_given_mask_on_another_grid_is_resampled(save, echoes):
    ball = echoes['ball']
    shifted = np.diag([2.0, 2.0, 2.0, 1.0])
    shifted[:3, 3] = [4.0, 0.0, -2.0]
    moved = np.roll(ball, (-2, 0, 1), axis=(0, 1, 2))
    result = MatchMask(mask=save(moved, 'mask', shifted), reference=save(ball, 'reference')).run()
    assert result.outputs.parameters['Resampled']
    overlap = images.read(result.outputs.mask, bool) & ball
    assert overlap.sum() > 0.98 * ball.sum()


def test_a_given_mask_elsewhere_is_an_error(save, echoes):
    far = np.diag([2.0, 2.0, 2.0, 1.0])
    far[:3, 3] = 500.0
    node = MatchMask(mask=save(echoes['ball'], 'mask', far), reference=save(echoes['ball'], 'ref'))
    with pytest.raises(ValueError, match='scanner space'):
        node.run()


def test_unreliable_phase_leaves_the_mask(save, echoes):
    quality = np.where(echoes['ball'], 0.9, 0.0)
    quality[:12] = np.nan
    result = TrustPhase(brain=save(echoes['ball'], 'brain'), quality=save(quality, 'quality')).run()
    mask = images.read(result.outputs.mask, bool)
    assert not mask[:11].any()
    assert mask[14:].sum() > 0.95 * echoes['ball'][14:].sum()


@pytest.mark.parametrize(('voxels', 'said'), [(0, None), (1, 'Notes'), (2, 'Warnings')])
def test_bone_at_the_rim_of_a_mask_is_taken_off_and_more_of_it_warned_of(
    save, echoes, voxels, said
):
    brain = echoes['ball']
    wide = binary_dilation(brain, iterations=voxels) if voxels else brain
    magnitude = save(np.where(brain, 100.0, 5.0)[..., np.newaxis], 'magnitude')
    node = TrustPhase(brain=save(wide, 'brain'), magnitude=magnitude, echo_times_s=[0.02])
    outputs = node.run().outputs
    tissue = images.read(outputs.tissue, bool)
    share = 1 - tissue.sum() / wide.sum()
    assert outputs.parameters['ShareBareAtRim'] == pytest.approx(share, abs=1e-4)
    assert [key for key in ('Warnings', 'Notes') if key in outputs.parameters] == [said] * bool(
        said
    )
    if said != 'Warnings':
        np.testing.assert_array_equal(tissue, brain)


def test_no_reliable_voxel_is_an_error(save, echoes):
    node = TrustPhase(
        brain=save(echoes['ball'], 'brain'), quality=save(np.zeros((32, 32, 32)), 'quality')
    )
    with pytest.raises(ValueError, match='mask is empty'):
        node.run()


def test_what_has_no_signal_leaves_the_network_s_mask(monkeypatch):
    """A mask 4 mm too wide, over bone without signal; a dark lesion that it encloses stays."""
    x, y, z = np.indices((60, 60, 60)) - 29.5
    radius = 2.0 * np.sqrt(x**2 + y**2 + z**2)
    brain, wide = radius < 46, radius < 50
    magnitude = np.where(brain, 100.0, 3.0).astype(np.float32)
    magnitude[28:32, 28:32, 28:32] = 3.0
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    for network, share in ((wide, 1 - brain.sum() / wide.sum()), (brain, 0.0)):
        monkeypatch.setattr('qsmprep.interfaces.mask.deepbet', lambda *_, n=network, **__: n)
        found, record = deepbet_or_signal(magnitude, affine=affine)
        np.testing.assert_array_equal(found, brain)
        assert record['ShareWithoutSignal'] == pytest.approx(share, abs=1e-4)
        assert ('Warnings' in record) == (share > 0)

"""Referencing of susceptibility maps."""

import numpy as np
import pytest

from qsmprep.qsm.reference import reference_chi


@pytest.fixture
def chi():
    return np.random.default_rng(0).normal(0.5, 0.1, (6, 7, 8)).astype(np.float32)


def test_region_becomes_zero_and_contrast_stays(chi):
    mask = np.ones(chi.shape, dtype=bool)
    mask[0] = False
    region = np.zeros(chi.shape, dtype=bool)
    region[:3, 2:4] = True
    referenced, value = reference_chi(chi, mask, region)
    assert referenced.dtype == np.float32
    assert value == pytest.approx(chi[region & mask].mean(), rel=1e-5)
    assert referenced[region & mask].mean() == pytest.approx(0, abs=1e-6)
    assert not referenced[0].any()
    np.testing.assert_allclose(np.diff(referenced[1:], axis=0), np.diff(chi[1:], axis=0), atol=1e-6)


def test_whole_mask_is_the_default(chi):
    mask = chi > 0.5
    referenced, value = reference_chi(chi, mask)
    assert value == pytest.approx(chi[mask].mean(), rel=1e-5)
    assert referenced[mask].mean() == pytest.approx(0, abs=1e-6)


def test_unusable_regions_are_refused(chi):
    mask = np.ones(chi.shape, dtype=bool)
    with pytest.raises(ValueError, match='no voxel'):
        reference_chi(chi, mask, np.zeros(chi.shape))
    with pytest.raises(ValueError, match='resample'):
        reference_chi(chi, mask[1:])

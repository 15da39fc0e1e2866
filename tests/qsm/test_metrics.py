"""The measures against the QSM-CI scorer and against errors of known size."""

import numpy as np
import pytest
from qsm_ci import qsm_eval

from qsmprep.qsm import metrics


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    truth = rng.normal(0.02, 0.05, (22, 24, 20))
    chi = 0.8 * truth + rng.normal(0.1, 0.02, truth.shape)
    mask = np.zeros(truth.shape, dtype=bool)
    mask[2:20, 0:23, 3:17] = True
    chi[5:8] = 0
    return chi.astype(np.float32), truth.astype(np.float32), mask


def test_measures_equal_the_scorer(maps):
    chi, truth, mask = maps
    expected = qsm_eval.nrmse_challenge(chi.astype(float), truth.astype(float), mask)
    assert metrics.nrmse(*maps) == pytest.approx(expected[0], rel=1e-9)
    assert metrics.detrended_nrmse(*maps) == pytest.approx(expected[1], rel=1e-9)
    assert metrics.hfen(*maps) == pytest.approx(qsm_eval.hfen(*maps), rel=1e-9)
    assert metrics.xsim(*maps) == pytest.approx(qsm_eval.xsim(*maps), rel=1e-7)


def test_equal_maps_have_no_error(maps):
    _, truth, mask = maps
    assert metrics.nrmse(truth + 1, truth, mask) == pytest.approx(0, abs=1e-4)
    assert metrics.hfen(truth, truth, mask) == 0
    assert metrics.xsim(truth, truth, mask) == pytest.approx(1)
    assert metrics.slope(truth, truth, mask) == pytest.approx(1)


def test_detrending_forgives_a_gain_alone(maps):
    _, truth, mask = maps
    assert metrics.nrmse(0.5 * truth, truth, mask) == pytest.approx(50, rel=1e-5)
    assert metrics.detrended_nrmse(0.5 * truth, truth, mask) == pytest.approx(0, abs=1e-4)
    assert metrics.slope(0.5 * truth, truth, mask) == pytest.approx(0.5)


def test_an_empty_map_has_all_the_error(maps):
    _, truth, mask = maps
    assert metrics.nrmse(0 * truth, truth, mask) == pytest.approx(100)
    assert metrics.detrended_nrmse(0 * truth, truth, mask) == pytest.approx(100)


def test_regions_find_the_error_that_was_put_in(maps):
    _, truth, mask = maps
    truth = truth.astype(np.float64)
    labels = np.zeros(truth.shape, dtype=int)
    labels[2:8], labels[8:14] = 4, 9
    rng = np.random.default_rng(1)
    wrong = truth + rng.normal(0, 0.01, truth.shape)
    wrong[labels == 9] += 0.03
    regions = metrics.region_errors(wrong, truth, labels, mask)
    assert set(regions) == {4, 9}
    assert regions[9].error - regions[4].error == pytest.approx(0.03, abs=1e-3)
    assert regions[4].error_sd == pytest.approx(0.01, rel=0.05)
    assert regions[4].voxels == int((labels[mask] == 4).sum())
    statistics = qsm_eval.region_stats(wrong - wrong[mask].mean(), labels, mask)
    assert regions[9].mean == pytest.approx(statistics['9']['mean'], abs=1e-6)


def test_different_grids_and_empty_masks_are_refused(maps):
    chi, truth, mask = maps
    with pytest.raises(ValueError, match='one grid'):
        metrics.nrmse(chi[1:], truth, mask)
    with pytest.raises(ValueError, match='empty'):
        metrics.xsim(chi, truth, np.zeros_like(mask))

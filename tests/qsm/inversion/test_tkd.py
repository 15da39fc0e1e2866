"""Thresholded k-space division on a small phantom whose field is known exactly."""

import pytest

from qsmprep.qsm.inversion.tkd import tkd
from qsmprep.qsm.metrics import slope


@pytest.fixture(scope='module')
def scan(make_scan):
    return make_scan(noise=5e-4)


def test_lower_thresholds_divide_by_less_of_the_cone(scan):
    low, high = (tkd(scan.field, scan.mask, scan.grid, threshold=t).chi for t in (0.1, 0.4))
    slopes = [slope(x.numpy(), scan.chi.numpy(), scan.mask.numpy()) for x in (low, high)]
    assert 1.1 > slopes[0] > slopes[1] > 0.4
    assert scan.error(low) < 75


@pytest.mark.parametrize('threshold', [0, 0.7])
def test_a_threshold_out_of_range_is_refused(scan, threshold):
    with pytest.raises(ValueError, match='threshold lies between 0 and 0.667'):
        tkd(scan.field, scan.mask, scan.grid, threshold=threshold)

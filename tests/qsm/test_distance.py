"""Tests of distances between voxels."""

from __future__ import annotations

import numpy as np

from qsmprep.qsm.distance import squared_distance


def test_distances_are_those_to_the_nearest_voxel_outside():
    mask = np.random.default_rng(0).random((9, 11, 8)) > 0.02
    size = (0.7, 1.3, 2.0)
    inside, outside = (np.argwhere(part) * size for part in (mask, ~mask))
    nearest = ((inside[:, None] - outside) ** 2).sum(-1).min(1)
    found = squared_distance(mask, size)
    np.testing.assert_allclose(found[mask], nearest, rtol=1e-12)
    assert not found[~mask].any()


def test_distance_to_nothing_is_infinite():
    assert np.isinf(squared_distance(np.ones((2, 3, 4), dtype=bool), (1, 1, 1))).all()

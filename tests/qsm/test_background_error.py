"""What background removal leaves, against the true local field of simulated heads."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from qsmprep.qsm.background import remove_background
from qsmprep.qsm.background.error import error_at
from qsmprep.qsm.background.pdf import robust_sd
from qsmprep.qsm.simulate import simulate_head


@pytest.fixture(scope='module')
def head():
    return simulate_head(voxel_size=(3.0, 3.0, 3.0), supersampling=(2, 2, 2), seed=11)


@pytest.mark.parametrize(
    ('method', 'factor'),
    [('pdf', 1.8), ('vsharp', 1.5), ('lbv', 1.5), ('ismv', 1.8), ('resharp', 1.8)],
)
def test_the_error_is_known_at_every_depth(head, method, factor):
    brain, grid = head.brain, head.grid
    found = remove_background(head.total_field_hz, brain, grid, method, noise=0.01 * brain)
    error = found.local_field - head.local_field_hz
    error -= np.median(error[found.mask])
    depth = distance_transform_edt(found.tissue, sampling=grid.voxel_size)
    for low, high in ((0, 4), (4, 7), (7, 12), (12, 18)):
        shell = found.mask & (depth > low) & (depth <= high)
        # the surface lies half a voxel off the next one outside
        expected = error_at(depth[shell] - 1.5, found.local_field, found.mask, found.tissue, grid)
        assert 1 / factor < np.median(expected) / robust_sd(error[shell]) < factor

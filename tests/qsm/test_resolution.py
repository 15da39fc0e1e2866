"""Grids of one field of view: they share their faces, and leave anatomy in its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.operators import KSpaceCrop
from qsmprep.qsm.resolution import finer_affine, finer_grid


def test_a_blob_keeps_its_centre_of_mass_in_mm():
    rng = np.random.default_rng(0)
    coarse = Grid((17, 14, 12), (2.0, 2.2, 3.0))
    fine = finer_grid(coarse, 1.1)
    turned = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag(coarse.voxel_size)
    affine[:3, 3] = (-20, 7, 31)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in coarse.shape], indexing='ij'), -1)
    blob = np.exp(-(((index - [8.3, 6.1, 5.4]) / 1.8) ** 2).sum(-1))
    found = KSpaceCrop(fine.shape, coarse.shape).zero_filled(torch.from_numpy(blob)).numpy()

    def centre_mm(image, affine):
        places = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing='ij'), -1)
        weight = image * (image > 0.05 * image.max())
        return affine[:3, :3] @ np.average(places.reshape(-1, 3), 0, weight.ravel()) + affine[:3, 3]

    distance = centre_mm(blob, affine) - centre_mm(found, finer_affine(affine, coarse, fine))
    assert np.abs(distance).max() < 0.02


def test_both_affines_share_their_faces():
    coarse = Grid((17, 14, 12), (2.0, 2.2, 3.0))
    fine = finer_grid(coarse, 1.1)
    affine = np.diag([*coarse.voxel_size, 1.0])
    new = finer_affine(affine, coarse, fine)
    low, high = np.full(4, -0.5), np.array([*coarse.shape, 0]) - 0.5
    low[3] = high[3] = 1
    fine_high = np.array([*fine.shape, 0]) - 0.5
    fine_high[3] = 1
    np.testing.assert_allclose(new @ low, affine @ low)
    np.testing.assert_allclose(new @ fine_high, affine @ high)
    np.testing.assert_allclose(np.diag(new)[:3], fine.voxel_size)


@pytest.mark.parametrize(
    ('size', 'asked', 'shape'),
    [
        ((2, 2, 2), 1.0, (40, 44, 20)),
        ((1, 1, 3), 'iso', (20, 22, 30)),
        ((0.8, 0.8, 2), 1.0, (20, 22, 20)),
        ((1.2, 1.2, 1.2), 0.7, (34, 38, 17)),
        ((1, 1, 1), 1.0, None),
        ((1, 1, 1), 'iso', None),
        ((1, 1, 1), 2.0, None),
    ],
)
def test_no_voxel_grows_and_the_field_of_view_stays(size, asked, shape):
    grid = Grid((20, 22, 10), size, (0, 0.6, 0.8))
    fine = finer_grid(grid, asked)
    if shape is None:
        assert fine is None
        return
    assert fine.shape == shape
    extent = np.multiply(grid.shape, grid.voxel_size)
    np.testing.assert_allclose(np.multiply(fine.shape, fine.voxel_size), extent)
    assert fine.b0_direction == grid.b0_direction


@pytest.mark.parametrize('asked', ['fine', 0.0, -1.0, float('nan')])
def test_no_resolution_is_refused(asked):
    with pytest.raises(ValueError, match='edge of a voxel in mm'):
        finer_grid(Grid((4, 4, 4)), asked)

"""The grid: voxel sizes and the direction of B0 from affines, and field units."""

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from qsmprep.qsm.grid import Grid, bounding_box, hz_to_ppm, ppm_to_hz


def test_axial_image_has_b0_along_its_third_axis():
    grid = Grid.from_affine((10, 11, 12, 4), np.diag([-1.0, 2.0, 3.0, 1.0]))
    assert grid.shape == (10, 11, 12)
    assert grid.voxel_size == (1, 2, 3)
    np.testing.assert_allclose(grid.b0_direction, (0, 0, 1), atol=1e-12)
    assert grid.voxel_volume_ml == pytest.approx(0.006)


@pytest.mark.parametrize('angles', [(20, 0, 0), (0, -35, 0), (12, 25, -40)])
def test_oblique_image_has_b0_at_the_angle_of_the_slices(angles):
    rotation = Rotation.from_euler('xyz', angles, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.8, 0.9, 2.0])
    grid = Grid.from_affine((5, 6, 7), affine)
    np.testing.assert_allclose(grid.voxel_size, (0.8, 0.9, 2.0))
    in_scanner = rotation @ np.array(grid.b0_direction)
    np.testing.assert_allclose(in_scanner, (0, 0, 1), atol=1e-12)


@pytest.mark.parametrize('orientation', ['LAS', 'PIR', 'SPL'])
def test_reordered_axes_keep_the_physical_direction(orientation):
    rotation = Rotation.from_euler('x', 30, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = rotation
    image = nib.Nifti1Image(np.zeros((4, 5, 6)), affine)
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(
            nib.io_orientation(affine), nib.orientations.axcodes2ornt(orientation)
        )
    )
    grid = Grid.from_affine(turned.shape, turned.affine)
    direction = turned.affine[:3, :3] @ np.array(grid.b0_direction)
    np.testing.assert_allclose(direction, (0, 0, 1), atol=1e-12)


def test_unusable_geometry_is_refused():
    with pytest.raises(ValueError, match='three axes'):
        Grid((4, 4))
    with pytest.raises(ValueError, match='positive'):
        Grid((4, 4, 4), (1, 0, 1))
    with pytest.raises(ValueError, match='direction'):
        Grid((4, 4, 4), (1, 1, 1), (0, 0, 0))
    with pytest.raises(ValueError, match='singular'):
        Grid.from_affine((4, 4, 4), np.diag([1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match='finite'):
        Grid.from_affine((4, 4, 4), np.full((4, 4), np.nan))


def test_field_units_invert_each_other():
    assert hz_to_ppm(42.577478518 * 7, 7) == pytest.approx(1)
    field = np.array([-12.5, 0.0, 80.0])
    np.testing.assert_allclose(ppm_to_hz(hz_to_ppm(field, 3), 3), field)


def test_bounding_box_holds_the_mask():
    mask = np.zeros((6, 7, 8), dtype=bool)
    mask[1, 2, 3] = mask[4, 5, 6] = True
    assert bounding_box(mask) == (slice(1, 5), slice(2, 6), slice(3, 7))

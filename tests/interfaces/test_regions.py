"""Labels of a template, brought to the echoes through a known deformation."""

import nibabel as nb
import numpy as np
import pytest
import SimpleITK as sitk

from qsmprep.interfaces.itk import LPS, affine_transform, chain, write_transform
from qsmprep.interfaces.regions import PlaceLabels
from qsmprep.qsm.registration import overlap
from qsmprep.qsm.simulate import rigid_transform

CENTRES = {7: (-18.0, 6.0, 4.0), 9: (20.0, -8.0, -3.0)}
RADII = np.array([6.0, 11.0, 8.0])
TO_T1W = rigid_transform((6, -9, 12), (7, -5, 11))
"""Points of the echoes to those of the T1-weighted image [mm]."""
TO_TEMPLATE = rigid_transform((-4, 3, -8), (2, 9, -6)) @ np.diag([1.1, 0.93, 1.05, 1.0])
"""Points of the T1-weighted image, once they are bent, to those of the template."""


def labels_at(points):
    """Two ellipsoids of the template, at points [mm]."""
    found = np.zeros(points.shape[:-1], np.int16)
    for number, centre in CENTRES.items():
        found[(((points - centre) / RADII) ** 2).sum(-1) < 1] = number
    return found


def bend(points):
    """Displacements of points of the T1-weighted image, 7 mm at most [mm]."""
    x, y, z = np.moveaxis(points / 25, -1, 0)
    return 7 * np.stack([np.sin(y + 0.5), np.cos(z) * np.sin(x), np.sin(x - y)], axis=-1)


def moved(points, matrix):
    """Where a matrix brings points."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def grid_points(shape, affine):
    """Places of the voxels [mm]."""
    return moved(np.moveaxis(np.indices(shape), 0, -1), affine)


@pytest.fixture
def placed(tmp_path, monkeypatch):
    """Function of transforms: labels on the grid of the echoes, and that grid's points."""
    monkeypatch.chdir(tmp_path)
    atlas = nb.affines.from_matvec(np.diag([-1.0, 1.0, 1.0]), (50, -50, -45))
    labels = labels_at(grid_points((100, 100, 90), atlas))
    nb.save(nb.Nifti1Image(labels, atlas), 'atlas.nii')
    turn = rigid_transform((12, -7, 5))[:3, :3] @ np.array([[0, 0, 2.4], [-1.6, 0, 0], [0, 2, 0]])
    echoes = nb.affines.from_matvec(turn, -turn @ (31, 27, 22) + (1, 2, -4))
    nb.save(nb.Nifti1Image(np.zeros((62, 54, 44), np.float32), echoes), 'echoes.nii')

    def run(*transforms):
        node = PlaceLabels(
            reference='echoes.nii', segmentation='atlas.nii', transforms=list(transforms)
        )
        return nb.load(node.run().outputs.labels).get_fdata()

    return run, grid_points((62, 54, 44), echoes)


def composite(path, sign=1):
    """From the template to the T1-weighted image as ANTs writes it: affine and displacements."""
    affine = nb.affines.from_matvec(np.diag([2.0, 2.0, 2.0]), (-64, -64, -64))
    shifts = sign * bend(grid_points((64, 64, 64), affine)) @ LPS[:3, :3]
    field = sitk.GetImageFromArray(shifts.transpose(2, 1, 0, 3).astype(float), isVector=True)
    field.SetSpacing((2.0, 2.0, 2.0))
    field.SetOrigin((LPS @ affine)[:3, 3].tolist())
    field.SetDirection(LPS[:3, :3].ravel().tolist())
    # affine_transform takes the points of an image to where it is brought: from the template
    parts = [affine_transform(np.linalg.inv(TO_TEMPLATE)), sitk.DisplacementFieldTransform(field)]
    return write_transform(chain(parts), path)


def test_labels_pass_a_known_deformation_and_a_rigid_transform(placed, tmp_path):
    run, points = placed
    in_t1w = moved(points, TO_T1W)
    expected = labels_at(moved(in_t1w + bend(in_t1w), TO_TEMPLATE))
    rigid = write_transform(affine_transform(np.linalg.inv(TO_T1W)), tmp_path / 'rigid.txt')
    right = run(composite(tmp_path / 'warp.h5'), rigid)
    wrong = run(composite(tmp_path / 'other.h5', sign=-1), rigid)
    for number in CENTRES:
        assert (expected == number).sum() > 200
        assert overlap(right == number, expected == number) > 0.95
        assert overlap(wrong == number, expected == number) < 0.5
        shift = np.subtract(*(points[x == number].mean(axis=0) for x in (right, expected)))
        # half a voxel would be 0.8 mm or more
        assert np.linalg.norm(shift) < 0.3

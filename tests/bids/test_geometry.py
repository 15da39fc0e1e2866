"""Transforms and voxel sizes: which is used, what is doubted, what is refused."""

import re

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.errors import InputError
from qsmprep.bids.geometry import grid_warnings
from qsmprep.bids.headers import inspect_image
from qsmprep.bids.notes import Doubt
from tests.bids.scans import PIXDIM_BYTE, SROW_X_BYTE, patch


@pytest.mark.parametrize('size', [0, 0.0, np.nan, -1.0, np.inf])
def test_impossible_voxel_size(path, size):
    patch(path, PIXDIM_BYTE + 8, size)
    with pytest.raises(InputError, match=r'image\.nii\.gz has the voxel size \(pixdim\) 1, '):
        inspect_image(path)


def test_a_qfac_of_zero_stands_for_one(path):
    patch(path, PIXDIM_BYTE, 0.0)
    np.testing.assert_array_equal(inspect_image(path).affine, np.diag([1, 1, 2, 1]))


def test_affine_that_is_not_finite(path):
    patch(path, SROW_X_BYTE, np.nan)
    with pytest.raises(InputError, match='affine with values that are not finite'):
        inspect_image(path)


def test_singular_affine(path):
    patch(path, SROW_X_BYTE, *np.ravel([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0]]))
    with pytest.raises(InputError, match='singular affine'):
        inspect_image(path)


def test_axes_that_are_not_at_right_angles(path):
    patch(path, SROW_X_BYTE, *np.ravel([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0]]))
    with pytest.raises(InputError, match=r'voxel axes that are 5\.7 degrees off right'):
        inspect_image(path)
    patch(path, SROW_X_BYTE, *np.ravel([[1, 0.01, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0]]))
    assert any('0.6 degrees off right angles' in text for text in inspect_image(path).warnings)


def test_voxels_in_metres(path):
    patch(path, SROW_X_BYTE, *np.ravel(np.diag([0.001, 0.001, 0.002, 1])[:3]))
    with pytest.raises(InputError, match=r'voxels of 0\.001, 0\.001, 0\.002 mm'):
        inspect_image(path)


def test_orientation_is_questioned(tmp_path):
    image = nb.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    image.set_sform(np.eye(4), 0)
    image.set_qform(np.eye(4), 0)
    image.to_filename(tmp_path / 'x.nii')
    assert 'holds no orientation' in inspect_image(tmp_path / 'x.nii').warnings[0]


OTHER = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=float)


@pytest.mark.parametrize(
    ('sform_code', 'qform_code', 'used', 'warning'),
    [
        (
            4,
            1,
            'qform',
            r'sform \(code 4\) and qform \(code 1\) differ by .* 90.0 degrees; the qform',
        ),
        (2, 1, 'qform', 'the qform is used'),
        (1, 2, 'sform', 'the sform is used'),
        (1, 1, 'sform', 'the sform is used'),
        (1, 0, 'sform', None),
        (0, 1, 'qform', None),
        (4, 0, 'sform', 'neither transform leads to the scanner .* but to a standard space'),
        (2, 0, 'sform', r'\(sform 2, qform 0; 1 is expected\)'),
        (0, 2, 'qform', 'neither transform leads to the scanner'),
    ],
)
def test_the_direction_of_b0_comes_from_the_transform_of_the_scanner(
    tmp_path, sform_code, qform_code, used, warning
):
    image = nb.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    image.set_qform(OTHER, qform_code)
    image.set_sform(np.eye(4), sform_code)
    image.to_filename(tmp_path / 'x.nii')
    summary = inspect_image(tmp_path / 'x.nii')
    expected = OTHER if used == 'qform' else np.eye(4)
    np.testing.assert_allclose(summary.affine, expected, atol=1e-6)
    assert summary.warnings == () if warning is None else re.search(warning, summary.warnings[0])


def test_voxel_size_of_affine_wins_over_pixdim(path):
    patch(path, PIXDIM_BYTE + 4, 1.5)
    assert 'voxel size by the affine (1, 1, 2 mm) is used' in inspect_image(path).warnings[0]


@pytest.mark.parametrize(
    ('voxel_mm', 'shape', 'said'),
    [
        ((1, 1, 2), (200, 220, 70), []),
        ((1, 1, 2), (200, 220, 70, 8), []),
        ((1, 1, 2), (200, 220, 30), ['a slab of 60 mm (array axis 3)']),
        ((2, 1, 1), (18, 220, 160), ['a slab of 36 mm (array axis 1)']),
        ((1, 1, 1), (40, 40, 30), []),  # a specimen
        ((3, 3, 6), (70, 70, 30), ['The voxels are 3 x 3 x 6 mm']),
    ],
)
def test_what_limits_a_map_by_its_grid_is_said(voxel_mm, shape, said):
    found = grid_warnings(np.diag([*voxel_mm, 1.0]), shape)
    assert len(found) == len(said)
    assert all(text in warning for text, warning in zip(said, found, strict=True))
    assert any(isinstance(warning, Doubt) for warning in found) == (shape[0] == 18)

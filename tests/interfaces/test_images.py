"""Images that pass between nodes keep the space of the scan."""

import nibabel as nb
import numpy as np
import pytest

from qsmprep.interfaces import images


@pytest.mark.parametrize(
    ('codes', 'expected'), [((1, 1), 1), ((2, 0), 2), ((0, 2), 2), ((4, 1), 1), ((0, 0), 1)]
)
def test_the_code_of_the_space_is_kept(tmp_path, codes, expected):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    reference = nb.Nifti1Image(np.zeros((3, 3, 3), np.float32), affine)
    reference.set_sform(affine, codes[0])
    reference.set_qform(affine, codes[1])
    reference.to_filename(tmp_path / 'reference.nii')
    images.save(np.ones((3, 3, 3)), tmp_path / 'reference.nii', tmp_path / 'saved.nii')
    header = nb.load(tmp_path / 'saved.nii').header
    for saved, code in (header.get_sform(coded=True), header.get_qform(coded=True)):
        np.testing.assert_allclose(saved, images.affine_of(tmp_path / 'reference.nii'), atol=1e-6)
        assert code == expected

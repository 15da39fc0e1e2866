"""``qsmprep-invert --output-resolution``: the fitted function on finer voxels."""

import json

import nibabel as nb
import numpy as np
import pytest

from qsmprep.cli.invert import main
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.operators import Dipole


@pytest.fixture
def files(tmp_path):
    """Field and mask of a ball off the centre, on voxels of 2 x 2 x 3 mm."""
    import torch

    shape, affine = (20, 18, 14), np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-10.0, 4.0, 7.0)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing='ij')
    mask = sum(a**2 for a in axes) < 0.9
    chi = 0.1 * ((axes[0] - 0.3) ** 2 + axes[1] ** 2 + axes[2] ** 2 < 0.15)
    field = Dipole(Grid.from_affine(shape, affine)).forward(torch.tensor(chi).float()).numpy()
    for name, image in (('field', field * mask), ('mask', mask.astype(np.uint8))):
        nb.save(nb.Nifti1Image(image, affine), tmp_path / f'{name}.nii')
    return tmp_path, affine


def run(folder, name, *options):
    path = folder / f'{name}.nii'
    paths = [str(folder / 'field.nii'), '-m', str(folder / 'mask.nii'), '-o', str(path)]
    assert main([*paths, '--device', 'cpu', *options]) == 0
    return nb.load(path)


def test_finer_map_fills_the_same_field_of_view(files):
    folder, affine = files
    options = ('--method', 'inr', '--parameter', 'iterations=20', 'trust=1')
    plain = run(folder, 'plain', *options)
    fine = run(folder, 'fine', *options, '--output-resolution', '1')
    assert fine.shape == (40, 36, 42)
    assert fine.header.get_zooms() == pytest.approx((1, 1, 1))
    np.testing.assert_allclose(fine.affine[:3, 3], affine[:3, 3] - (0.5, 0.5, 1.0))
    means = fine.get_fdata().reshape(20, 2, 18, 2, 14, 3).mean((1, 3, 5))
    assert np.corrcoef(means.ravel(), plain.get_fdata().ravel())[0, 1] > 0.97
    record = json.loads((folder / 'fine.json').read_text())['DipoleInversion']
    assert record['OutputVoxelSize'] == [1.0, 1.0, 1.0]


def test_a_map_of_voxels_has_no_other_resolution(files, capsys):
    folder, _ = files
    arguments = [str(folder / 'field.nii'), '-m', str(folder / 'mask.nii'), '-o']
    arguments += [str(folder / 'chi.nii'), '--method', 'tkd', '--output-resolution', '1']
    assert main([*arguments, '--device', 'cpu']) == 1
    assert 'choose inr or inr-qsm' in capsys.readouterr().err
    assert not (folder / 'chi.nii').exists()

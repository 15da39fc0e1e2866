"""Nodes of further contrasts say what contradicts itself."""

import nibabel as nb
import numpy as np
import pytest

from qsmprep.interfaces.contrasts import SubtractR2


@pytest.mark.parametrize(
    ('r2_hz', 'said'), [(12.0, set()), (17.0, {'Warnings'}), (80.0, {'Warnings', 'Doubts'})]
)
def test_r2_above_r2star_is_told_and_refused_where_it_is_most_of_it(tmp_path, r2_hz, said):
    rates = {
        'r2star': np.linspace(15, 20, 1000).reshape(10, 10, 10),
        'r2': np.full((10,) * 3, r2_hz),
    }
    for name, data in rates.items():
        image = nb.Nifti1Image(data.astype(np.float32), np.eye(4))
        image.to_filename(tmp_path / f'{name}.nii.gz')
    node = SubtractR2(r2star=tmp_path / 'r2star.nii.gz', r2=tmp_path / 'r2.nii.gz')
    record = node.run(cwd=tmp_path).outputs.parameters
    assert said == {'Warnings', 'Doubts'} & record.keys()
    assert all('R2 lies above R2*' in record[kind][0] for kind in said)

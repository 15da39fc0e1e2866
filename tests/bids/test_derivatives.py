"""Names of the outputs, and the description of their dataset."""

import json

import pytest

from qsmprep.bids.derivatives import (
    io_spec,
    output_path,
    write_dataset_description,
)

FULL = {
    'subject': '01',
    'session': 'a',
    'acquisition': 'x',
    'reconstruction': 'norm',
    'run': '1',
    'suffix': 'MEGRE',
    'datatype': 'anat',
}


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('chi', 'sub-01/ses-a/anat/sub-01_ses-a_acq-x_rec-norm_run-1_Chimap.nii.gz'),
        (
            'total_field',
            'sub-01/ses-a/fmap/sub-01_ses-a_acq-xrecnorm_run-1_desc-total_fieldmap.nii.gz',
        ),
        (
            'brain_mask',
            'sub-01/ses-a/anat/sub-01_ses-a_acq-x_rec-norm_run-1_desc-brain_mask.nii.gz',
        ),
    ],
)
def test_names_follow_the_specification(name, path):
    assert output_path(name, FULL) == path


def test_no_two_derivatives_share_a_name():
    names = [n for n in io_spec()['derivatives'] if n != 'unwrapped']
    assert len({output_path(n, FULL) for n in names}) == len(names)


def test_description_tells_no_path_of_the_host(tmp_path):
    raw, out = tmp_path / 'raw', tmp_path / 'out'
    raw.mkdir()
    (raw / 'dataset_description.json').write_text('{"Name": "Set", "BIDSVersion": "1.9.0"}')
    write_dataset_description(out, raw)
    text = (out / 'dataset_description.json').read_text()
    content = json.loads(text)
    assert str(tmp_path) not in text
    assert content['DatasetLinks'] == {'raw': '../raw'}
    assert content['GeneratedBy'][0]['Name'] == 'qsmprep'

"""Names of the outputs, and the description of their dataset."""

import json

import pytest

from qsmprep.bids.derivatives import (
    check_own_dataset,
    io_spec,
    output_path,
    write_dataset_description,
)
from qsmprep.bids.errors import InputError

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


@pytest.mark.parametrize(
    ('description', 'said'),
    [
        ({'DatasetType': 'derivative', 'GeneratedBy': [{'Name': 'fMRIPrep'}]}, 'of fMRIPrep'),
        ({'Name': 'Set', 'BIDSVersion': '1.9.0'}, 'a raw dataset'),
    ],
)
def test_the_dataset_of_somebody_else_is_no_place_for_output(tmp_path, description, said):
    (tmp_path / 'dataset_description.json').write_text(json.dumps(description))
    with pytest.raises(InputError, match=f'holds .*{said}'):
        check_own_dataset(tmp_path)


def test_own_output_is_written_again(tmp_path):
    (tmp_path / 'dataset_description.json').write_text('{"Name": "Set", "BIDSVersion": "1.9.0"}')
    out = tmp_path / 'out'
    check_own_dataset(out)
    write_dataset_description(out, tmp_path)
    check_own_dataset(out)

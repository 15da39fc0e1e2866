"""Names of images are read as BIDS wants them, or not at all."""

import pytest

from qsmprep.bids.errors import InputError
from qsmprep.bids.names import IMAGE, normalise_label, parse_name


def test_entities_come_by_their_long_names():
    entities, suffix = parse_name('sub-01_ses-a_acq-hi_echo-2_part-mag_MEGRE')
    assert suffix == 'MEGRE'
    assert entities == {
        'subject': '01',
        'session': 'a',
        'acquisition': 'hi',
        'echo': '2',
        'part': 'mag',
    }


@pytest.mark.parametrize('stem', ['sub-01__MEGRE', 'sub-01_echo1_MEGRE', 'run-1_run-2_bold', ''])
def test_a_name_that_breaks_the_rules_is_none(stem):
    assert parse_name(stem) is None


def test_both_extensions_of_images_are_known():
    assert IMAGE.fullmatch('sub-01_T1w.nii.gz')['extension'] == '.nii.gz'
    assert IMAGE.fullmatch('sub-01_T1w.nii')['stem'] == 'sub-01_T1w'
    assert IMAGE.fullmatch('sub-01_T1w.json') is None


@pytest.mark.parametrize('label', ['', 'a-b', '../01', 'a b'])
def test_other_signs_are_no_label(label):
    with pytest.raises(InputError, match='no valid label for ses-'):
        normalise_label(label, 'ses-')

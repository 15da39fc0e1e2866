"""Files are read with care: encodings, sizes, links, devices."""

import math
import os

import pytest

from qsmprep.bids.errors import InputError
from qsmprep.bids.files import check_path, read_json_object


@pytest.mark.parametrize(
    ('raw', 'said'),
    [
        ('{"a": "Universität"}'.encode('latin-1'), 'is not UTF-8 (byte 0xe4 at position 16)'),
        ('{"a": 1}'.encode('utf-16'), 'is not UTF-8 (byte 0xff at position 0)'),
        (b'{"a": ' + b'[' * 40 + b']' * 40 + b'}', 'nested more than 32 deep'),
        (b'[' * 100000, 'no readable JSON'),
        (b'[1, 2]', 'holds a list, but a JSON object'),
        (b'{"a": 1' + b'0' * 5000 + b'}', 'no readable JSON'),
        (b'{"a": "' + b'x' * 2**24 + b'"}', 'a JSON file of at most'),
    ],
    ids=['latin-1', 'utf-16', 'deep', 'bomb', 'list', 'digits', 'large'],
)
def test_sidecars_that_cannot_be_read_are_named(tmp_path, raw, said):
    path = tmp_path / 'sub-01_MEGRE.json'
    path.write_bytes(raw)
    with pytest.raises(InputError) as error:
        read_json_object(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_sidecars_that_are_no_files_are_named(tmp_path):
    for target, said in (('/dev/zero', 'no regular file'), ('nowhere', 'target is missing')):
        path = tmp_path / 'x.json'
        path.symlink_to(target)
        with pytest.raises(InputError, match=said):
            read_json_object(path)
        path.unlink()


def test_a_key_that_occurs_twice_keeps_both_values(tmp_path):
    path = tmp_path / 'sub-01_MEGRE.json'
    path.write_text('{"EchoTime": 0.01, "a": {"b": 1, "b": 1}, "EchoTime": 0.02}')
    assert read_json_object(path) == {'EchoTime': [0.01, 0.02], 'a': {'b': 1}}
    path.write_text('{"EchoTime": NaN}')
    assert math.isnan(read_json_object(path)['EchoTime'])


@pytest.mark.parametrize('raw', ['/annex/objects/MD5E-s212--a', 'version https://git-lfs.github'])
def test_a_json_file_that_was_not_fetched_is_named(tmp_path, raw):
    path = tmp_path / 'dataset_description.json'
    path.write_text(raw)
    with pytest.raises(InputError, match='has not been fetched'):
        read_json_object(path)


def test_a_file_without_rights_is_named(tmp_path, monkeypatch):
    path = tmp_path / 'sub-01_T1w.nii.gz'
    path.touch()
    monkeypatch.setattr(os, 'access', lambda file, mode: False)  # root may read all
    with pytest.raises(InputError, match=f'{path} cannot be read: permission denied'):
        check_path(path)

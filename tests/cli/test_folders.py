"""Folders and devices that cannot be used are named before anything is computed."""

import pytest

from qsmprep.bids.errors import InputError
from qsmprep.cli.device import resolve_device
from qsmprep.cli.folders import make_folder


def test_a_folder_is_made_with_its_parents(tmp_path):
    make_folder(tmp_path / 'a' / 'b', '--work-dir')
    assert (tmp_path / 'a' / 'b').is_dir()


def test_a_file_in_the_way_is_named_with_the_argument(tmp_path):
    (tmp_path / 'a').write_text('')
    with pytest.raises(InputError, match=r'a/b cannot be made .*; choose another as --work-dir'):
        make_folder(tmp_path / 'a' / 'b', '--work-dir')


def test_a_gpu_that_is_not_there_is_named():
    assert resolve_device('cpu') == 'cpu'
    with pytest.raises(ValueError, match='--device cuda:99: .* finds no such GPU'):
        resolve_device('cuda:99')

"""BIDS filter files: what they ask for, and which are refused."""

import json

import pytest

from qsmprep.bids.errors import InputError
from qsmprep.bids.filters import load_filters
from tests.bids.scans import find, the_one


def write_filters(tmp_path, content):
    path = tmp_path / 'filters.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_filters_know_absence_and_presence(tmp_path):
    path = write_filters(
        tmp_path,
        {
            'megre': {'run': None, 'acquisition': '*', 'echo': [1, 2], 'session': 'ses-1'},
            'bold': {},
        },
    )
    assert load_filters(path) == {
        'megre': {'run': None, 'acquisition': '*', 'echo': [1, 2], 'session': '1'}
    }


def test_session_is_taken_from_queries_of_other_pipelines(tmp_path, caplog):
    queries = {'fmap': {'datatype': 'fmap', 'session': '1'}, 't1w': {'session': '1'}}
    assert load_filters(write_filters(tmp_path, queries))['megre'] == {'session': '1'}
    queries['t1w']['session'] = '2'
    assert 'megre' not in load_filters(write_filters(tmp_path, queries))
    assert 'has no query megre' in caplog.text


@pytest.mark.parametrize('content', ['{', '[]', '{"megre": "x"}'])
def test_filters_of_another_form_are_named(tmp_path, content):
    with pytest.raises(InputError, match=r'filters\.json'):
        load_filters(write_filters(tmp_path, content))


def test_missing_filter_file_is_named(tmp_path):
    with pytest.raises(InputError, match='does not exist; check --bids-filter-file'):
        load_filters(tmp_path / 'none.json')


def test_filters_choose(tiny_dataset, tmp_path):
    tiny_dataset.add('sub-01_acq-a').add('sub-01').add('sub-01_acq-b')
    path = tmp_path / 'filters.json'
    path.write_text('{"megre": {"acquisition": "b", "echo": [1, 2]}}')
    scan = the_one(tiny_dataset, filters=load_filters(path))
    assert scan.stem == 'sub-01_acq-b_MEGRE'
    assert len(scan.phase) == 2
    path.write_text('{"megre": {"acquisition": null}}')
    assert the_one(tiny_dataset, filters=load_filters(path)).stem == 'sub-01_MEGRE'
    with pytest.raises(InputError, match='The filter for megre cannot be used'):
        find(tiny_dataset, filters={'megre': {'colour': 'red'}})
    with pytest.raises(InputError, match="'acq' is no entity; .* long names, .* acquisition"):
        find(tiny_dataset, filters={'megre': {'acq': 'b'}})

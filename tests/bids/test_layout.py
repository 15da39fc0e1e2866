"""Opening datasets, and choosing participants, sessions and files."""

import json

import pytest

from qsmprep.bids.errors import InputError
from qsmprep.bids.filters import load_filters
from qsmprep.bids.layout import (
    explain_missing,
    open_dataset,
    select_participants,
    select_sessions,
)


@pytest.fixture
def layout(tiny_dataset):
    tiny_dataset.add('sub-01_ses-a').add('sub-02_ses-b')
    return open_dataset(tiny_dataset.root)


def test_a_folder_that_is_no_dataset_is_named(tmp_path):
    with pytest.raises(InputError, match=r'nowhere does not exist; check bids_dir'):
        open_dataset(tmp_path / 'nowhere')
    with pytest.raises(InputError, match=r'holds no dataset_description\.json'):
        open_dataset(tmp_path)


@pytest.mark.parametrize('text', ['{"Name": ', '[]', '\x00\xff'])
def test_a_broken_description_is_named(tmp_path, text):
    (tmp_path / 'dataset_description.json').write_text(text)
    with pytest.raises(InputError, match=r'dataset_description\.json'):
        open_dataset(tmp_path)


def test_derivatives_are_refused_as_input(tiny_dataset):
    tiny_dataset.add().write_json(
        'dataset_description.json', {'Name': 'x', 'DatasetType': 'derivative'}
    )
    with pytest.raises(InputError, match=r'description\.json has the DatasetType "derivative"'):
        open_dataset(tiny_dataset.root)


def test_a_dataset_without_participants_is_named(tiny_dataset):
    layout = open_dataset(tiny_dataset.root)
    with pytest.raises(InputError, match=r'tiny has no participant .*; check bids_dir\.'):
        select_participants(layout, [])
    with pytest.raises(InputError, match=r'tiny has no session .*, or drop --session-label\.'):
        select_sessions(layout, ['a'], [])


def test_derivatives_and_source_data_are_no_participants(tiny_dataset):
    tiny_dataset.add()
    for folder in ('derivatives/qsmprep/sub-09/anat', 'sourcedata/sub-09/anat'):
        path = tiny_dataset.root / folder / 'sub-09_echo-1_part-phase_MEGRE.nii.gz'
        path.parent.mkdir(parents=True)
        path.touch()
    assert open_dataset(tiny_dataset.root).participants() == ['01']


def test_participants_with_and_without_prefix(layout):
    assert select_participants(layout, []) == ['01', '02']
    assert select_participants(layout, ['sub-02', '01', '02']) == ['01', '02']


def test_some_unknown_participants_are_a_warning_all_an_error(layout, caplog):
    assert select_participants(layout, ['01', '77']) == ['01']
    assert 'No participant sub-77' in caplog.text
    with pytest.raises(InputError, match=r'No participant sub-77, sub-78 .* has sub-01, sub-02'):
        select_participants(layout, ['77', '78'])


@pytest.mark.parametrize(
    'label', ['../01', '01/..', '', 'sub-', '0 1', '01\n', 'sub-01_ses-1', '*']
)
def test_labels_cannot_climb(layout, label):
    with pytest.raises(InputError, match='is no valid label for sub-'):
        select_participants(layout, [label])
    with pytest.raises(InputError, match='is no valid label for ses-'):
        select_sessions(layout, [label], ['01', '02'])


def test_sessions(layout):
    assert select_sessions(layout, [], ['01', '02']) == []
    assert select_sessions(layout, ['ses-b'], ['01', '02']) == ['b']
    with pytest.raises(InputError, match='No session ses-z in the dataset; it has ses-a, ses-b'):
        select_sessions(layout, ['z'], ['01', '02'])


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


def test_phase_difference_alone_is_explained(siemens_phasediff_dataset):
    message = explain_missing(open_dataset(siemens_phasediff_dataset), '01')
    assert message.startswith('sub-01: fmap/ holds a phase difference (sub-01_phasediff.nii.gz)')
    assert 'needs the phase of each echo (MEGRE or T2starw with part-phase and part-mag' in message


def test_field_map_alone_is_explained(ge_fieldmap_dataset):
    message = explain_missing(open_dataset(ge_fieldmap_dataset), '01')
    assert message.startswith('sub-01: fmap/ holds a field map (sub-01_fieldmap.nii.gz)')


def test_other_reasons_are_explained(tiny_dataset):
    tiny_dataset.add('sub-01', suffix='T1w').add('sub-02', parts=('mag',))
    tiny_dataset.write_image(
        tiny_dataset.folder('sub-03', 'fmap') / 'sub-03_phase1.nii.gz', tiny_dataset.signal
    )
    layout = open_dataset(tiny_dataset.root)
    assert 'there is no MEGRE or T2starw image in anat/' in explain_missing(layout, '01')
    assert 'none of its 3 gradient-echo images can be used' in explain_missing(layout, '02')
    assert 'the phase of two echoes (sub-03_phase1.nii.gz)' in explain_missing(layout, '03')

"""Opening datasets, and choosing participants, sessions and files."""

import json

import pytest

from qsmprep.bids.errors import InputError
from qsmprep.bids.files import read_json_object
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


@pytest.mark.parametrize(
    'name', ['motion', 'func', 'pet', 'sub-99', 'ses-1', 'a b', 'Zürich', '%d=1']
)
def test_where_the_dataset_lies_does_not_matter(tiny_dataset, tmp_path, name):
    tiny_dataset.add('sub-01_ses-a')
    (tmp_path / name).mkdir()
    root = tiny_dataset.root.rename(tmp_path / name / 'BIDS')
    link = tmp_path / 'link'
    link.symlink_to(root)
    for place in (root, link):
        dataset = open_dataset(place)
        assert dataset.participants() == ['01']
        images = dataset.images('01', 'anat', ('MEGRE',))
        assert len(images) == 6
        assert {x.entities['datatype'] for x in images} == {'anat'}
        assert dataset.metadata(images[0])['EchoTime'] == 0.005


def test_only_the_folders_of_the_participant_are_read(tiny_dataset, monkeypatch):
    tiny_dataset.add('sub-01')
    for number in range(2, 50):
        (tiny_dataset.root / f'sub-{number:02d}').mkdir()
    read = []
    original = type(tiny_dataset.root).iterdir
    monkeypatch.setattr(
        type(tiny_dataset.root), 'iterdir', lambda self: read.append(self.name) or original(self)
    )
    dataset = open_dataset(tiny_dataset.root)
    assert len(select_participants(dataset, ['01'])) == 1
    assert len(dataset.images('01', 'anat', ('MEGRE',))) == 6
    assert {name for name in read if name.startswith('sub-')} == {'sub-01'}


def test_links_to_participants_and_loops_are_no_trouble(tiny_dataset, tmp_path, caplog):
    tiny_dataset.add('sub-01')
    (tiny_dataset.root / 'sub-01').rename(tmp_path / 'elsewhere')
    (tiny_dataset.root / 'sub-01').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere' / 'anat' / 'loop').symlink_to(tmp_path / 'elsewhere')
    (tiny_dataset.root / 'sub-02').symlink_to('sub-02')
    dataset = open_dataset(tiny_dataset.root)
    (tiny_dataset.root / 'sub-03').symlink_to('nowhere')
    assert dataset.participants() == ['01']
    assert 'sub-03 is left out: it is a link whose target is missing' in caplog.text
    assert len(dataset.images('01', 'anat', ('MEGRE',))) == 6


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('sub-02_echo-1_part-phase_MEGRE.nii.gz', 'does not begin with sub-01_'),
        ('sub-01_ses-x_echo-1_part-phase_MEGRE.nii.gz', 'does not begin with sub-01_'),
        ('sub-01_echo1_part-phase_MEGRE.nii.gz', 'does not follow BIDS'),
        ('sub-01_echo-1_echo-2_MEGRE.nii.gz', 'does not follow BIDS'),
        ('sub-01_part-phase__MEGRE.nii.gz', 'does not follow BIDS'),
    ],
)
def test_names_that_do_not_fit_are_left_out_and_told(tiny_dataset, caplog, name, said):
    tiny_dataset.add('sub-01', echo_times_s=(0.02,))
    (tiny_dataset.folder('sub-01') / name).touch()
    assert len(open_dataset(tiny_dataset.root).images('01', 'anat', ('MEGRE',))) == 2
    assert name in caplog.text
    assert said in caplog.text


def test_sidecars_with_a_byte_order_mark_are_read(tiny_dataset):
    tiny_dataset.add(echo_times_s=(0.02,))
    path = tiny_dataset.sidecar_of(tiny_dataset.image('part-phase_MEGRE'))
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    dataset = open_dataset(tiny_dataset.root)
    for image in dataset.images('01', 'anat', ('MEGRE',)):
        assert dataset.metadata(image)['EchoTime'] == 0.02


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


def test_a_folder_that_is_no_dataset_is_recognised(tmp_path, tiny_dataset):
    dicom = tmp_path / 'export' / 'series 3'
    dicom.mkdir(parents=True)
    (dicom / 'IM0001').write_bytes(bytes(128) + b'DICM' + bytes(100))
    with pytest.raises(InputError, match=r'It holds DICOM files: convert them first \(dcm2niix'):
        open_dataset(tmp_path / 'export')
    tiny_dataset.add()
    with pytest.raises(InputError, match=f'give {tiny_dataset.root} and --participant-label'):
        open_dataset(tiny_dataset.root / 'sub-01')

"""Opening datasets, and choosing participants, sessions and files."""

import pytest

from qsmprep.bids.errors import InputError
from qsmprep.bids.files import sidecar_of
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.selection import select_participants, select_sessions


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
def test_names_that_do_not_fit_are_left_out_and_reported(tiny_dataset, caplog, name, said):
    tiny_dataset.add('sub-01', echo_times_s=(0.02,))
    (tiny_dataset.folder('sub-01') / name).touch()
    assert len(open_dataset(tiny_dataset.root).images('01', 'anat', ('MEGRE',))) == 2
    assert name in caplog.text
    assert said in caplog.text


def test_sidecars_with_a_byte_order_mark_are_read(tiny_dataset):
    tiny_dataset.add(echo_times_s=(0.02,))
    path = sidecar_of(tiny_dataset.image('part-phase_MEGRE'))
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    dataset = open_dataset(tiny_dataset.root)
    for image in dataset.images('01', 'anat', ('MEGRE',)):
        assert dataset.metadata(image)['EchoTime'] == 0.02


def test_a_folder_that_is_no_dataset_is_recognised(tmp_path, tiny_dataset):
    dicom = tmp_path / 'export' / 'series 3'
    dicom.mkdir(parents=True)
    (dicom / 'IM0001').write_bytes(bytes(128) + b'DICM' + bytes(100))
    with pytest.raises(InputError, match=r'It holds DICOM files: convert them first \(dcm2niix'):
        open_dataset(tmp_path / 'export')
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'phase.nii.gz').touch()
    with pytest.raises(
        InputError, match=r'NIfTI images, such as phase.nii.gz: name them as BIDS wants'
    ):
        open_dataset(tmp_path / 'images')
    tiny_dataset.add()
    with pytest.raises(InputError, match=f'give {tiny_dataset.root} and --participant-label'):
        open_dataset(tiny_dataset.root / 'sub-01')
    (tiny_dataset.root / 'dataset_description.json').unlink()
    with pytest.raises(
        InputError, match='It has sub- folders: if it is one, write {"Name": "tiny"'
    ):
        open_dataset(tiny_dataset.root)


def test_a_dataset_below_is_pointed_at(tiny_dataset):
    tiny_dataset.add()
    with pytest.raises(InputError, match=f'There is a dataset in {tiny_dataset.root}: give that'):
        open_dataset(tiny_dataset.root.parent)


@pytest.mark.parametrize('name', ['Sub-02', 'SUB-02', 'sub_02', 'sub 02'])
def test_folders_that_may_be_meant_for_participants_are_reported(tiny_dataset, caplog, name):
    tiny_dataset.add()
    (tiny_dataset.root / name).mkdir()
    (tiny_dataset.root / 'subjects').mkdir()
    assert open_dataset(tiny_dataset.root).participants() == ['01']
    (message,) = [record.getMessage() for record in caplog.records]
    assert f'{name} is left out: BIDS wants sub-<label>; rename it' in message

"""Choosing participants and sessions, and what is said of those that cannot be processed."""

import pytest

from qsmprep.bids.errors import InputError
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.selection import explain_missing, select_participants, select_sessions


@pytest.fixture
def layout(tiny_dataset):
    tiny_dataset.add('sub-01_ses-a').add('sub-02_ses-b')
    return open_dataset(tiny_dataset.root)


def test_participants_with_and_without_prefix(layout):
    assert select_participants(layout, []) == ['01', '02']
    assert select_participants(layout, ['sub-02', '01', '02']) == ['01', '02']


def test_a_participant_that_is_not_there_is_an_error(layout):
    """Beside others that are there too: a scan that was asked for must not be missed in silence."""
    with pytest.raises(InputError, match=r'No participant sub-77 in .* has sub-01, sub-02'):
        select_participants(layout, ['01', '77'])
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


def test_phase_difference_alone_is_explained(siemens_phasediff_dataset):
    message = explain_missing(open_dataset(siemens_phasediff_dataset), '01')
    assert message.startswith('sub-01: fmap/ holds a phase difference (sub-01_phasediff.nii.gz)')
    assert 'needs the phase of each echo (MEGRE or T2starw with part-phase and part-mag' in message


def test_field_map_alone_is_explained(ge_fieldmap_dataset):
    message = explain_missing(open_dataset(ge_fieldmap_dataset), '01')
    assert message.startswith('sub-01: fmap/ holds a field map (sub-01_fieldmap.nii.gz)')


def test_what_a_filter_asked_for_is_named(tiny_dataset):
    tiny_dataset.add()
    message = explain_missing(open_dataset(tiny_dataset.root), '01', {'acquisition': 'QSM'})
    assert (
        'Check --session-label, and --bids-filter-file, which asks for acquisition QSM' in message
    )


@pytest.mark.parametrize(('suffix', 'folder'), [('GRE', 'anat'), ('MEGRE', 'swi')])
def test_a_phase_of_another_name_or_folder_is_named(tiny_dataset, suffix, folder):
    tiny_dataset.add(suffix=suffix)
    anat = tiny_dataset.folder('sub-01')
    anat.rename(anat.with_name(folder))
    message = explain_missing(open_dataset(tiny_dataset.root), '01')
    assert f'sub-01/{folder}/sub-01_echo-1_part-phase_{suffix}.nii.gz looks like a phase' in message


@pytest.mark.parametrize('end', ['.NII.GZ', '.img', '.mgz', '.nii.GZ', '.nii.bz2', '.PAR'])
def test_images_that_are_not_read_are_named(tiny_dataset, end):
    tiny_dataset.add()
    for path in tiny_dataset.folder('sub-01').glob('*.nii.gz'):
        path.rename(path.with_name(path.name.replace('.nii.gz', end)))
    message = explain_missing(open_dataset(tiny_dataset.root), '01')
    assert f'sub-01/anat/sub-01_echo-1_part-mag_MEGRE{end} is no file that is read here' in message


def test_other_reasons_are_explained(tiny_dataset):
    tiny_dataset.add('sub-01', suffix='T1w').add('sub-02', parts=('mag',))
    tiny_dataset.write_image(
        tiny_dataset.folder('sub-03', 'fmap') / 'sub-03_phase1.nii.gz', tiny_dataset.signal
    )
    layout = open_dataset(tiny_dataset.root)
    assert 'there is no MEGRE or T2starw image in anat/' in explain_missing(layout, '01')
    assert 'none of its 3 gradient-echo images can be used' in explain_missing(layout, '02')
    assert 'the phase of two echoes (sub-03_phase1.nii.gz)' in explain_missing(layout, '03')

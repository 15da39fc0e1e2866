"""What is found in a dataset, how it is grouped, and what is refused with which words."""

import json
import math
import os
import shutil

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.errors import InputError
from qsmprep.bids.headers import read_image
from qsmprep.bids.layout import open_dataset
from tests.bids.scans import find, the_error, the_one


def test_real_philips_scan(philips_dataset):
    (scan,), rejected = find_acquisitions(open_dataset(philips_dataset), '01')
    assert rejected == []
    assert scan.stem == 'sub-01_MEGRE'
    assert scan.echo_times_s == (0.0023, 0.0046)
    assert scan.field_strength_t == pytest.approx(127.748512 / 42.577478518)
    assert (scan.phase_scale.low, scan.phase_scale.high) == (-math.pi, math.pi)
    assert scan.shape == (80, 80, 53)
    assert scan.warnings == ()
    assert scan.metadata['Manufacturer'] == 'Philips'
    assert 'DeviceSerialNumber' not in scan.metadata
    np.testing.assert_allclose(scan.affine, nb.load(scan.phase[0]).affine)


def test_real_romeo_crop_inherits_its_field_strength(romeo_dataset):
    (scan,), _ = find_acquisitions(open_dataset(romeo_dataset), 'sub-01')
    assert scan.field_strength_t == 7
    assert scan.field_strength_rule == 'MagneticFieldStrength 7 T.'
    assert scan.echo_times_s == (0.004, 0.008, 0.012)


def test_relative_dataset_folder(tiny_dataset, monkeypatch):
    tiny_dataset.add()
    monkeypatch.chdir(tiny_dataset.root.parent)
    (scan,), _ = find_acquisitions(open_dataset('tiny'), '01')
    assert scan.phase[0].is_absolute()
    assert scan.sources[1] == 'sub-01/anat/sub-01_echo-1_part-phase_MEGRE.nii.gz'


def test_sessions_runs_and_labels_are_kept_apart(tiny_dataset):
    names = [
        'sub-01_ses-1_run-01',
        'sub-01_ses-1_run-02',
        'sub-01_ses-1_acq-hi_ce-gd_rec-norm',
        'sub-01_ses-2_task-rest_acq-hi_run-1_chunk-2',
    ]
    for name in names:
        tiny_dataset.add(name)
    found, rejected = find(tiny_dataset)
    assert rejected == []
    assert {scan.stem for scan in found} == {f'{name}_MEGRE' for name in names}
    last = found[-1]
    assert last.session == '2'
    assert last.entities == {
        'subject': '01',
        'session': '2',
        'task': 'rest',
        'acquisition': 'hi',
        'run': '1',
        'chunk': '2',
        'datatype': 'anat',
        'suffix': 'MEGRE',
    }
    found, _ = find(tiny_dataset, sessions=['ses-2'])
    assert [scan.session for scan in found] == ['2']


def test_single_echo_t2starw_without_echo_label(tiny_dataset):
    tiny_dataset.add(suffix='T2starw', echo_times_s=(0.02,), echo_entity=False)
    scan = the_one(tiny_dataset)
    assert scan.stem == 'sub-01_T2starw'
    assert scan.echo_times_s == (0.02,)
    assert scan.warnings == ()
    assert any('There is one echo' in text for text in scan.notes)


def test_ordinary_t2starw_images_are_no_candidates(tiny_dataset):
    tiny_dataset.add()
    path = tiny_dataset.folder('sub-01') / 'sub-01_T2starw.nii.gz'
    tiny_dataset.write_image(path, tiny_dataset.signal)
    assert the_one(tiny_dataset).stem == 'sub-01_MEGRE'


def test_one_bad_acquisition_does_not_stop_the_others(tiny_dataset):
    tiny_dataset.add('sub-01_run-1').add('sub-01_run-2')
    path = tiny_dataset.image('run-1_echo-2_part-phase_MEGRE')
    path.write_bytes(path.read_bytes()[:-200])
    found, rejected = find(tiny_dataset)
    assert [scan.stem for scan in found] == ['sub-01_run-2_MEGRE']
    assert [item.stem for item in rejected] == ['sub-01_run-1_MEGRE']
    assert 'sub-01_run-1_echo-2_part-phase_MEGRE.nii.gz is truncated' in rejected[0].error
    assert len(rejected[0].inputs) == 6
    assert rejected[0].inputs[0] == 'sub-01/anat/sub-01_run-1_echo-1_part-mag_MEGRE.nii.gz'


def test_content_behind_annex_links(tiny_dataset):
    tiny_dataset.add()
    store = tiny_dataset.root / '.git' / 'annex' / 'objects'
    store.mkdir(parents=True)
    for path in tiny_dataset.folder('sub-01').glob('*.nii.gz'):
        path.rename(store / path.name)
        path.symlink_to(os.path.relpath(store / path.name, path.parent))
    assert len(the_one(tiny_dataset).phase) == 3
    (store / 'sub-01_echo-2_part-phase_MEGRE.nii.gz').unlink()
    assert 'is a link whose target is missing; fetch the content first' in the_error(tiny_dataset)


def test_labels_cannot_climb(tiny_dataset):
    tiny_dataset.add()
    layout = open_dataset(tiny_dataset.root)
    with pytest.raises(InputError, match='no valid label for sub-'):
        find_acquisitions(layout, '../01')
    with pytest.raises(InputError, match='no valid label for ses-'):
        find_acquisitions(layout, '01', sessions=['../1'])


def test_a_broken_sidecar_stops_its_own_acquisition_only(tiny_dataset):
    tiny_dataset.add('sub-01', 'MEGRE')
    tiny_dataset.add('sub-02', 'MEGRE')
    broken = tiny_dataset.image('sub-01_echo-1_part-phase_MEGRE')
    broken = broken.with_name(broken.name.split('.')[0] + '.json')
    broken.write_text('{"EchoTime": ')
    layout = open_dataset(tiny_dataset.root)
    found, rejected = find_acquisitions(layout, '01')
    assert not found
    assert broken.name in rejected[0].error
    assert 'no readable JSON' in rejected[0].error
    found, rejected = find_acquisitions(layout, '02')
    assert len(found) == 1
    assert not rejected


@pytest.mark.parametrize('label', ['run', 'acq', 'rec'])
def test_echoes_exported_one_by_one_are_reported(tiny_dataset, label):
    for number, echo_time in enumerate((0.005, 0.010, 0.015), start=1):
        name = f'sub-01_{label}-{number}'
        tiny_dataset.add(name, echo_times_s=(echo_time,), echo_entity=False)
    found, rejected = find(tiny_dataset)
    assert rejected == []
    for scan in found:
        assert any(
            f'differ in {label}- and in EchoTime alone (5, 10, 15 ms)' in text
            for text in scan.warnings
        )


@pytest.mark.parametrize('first', ['sub-01', 'sub-01_rec-1'])
def test_an_acquisition_in_two_halves_is_reported(tiny_dataset, first):
    """Echoes 3 and 4 were exported later, under another label."""
    times = (0.005, 0.010, 0.015, 0.020)
    tiny_dataset.add(first, echo_times_s=times).add('sub-01_rec-2', echo_times_s=times)
    for name, numbers in ((first, '34'), ('sub-01_rec-2', '12')):
        for number in numbers:
            for path in tiny_dataset.folder('sub-01').glob(f'{name}_echo-{number}_*'):
                path.unlink()
    found, rejected = find(tiny_dataset)
    assert rejected == []
    assert [len(scan.echo_times_s) for scan in found] == [2, 2]
    for scan in found:
        (said,) = [text for text in scan.warnings if 'look like one acquisition' in text]
        assert 'have the echoes 1, 2 and 3, 4 and differ in rec- alone' in said


def test_repeats_of_all_echoes_are_no_halves(tiny_dataset):
    tiny_dataset.add('sub-01').add('sub-01_rec-2')
    assert not any('look like' in text for scan in find(tiny_dataset)[0] for text in scan.warnings)


def test_a_run_that_was_stopped_is_named(tiny_dataset):
    tiny_dataset.add('sub-01_run-1').add('sub-01_run-2', echo_times_s=(0.005, 0.010))
    whole, stopped = find(tiny_dataset)[0]
    assert not any('was stopped' in text for text in whole.warnings)
    assert any(
        'sub-01_run-2_MEGRE has 2 of the 3 echoes of sub-01_run-1_MEGRE: it was stopped' in text
        for text in stopped.warnings
    )


def test_a_scan_under_two_names_is_named(head):
    one, other = (head.root / 'sub-01' / f'ses-{session}' / 'anat' for session in 'ab')
    one.parent.mkdir()
    (head.root / 'sub-01' / 'anat').rename(one)
    for path in one.iterdir():
        path.rename(path.with_name(path.name.replace('sub-01_', 'sub-01_ses-a_')))
    shutil.copytree(one, other)
    for path in other.iterdir():
        path.rename(path.with_name(path.name.replace('ses-a', 'ses-b')))
    words = 'sub-01_ses-b_MEGRE holds the same values as sub-01_ses-a_MEGRE'
    assert [any(words in x for x in scan.warnings) for scan in find(head)[0]] == [False, True]
    path = next(other.glob('*_echo-1_part-phase_MEGRE.nii.gz'))
    image = nb.load(path)
    nb.save(nb.Nifti1Image(-np.asarray(image.dataobj), None, image.header), path)
    assert not any(words in x for scan in find(head)[0] for x in scan.warnings)


def test_chunks_are_told_to_be_parts(tiny_dataset):
    tiny_dataset.add('sub-01_chunk-1').add('sub-01_chunk-2')
    for scan in find(tiny_dataset)[0]:
        assert any('is a part of a volume, and is processed by' in text for text in scan.warnings)


def test_repeated_single_echoes_are_no_echoes_of_one_scan(tiny_dataset):
    for number in (1, 2):
        tiny_dataset.add(f'sub-01_run-{number}', echo_times_s=(0.02,), echo_entity=False)
    found, _ = find(tiny_dataset)
    assert not any('exported' in text for scan in found for text in scan.warnings)


def test_the_advice_to_leave_an_echo_out_works(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.edit_image('echo-2_part-phase_MEGRE', change=lambda x: 0 * x + 3)
    error = the_error(tiny_dataset)
    advised = json.loads(error[error.index('{"megre"') : error.rindex('}') + 1])
    assert the_one(tiny_dataset, filters=advised).echo_times_s == (0.005, 0.015)


def test_what_all_headers_share_is_said_once(tiny_dataset):
    tiny_dataset.add()
    for path in tiny_dataset.folder('sub-01').glob('*.nii.gz'):
        image = nb.load(path)
        image.set_sform(image.affine, 0)
        image.set_qform(image.affine, 0)
        nb.save(image, path)
    said = [text for text in the_one(tiny_dataset).warnings if 'no orientation' in text]
    assert len(said) == 1
    assert said[0].startswith('sub-01_echo-1_part-mag_MEGRE.nii.gz (and 5 more) holds no')


def test_the_voxels_of_a_file_are_read_no_third_time(tiny_dataset, monkeypatch):
    """After the check of its stream, each file is read once, whatever looks at its voxels."""
    read = []

    def reading(path):
        read.append(path)
        return read_image(path)

    monkeypatch.setattr('qsmprep.bids.voxels.read_image', reading)
    acquisition = the_one(tiny_dataset.add())
    assert sorted(read) == sorted([*acquisition.magnitude, *acquisition.phase])

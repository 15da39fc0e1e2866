"""Files are paired by echo and part, echo times checked, and echoes and coils put in order."""

import re

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.phase_scale import InputOverrides
from tests.bids.scans import find, the_error, the_one


def test_echoes_are_sorted_by_their_times(tiny_dataset):
    tiny_dataset.add(echo_times_s=(0.020, 0.004, 0.0071))
    scan = the_one(tiny_dataset)
    assert scan.echo_times_s == (0.004, 0.0071, 0.020)
    assert [path.name[7:13] for path in scan.phase] == ['echo-2', 'echo-3', 'echo-1']
    assert [path.name[7:13] for path in scan.magnitude] == ['echo-2', 'echo-3', 'echo-1']


def test_real_and_imaginary_parts(tiny_dataset):
    tiny_dataset.add(parts=('real', 'imag'), units=None)
    scan = the_one(tiny_dataset, overrides=InputOverrides(phase_sign=-1))
    assert (scan.magnitude, scan.phase) == ((), ())
    assert len(scan.real) == len(scan.imaginary) == 3
    assert 'part-imag' in scan.imaginary[0].name
    assert scan.phase_scale.sign == -1
    assert scan.phase_scale.rule.startswith('The phase is the argument')


@pytest.mark.parametrize('part', ['real', 'imag'])
def test_real_and_imaginary_parts_that_were_shifted_are_refused(tiny_dataset, part):
    tiny_dataset.add(parts=('real', 'imag'), units=None)
    for path in tiny_dataset.folder('sub-01').glob(f'*part-{part}*.nii.gz'):
        tiny_dataset.write_image(path, np.asarray(nb.load(path).dataobj) + 2048)
    assert re.search(f'part-{part}.*have both signs', the_error(tiny_dataset))


@pytest.mark.parametrize(
    ('part', 'written'), [('phase', 'Phase'), ('mag', 'magnitude'), ('phase', 'ph')]
)
def test_parts_that_bids_does_not_know_are_refused(tiny_dataset, part, written):
    tiny_dataset.add()
    _rename_part(tiny_dataset, part, written)
    assert f'the label part-{written}; BIDS has part-mag, part-phase' in the_error(tiny_dataset)


def test_parts_that_bids_does_not_know_are_left_out_beside_complete_ones(tiny_dataset):
    tiny_dataset.add(parts=('mag', 'phase', 'real'))
    _rename_part(tiny_dataset, 'real', 'masked')
    scan = the_one(tiny_dataset)
    assert len(scan.sources) == 6
    assert 'images of part-masked are left out' in scan.warnings[0]


def _rename_part(dataset, part, written):
    for path in dataset.folder('sub-01').glob(f'*part-{part}_*'):
        path.rename(path.with_name(path.name.replace(f'part-{part}', f'part-{written}')))


@pytest.mark.parametrize(
    ('mag', 'phase'),
    [('acq-mag_echo-{}_MEGRE', 'acq-phase_echo-{}_MEGRE'), ('echo-{}_MEGRE', 'echo-{}_phase')],
)
def test_a_phase_by_a_name_of_its_own_is_named(tiny_dataset, mag, phase):
    tiny_dataset.add()
    for part, name in (('mag', mag), ('phase', phase)):
        for echo in '123':
            old, new = f'echo-{echo}_part-{part}_MEGRE', name.format(echo)
            for path in tiny_dataset.folder('sub-01').glob(f'*{old}.*'):
                path.rename(path.with_name(path.name.replace(old, new)))
    _, rejected = find(tiny_dataset)
    assert (
        f'sub-01_{phase.format(1)}.nii.gz looks like one: name it part-phase' in rejected[0].error
    )


def test_the_other_part_of_an_echo_under_other_labels_is_named(tiny_dataset):
    tiny_dataset.add()
    for path in tiny_dataset.folder('sub-01').glob('*part-mag*'):
        path.rename(path.with_name(path.name.replace('sub-01_', 'sub-01_rec-norm_')))
    found, rejected = find(tiny_dataset)
    assert found == []
    assert 'sub-01_rec-norm_echo-1_part-mag_MEGRE.nii.gz may be the other part' in rejected[0].error
    assert 'sub-01_echo-1_part-phase_MEGRE.nii.gz may be the other part' in rejected[1].error


def test_magnitude_and_phase_are_preferred_to_real_and_imaginary(tiny_dataset):
    tiny_dataset.add(parts=('mag', 'phase', 'real', 'imag'))
    scan = the_one(tiny_dataset)
    assert scan.real == ()
    assert len(scan.sources) == 6


def test_magnitude_may_lack_its_part_label(tiny_dataset):
    tiny_dataset.add(suffix='T2starw', echo_times_s=(0.02,), echo_entity=False)
    for path in tiny_dataset.folder('sub-01').glob('*part-mag*'):
        path.rename(path.with_name(path.name.replace('_part-mag', '')))
    scan = the_one(tiny_dataset)
    assert scan.magnitude[0].name == 'sub-01_T2starw.nii.gz'
    assert any('taken for the magnitude' in text for text in scan.warnings)


def test_magnitude_alone(tiny_dataset):
    tiny_dataset.add(parts=('mag',))
    assert 'sub-01_MEGRE: there is no phase (part-phase, or' in the_error(tiny_dataset)


def test_phase_alone(tiny_dataset):
    tiny_dataset.add(parts=('phase',))
    assert 'part-phase_MEGRE.nii.gz has no part-mag image beside it' in the_error(tiny_dataset)


def test_real_part_alone(tiny_dataset):
    tiny_dataset.add(parts=('real',))
    assert 'has no part-imag image beside it' in the_error(tiny_dataset)


def test_echo_without_phase_is_left_out(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.image('echo-2_part-phase_MEGRE').unlink()
    scan = the_one(tiny_dataset)
    assert scan.echo_times_s == (0.005, 0.015)
    assert 'echo 2 has no phase and is left out' in scan.warnings[0]


def test_a_combined_magnitude_beside_the_echoes_is_left_out(tiny_dataset):
    tiny_dataset.add()
    echo = tiny_dataset.image('echo-1_part-mag_MEGRE')
    echo.with_name('sub-01_part-mag_MEGRE.nii.gz').write_bytes(echo.read_bytes())
    scan = the_one(tiny_dataset)
    assert scan.echo_times_s == (0.005, 0.010, 0.015)
    assert scan.warnings == (
        'sub-01_part-mag_MEGRE.nii.gz has no label echo- and no phase, and is left out.',
    )


def test_echo_without_magnitude_is_an_error(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.image('echo-2_part-mag_MEGRE').unlink()
    assert 'echo-2_part-phase_MEGRE.nii.gz has no part-mag' in the_error(tiny_dataset)


def test_same_image_twice(tiny_dataset):
    tiny_dataset.add(echo_times_s=(0.02,))
    path = tiny_dataset.image('part-phase_MEGRE')
    nb.load(path).to_filename(str(path).removesuffix('.gz'))
    assert 'are the same image of sub-01_MEGRE by their names' in the_error(tiny_dataset)


def test_coils_that_were_not_combined_make_one_acquisition(tiny_dataset):
    for coil in (1, 2, 10):
        tiny_dataset.add(f'sub-01_coil-{coil}', echo_times_s=(0.005, 0.010))
    scan = the_one(tiny_dataset)
    assert scan.coils == 3
    assert scan.stem == 'sub-01_MEGRE'
    assert scan.echo_times_s == (0.005, 0.010)
    names = [path.name for path in scan.phase]
    assert names == [
        f'sub-01_coil-{coil}_echo-{echo}_part-phase_MEGRE.nii.gz'
        for coil in (1, 2, 10)
        for echo in (1, 2)
    ]


def test_coils_need_the_same_two_echoes_at_least(tiny_dataset):
    tiny_dataset.add('sub-01_coil-1', echo_times_s=(0.005, 0.010))
    tiny_dataset.add('sub-01_coil-2', echo_times_s=(0.005, 0.011))
    assert 'coil-2 of sub-01_MEGRE has the echo times' in the_error(tiny_dataset)


def test_a_coil_that_lacks_an_echo_is_named(tiny_dataset):
    tiny_dataset.add('sub-01_coil-1').add('sub-01_coil-2', echo_times_s=(0.005, 0.010))
    assert 'coil-2 of sub-01_MEGRE has the echo times' in the_error(tiny_dataset)


def test_a_fourth_axis_of_coils_is_read_from_the_name(tiny_dataset):
    tiny_dataset.add('sub-01_coil-all', echo_times_s=(0.005, 0.010))
    for path in sorted(tiny_dataset.root.rglob('*.nii.gz')):
        data = np.asarray(nb.load(path).dataobj)
        tiny_dataset.write_image(path, np.stack([data, 0.9 * data, 0.8 * data], axis=-1))
    scan = the_one(tiny_dataset)
    assert scan.coils == 3
    assert scan.shape == (12, 10, 8)
    assert len(scan.phase) == 2
    tiny_dataset.add('sub-02', echo_times_s=(0.005, 0.010))
    for path in sorted(tiny_dataset.root.rglob('sub-02*.nii.gz')):
        tiny_dataset.write_image(path, np.zeros((12, 10, 8, 3)))
    assert 'say coil-all in the name' in the_error(tiny_dataset, subject='02')


@pytest.mark.parametrize(
    ('echo_time', 'message'),
    [
        (None, 'EchoTime is missing from the sidecar; add the echo time in seconds'),
        (
            0.010,
            'echo-3_part-phase_MEGRE.nii.gz have one EchoTime, and those of their acquisition '
            'are 0.005, 0.01, 0.01 s; they must all differ',
        ),
        (15, 'EchoTime 15, which looks like milliseconds'),
        (0, 'EchoTime 0; echo times are positive seconds'),
        (-0.005, 'EchoTime -0.005; echo times are positive seconds'),
        ('0.015', "EchoTime in the sidecar is '0.015'; one number is expected"),
        ([0.015, 0.02], 'one number is expected'),
    ],
)
def test_echo_times(tiny_dataset, echo_time, message):
    tiny_dataset.add()
    for part in ('mag', 'phase'):
        tiny_dataset.edit_sidecar(f'echo-3_part-{part}_MEGRE', EchoTime=echo_time)
    assert message in the_error(tiny_dataset)


def test_where_an_echo_time_may_hide_is_said(tiny_dataset):
    tiny_dataset.add()
    for part in ('mag', 'phase'):
        tiny_dataset.edit_sidecar(f'echo-3_part-{part}_MEGRE', EchoTime=None, echo_time=0.015)
    assert 'It has echo_time; BIDS spells the key EchoTime.' in the_error(tiny_dataset)
    for path in tiny_dataset.folder('sub-01').glob('*.json'):
        path.rename(path.with_name(path.name.replace('.json', '.nii.gz.json')))
    assert 'part-mag_MEGRE.nii.gz.json is read for no image' in the_error(tiny_dataset)
    for path in tiny_dataset.folder('sub-01').glob('*.json'):
        path.rename(path.with_name(path.name.replace('.nii.gz.json', '.JSON')))
    assert 'part-mag_MEGRE.JSON is read for no image' in the_error(tiny_dataset)


def test_echo_time_of_one_part_is_enough_but_both_must_agree(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.edit_sidecar('echo-3_part-phase_MEGRE', EchoTime=None)
    assert the_one(tiny_dataset).echo_times_s == (0.005, 0.010, 0.015)
    tiny_dataset.edit_sidecar('echo-3_part-phase_MEGRE', EchoTime=0.016)
    assert 'has EchoTime 0.016 s but sub-01_echo-3_part-mag' in the_error(tiny_dataset)


def test_phase_difference_in_disguise(tiny_dataset):
    tiny_dataset.add(suffix='T2starw', echo_times_s=(0.007,), echo_entity=False)
    tiny_dataset.edit_sidecar('part-phase_T2starw', EchoTime1=0.005, EchoTime2=0.007)
    assert 'is a phase difference' in the_error(tiny_dataset)


def test_phase_differences_of_one_echo_are_refused_and_the_advice_works(tiny_dataset):
    tiny_dataset.add(echo_times_s=(0.007,), EchoTime1=0.005, EchoTime2=0.007)
    assert 'remove EchoTime1 and EchoTime2 from its sidecar' in the_error(tiny_dataset)
    tiny_dataset.edit_sidecar('part-phase_MEGRE', EchoTime1=None, EchoTime2=None)
    assert the_one(tiny_dataset).echo_times_s == (0.007,)

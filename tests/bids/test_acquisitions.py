"""What is found in a dataset, how it is grouped, and what is refused with which words."""

import json
import math
import os

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.acquisitions import (
    InputError,
    InputOverrides,
    find_acquisitions,
    load_filters,
    open_dataset,
)
from qsmprep.interfaces import images


def find(dataset, subject='01', **keywords):
    return find_acquisitions(open_dataset(dataset.root), subject, **keywords)


def the_one(dataset, **keywords):
    found, rejected = find(dataset, **keywords)
    assert [item.error for item in rejected] == []
    assert len(found) == 1
    return found[0]


def the_error(dataset, **keywords):
    found, rejected = find(dataset, **keywords)
    assert found == []
    assert len(rejected) == 1
    return rejected[0].error


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


def test_echoes_are_sorted_by_their_times(tiny_dataset):
    tiny_dataset.add(echo_times_s=(0.020, 0.004, 0.0071))
    scan = the_one(tiny_dataset)
    assert scan.echo_times_s == (0.004, 0.0071, 0.020)
    assert [path.name[7:13] for path in scan.phase] == ['echo-2', 'echo-3', 'echo-1']
    assert [path.name[7:13] for path in scan.magnitude] == ['echo-2', 'echo-3', 'echo-1']


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


def test_real_and_imaginary_parts(tiny_dataset):
    tiny_dataset.add(parts=('real', 'imag'), units=None)
    scan = the_one(tiny_dataset, overrides=InputOverrides(phase_sign=-1))
    assert (scan.magnitude, scan.phase) == ((), ())
    assert len(scan.real) == len(scan.imaginary) == 3
    assert 'part-imag' in scan.imaginary[0].name
    assert scan.phase_scale.sign == -1
    assert scan.phase_scale.rule.startswith('The phase is the argument')


def test_magnitude_and_phase_are_preferred_to_real_and_imaginary(tiny_dataset):
    tiny_dataset.add(parts=('mag', 'phase', 'real', 'imag'))
    scan = the_one(tiny_dataset)
    assert scan.real == ()
    assert len(scan.sources) == 6


def test_single_echo_t2starw_without_echo_label(tiny_dataset):
    tiny_dataset.add(suffix='T2starw', echo_times_s=(0.02,), echo_entity=False)
    scan = the_one(tiny_dataset)
    assert scan.stem == 'sub-01_T2starw'
    assert scan.echo_times_s == (0.02,)
    assert any('There is one echo' in text for text in scan.warnings)


def test_magnitude_may_lack_its_part_label(tiny_dataset):
    tiny_dataset.add(suffix='T2starw', echo_times_s=(0.02,), echo_entity=False)
    for path in tiny_dataset.folder('sub-01').glob('*part-mag*'):
        path.rename(path.with_name(path.name.replace('_part-mag', '')))
    scan = the_one(tiny_dataset)
    assert scan.magnitude[0].name == 'sub-01_T2starw.nii.gz'
    assert any('taken for the magnitude' in text for text in scan.warnings)


def test_ordinary_t2starw_images_are_no_candidates(tiny_dataset):
    tiny_dataset.add()
    path = tiny_dataset.folder('sub-01') / 'sub-01_T2starw.nii.gz'
    tiny_dataset.write_image(path, tiny_dataset.signal)
    assert the_one(tiny_dataset).stem == 'sub-01_MEGRE'


def test_sidecars_are_inherited(tiny_dataset):
    tiny_dataset.add(MagneticFieldStrength=None, units=None)
    tiny_dataset.write_json('MEGRE.json', {'MagneticFieldStrength': 7, 'RepetitionTime': 0.05})
    tiny_dataset.write_json('sub-01/sub-01_part-phase_MEGRE.json', {'Units': 'rad'})
    scan = the_one(tiny_dataset)
    assert scan.field_strength_t == 7
    assert scan.metadata['RepetitionTime'] == 0.05
    assert scan.phase_scale.rule.endswith('as Units says rad.')


def test_units_of_the_magnitude_say_nothing_of_the_phase(tiny_dataset):
    tiny_dataset.add(stored='siemens-raw', units=None, echo_times_s=(0.02,))
    tiny_dataset.edit_sidecar('part-mag_MEGRE', Units='rad')
    assert 'no Units, from an unknown manufacturer' in the_error(tiny_dataset)


@pytest.mark.parametrize(
    ('stored', 'maker', 'expected'),
    [
        ('siemens', 'Siemens', (-4096, 4096)),
        ('siemens-raw', 'Siemens', (0, 4096)),
        ('milliradians', 'Philips', (-1000 * math.pi, 1000 * math.pi)),
        ('milliradians', 'GE', (-1000 * math.pi, 1000 * math.pi)),
        ('radians', None, (-math.pi, math.pi)),
    ],
)
def test_stored_phase_comes_back(tiny_dataset, stored, maker, expected):
    tiny_dataset.add(stored=stored, units=None, Manufacturer=maker)
    scan = the_one(tiny_dataset)
    scale = scan.phase_scale
    assert (scale.low, scale.high) == pytest.approx(expected)
    values = nb.load(scan.phase[1]).get_fdata()
    phase = (values - scale.low) / (scale.high - scale.low) * 2 * np.pi - np.pi
    truth = 2 * np.pi * tiny_dataset.field_hz * scan.echo_times_s[1] + 0.5
    error = np.angle(np.exp(1j * (phase - truth)))
    assert np.abs(error).max() < 2 * np.pi / 4096


def test_integers_without_units_or_maker_need_a_range(tiny_dataset):
    tiny_dataset.add(stored='siemens-raw', units=None)
    error = the_error(tiny_dataset)
    assert 'part-phase_MEGRE.nii.gz: phase values from' in error
    assert '--phase-range LOW HIGH' in error
    overrides = InputOverrides(phase_range=(0, 4096))
    assert the_one(tiny_dataset, overrides=overrides).phase_scale.high == 4096


def test_wrong_header_scaling_needs_a_range(romeo_dataset):
    for path in romeo_dataset.rglob('*part-phase*.nii.gz'):
        image = nb.load(path)
        data = np.asanyarray(image.dataobj) * 0.00116959
        nb.Nifti1Image(data.astype(np.float32), image.affine).to_filename(path)
    layout = open_dataset(romeo_dataset)
    _, (rejected,) = find_acquisitions(layout, '01')
    assert 'next to nothing of 2 pi' in rejected.error
    overrides = InputOverrides(phase_range=(-0.0036744, 0.0036744))
    (scan,), _ = find_acquisitions(layout, '01', overrides=overrides)
    assert scan.phase_scale.high == 0.0036744


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


def test_echo_without_magnitude_is_an_error(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.image('echo-2_part-mag_MEGRE').unlink()
    assert 'echo-2_part-phase_MEGRE.nii.gz has no part-mag' in the_error(tiny_dataset)


def test_same_image_twice(tiny_dataset):
    tiny_dataset.add(echo_times_s=(0.02,))
    path = tiny_dataset.image('part-phase_MEGRE')
    nb.load(path).to_filename(str(path).removesuffix('.gz'))
    assert 'are the same image of sub-01_MEGRE by their names' in the_error(tiny_dataset)


def test_magnitude_and_phase_of_different_size(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.edit_image('echo-1_part-phase_MEGRE', change=lambda data: data[:, :, :-1])
    assert '12 x 10 x 7 voxels but sub-01_echo-1_part-mag_MEGRE' in the_error(tiny_dataset)


def test_echoes_on_different_grids(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.edit_image('echo-3_part-mag_MEGRE', affine=np.diag([2.0, 2.0, 2.1, 1.0]))
    assert 'differ in their affines' in the_error(tiny_dataset)


def test_four_dimensional_file(tiny_dataset):
    tiny_dataset.add(echo_times_s=(0.01,))
    for part in ('mag', 'phase'):
        tiny_dataset.edit_image(f'part-{part}_MEGRE', change=lambda x: np.stack([x, x], axis=-1))
    assert 'BIDS keeps each echo in a 3-D file of its own' in the_error(tiny_dataset)


def test_nan_in_the_phase(tiny_dataset):
    def spoil(data):
        data[:2, 0, 0] = np.nan
        return data

    tiny_dataset.add()
    tiny_dataset.edit_image('echo-2_part-phase_MEGRE', change=spoil)
    assert 'holds 2 values that are not finite' in the_error(tiny_dataset)


def test_empty_magnitude(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.edit_image('echo-2_part-mag_MEGRE', change=np.zeros_like)
    assert 'echo-2_part-mag_MEGRE.nii.gz holds one value alone, 0' in the_error(tiny_dataset)


def test_empty_real_part(tiny_dataset):
    tiny_dataset.add(parts=('real', 'imag'))
    tiny_dataset.edit_image('echo-2_part-real_MEGRE', change=np.zeros_like)
    assert 'holds one value alone' in the_error(tiny_dataset)


@pytest.mark.parametrize(
    ('echo_time', 'message'),
    [
        (None, 'EchoTime is missing from the sidecar; add the echo time in seconds'),
        (0.010, 'echo times of its acquisition are 0.005, 0.01, 0.01 s; they must all differ'),
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


@pytest.mark.parametrize(
    ('sidecar', 'message'),
    [
        ({'MagneticFieldStrength': None}, 'add MagneticFieldStrength [T] or ImagingFrequency'),
        ({'MagneticFieldStrength': 30000}, 'means 3e+04 T, but 0.05 to 21 T'),
        ({'ImagingFrequency': 127.7e6}, 'give ImagingFrequency in MHz'),
        ({'MagneticFieldStrength': '3T'}, 'one number is expected'),
    ],
)
def test_field_strength_errors(tiny_dataset, sidecar, message):
    tiny_dataset.add(**sidecar)
    assert message in the_error(tiny_dataset)


def test_imaging_frequency_comes_before_nominal_strength(tiny_dataset):
    tiny_dataset.add(ImagingFrequency=123.255762)
    scan = the_one(tiny_dataset)
    assert scan.field_strength_t == pytest.approx(2.8948, abs=1e-4)
    assert scan.warnings == ()


def test_field_strengths_far_apart_are_a_warning(tiny_dataset):
    tiny_dataset.add(ImagingFrequency=63.87)
    assert 'means 1.500 T, far from MagneticFieldStrength 3 T' in the_one(tiny_dataset).warnings[0]


def test_echoes_of_different_makers(tiny_dataset):
    tiny_dataset.add(Manufacturer='Siemens')
    tiny_dataset.edit_sidecar('echo-2_part-phase_MEGRE', Manufacturer='GE')
    assert 'the echoes differ in Manufacturer (Siemens, GE, Siemens)' in the_error(tiny_dataset)


def test_warnings_on_the_scan(tiny_dataset):
    tiny_dataset.add(
        MRAcquisitionType='2D',
        PartialFourier=0.75,
        ImageType=['ORIGINAL', 'PRIMARY', 'P', 'SWI'],
        CoilCombinationMethod='Sum of Squares',
    )
    angle = np.deg2rad(10)
    rotation = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    affine = np.eye(4)
    affine[:3, :3] = 2 * np.array(rotation)
    for echo in (1, 2, 3):
        for part in ('mag', 'phase'):
            tiny_dataset.edit_image(f'echo-{echo}_part-{part}_MEGRE', affine=affine)
    warnings = ' '.join(the_one(tiny_dataset).warnings)
    assert 'The acquisition is 2D' in warnings
    assert 'Partial Fourier (0.75)' in warnings
    assert 'filtered phase, as made for SWI' in warnings
    assert 'sum of squares' in warnings
    assert 'oblique by 10.0 degrees' in warnings


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
def test_echoes_exported_one_by_one_are_told(tiny_dataset, label):
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


def test_repeated_single_echoes_are_no_echoes_of_one_scan(tiny_dataset):
    for number in (1, 2):
        tiny_dataset.add(f'sub-01_run-{number}', echo_times_s=(0.02,), echo_entity=False)
    found, _ = find(tiny_dataset)
    assert not any('exported' in text for scan in found for text in scan.warnings)


@pytest.mark.parametrize(
    'sidecar',
    [
        {'IntendedFor': {'a': 1}},
        {'IntendedFor': 3},
        {'Manufacturer': ['Siemens', None]},
        {'ImageType': {'P': 1}},
        {'ImageType': 'P'},
        {'PartialFourier': 'yes'},
        {'RepetitionTime': float('inf')},
        {'CoilCombinationMethod': 5},
        {'MRAcquisitionType': [[]]},
    ],
)
def test_keys_of_another_type_are_no_trouble(tiny_dataset, sidecar):
    scan = the_one(tiny_dataset.add(**sidecar))
    assert not any(isinstance(value, dict) for value in scan.metadata.values())
    assert math.inf not in [x for x in scan.metadata.values() if isinstance(x, float)]


def test_numbers_beyond_all_bounds_are_refused(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.edit_sidecar('echo-1_part-phase_MEGRE', EchoTime=10**400)
    assert 'one number is expected' in the_error(tiny_dataset)


def test_phase_differences_of_one_echo_are_refused_and_the_advice_works(tiny_dataset):
    tiny_dataset.add(echo_times_s=(0.007,), EchoTime1=0.005, EchoTime2=0.007)
    assert 'remove EchoTime1 and EchoTime2 from its sidecar' in the_error(tiny_dataset)
    tiny_dataset.edit_sidecar('part-phase_MEGRE', EchoTime1=None, EchoTime2=None)
    assert the_one(tiny_dataset).echo_times_s == (0.007,)


def test_the_advice_to_leave_an_echo_out_works(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.edit_image('echo-2_part-phase_MEGRE', change=lambda x: 0 * x + 3)
    error = the_error(tiny_dataset)
    advised = json.loads(error[error.index('{"megre"') : error.rindex('}') + 1])
    assert the_one(tiny_dataset, filters=advised).echo_times_s == (0.005, 0.015)


def test_units_of_degrees_are_refused_and_the_advice_works(tiny_dataset):
    tiny_dataset.add(units='degrees')
    for echo in (1, 2, 3):
        tiny_dataset.edit_image(f'echo-{echo}_part-phase_MEGRE', change=np.rad2deg)
    assert '--phase-range LOW HIGH (-180 180 for degrees)' in the_error(tiny_dataset)
    scan = the_one(tiny_dataset, overrides=InputOverrides(phase_range=(-180, 180)))
    assert (scan.phase_scale.low, scan.phase_scale.high) == (-180, 180)


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


@pytest.mark.parametrize('axes', [1, 2])
def test_axes_of_length_one_are_dropped(tiny_dataset, axes):
    """As some converters write them."""
    tiny_dataset.add('sub-01')
    for path in sorted(tiny_dataset.root.rglob('*.nii.gz')):
        data = np.asarray(nb.load(path).dataobj)
        tiny_dataset.write_image(path, data.reshape(data.shape + (1,) * axes))
    scan = the_one(tiny_dataset)
    assert scan.shape == (12, 10, 8)
    assert scan.coils == 1
    assert images.read(scan.phase[0]).shape == (12, 10, 8)


@pytest.mark.parametrize(
    ('key', 'value', 'other'),
    [('MagneticFieldStrength', 7, '3'), ('ImagingFrequency', 297.2, '123.2')],
)
def test_parts_of_different_scanners_are_refused(tiny_dataset, key, value, other):
    tiny_dataset.add('sub-01', ImagingFrequency=123.2)
    tiny_dataset.edit_sidecar('echo-2_part-mag_MEGRE', **{key: value})
    expected = f'echo-2_part-phase_MEGRE.nii.gz has {key} {other} but'
    assert expected in the_error(tiny_dataset)


def test_a_fourth_axis_of_coils_is_told_by_the_name(tiny_dataset):
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

"""What sidecars say of field strength and scanner, and what is refused."""

import math

import numpy as np
import pytest

from qsmprep.bids.notes import Doubt
from qsmprep.bids.sidecars import check_model
from tests.bids.scans import the_error, the_one


def test_sidecars_are_inherited(tiny_dataset):
    tiny_dataset.add(MagneticFieldStrength=None, units=None)
    tiny_dataset.write_json('MEGRE.json', {'MagneticFieldStrength': 7, 'RepetitionTime': 0.05})
    tiny_dataset.write_json('sub-01/sub-01_part-phase_MEGRE.json', {'Units': 'rad'})
    scan = the_one(tiny_dataset)
    assert scan.field_strength_t == 7
    assert scan.metadata['RepetitionTime'] == 0.05
    assert scan.phase_scale.rule.endswith('as Units says rad.')


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


@pytest.mark.parametrize(('step', 'accepted'), [(1e-4, True), (1.0, False)])
def test_imaging_frequencies_of_echoes_may_differ_a_little(tiny_dataset, step, accepted):
    tiny_dataset.add(MagneticFieldStrength=None)
    for echo in (1, 2, 3):
        for part in ('mag', 'phase'):
            frequency = 123.25 + step * echo
            tiny_dataset.edit_sidecar(f'echo-{echo}_part-{part}_MEGRE', ImagingFrequency=frequency)
    if accepted:
        assert the_one(tiny_dataset).field_strength_t == pytest.approx(2.895, abs=1e-3)
    else:
        assert 'the echoes differ in ImagingFrequency (124.25, 125.25' in the_error(tiny_dataset)


def test_field_strengths_far_apart_are_refused(tiny_dataset):
    tiny_dataset.add(ImagingFrequency=63.87)
    assert 'means 1.500 T, far from MagneticFieldStrength 3 T' in the_error(tiny_dataset)


@pytest.mark.parametrize(
    ('model', 'strength_t', 'warned'),
    [
        ('Ingenia Elition X', 7.0, True),
        ('MAGNETOM Prisma', 1.5, True),
        ('Prisma_fit', 2.89, False),
        ('DISCOVERY_MR750', 3.0, False),
        ('Achieva', 1.5, False),
    ],
)
def test_a_field_strength_that_the_scanner_does_not_have_is_reported(
    tiny_dataset, model, strength_t, warned
):
    tiny_dataset.add(ManufacturersModelName=model, MagneticFieldStrength=strength_t)
    warnings = the_one(tiny_dataset).warnings
    assert any('The scanner' in text for text in warnings) == warned


def test_echoes_of_different_makers(tiny_dataset):
    tiny_dataset.add(Manufacturer='Siemens')
    tiny_dataset.edit_sidecar('echo-2_part-phase_MEGRE', Manufacturer='GE')
    assert 'the echoes differ in Manufacturer (Siemens, GE, Siemens)' in the_error(tiny_dataset)


@pytest.mark.parametrize(
    ('key', 'value', 'other'),
    [('MagneticFieldStrength', 7, '3'), ('ImagingFrequency', 297.2, '123.2')],
)
def test_parts_of_different_scanners_are_refused(tiny_dataset, key, value, other):
    tiny_dataset.add('sub-01', ImagingFrequency=123.2)
    tiny_dataset.edit_sidecar('echo-2_part-mag_MEGRE', **{key: value})
    expected = f'echo-2_part-phase_MEGRE.nii.gz has {key} {other} but'
    assert expected in the_error(tiny_dataset)


def test_warnings_and_notes_on_the_scan(tiny_dataset):
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
    scan = the_one(tiny_dataset)
    warnings, notes = ' '.join(scan.warnings), ' '.join(scan.notes)
    for words in ('filtered phase, as made for SWI', 'sum of squares'):
        assert words in warnings
        assert words not in notes
    for words in ('The acquisition is 2D', 'Partial Fourier (0.75)', 'oblique by 10.0 degrees'):
        assert words in notes
        assert words not in warnings


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


@pytest.mark.parametrize(
    ('model', 'strength_t', 'doubted'),
    [('Prisma_fit', 7.0, True), ('MAGNETOM Terra', 3.0, True), ('Prisma', 2.89, False), ('', 7, 0)],
)
def test_a_field_strength_that_the_scanner_does_not_have_is_doubted(model, strength_t, doubted):
    found = check_model({'ManufacturersModelName': model}, strength_t)
    assert len(found) == int(doubted)
    assert all(isinstance(text, Doubt) for text in found)


@pytest.mark.parametrize(
    ('key', 'values', 'told'),
    [
        ('FlipAngle', (15, 15.05, 15), None),
        ('FlipAngle', (6, 6, 21), 'FlipAngle 6 and 21'),
        ('RepetitionTime', (0.03, 0.05, 0.05), 'RepetitionTime 0.03 and 0.05'),
        ('AcquisitionTime', ('10:00:00.0', '10:00:20.5', '100040'), None),
        ('AcquisitionTime', ('23:59:50', '00:00:10', '00:00:10'), None),
        ('AcquisitionTime', ('10:00:00', '10:00:00', '10:30:00'), 'AcquisitionTime (by 30 min'),
    ],
)
def test_echoes_of_several_scans_are_told(tiny_dataset, key, values, told):
    tiny_dataset.add()
    for echo, value in enumerate(values, start=1):
        for part in ('mag', 'phase'):
            tiny_dataset.edit_sidecar(f'echo-{echo}_part-{part}_MEGRE', **{key: value})
    warnings = the_one(tiny_dataset).warnings
    if told is None:
        assert warnings == ()
    else:
        assert f'The echoes differ in {told}' in warnings[0]


def test_images_of_water_are_told(tiny_dataset):
    tiny_dataset.add(ImageType=['DERIVED', 'PRIMARY', 'DIXON', 'WATER'])
    assert any('of water or fat alone' in text for text in the_one(tiny_dataset).warnings)

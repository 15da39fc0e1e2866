"""Phase is scaled by what is known of it, and refused where that is contradicted."""

import math
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.errors import InputError
from qsmprep.bids.headers import ImageSummary
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.phase_scale import (
    InputOverrides,
    choose_phase_scale,
    complex_phase_scale,
    manufacturer_of,
)
from tests.bids.scans import the_error, the_one

NONE = InputOverrides()


def image(minimum, maximum, integer=False, slope=1.0, intercept=0.0):
    return ImageSummary(
        path=Path('sub-01_echo-1_part-phase_MEGRE.nii.gz'),
        shape=(4, 4, 4),
        affine=(),
        minimum=minimum,
        maximum=maximum,
        slope=slope,
        intercept=intercept,
        integer=integer,
        warnings=(),
    )


def limits(*images, overrides=NONE, **metadata):
    scale, _ = choose_phase_scale(list(images), metadata, overrides)
    return scale.low, scale.high


PI = (-math.pi, math.pi)
MRAD = (-1000 * math.pi, 1000 * math.pi)


@pytest.mark.parametrize(
    ('stored', 'metadata', 'expected'),
    [
        (image(-3.1, 3.14), {'Units': 'rad'}, PI),
        (image(-0.4, 0.9), {'Units': 'rad'}, PI),
        (image(0, 6.28), {'Units': 'rad'}, PI),
        (image(0, 4095, True), {'Manufacturer': 'Siemens'}, (0, 4096)),
        (image(12, 3900, True), {'Manufacturer': 'SIEMENS', 'Units': 'arbitrary'}, (0, 4096)),
        (image(-4096, 4094, True, 2, -4096), {'Manufacturer': 'Siemens'}, (-4096, 4096)),
        (image(-500, 400, True, 2, -4096), {'Manufacturer': 'Siemens'}, (-4096, 4096)),
        (image(-4096, 4094), {'Manufacturer': 'Siemens Healthineers'}, (-4096, 4096)),
        (image(-3.14, 3.14), {'Manufacturer': 'Siemens'}, PI),
        (image(-3142, 3142), {'Manufacturer': 'Philips Medical Systems'}, MRAD),
        (image(0, 4095, True), {'Manufacturer': 'Philips'}, (0, 4095)),
        (image(-3.14, 3.14), {'Manufacturer': 'Philips', 'Units': 'arbitrary'}, PI),
        (image(-3141, 3141, True), {'Manufacturer': 'GE MEDICAL SYSTEMS'}, MRAD),
        (image(-3.14, 3.13), {}, PI),
    ],
)
def test_nominal_ranges(stored, metadata, expected):
    assert limits(stored, **metadata) == pytest.approx(expected)


def test_all_echoes_share_one_range_which_none_need_fill():
    assert limits(image(900, 2100, True), image(0, 4095, True), Manufacturer='Siemens') == (0, 4096)


@pytest.mark.parametrize(
    ('stored', 'metadata', 'message'),
    [
        (image(0, 4095, True), {}, 'no Units, from an unknown manufacturer, cannot be scaled'),
        (image(-4096, 4094, True), {'Units': 'arbitrary'}, "Units 'arbitrary', from an unknown"),
        (image(0, 4095, True), {'Manufacturer': 'Canon'}, 'from Canon, cannot be scaled'),
        (image(-4096, 4094), {'Units': 'rad'}, r'do not lie within \+-pi, though Units says rad'),
        (image(-0.0037, 0.0037), {'Units': 'rad'}, 'next to nothing of 2 pi'),
        (image(-0.0037, 0.0037), {}, 'cannot be scaled'),
        (image(-1.0, 1.0), {}, 'cannot be scaled'),
        (image(-8192, 4096), {'Manufacturer': 'Siemens'}, 'known for it: 0 to 4096 or -4096 to'),
        (image(-9000, 4094, True, 2, -4096), {'Manufacturer': 'Siemens'}, 'nominal range -4096'),
        (image(-500, 496, True), {'Manufacturer': 'Philips'}, 'cannot be scaled'),
        (image(-3, 3, True), {'Manufacturer': 'Philips'}, 'cannot be scaled'),
        (image(-180, 180), {'Units': 'Hz'}, "has the Units 'Hz'"),
        (image(0, 0, True), {'Units': 'rad'}, 'next to nothing'),
        (image(-3, 3, True), {'Units': 'rad'}, 'are whole numbers, as radians are not'),
        (image(0, 4095, True), {'Units': 'rad'}, 'are whole numbers, as radians are not'),
    ],
)
def test_contradictions_name_the_file_and_the_way_out(stored, metadata, message):
    with pytest.raises(InputError, match=message) as error:
        limits(stored, **metadata)
    assert 'sub-01_echo-1_part-phase_MEGRE.nii.gz' in str(error.value)
    if metadata.get('Units') != 'Hz':
        assert '--phase-range LOW HIGH' in str(error.value)


def test_the_user_has_the_first_word():
    overrides = InputOverrides(phase_range=(-0.0037, 0.0037), phase_sign=-1)
    scale, warnings = choose_phase_scale(
        [image(-0.003674, 0.003674)], {'Units': 'rad', 'Manufacturer': 'Siemens'}, overrides
    )
    assert (scale.low, scale.high, scale.sign) == (-0.0037, 0.0037, -1)
    assert scale.rule == (
        'Values from -0.0037 to 0.0037 stand for -pi to pi, as set by --phase-range, '
        'inverted by --phase-sign -1.'
    )
    assert warnings == []


@pytest.mark.parametrize(
    ('phase_range', 'message'),
    [((5, 5), 'LOW must be less than HIGH'), ((math.nan, 1), 'LOW must be less than HIGH')],
)
def test_the_user_may_be_wrong(phase_range, message):
    with pytest.raises(InputError, match=message):
        limits(image(0, 4095, True), overrides=InputOverrides(phase_range=phase_range))


def test_values_beyond_a_turn_wrap_with_a_warning():
    overrides = InputOverrides(phase_range=(0, 2000))
    scale, warnings = choose_phase_scale([image(0, 4095, True)], {}, overrides)
    assert (scale.low, scale.high) == (0, 2000)
    assert 'from 0 to 4095 go beyond --phase-range 0 to 2000; they are wrapped' in warnings[0]
    for stored in (image(-6.2, 6.2), image(-5.3, 1.0), image(-40.0, 90.0)):
        scale, warnings = choose_phase_scale([stored], {'Units': 'rad'}, NONE)
        assert (scale.low, scale.high) == PI
        assert 'they are wrapped to +-pi' in warnings[0]
    _, warnings = choose_phase_scale([image(-0.4, 0.9)], {'Units': 'rad'}, NONE)
    assert 'stays between -0.4 and 0.9 rad' in warnings[0]


@pytest.mark.parametrize('shown', [(-1.0, 1.0), (0.0, 1.0), (-180.0, 180.0), (-0.5, 0.5)])
def test_radians_that_wrap_elsewhere_are_none_and_the_advice_works(shown):
    values = np.random.default_rng(0).uniform(*shown, (4096, 2)).astype(np.float32)
    stored = replace(image(*shown), sample=values)
    with pytest.raises(InputError, match='the phase wraps between') as error:
        limits(stored, Units='rad')
    low, high = re.search(r'give --phase-range (\S+) (\S+);', str(error.value)).groups()
    advised = InputOverrides(phase_range=(float(low), float(high)))
    assert limits(stored, Units='rad', overrides=advised) == pytest.approx(
        shown, rel=1e-3, abs=1e-3
    )


def test_a_mean_of_wrapped_phases_is_refused_without_a_scale():
    rng = np.random.default_rng(1)
    phase = rng.uniform(-math.pi, math.pi, (4096, 2))
    mean = (phase + np.angle(np.exp(1j * (phase + 0.8)))) / 2
    stored = replace(image(mean.min(), mean.max()), sample=mean.astype(np.float32))
    with pytest.raises(InputError, match='averaged or filtered after it had wrapped') as error:
        limits(stored, Units='rad')
    assert '--phase-range' not in str(error.value)


def test_each_echo_is_tested():
    rng = np.random.default_rng(0)
    echoes = [
        replace(image(low, high), sample=rng.uniform(low, high, (4096, 2)).astype(np.float32))
        for low, high in (PI, (-1.0, 1.0))
    ]
    with pytest.raises(InputError, match=r'wraps between -0\.99\d* and 0\.99'):
        limits(*echoes, Units='rad')
    values = rng.uniform(0, 4095, (4096, 2)).round().astype(np.float32)
    half = replace(image(0, 4095, True), sample=values)
    with pytest.raises(InputError, match='wraps between 0 and 4095'):
        limits(half, image(-4096, 4094, True), Manufacturer='Siemens')


def test_assumptions_are_reported():
    _, warnings = choose_phase_scale([image(-3.1, 3.1)], {}, NONE)
    assert warnings[0].endswith('has no Units; its values lie within +-pi and are read as radians.')
    scale, warnings = choose_phase_scale([image(0, 4095, True)], {'Manufacturer': 'Siemens'}, NONE)
    assert scale.rule == (
        'Values from 0 to 4096 stand for -pi to pi, a nominal range of Siemens (no Units).'
    )
    assert warnings[0].endswith('has no Units in its sidecar.')
    _, warnings = choose_phase_scale([image(0, 6.28)], {'Units': 'rad'}, NONE)
    assert 'from 0 to 2 pi' in warnings[0]


def test_slices_are_corrected_on_request_and_not_for_other_makers():
    overrides = InputOverrides(fix_ge_slices=True)
    stored = [image(-3.1, 3.1)]
    scale, warnings = choose_phase_scale(stored, {'Units': 'rad', 'Manufacturer': 'GE'}, overrides)
    assert scale.alternate_slices
    assert 'with pi added to every second slice' in scale.rule
    assert 'opposite sign' in warnings[0]
    scale, warnings = choose_phase_scale(
        stored, {'Units': 'rad', 'Manufacturer': 'Siemens'}, overrides
    )
    assert not scale.alternate_slices
    assert warnings == ['--fix-ge-slices is not applied to an image from Siemens.']
    assert complex_phase_scale({}, overrides)[0].alternate_slices


def test_manufacturers_are_recognised():
    names = ['GE MEDICAL SYSTEMS', 'General Electric', 'GEMS', 'Philips Healthcare', 'Bridge', '']
    found = [manufacturer_of({'Manufacturer': name}) for name in names]
    assert found == ['GE', 'GE', 'GE', 'Philips', 'Bridge', None]


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


def test_units_of_degrees_are_refused_and_the_advice_works(tiny_dataset):
    tiny_dataset.add(units='degrees')
    for echo in (1, 2, 3):
        tiny_dataset.edit_image(f'echo-{echo}_part-phase_MEGRE', change=np.rad2deg)
    assert '--phase-range LOW HIGH (-180 180 for degrees)' in the_error(tiny_dataset)
    scan = the_one(tiny_dataset, overrides=InputOverrides(phase_range=(-180, 180)))
    assert (scan.phase_scale.low, scan.phase_scale.high) == (-180, 180)

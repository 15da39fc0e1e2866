"""Images that do not hold what their names say, as converters and exports leave them behind."""

import re
import shutil

import numpy as np
import pytest

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.phase_scale import InputOverrides

PI = np.pi


def judge(head, **overrides):
    """What is said of the head: its warnings, or the error that refuses it."""
    found, rejected = find_acquisitions(
        open_dataset(head.root), '01', overrides=InputOverrides(**overrides)
    )
    if rejected:
        assert '/sub-01/anat/sub-01_echo-' in rejected[0].error
        return 'refused: ' + rejected[0].error
    return ' '.join(found[0].warnings)


def siemens(phase):
    return np.clip(np.rint(phase / PI * 2048) + 2048, 0, 4095)


def swap(head, mag_type, phase_type, mag_dtype=np.int16):
    for echo in (1, 2, 3, 4):
        mag, phase = head.load(echo, 'mag'), head.load(echo, 'phase')
        head.store(echo, 'phase', np.rint(3500 * mag / mag.max()), mag_dtype)
        head.store(echo, 'mag', siemens(phase), np.int16)
        keys = {'Manufacturer': 'Siemens'}
        head.sidecar(
            echo, 'phase', ['Units'], **keys, **({'ImageType': mag_type} if mag_type else {})
        )
        head.sidecar(
            echo, 'mag', ['Units'], **keys, **({'ImageType': phase_type} if phase_type else {})
        )


def test_an_unaltered_head_is_taken_without_a_word(head):
    assert judge(head) == ''


@pytest.mark.parametrize('echo', [1, 2])
def test_the_phase_of_one_echo_that_lies_elsewhere_is_told(head, echo):
    head.store(echo, 'phase', np.flip(head.load(echo, 'phase'), 2))
    told = f'sub-01_echo-{echo}_part-phase_MEGRE.nii.gz does not fit sub-01_echo-{echo}_part-mag'
    assert told in judge(head)


@pytest.mark.parametrize(
    ('of_phase_file', 'of_magnitude_file'),
    [
        (['ORIGINAL', 'PRIMARY', 'M', 'ND'], ['ORIGINAL', 'PRIMARY', 'P', 'ND']),
        (['ORIGINAL', 'PRIMARY', 'M_FFE', 'M', 'FFE'], ['ORIGINAL', 'PRIMARY', 'PHASE MAP', 'P']),
        (['DERIVED', 'PRIMARY', 'MAGNITUDE'], ['DERIVED', 'PRIMARY', 'PHASE']),
        (None, None),
        (['ORIGINAL', 'PRIMARY', 'PHASE'], ['ORIGINAL', 'PRIMARY', 'PHASE']),
    ],
)
def test_swapped_magnitude_and_phase_are_refused(head, of_phase_file, of_magnitude_file):
    swap(head, of_phase_file, of_magnitude_file)
    assert re.match('refused: .*look(s? swapped|s like)', judge(head))


def test_one_image_type_for_both_parts_is_no_proof(head):
    for part in ('mag', 'phase'):
        head.each(part, lambda x: x, ImageType=['ORIGINAL', 'PRIMARY', 'PHASE'])
    assert 'refused' not in judge(head)
    assert 'the name is trusted' in judge(head)


def test_swapped_real_and_imaginary_parts_are_refused(head):
    for echo in (1, 2, 3, 4):
        mag, phase = head.load(echo, 'mag'), head.load(echo, 'phase')
        for part, values, word in (('real', np.cos(phase), 'I'), ('imag', np.sin(phase), 'R')):
            sidecar = head.image(echo, part).with_suffix('').with_suffix('.json')
            shutil.copy(head.image(echo, 'mag').with_suffix('').with_suffix('.json'), sidecar)
            head.store(echo, part, mag * values)
            head.sidecar(echo, part, ImageType=['ORIGINAL', 'PRIMARY', word])
    for part in ('mag', 'phase'):
        for echo in (1, 2, 3, 4):
            head.image(echo, part).unlink()
    assert re.search('look swapped: .* the former is the real part', judge(head))


def test_a_phase_saved_as_both_parts_is_refused(head):
    for echo in (1, 2, 3, 4):
        head.store(echo, 'mag', siemens(head.load(echo, 'phase')), np.int16)
    assert 'refused: ' in judge(head)
    assert 'same values' in judge(head)


@pytest.mark.parametrize('background', [None, 0.0])
def test_a_magnitude_of_another_series_as_the_phase_is_refused(head, background):
    rng = np.random.default_rng(0)
    for echo in (1, 2, 3, 4):
        mag = head.load(echo, 'mag')
        other = np.rint(3000 * mag / mag.max() * rng.normal(1, 0.02, mag.shape))
        if background is not None:
            other[np.asarray(head.brain.dataobj) == 0] = background
        head.store(echo, 'phase', np.clip(other, 0, 4095), np.int16)
        head.sidecar(echo, 'phase', ['Units'], Manufacturer='Siemens')
    assert re.match('refused: .*echo-1_part-phase.* looks like a magnitude', judge(head))


def test_a_phase_without_background_is_no_magnitude(head):
    brain = np.asarray(head.brain.dataobj) > 0
    head.each(
        'phase',
        lambda x: np.where(brain, siemens(x), 0),
        np.int16,
        ['Units'],
        Manufacturer='Siemens',
    )
    head.each('mag', lambda x: np.where(brain, x, 0))
    assert 'refused' not in judge(head)


@pytest.mark.parametrize('part', ['mag', 'phase'])
@pytest.mark.parametrize('echo', [1, 3])
def test_every_echo_has_values_of_its_own(head, part, echo):
    head.store(echo, part, np.full(head.brain.shape, 7), np.int16)
    said = judge(head)
    assert re.search(f'refused: .*echo-{echo}_part-{part}_MEGRE.* holds one value alone, 7', said)
    others = [x for x in (1, 2, 3, 4) if x != echo]
    assert f'{{"megre": {{"echo": {others}}}}}' in said


@pytest.mark.parametrize('part', ['mag', 'phase'])
@pytest.mark.parametrize('to_stored', [lambda x: x, lambda x: x + 1e-4], ids=['same', 'rounded'])
def test_copies_of_an_echo_are_refused(head, part, to_stored):
    head.store(4, part, to_stored(head.load(2, part)))
    assert f'echo-4_part-{part}_MEGRE.nii.gz holds the same values as sub-01_echo-2' in judge(head)


def test_a_copy_in_another_scale_is_refused(head):
    head.each('phase', siemens, np.int16, ['Units'], Manufacturer='Siemens')
    head.store(3, 'phase', head.load(1, 'phase') * 2 - 4096)
    assert 'holds the same values' in judge(head)


def test_an_echo_that_ends_half_way_is_refused(head):
    phase = head.load(2, 'phase')
    phase[:, :, : phase.shape[2] // 2] = 0
    head.store(2, 'phase', phase)
    assert re.search(r'echo-2_part-phase.* one single value in .* of its voxels', judge(head))


@pytest.mark.parametrize(
    ('to_stored', 'turn'),
    [
        (lambda x: x / PI, (-1, 1)),
        (lambda x: x / (2 * PI) + 0.5, (0, 1)),
        (lambda x: np.rad2deg(x), (-180, 180)),
        (lambda x: np.rad2deg(x) % 360, (0, 360)),
        (lambda x: x / 4096, (-PI / 4096, PI / 4096)),
    ],
    ids=['by pi', '0 to 1', 'degrees', 'degrees from 0', 'slope lost'],
)
def test_radians_that_are_none_are_refused_and_the_advice_works(head, to_stored, turn):
    head.each('phase', to_stored)
    said = judge(head)
    assert said.startswith('refused: ')
    assert '--phase-range' in said
    assert judge(head, phase_range=turn) == ''


@pytest.mark.parametrize(
    'to_stored',
    [
        lambda x: np.where(x > 1, x - 2 * PI, x),
        lambda x: x % (2 * PI),
        lambda x: x + 6 * PI,
        lambda x: x + 2 * PI * np.rint(np.linspace(-20, 20, x.size).reshape(x.shape)),
    ],
    ids=['cut at 1', '0 to 2 pi', 'shifted', 'unwrapped'],
)
def test_radians_beyond_pi_are_wrapped(head, to_stored):
    head.each('phase', to_stored)
    assert 'they are wrapped to +-pi' in judge(head)


@pytest.mark.parametrize(
    ('maker', 'to_stored'),
    [
        ('Canon', siemens),
        ('UIH', lambda x: np.rint(x / PI * 4096)),
        ('Philips', lambda x: np.rint(498 * x / PI) - 2),
        (None, lambda x: np.rint(1000 * x)),
    ],
)
def test_the_range_of_an_unknown_scale_is_named_and_works(head, maker, to_stored):
    head.each('phase', to_stored, np.int16, ['Units'], Manufacturer=maker)
    said = judge(head)
    low, high = re.search(r'at which all echoes wrap: --phase-range (\S+) (\S+)\)', said).groups()
    assert judge(head, phase_range=(float(low), float(high))) == ''


def test_a_range_is_named_only_where_all_echoes_share_it(head):
    head.store(2, 'phase', siemens(head.load(2, 'phase')), np.int16)
    said = judge(head)
    assert 'echo-2_part-phase' in said
    assert 'store all of them in one scale' in said
    assert '--phase-range' not in said


def test_one_echo_in_another_scale_is_refused(head):
    head.store(3, 'phase', head.load(3, 'phase') / PI)
    assert re.search('refused: .*echo-3_part-phase.* wraps between -0.99', judge(head))


def test_whole_numbers_are_no_radians(head):
    head.each('phase', np.rint, np.int16)
    assert 'are whole numbers' in judge(head)


def test_echoes_that_were_exchanged_are_reported(head):
    first, last = head.load(1, 'mag'), head.load(4, 'mag')
    head.store(1, 'mag', last)
    head.store(4, 'mag', first)
    assert 'The magnitude rises from' in judge(head)


def test_echo_numbers_against_echo_times_are_reported(head):
    for part in ('mag', 'phase'):
        head.sidecar(1, part, EchoTime=0.040)
    assert 'the echoes have the numbers 2, 3, 4, 1' in judge(head)


def test_an_echo_after_the_next_excitation_is_reported(head):
    for part in ('mag', 'phase'):
        for echo in (1, 2, 3, 4):
            head.sidecar(echo, part, RepetitionTime=0.010)
    assert 'RepetitionTime 0.01 s' in judge(head)


def test_siemens_echo_times_of_all_echoes_are_no_phase_difference(head):
    head.each(
        'phase',
        siemens,
        np.int16,
        ['Units'],
        Manufacturer='Siemens',
        EchoTime1=0.004,
        EchoTime2=0.012,
    )
    assert 'refused' not in judge(head)

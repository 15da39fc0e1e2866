"""What is remembered of each participant, and logged again by later runs."""

import json

import pytest

from qsmprep.bids.derivatives import write_json
from qsmprep.bids.errors import InputError
from qsmprep.cli import participant
from qsmprep.cli.group import run_group
from qsmprep.cli.group_regions import read_ages
from qsmprep.cli.records import (
    Outcome,
    finish_record,
    keep_earlier,
    read_crash,
    read_record,
    write_record,
)
from qsmprep.cli.stated import is_infant
from qsmprep.reports.measures import implausible

CRASH = """Node: qsmprep_wf.sub_01_wf.ses_a_MEGRE_wf.qsm_wf.inversion_wf.invert_dipole
Working directory: /w

Traceback (most recent call last):
  File "nodes.py", line 1, in run
    raise NodeExecutionError(msg)
nipype.NodeExecutionError: Exception raised while executing Node invert_dipole.

Traceback:
\tTraceback (most recent call last):
\t  File "invert.py", line 2, in invert
\t    raise ValueError('it is broken')
\tValueError: it is broken: badly
"""
CONTENT = {
    'QualityMeasures': {'chi_sd_ppb': 30.0},
    'PhaseProcessing': {'Warnings': ['The readout is bipolar.']},
    'DarkSpots': {'Spots': [{'Sign': 'diamagnetic'}]},
    'Units': 'ppm',
}


def _record(*sessions):
    acquisitions = [
        {
            'stem': f'sub-01_ses-{session}_MEGRE',
            'status': 'pending',
            'error': None,
            'quality': {},
            'inputs': [],
            'warnings': ['seen'],
            'outputs': {'chi': f'sub-01/ses-{session}/anat/sub-01_ses-{session}_Chimap.nii.gz'},
        }
        for session in sessions
    ]
    return {'participant': '01', 'acquisitions': acquisitions, 'errors': [], 'finished': None}


def _write_map(out, session):
    chi = out / 'sub-01' / f'ses-{session}' / 'anat' / f'sub-01_ses-{session}_Chimap.nii.gz'
    chi.parent.mkdir(parents=True)
    chi.touch()
    sidecar = chi.with_name(chi.name.replace('.nii.gz', '.json'))
    sidecar.write_text(json.dumps(CONTENT))


def test_the_nodes_own_message_is_found_in_a_crash_file(tmp_path):
    path = tmp_path / 'crash-1.txt'
    path.write_text(CRASH)
    crash = read_crash(path)
    assert crash['node'].endswith('.invert_dipole')
    assert crash['message'] == 'ValueError: it is broken: badly'


def test_what_a_command_said_is_told(tmp_path):
    """It was: subprocess exited with code 1."""
    said = 'Stdout:\n\nStderr:\n\tniimath: failed to write output\nTraceback:\n'
    failed = '\tRuntimeError: subprocess exited with code 1.\n'
    path = tmp_path / 'crash-1.txt'
    path.write_text(f'Node: a.romeo\nTraceback (most recent call last):\n  ...\n{said}{failed}')
    message = read_crash(path)['message']
    assert message == (
        'RuntimeError: subprocess exited with code 1: niimath: failed to write output'
    )


def test_a_crash_fails_its_own_acquisition_only(tmp_path):
    out, crash_dir = tmp_path / 'out', tmp_path / 'crash'
    crash_dir.mkdir()
    (crash_dir / 'crash-1.txt').write_text(CRASH)
    for session in 'ab':
        _write_map(out, session)
    record = _record('a', 'b', 'c')
    record['acquisitions'][0]['rules'] = {'Brain mask': 'bids:masks:m.nii.gz was given.'}
    sinks = {f'qsmprep_wf.sub_01_wf.ses_{x}_MEGRE_wf.outputs_wf.sink_chi' for x in 'ab'}
    finish_record(out, record, crash_dir, Outcome(sinks))
    status = {a['stem']: a['status'] for a in record['acquisitions']}
    assert list(status.values()) == ['failed', 'completed', 'failed']
    error = record['acquisitions'][0]['error']
    assert error == (
        'invert_dipole: ValueError: it is broken: badly The brain mask bids:masks:m.nii.gz was '
        'given. See whether it lies on the brain.'
    )
    assert record['acquisitions'][1]['quality'] == {'chi_sd_ppb': 30.0}
    assert record['acquisitions'][1]['spots'] == [{'Sign': 'diamagnetic'}]
    assert record['acquisitions'][1]['warnings'] == ['seen', 'The readout is bipolar.']
    assert 'before the susceptibility map' in record['acquisitions'][2]['error']
    other = _record('a') | {'participant': '0'}
    finish_record(out, other, crash_dir, Outcome())
    assert other['errors'] == []


def test_a_run_on_one_session_keeps_the_record_of_the_others(tmp_path):
    first = _record('a', 'b')
    first['acquisitions'][0]['status'] = 'completed'
    first['acquisitions'][1]['status'] = 'failed'
    write_record(tmp_path, first)
    second = _record('c')
    keep_earlier(tmp_path, second, tmp_path)
    assert [a['stem'][11:12] for a in second['acquisitions']] == ['a', 'c']


def test_an_earlier_scan_whose_images_have_gone_is_named(tmp_path, caplog):
    first = _record('a', 'b')
    for name, acquisition in zip('ab', first['acquisitions'], strict=True):
        acquisition |= {'status': 'completed', 'inputs': [f'bids:raw:sub-01/{name}.nii.gz']}
    write_record(tmp_path, first)
    (tmp_path / 'sub-01').mkdir(exist_ok=True)
    (tmp_path / 'sub-01' / 'b.nii.gz').symlink_to('not-fetched')
    second = _record('c')
    keep_earlier(tmp_path, second, tmp_path)
    gone, there, _ = second['acquisitions']
    assert 'images that are no longer in the dataset' in gone['warnings'][-1]
    assert gone['warnings'][-1] in caplog.text
    assert there['warnings'] == ['seen']


def test_images_that_an_earlier_run_made_otherwise_are_named(tmp_path):
    _write_map(tmp_path, 'a')
    sidecar = next(tmp_path.rglob('*_Chimap.json'))
    sidecar.write_text('{"BackgroundFieldRemoval": {"Method": "pdf"}}')
    for ending, method in (
        ('swi', 'vsharp'), ('minIP', 'pdf'), ('run-2_Chimap', 'lbv'), ('desc-mean_Chimap', 'lbv')
    ):  # fmt: skip
        text = json.dumps({'BackgroundFieldRemoval': {'Method': method}})
        sidecar.with_name(f'sub-01_ses-a_{ending}.json').write_text(text)
    record = _record('a')
    sinks = {'qsmprep_wf.sub_01_wf.ses_a_MEGRE_wf.outputs_wf.sink_chi'}
    finish_record(tmp_path, record, tmp_path, Outcome(sinks))
    _, warning = record['acquisitions'][0]['warnings']
    assert warning.startswith('swi: of an earlier run, by other settings')


def test_a_map_of_an_earlier_run_does_not_count_as_this_one(tmp_path):
    _write_map(tmp_path, 'a')
    record = _record('a')
    finish_record(tmp_path, record, tmp_path, Outcome(error='The nodes could not be run.'))
    assert record['acquisitions'][0]['status'] == 'failed'
    assert record['acquisitions'][0]['error'] == 'The nodes could not be run.'
    assert record['errors'][0]['message'] == 'The nodes could not be run.'


def test_what_no_map_can_have_is_remembered(tmp_path):
    _write_map(tmp_path, 'a')
    sidecar = next(tmp_path.rglob('*_Chimap.json'))
    sidecar.write_text('{"QualityMeasures": {"chi_max_ppm": 480.0, "total_field_sd_hz": 9000.0}}')
    record = _record('a')
    sinks = {'qsmprep_wf.sub_01_wf.ses_a_MEGRE_wf.outputs_wf.sink_chi'}
    finish_record(tmp_path, record, tmp_path, Outcome(sinks))
    sentences = ' '.join(record['acquisitions'][0]['implausible'])
    assert '480 ppm, beyond 100 ppm' in sentences
    assert '9e+03 Hz, beyond 1000 Hz' in sentences


@pytest.mark.parametrize(
    ('quality', 'words'),
    [
        ({'chi_tail_asymmetry': -0.3, 'r2star_per_chi': 8.0}, 'has the other sign'),
        ({'chi_tail_asymmetry': -0.3, 'r2star_per_chi': 60.0}, ''),  # a large calcification
        ({'chi_tail_asymmetry': 0.3, 'r2star_per_chi': 8.0}, ''),
        ({'chi_tail_asymmetry': 0.04, 'r2star_per_chi': 3.4}, 'neither veins nor nuclei'),
        ({'chi_tail_asymmetry': 0.01, 'echo_misfit': 2.2}, 'neither veins nor nuclei'),
        ({'chi_tail_asymmetry': 0.01, 'echo_disagreement_percent': 19}, 'neither veins nor nuclei'),
        ({'flip_gain_errors': 0.5, 'echo_disagreement_percent': 19}, ''),  # a noisy scan
        ({'echo_disagreement_percent': 95}, 'Disagreement of the echoes: 95 %, beyond 50 %'),
        ({'chi_tail_asymmetry': 0.01, 'echo_misfit': 1.2, 'r2star_per_chi': 60.0}, ''),
        ({'echo_misfit': 18.0, 'local_field_sd_ppb': 60.0}, 'belong to no one field'),
        ({'echo_misfit': 18.0, 'local_field_sd_ppb': 20.0}, ''),
        ({'local_field_sd_ppb': 95.0}, '95 ppb, beyond 75 ppb, which no map can have'),
        ({'local_field_sd_ppb': 0.8}, '0.8 ppb, below 1 ppb, which no map can have'),
        ({'b0_angle_deg': 30.0}, 'beyond 20 degrees, which'),
        ({'b0_angle_deg': 15.0}, ''),
        (
            {'local_field_sd_ppb': 47.0, 'chi_sd_ppb': 116.0, 'r2star_per_chi': 8.9},
            'Susceptibility is too large (spread: 116 ppb',
        ),
        (
            {'local_field_sd_ppb': 1.2, 'chi_sd_ppb': 3.6, 'r2star_per_chi': 350.0},
            'Susceptibility is too small',
        ),
        ({'local_field_sd_ppb': 47.0, 'chi_sd_ppb': 142.0, 'r2star_per_chi': 40.0}, ''),
        ({'local_field_sd_ppb': 47.0, 'chi_sd_ppb': 16.0, 'r2star_per_chi': 8.9}, ''),
        ({'local_field_sd_ppb': 47.0, 'chi_sd_ppb': 142.0, 'r2star_per_chi': -0.7}, ''),
        ({'chi_sd_ppb': 8.7, 'r2star_relative': 0.61}, 'field strength are wrong'),
        ({'chi_sd_ppb': 8.7, 'r2star_relative': 1.0}, ''),
        ({'chi_sd_ppb': 60.0, 'r2star_relative': 0.61}, ''),
        ({'local_field_middle_ppb': 15.8, 'r2star_relative': 2.15}, 'field strength are wrong'),
        ({'local_field_middle_ppb': 3.2, 'r2star_relative': 0.55}, 'field strength are wrong'),
        ({'local_field_middle_ppb': 14.2, 'r2star_relative': 1.44}, ''),  # a measured scan
        ({'local_field_middle_ppb': 8.4, 'r2star_relative': 2.15}, ''),
        ({'r2star_per_chi': 9.3, 'r2star_relative': 1.2}, 'they may be of two participants'),
        ({'r2star_per_chi': 9.3, 'r2star_relative': 0.1}, ''),  # a magnitude that was normalised
        ({'r2star_per_chi': 28.0, 'r2star_relative': 1.2}, ''),
        ({'b0_angle_deg': 15.0, 'echo_misfit': 6.0, 'chi_sd_ppb': 5.0}, ''),
    ],
)
def test_what_no_map_can_have_is_reported(quality, words):
    head = {'map_volume_ml': 1300.0, 'r2star_median_hz': 20.0}
    sentences = implausible(head | quality)
    assert len(sentences) == bool(words)
    assert words in ''.join(sentences)
    assert implausible(head | quality | {'map_volume_ml': 3.0}) == []  # a specimen
    if not {'b0_angle_deg', 'local_field_middle_ppb'} & quality.keys():
        assert implausible(quality | {'map_volume_ml': 1300.0}) == []  # one echo


@pytest.mark.parametrize(
    ('quality', 'words'),
    [
        ({'chi_tail_asymmetry': -0.3, 'chi_inner_asymmetry': -0.2}, 'long tails: -0.30 and -0.20'),
        ({'chi_tail_asymmetry': -0.3, 'chi_inner_asymmetry': 0.1}, ''),  # a large calcification
        ({'chi_tail_asymmetry': 0.1, 'chi_inner_asymmetry': -0.1}, ''),
        ({'local_field_middle_ppb': 32.0}, 'beyond 30 ppb, which no map can have'),
        ({'local_field_middle_ppb': 14.2}, ''),
        ({'b0_angle_deg': 30.0}, 'beyond 20 degrees'),
        ({'local_field_sd_ppb': 90.0}, ''),  # coils
    ],
)
def test_what_no_map_of_one_echo_can_have_is_reported(quality, words):
    sentences = implausible(quality | {'map_volume_ml': 1300.0})
    assert len(sentences) == bool(words)
    assert words in ''.join(sentences)
    assert implausible(quality | {'map_volume_ml': 3.0}) == []


@pytest.mark.parametrize('volume_ml', [2.0, 1300.0])
def test_a_rim_that_is_no_tissue_is_reported_of_heads_and_specimens(volume_ml):
    head = {'map_volume_ml': volume_ml, 'r2star_median_hz': 20.0}
    (sentence,) = implausible(head | {'field_rim_to_core_sd': 9.0, 'chi_rim_to_core_sd': 6.1})
    assert 'the mask is too wide; give one by --derivatives' in sentence
    assert implausible(head | {'field_rim_to_core_sd': 9.0, 'chi_rim_to_core_sd': 1.2}) == []
    assert implausible(head | {'field_rim_to_core_sd': 2.6, 'chi_rim_to_core_sd': 6.1}) == []


def test_the_group_is_gathered_whatever_names_hold(tmp_path, capsys):
    record = _record('a')
    record['acquisitions'][0] |= {'stem': '<script>alert\ud800\t', 'quality': {'chi_sd_ppb': 'x'}}
    (tmp_path / 'logs').mkdir()
    (tmp_path / 'logs' / 'sub-01.json').write_text(json.dumps(record))
    assert run_group(tmp_path) == 0
    assert (tmp_path / 'group_qsm.tsv').read_bytes().count(b'\n') == 2
    assert '<script>alert' not in (tmp_path / 'group.html').read_text()


def test_participants_that_were_not_processed_alike_are_told(tmp_path, caplog, capsys):
    for label, inversion, version in (('01', 'tv', '1'), ('02', 'tkd', '1'), ('03', 'tv', '1')):
        file = {'settings_file': f'logs/{label}.toml', 'qsmprep_version': version}
        write_record(tmp_path, _record('a') | {'participant': label} | file)
        text = f'[processing]\ninversion = "{inversion}"\ndevice = "{label}"\n'
        (tmp_path / 'logs' / f'{label}.toml').write_text(text)
    assert run_group(tmp_path) == 0
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith('Participants were not processed alike by inversion: tv (2), tkd (1);')
    caplog.clear()
    (tmp_path / 'logs' / '02.toml').write_text('[processing]\ninversion = "tv"\n')
    (tmp_path / 'logs' / '03.toml').write_text('processing = 3')
    assert run_group(tmp_path, ['07']) == 0
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith('--participant-label has no effect at the group level')


@pytest.mark.parametrize('text', ['', 'Node: x', CRASH[:60], CRASH[:200], '\0\0\0'])
def test_crash_files_cut_short_are_no_trouble(tmp_path, text):
    (tmp_path / 'crash-1.txt').write_text(text)
    assert read_crash(tmp_path / 'crash-1.txt')['message']
    failure = {'node': 'qsmprep_wf.sub_01_wf.x', 'message': 'disk full', 'traceback': 'disk full'}
    record = _record('a')
    finish_record(tmp_path, record, tmp_path, Outcome(failures=[failure]))
    assert 'disk full' in [error['message'] for error in record['errors']]


@pytest.mark.parametrize(
    'content',
    ['', '[]', '{}', '{"acquisitions": 3}', '{"acquisitions": [{"stem": 1, "status": "x"}]}'],
)
def test_odd_records_are_named_and_stop_nobody_else(tmp_path, content, caplog, capsys):
    write_record(tmp_path, _record('a') | {'participant': '02'})
    (tmp_path / 'logs' / 'sub-01.json').write_text(content)
    with pytest.raises(InputError, match=r'sub-01\.json'):
        read_record(tmp_path, '01')
    assert run_group(tmp_path) == 1
    assert 'sub-01.json' in caplog.text
    rows = (tmp_path / 'group_qsm.tsv').read_text().splitlines()
    assert rows[1].startswith('n/a\tsub-01\tunreadable')
    assert rows[2].startswith('sub-01_ses-a_MEGRE\tsub-02\tpending')


def test_warnings_on_the_map_of_all_runs_stand_with_the_first_run(tmp_path):
    folder = tmp_path / 'sub-01' / 'anat'
    folder.mkdir(parents=True)
    record = _record('a', 'a')
    for run, acquisition in enumerate(record['acquisitions'], start=1):
        chi = folder / f'sub-01_run-{run}_Chimap.nii.gz'
        chi.touch()
        chi.with_name(f'sub-01_run-{run}_Chimap.json').write_text(json.dumps(CONTENT))
        acquisition['stem'] = f'sub-01_run-{run}_MEGRE'
        acquisition['inputs'] = [f'bids:raw:sub-01/anat/sub-01_run-{run}_echo-1_MEGRE.nii.gz']
        acquisition['outputs'] = {'chi': f'sub-01/anat/{chi.name}'}
    sidecar = {
        'Sources': [x for acquisition in record['acquisitions'] for x in acquisition['inputs']],
        'OrientationInversion': {'Warnings': ['The orientations lie close together.']},
    }
    (folder / 'sub-01_desc-cosmos_Chimap.json').write_text(json.dumps(sidecar))
    sinks = {f'qsmprep_wf.sub_01_wf.run_{run}_MEGRE_wf.outputs_wf.sink_chi' for run in (1, 2)}
    finish_record(tmp_path, record, tmp_path, Outcome(sinks))
    first, second = record['acquisitions']
    assert first['warnings'][-1] == 'The orientations lie close together.'
    assert second['warnings'] == ['seen', 'The readout is bipolar.']


def test_warnings_on_other_images_of_a_scan_stand_with_it(tmp_path):
    folder = tmp_path / 'sub-01' / 'anat'
    folder.mkdir(parents=True)
    record = _record('a')
    (acquisition,) = record['acquisitions']
    (folder / 'sub-01_Chimap.nii.gz').touch()
    (folder / 'sub-01_Chimap.json').write_text(json.dumps(CONTENT))
    said = {'Warnings': ['R2 lies above R2*.'], 'Doubts': ['R2 lies above R2*.']}
    (folder / 'sub-01_R2primemap.json').write_text(json.dumps({'ReversibleRelaxation': said}))
    acquisition['outputs'] = {'chi': 'sub-01/anat/sub-01_Chimap.nii.gz'}
    finish_record(
        tmp_path,
        record,
        tmp_path,
        Outcome({'qsmprep_wf.sub_01_wf.ses_a_MEGRE_wf.outputs_wf.sink_chi'}),
    )
    assert acquisition['warnings'][-1] == 'R2 lies above R2*.'
    assert acquisition['implausible'] == ['R2 lies above R2*.']


def test_steps_add_the_time_and_keep_the_most_memory_of_their_nodes(tmp_path):
    record = _record('a')
    branch = 'qsmprep_wf.sub_01_wf.ses_a_MEGRE_wf.'
    outcome = Outcome(
        seconds={
            f'{branch}qsm_wf.mask_wf.brain': 2.0,
            f'{branch}qsm_wf.mask_wf.trust_phase': 0.5,
            f'{branch}reports_wf.quality': 1.0,
            f'{branch}split_echoes': 0.01,
        },
        memory_gb={
            f'{branch}qsm_wf.mask_wf.brain': 1.5,
            f'{branch}qsm_wf.mask_wf.trust_phase': 1,
        },
    )
    finish_record(tmp_path, record, tmp_path, outcome)
    assert record['acquisitions'][0]['steps'] == {
        'mask': {'seconds': 2.5, 'memory_gb': 1.5},
        'reports': {'seconds': 1.0},
    }


def test_what_the_steps_warn_of_is_reported_on_the_terminal_once(tmp_path, caplog):
    _write_map(tmp_path, 'a')
    sinks = {'qsmprep_wf.sub_01_wf.ses_a_MEGRE_wf.outputs_wf.sink_chi'}
    assert participant._finish(tmp_path, _record('a'), tmp_path, Outcome(sinks)) == 0
    logged = [record.getMessage() for record in caplog.records]
    # the other warning was logged when the scan was read
    assert logged == ['sub-01_ses-a_MEGRE: The readout is bipolar.']


def test_values_of_adults_are_no_bounds_for_infants(tmp_path):
    newborn = {
        'map_volume_ml': 380.0,
        'r2star_median_hz': 8.0,
        'local_field_middle_ppb': 3.2,
        'r2star_relative': 0.5,
    }
    assert 'state their age in participants.tsv' in ' '.join(implausible(newborn))
    assert implausible(newborn, infant=True) == []
    assert 'Motion' in ' '.join(implausible(newborn | {'echo_shift_voxels': 2.0}, infant=True))
    table = tmp_path / 'participants.tsv'
    table.write_text('participant_id\tage\nsub-01\t0.1\nsub-02\t31\nsub-03\tn/a\n')
    assert [is_infant(tmp_path, x) for x in ('01', '02', '03', '04')] == [True, False, False, False]


def test_the_age_of_a_session_goes_before_that_of_the_participant(tmp_path):
    (tmp_path / 'sub-01').mkdir()
    (tmp_path / 'participants.tsv').write_text('participant_id\tage\nsub-01\t1\n')
    table = tmp_path / 'sub-01' / 'sub-01_sessions.tsv'
    table.write_text('session_id\tage\nses-a\t20\nses-b\t30\nses-c\tn/a\n')
    assert [is_infant(tmp_path, '01', x) for x in 'abc'] == [False, False, True]
    (tmp_path / 'sessions.json').write_text('{"age": {"Units": "months"}}')
    assert [is_infant(tmp_path, '01', x) for x in 'abc'] == [True, False, True]


@pytest.mark.parametrize(
    ('units', 'infants'),
    [
        ('years', [False, False]),
        ('weeks', [True, False]),
        ('Months', [False, False]),
        ('day', [True, True]),
        (None, [False, False]),
    ],
)
def test_ages_are_in_the_unit_that_is_stated(tmp_path, units, infants):
    (tmp_path / 'participants.tsv').write_text('participant_id\tage\nsub-01\t40\nsub-02\t300\n')
    (tmp_path / 'participants.json').write_text(json.dumps({'age': {'Units': units}}))
    assert [is_infant(tmp_path, label) for label in ('01', '02')] == infants
    (tmp_path / 'out').mkdir()
    write_json(tmp_path / 'out' / 'dataset_description.json', {'DatasetLinks': {'raw': '..'}})
    years = {'weeks': 7 / 365.25, 'Months': 1 / 12, 'day': 1 / 365.25}.get(units, 1)
    assert read_ages(tmp_path / 'out') == pytest.approx(
        {'sub-01': 40 * years, 'sub-02': 300 * years}
    )

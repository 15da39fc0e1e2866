"""What is remembered of each participant, and told again by later runs."""

import json

from qsmprep.cli.records import Outcome, finish_record, keep_earlier, read_crash, write_record

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
    'Units': 'ppm',
}


def _record(*sessions):
    acquisitions = [
        {
            'stem': f'sub-01_ses-{session}_MEGRE',
            'status': 'pending',
            'error': None,
            'quality': {},
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


def test_a_crash_fails_its_own_acquisition_only(tmp_path):
    out, crash_dir = tmp_path / 'out', tmp_path / 'crash'
    crash_dir.mkdir()
    (crash_dir / 'crash-1.txt').write_text(CRASH)
    for session in 'ab':
        _write_map(out, session)
    record = _record('a', 'b', 'c')
    sinks = {f'qsmprep_wf.sub_01_wf.ses_{x}_MEGRE_wf.outputs_wf.sink_chi' for x in 'ab'}
    finish_record(out, record, crash_dir, Outcome(sinks))
    status = {a['stem']: a['status'] for a in record['acquisitions']}
    assert list(status.values()) == ['failed', 'completed', 'failed']
    assert 'broken' in record['acquisitions'][0]['error']
    assert record['acquisitions'][1]['quality'] == {'chi_sd_ppb': 30.0}
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
    keep_earlier(tmp_path, second)
    assert [a['stem'][11:12] for a in second['acquisitions']] == ['a', 'c']

"""What is found of a participant, what was given for it, and what is said where it is missing."""

import logging
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.layout import open_dataset
from qsmprep.bids.notes import Doubt
from qsmprep.cli.jobs import collect_jobs
from qsmprep.settings import Settings


@pytest.fixture
def collect(tiny_dataset):
    """Return jobs and record of sub-01 for changes of the settings."""

    def of(inputs=None, outputs=None, filters=None, sessions=(), **processing):
        settings = Settings()
        settings = replace(
            settings,
            inputs=replace(settings.inputs, bids_dir=tiny_dataset.root, **inputs or {}),
            processing=replace(settings.processing, **processing),
            outputs=replace(settings.outputs, **outputs or {}),
        )
        record = {'participant': '01', 'acquisitions': [], 'errors': []}
        dataset = open_dataset(tiny_dataset.root)
        return collect_jobs(dataset, record, settings, list(sessions), filters), record

    return of


def errors(record):
    return [item['error'] for item in record['acquisitions'] if item['error']]


def give(tiny_dataset, name, data, datatype='anat', **sidecar):
    """Write an image into a derivatives dataset; return the setting that names it."""
    root = tiny_dataset.root.parent / 'given'
    path = root / 'sub-01' / datatype / f'sub-01_{name}.nii.gz'
    tiny_dataset.write_image(path, data)
    tiny_dataset.write_json(path.with_name(f'sub-01_{name}.json'), sidecar)
    return {'derivatives': {'given': root}}


def test_a_job_names_its_sources_and_software(tiny_dataset, collect):
    tiny_dataset.add()
    (job,), record = collect()
    assert record['errors'] == []
    assert [item['stem'] for item in record['acquisitions']] == ['sub-01_MEGRE']
    assert len(job.metadata['Sources']) == 6
    assert job.metadata['Sources'][0].startswith('bids:raw:sub-01/anat/sub-01_echo-1_part-')
    assert job.metadata['EchoTime'] == [0.005, 0.010, 0.015]
    assert job.metadata['MagneticFieldStrength'] == 3
    assert {'qsmprep', 'torch'} <= set(job.metadata['Software'])
    assert job.brain_mask is job.reference_mask is job.r2 is job.truth is job.anatomy is None


def test_a_bad_acquisition_does_not_stop_the_others(tiny_dataset, collect, caplog):
    tiny_dataset.add('sub-01_acq-good').add('sub-01_acq-bad')
    tiny_dataset.edit_image('acq-bad_echo-2_part-mag_MEGRE', change=np.zeros_like)
    with caplog.at_level(logging.ERROR, 'qsmprep'):
        (job,), record = collect()
    assert job.acquisition.stem == 'sub-01_acq-good_MEGRE'
    (error,) = errors(record)
    assert 'acq-bad_echo-2_part-mag_MEGRE.nii.gz holds one value alone' in error
    assert error in caplog.messages


def test_two_acquisitions_with_one_output_are_kept_apart(tiny_dataset, collect):
    tiny_dataset.add('sub-01', 'MEGRE').add('sub-01', 'T2starw')
    (job,), record = collect()
    (error,) = errors(record)
    assert 'already written to sub-01/anat/sub-01_Chimap.nii.gz; distinguish them' in error
    assert job.acquisition.stem not in error.partition(':')[0]


def test_a_participant_without_echoes_gets_a_reason(tiny_dataset, collect):
    tiny_dataset.write_image(
        tiny_dataset.folder('sub-01') / 'sub-01_T1w.nii.gz', np.ones((4, 4, 4))
    )
    jobs, record = collect()
    assert jobs == []
    (error,) = record['errors']
    assert error['node'] == 'input'
    assert 'MEGRE' in error['message']


def test_a_given_mask_is_used_unless_extraction_is_forced(tiny_dataset, collect):
    tiny_dataset.add()
    inputs = give(tiny_dataset, 'desc-brain_mask', (tiny_dataset.signal > 500).astype(np.uint8))
    (job,), record = collect(inputs)
    assert job.brain_mask.path.name == 'sub-01_desc-brain_mask.nii.gz'
    rule = record['acquisitions'][0]['rules']['Brain mask']
    assert rule == 'bids:given:sub-01/anat/sub-01_desc-brain_mask.nii.gz was given.'
    (job,), _ = collect(inputs, force=('brain-extraction',))
    assert job.brain_mask is None


def test_a_mask_of_the_brain_may_be_named_by_its_label(tiny_dataset, collect):
    tiny_dataset.add()
    inputs = give(tiny_dataset, 'label-brain_mask', (tiny_dataset.signal > 500).astype(np.uint8))
    (job,), _ = collect(inputs)
    assert job.brain_mask.path.name == 'sub-01_label-brain_mask.nii.gz'


def test_derivatives_without_a_mask_are_mentioned(tiny_dataset, collect):
    tiny_dataset.add()
    (job,), _ = collect(give(tiny_dataset, 'label-CSF_mask', np.ones((12, 10, 8), np.uint8)))
    assert any('the brain is extracted' in text for text in job.acquisition.warnings)


@pytest.mark.parametrize(
    'name',
    [
        'echo-1_part-mag_MEGRE_bet_mask',
        'echo-1_part-mag_MEGRE_brain_mask',
        'desc-synthstrip_mask',
        'brainmask',
    ],
)
def test_a_mask_by_the_name_of_a_tool_is_named(tiny_dataset, collect, name):
    tiny_dataset.add()
    inputs = give(tiny_dataset, name, np.ones((12, 10, 8), np.uint8))
    (job,), _ = collect(inputs)
    assert job.brain_mask is None
    (said,) = [text for text in job.acquisition.warnings if 'the brain is extracted' in text]
    assert f'If sub-01_{name}.nii.gz is its mask, give it that name' in said


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'reference': 'CSF'}, "no mask of the reference region 'CSF' (sub-01..._label-CSF_mask"),
        ({'outputs': {'output_spaces': ('T1w',)}}, '--output-spaces T1w needs a T1-weighted image'),
        ({'contrasts': ('r2prime',)}, 'but there is no sub-01..._R2map.nii.gz in anat/'),
        (
            {'contrasts': ('chisep',), 'ignore': ('relaxometry',)},
            'r2prime and chisep of --contrasts need R2*',
        ),
        ({'start_from': 'local-field'}, 'no local field to start from (sub-01..._desc-local_'),
    ],
)
def test_what_was_asked_for_and_is_not_there_is_named(tiny_dataset, collect, settings, message):
    tiny_dataset.add()
    jobs, record = collect(**settings)
    assert jobs == []
    (error,) = errors(record)
    assert message in error


@pytest.mark.parametrize(
    ('runs', 'flag', 'found'), [(2, 'cosmos', 2), (1, 'cosmos', 1), (1, 'average_runs', 1)]
)
def test_too_few_runs_for_a_map_of_several(tiny_dataset, collect, runs, flag, found):
    for run in range(1, runs + 1):
        tiny_dataset.add(f'sub-01_run-{run}')
    jobs, record = collect(**{flag: True})
    assert len(jobs) == runs
    (error,) = record['errors']
    assert f'sub-01 has {found} that can be processed' in error['message']
    assert error['message'].startswith('--' + flag.replace('_', '-'))


def test_only_the_sessions_that_were_asked_for_are_processed(tiny_dataset, collect):
    tiny_dataset.add('sub-01_ses-a').add('sub-01_ses-b')
    (job,), record = collect(sessions=['b'])
    assert job.acquisition.session == 'b'
    assert len(record['acquisitions']) == 1
    jobs, record = collect(sessions=['c'])
    assert jobs == []
    assert 'Check --session-label' in record['errors'][0]['message']


def test_input_from_which_no_map_can_be_right_is_an_error_already(
    tiny_dataset, collect, caplog, monkeypatch
):
    tiny_dataset.add()
    doubts = [Doubt('The phase was filtered.')]
    monkeypatch.setattr('qsmprep.bids.voxels.check_place', lambda *_: doubts)
    (job,), record = collect()
    assert 'The phase was filtered.' in job.acquisition.warnings
    assert record['acquisitions'][0]['implausible'] == doubts
    assert [x.message for x in caplog.records if x.levelno == logging.ERROR] == [
        'sub-01_MEGRE: The phase was filtered.'
    ]


def test_a_total_field_that_is_wrapped_is_refused(tiny_dataset, collect):
    tiny_dataset.add()
    shape = nb.load(next(tiny_dataset.root.rglob('*_part-mag_MEGRE.nii.gz'))).shape
    field = np.ones(shape, np.float32) * np.arange(1, 1 + 10 * shape[0], 10)[:, None, None]
    for wrapped in (False, True):
        values = np.mod(field, 5 * shape[0]) if wrapped else field
        given = give(tiny_dataset, 'desc-total_fieldmap', values, datatype='fmap', Units='Hz')
        jobs, record = collect(inputs=given, start_from='total-field')
        assert len(jobs) == (not wrapped)
        assert ('as where it was not unwrapped' in ' '.join(errors(record))) == wrapped

"""The participant level: from a dataset to maps and reports."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
import traceback
import uuid
from pathlib import Path
from typing import BinaryIO

from qsmprep.bids.derivatives import check_own_dataset, write_dataset_description
from qsmprep.bids.errors import InputError
from qsmprep.bids.filters import load_filters
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.selection import select_participants, select_sessions
from qsmprep.cli import exit_codes
from qsmprep.cli.boilerplate import write_boilerplate
from qsmprep.cli.device import resolve_device
from qsmprep.cli.folders import make_folder
from qsmprep.cli.jobs import collect_jobs, note_error
from qsmprep.cli.process import Stopped, give_back_memory
from qsmprep.cli.records import (
    Outcome,
    finish_record,
    keep_earlier,
    participant_record,
    read_record,
    write_record,
)
from qsmprep.cli.stated import stated
from qsmprep.cli.work_folder import drop_damaged, lock, participant_folder
from qsmprep.reports.measures import quality_warnings
from qsmprep.settings import Settings

LOGGER = logging.getLogger('qsmprep')


def run_participants(settings: Settings, command: str) -> int:
    """
    Process the participants of a dataset.

    Parameters
    ----------
    settings
        Settings of the run.
    command
        The command line, for the records.

    Returns
    -------
    int
        One of :mod:`qsmprep.cli.exit_codes`.

    """
    output_dir = settings.outputs.output_dir
    try:
        dataset = open_dataset(settings.inputs.bids_dir)
        participants = select_participants(dataset, settings.inputs.participants)
        sessions = select_sessions(dataset, settings.inputs.sessions, participants)
        if settings.execution.reports_only:
            return _assemble_reports(settings, participants)
        filters = load_filters(settings.inputs.filter_file) if settings.inputs.filter_file else None
        device = resolve_device(settings.processing.device)
        if settings.execution.plugin_file is not None:
            from qsmprep.cli.execution import read_plugin

            read_plugin(settings.execution.plugin_file)
        _prepare_folders(settings)
    except (InputError, OSError, ValueError) as error:
        LOGGER.error('%s', error)
        return exit_codes.FAILURE

    import niimath

    if not os.access(niimath.bin, os.X_OK):
        LOGGER.error('The command niimath is missing; install the package niimath.')
        return exit_codes.MISSING_COMMAND
    if settings.execution.write_graph and shutil.which('dot') is None:
        LOGGER.error('The command dot is missing; install graphviz, or drop --write-graph.')
        return exit_codes.MISSING_COMMAND
    if not settings.inputs.skip_bids_validation:
        _validate(settings.inputs.bids_dir)

    try:
        reserved = None if _is_rehearsal(settings) else _take_work_folder(settings, participants)
    except (InputError, OSError) as error:
        LOGGER.error('%s', error)
        return exit_codes.FAILURE

    run_uuid = f'{time.strftime("%Y%m%d-%H%M%S")}_{uuid.uuid4().hex[:8]}'
    logs = output_dir / 'logs'
    logs.mkdir(parents=True, exist_ok=True)
    (logs / f'{run_uuid}.toml').write_text(settings.to_toml(), encoding='utf-8')
    write_dataset_description(output_dir, settings.inputs.bids_dir, settings.inputs.derivatives)

    if settings.processing.sloppy:
        LOGGER.warning(
            '--sloppy: maps by TKD, not %s, for tests only.', settings.processing.inversion
        )

    jobs, records = [], {}
    for participant in participants:
        record = participant_record(participant, run_uuid, command)
        bids_dir = settings.inputs.bids_dir
        record['site'] = stated(bids_dir, participant, 'site', 'site_id')
        try:
            jobs += collect_jobs(dataset, record, settings, sessions, filters)
        except InputError as error:
            note_error(record, f'sub-{participant}: {error}')
        except OSError as error:
            what = f'{error.filename} cannot be read: {error.strerror}'
            note_error(record, f'sub-{participant}: {what}; check the disk and its rights.')
        except Exception as error:
            LOGGER.exception('sub-%s cannot be read', participant)
            trace = ''.join(traceback.format_exception(error))
            record['errors'].append({'node': 'input', 'message': str(error), 'traceback': trace})
        if not _is_rehearsal(settings):
            keep_earlier(output_dir, record, bids_dir)
            write_record(output_dir, record)
        records[participant] = record
    give_back_memory()
    code = _run_jobs(jobs, records, settings, device, run_uuid)
    if reserved is not None:
        reserved.close()
    return code


def _take_work_folder(settings: Settings, participants: list[str]) -> BinaryIO:
    """Reserve the work folder, and take out what is not wanted or damaged."""
    execution = settings.execution
    reserved = lock(execution.work_dir, participants)
    for participant in participants:
        folder = participant_folder(execution.work_dir, participant)
        if execution.clean_workdir:
            shutil.rmtree(folder, ignore_errors=True)
        drop_damaged(folder)
    return reserved


def _is_rehearsal(settings: Settings) -> bool:
    """Whether nothing is computed, so that records and reports of earlier runs must stay."""
    return settings.execution.dry_run or settings.execution.boilerplate_only


def _run_jobs(jobs: list, records: dict, settings: Settings, device: str, run_uuid: str) -> int:
    """Build and run the graph, then write what is known in the records and the reports."""
    output_dir = settings.outputs.output_dir
    crash_dir = output_dir / 'logs' / f'crash_{run_uuid}'
    outcome, code = Outcome(), exit_codes.OK
    try:
        if jobs:
            code = _run_graph(jobs, settings, device, crash_dir, outcome)
    except Stopped as stopped:
        outcome.error = f'The run was {stopped}.'
        raise
    finally:
        if not _is_rehearsal(settings):
            for record in records.values():
                code = max(code, _finish(output_dir, record, crash_dir, outcome))
        if crash_dir.is_dir() and not any(crash_dir.iterdir()):
            crash_dir.rmdir()
    if code == exit_codes.NO_WORKFLOW:
        return code
    if _is_rehearsal(settings):
        unusable = [record for record in records.values() if _went_wrong(record, 'pending')]
        if settings.execution.dry_run:
            _tell_rehearsal(records)
        return exit_codes.FAILURE if unusable else exit_codes.OK
    failed = [label for label, record in records.items() if _went_wrong(record, 'completed')]
    if _assemble_reports(settings, list(records)) or failed:
        code = exit_codes.FAILURE
    if failed:
        LOGGER.error(
            'Not all went well for %s; the reports in %s say what and why.',
            ', '.join(f'sub-{label}' for label in failed),
            output_dir,
        )
    return code


def _tell_rehearsal(records: dict) -> None:
    """Say of a rehearsal what the run would process."""
    scans = [x for record in records.values() for x in record['acquisitions']]
    ready = [x['stem'] for x in scans if x['status'] == 'pending' and not x.get('implausible')]
    print(
        f'Participants checked: {len(records)}; acquisitions that can be processed: {len(ready)} '
        f'of {len(scans)}. Nothing was computed; the same command without --dry-run does it.'
    )


def _finish(output_dir: Path, record: dict, crash_dir: Path, outcome: Outcome) -> int:
    """Complete and save the record of a participant, and log what is unexpected in it."""
    label, code = record['participant'], exit_codes.OK
    logged = {sentence for x in record['acquisitions'] for sentence in x['warnings']}
    try:
        finish_record(output_dir, record, crash_dir, outcome)
    except OSError as error:
        LOGGER.error('The record of sub-%s could not be written: %s.', label, error)
        code = exit_codes.FAILURE
    for acquisition in record['acquisitions']:
        stem, infant = acquisition['stem'], acquisition.get('infant', False)
        if acquisition['status'] == 'failed':
            LOGGER.error('%s: %s', stem, acquisition['error'])
        found = [sentence for sentence in acquisition['warnings'] if sentence not in logged]
        for sentence in [*found, *quality_warnings(acquisition['quality'], infant)]:
            LOGGER.warning('%s: %s', stem, sentence)
        for sentence in acquisition.get('implausible', ()):
            LOGGER.error('%s: %s', stem, sentence)
    return code


def _run_graph(
    jobs: list, settings: Settings, device: str, crash_dir: Path, outcome: Outcome
) -> int:
    """Build the graph, write its methods text and, unless this is a rehearsal, run it."""
    from qsmprep.cli.execution import configure_nipype, run_workflow
    from qsmprep.workflows.base import init_qsmprep_wf

    output_dir, execution = settings.outputs.output_dir, settings.execution
    configure_nipype(execution, crash_dir)
    try:
        workflow = init_qsmprep_wf(jobs=jobs, settings=settings, device=device)
    except Exception as error:
        LOGGER.exception('The graph could not be built.')
        outcome.error = f'The graph could not be built: {type(error).__name__}: {error}'
        return exit_codes.NO_WORKFLOW
    write_boilerplate(output_dir, workflow.visit_desc(), settings)
    if execution.write_graph:
        graph = output_dir / 'logs' / 'graph'
        workflow.write_graph(graph2use='colored', format='svg', dotfilename=str(graph))
    if _is_rehearsal(settings):
        return exit_codes.OK
    run_workflow(workflow, execution, outcome)
    return exit_codes.OK if outcome.ok else exit_codes.FAILURE


def _went_wrong(record: dict, expected: str) -> bool:
    """Whether a participant has an error, or an acquisition that is not as expected."""
    return bool(record['errors']) or any(
        acquisition['status'] != expected or acquisition.get('implausible')
        for acquisition in record['acquisitions']
    )


def _assemble_reports(settings: Settings, participants: list[str]) -> int:
    """Write the participants' pages from what lies in the output folder."""
    from qsmprep.reports.pages import write_participant_pages
    from qsmprep.reports.viewer import write_viewers

    outputs, code = settings.outputs, exit_codes.OK
    for participant in participants:
        try:
            read_record(outputs.output_dir, participant)
            if outputs.viewer:
                write_viewers(outputs.output_dir, participant)
            pages = write_participant_pages(
                outputs.output_dir, participant, outputs.aggregate_session_reports
            )
        except Exception as error:
            LOGGER.error('The report of sub-%s could not be written: %s', participant, error)
            code = exit_codes.FAILURE
        else:
            print(*pages, sep='\n')
    return code


def _prepare_folders(settings: Settings) -> None:
    work_dir = settings.execution.work_dir
    make_folder(settings.outputs.output_dir, 'OUTPUT_DIR')
    check_own_dataset(settings.outputs.output_dir)
    make_folder(work_dir, '--work-dir')


def _validate(bids_dir: Path) -> None:
    """Run the BIDS validator where it is installed; its errors are warnings here."""
    validator = shutil.which('bids-validator-deno')
    if validator is None:
        return
    done = subprocess.run(
        [validator, str(bids_dir), '--ignoreWarnings'], capture_output=True, text=True, check=False
    )
    if done.returncode:
        LOGGER.warning('The BIDS validator finds errors in %s:\n%s', bids_dir, done.stdout.strip())

"""What happened to each participant: the record that the reports are made of."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import qsmprep
from qsmprep.bids.derivatives import bids_uri, node_name, output_path, write_json
from qsmprep.bids.errors import InputError
from qsmprep.bids.files import check_path, read_json_object
from qsmprep.qsm.grid import Grid
from qsmprep.reports.layers import LAYERS
from qsmprep.reports.measures import implausible

if TYPE_CHECKING:
    from qsmprep.bids.acquisitions import Acquisition, RejectedAcquisition

LOGGER = logging.getLogger('qsmprep')
CHI_SINK = 'outputs_wf.sink_chi'
"""The node that writes the susceptibility map of an acquisition."""
OF_MASK = ('trust_phase', 'remove_background', 'invert_dipole')
"""Steps that fail where a mask lies beside the brain."""
STAGES = ('PhaseProcessing', 'Masking', 'BackgroundFieldRemoval')
"""Records in a sidecar of what an image shares with the others of its acquisition."""
OTHERS = re.compile('(?:ses|acq|ce|rec|dir|run|flip|inv|mt)-|desc-(?:cosmos|mean)_')
"""Parts of names after the stem that are those of other acquisitions, or of all runs."""


@dataclass
class Outcome:
    """
    How a graph has ended.

    Parameters
    ----------
    finished
        Full names of the nodes that ended well in this run, cached ones among them.
    seconds
        How long each of them took.
    memory_gb
        The most memory that the process of each of them used [GB], as far as it is known.
    failures
        Node, message and traceback of each failure that could leave no crash file.
    error
        What ended the run beside its nodes.
    ok
        Whether every node succeeded.

    """

    finished: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    memory_gb: dict[str, float] = field(default_factory=dict)
    failures: list[dict] = field(default_factory=list)
    error: str | None = None
    ok: bool = False


def participant_record(participant: str, run_uuid: str, command: str) -> dict:
    """Record of a participant at the start of a run."""
    return {
        'participant': participant,
        'qsmprep_version': qsmprep.__version__,
        'run_uuid': run_uuid,
        'started': _now(),
        'finished': None,
        'command': command,
        'settings_file': f'logs/{run_uuid}.toml',
        'acquisitions': [],
        'errors': [],
    }


def acquisition_record(acquisition: Acquisition) -> dict:
    """Record of an acquisition that will be processed."""
    grid = Grid.from_affine(acquisition.shape, acquisition.affine)
    b0_direction = ', '.join(f'{x:.3f}' for x in grid.b0_direction)
    metadata = acquisition.metadata
    scanner = [metadata.get(k) for k in ('Manufacturer', 'ManufacturersModelName')]
    return {
        'stem': acquisition.stem,
        'status': 'pending',
        'inputs': [bids_uri(source) for source in acquisition.sources],
        'rules': {
            'Phase scaling': acquisition.phase_scale.rule,
            'Field strength': acquisition.field_strength_rule,
            'B0 direction': f'({b0_direction}) in the voxel frame, from the affine.',
        },
        'parameters': {
            'Echo times [ms]': ', '.join(f'{1000 * te:.4g}' for te in acquisition.echo_times_s),
            'Field strength [T]': f'{acquisition.field_strength_t:.4g}',
            'Voxel size [mm]': ' x '.join(f'{v:.3g}' for v in grid.voxel_size),
            'Matrix': ' x '.join(str(n) for n in grid.shape),
            'Scanner': ' '.join(str(x) for x in scanner if x) or 'not given',
        },
        'warnings': list(acquisition.warnings),
        'notes': list(acquisition.notes),
        'implausible': list(acquisition.doubts),
        'error': None,
        'quality': {},
        'outputs': {key: output_path(key, acquisition.entities) for key in LAYERS},
    }


def rejected_record(rejected: RejectedAcquisition) -> dict:
    """Record of an acquisition that cannot be processed."""
    return {
        'stem': rejected.stem,
        'status': 'rejected',
        'inputs': [bids_uri(source) for source in rejected.inputs],
        'rules': {},
        'parameters': {},
        'warnings': [],
        'notes': [],
        'error': rejected.error,
        'quality': {},
        'outputs': {},
    }


def keep_earlier(output_dir: Path, record: dict, bids_dir: Path) -> None:
    """Take over what earlier runs completed and this one leaves alone: other sessions, say."""
    path = record_path(output_dir, record['participant'])
    if not path.is_file():
        return
    stems = {acquisition['stem'] for acquisition in record['acquisitions']}
    try:
        earlier = read_record(output_dir, record['participant'])
    except InputError as error:
        LOGGER.warning('%s What earlier runs did is not taken over.', error)
        return
    for acquisition in earlier['acquisitions']:
        if acquisition['stem'] in stems or acquisition['status'] != 'completed':
            continue
        images = [bids_dir / uri.rpartition(':')[2] for uri in acquisition['inputs']]
        if images and not any(os.path.lexists(path) for path in images):
            gone = (
                f'{acquisition["outputs"]["chi"]} was made by an earlier run, of images that are '
                'no longer in the dataset: remove the outputs of '
                f'{acquisition["stem"]}, if its images have another name now.'
            )
            acquisition['warnings'] = list(dict.fromkeys([*acquisition['warnings'], gone]))
            LOGGER.warning('sub-%s: %s', record['participant'], gone)
        # the run that made it has said what is implausible
        record['acquisitions'].append(acquisition | {'implausible': []})
    record['acquisitions'].sort(key=lambda acquisition: acquisition['stem'])


def finish_record(output_dir: Path, record: dict, crash_dir: Path, outcome: Outcome) -> None:
    """
    Enter the end of the run: errors from crash files, results from sidecars; and save it.

    Parameters
    ----------
    output_dir
        Root of the derivatives dataset.
    record
        Record of a participant, as it was when the run began.
    crash_dir
        Folder of the crash files of this run.
    outcome
        How the graph has ended.

    """
    label = record['participant']
    subject_node = f'.sub_{node_name(label)}_wf.'
    crashes = [read_crash(path) for path in sorted(crash_dir.glob('crash-*.txt'))]
    known = {crash['node'] for crash in crashes if crash['traceback']}
    crashes = [crash for crash in crashes if crash['node'] in known]
    crashes += [failure for failure in outcome.failures if failure['node'] not in known]
    crashes = [crash for crash in crashes if subject_node in f'.{crash["node"]}']
    record['errors'] += crashes
    pending = [x for x in record['acquisitions'] if x['status'] == 'pending']
    if outcome.error and pending:
        record['errors'].append({'node': 'run', 'message': outcome.error, 'traceback': ''})
    for acquisition in pending:
        stem = acquisition['stem'].removeprefix(f'sub-{label}_')
        branch = f'{subject_node}{node_name(stem)}_wf.'
        own = [crash for crash in crashes if branch in f'.{crash["node"]}']
        acquisition['steps'] = _steps(outcome, branch)
        written = any(f'.{name}'.endswith(f'{branch}{CHI_SINK}') for name in outcome.finished)
        if own:
            step = own[0]['node'].rpartition('.')[2]
            acquisition['status'] = 'failed'
            acquisition['error'] = f'{step}: {own[0]["message"]}'
            mask = acquisition.get('rules', {}).get('Brain mask')
            if mask and step in OF_MASK:
                acquisition['error'] += f' The brain mask {mask} See whether it lies on the brain.'
        elif not written:
            acquisition['status'] = 'failed'
            acquisition['error'] = (
                outcome.error or 'The run ended before the susceptibility map was written.'
            )
        else:
            _complete(output_dir, acquisition)
    record['finished'] = _now()
    record['peak_memory_gb'] = round(max([_peak_memory_gb(), *outcome.memory_gb.values()]), 2)
    write_record(output_dir, record)


def _steps(outcome: Outcome, branch: str) -> dict[str, dict]:
    """Time [s] and most memory [GB] of the steps of one acquisition, in their order."""
    steps: dict[str, dict] = {}
    for name, took in outcome.seconds.items():
        if branch in f'.{name}':
            inner = f'.{name}'.partition(branch)[2].removeprefix('qsm_wf.')
            key = inner.partition('.')[0].removesuffix('_wf').replace('_', ' ')
            step = steps.setdefault(key, {'seconds': 0.0})
            step['seconds'] = round(step['seconds'] + took, 2)
            if name in outcome.memory_gb:
                used = round(outcome.memory_gb[name], 2)
                step['memory_gb'] = max(step.get('memory_gb', 0.0), used)
    return {key: step for key, step in steps.items() if step['seconds'] >= 0.05}


def _peak_memory_gb() -> float:
    """Largest memory that one process of this run has used [GB]."""
    import resource

    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(who).ru_maxrss for who in processes) * 1024 / 1e9


def _complete(output_dir: Path, acquisition: dict) -> None:
    """Enter what the sidecar of a map that was written says: its quality, the stages' warnings."""
    chi = output_dir / acquisition['outputs']['chi']
    sidecar = chi.with_name(chi.name.removesuffix('.nii.gz') + '.json')
    try:
        content = read_json_object(sidecar)
        check_path(chi)
    except InputError as error:
        acquisition['status'], acquisition['error'] = 'failed', str(error)
        return
    quality = content.get('QualityMeasures', {})
    acquisition['status'], acquisition['quality'] = 'completed', quality
    phase = content.get('PhaseProcessing')
    if isinstance(phase, dict):
        acquisition['rules'] = acquisition.get('rules', {}) | _corrections(phase)
    inversion, referencing = (content.get(key) for key in ('DipoleInversion', 'Referencing'))
    if isinstance(inversion, dict) and isinstance(inversion.get('spectra'), dict):
        acquisition['spectra'] = inversion['spectra']
    dark = content.get('DarkSpots')
    if isinstance(dark, dict) and isinstance(dark.get('Spots'), list):
        acquisition['spots'] = dark['Spots']
    if isinstance(referencing, dict):
        acquisition['reference'] = referencing.get('ReferenceRegion')
    stem = chi.name.removesuffix('_Chimap.nii.gz')
    contents = [content, *_of_all_runs(chi.parent, stem, acquisition['inputs'])]
    for ending in ('from-*_xfm', 'seg-*_regions', 'R2primemap', 'desc-paramagnetic_Chimap'):
        found = sorted(chi.parent.glob(f'{stem}_{ending}.json'))
        contents += [read_json_object(path) for path in found]
    stages = [x for content in contents for x in content.values() if isinstance(x, dict)]
    acquisition['warnings'] = [*acquisition.get('warnings', ()), *_left_over(chi, stem, content)]
    for kind in ('warnings', 'notes'):
        texts = [text for record in stages for text in record.get(kind.capitalize(), [])]
        acquisition[kind] = list(dict.fromkeys([*acquisition.get(kind, ()), *texts]))
    doubts = [text for record in stages for text in record.get('Doubts', [])]
    earlier = acquisition.get('implausible', ())
    beyond = implausible(quality, acquisition.get('infant', False))
    acquisition['implausible'] = list(dict.fromkeys([*earlier, *doubts, *beyond]))


def _left_over(chi: Path, stem: str, content: dict) -> list[str]:
    """Name images of an acquisition that were made by other steps than its susceptibility map."""
    folders = [chi.parent, chi.parent.with_name('fmap')]
    stages = {key: content[key] for key in STAGES if key in content}
    old = []
    for path in sorted(path for folder in folders for path in folder.glob(f'{stem}_*.json')):
        ending = path.name.removeprefix(f'{stem}_')
        if OTHERS.search(ending):
            continue
        theirs = read_json_object(path)
        if any(theirs.get(key, stage) != stage for key, stage in stages.items()):
            old.append(ending.removesuffix('.json'))
    if not old:
        return []
    return [
        f'{", ".join(old)}: of an earlier run, by other settings than those of the Chimap; remove '
        'them, or ask for them again.'
    ]


def _of_all_runs(folder: Path, stem: str, inputs: list[str]) -> list[dict]:
    """Sidecars of the maps that all runs of a session make, for the first run alone."""
    session = re.sub('_run-[^_]+', '', stem)
    found = [
        read_json_object(path)
        for kind in ('cosmos', 'mean')
        for path in folder.glob(f'{session}_desc-{kind}_Chimap.json')
    ]
    return [content for content in found if content.get('Sources', [None])[0] in inputs]


def _corrections(phase: dict) -> dict[str, str]:
    """What the readout did to the phase and was undone, for the report's table of rules."""
    found = {}
    slices, bipolar = phase.get('AlternatingSlices'), phase.get('BipolarReadout')
    if isinstance(slices, str) and slices != 'none':
        found['Alternating slices'] = f'found: {slices}.'
    if isinstance(phase.get('SliceSteps'), dict):
        step = phase['SliceSteps'].get('StepInRad')
        found['Steps between slices'] = f'found: {step} rad; see PhaseProcessing in the sidecars.'
    if isinstance(bipolar, dict):
        span = bipolar.get('AcrossObjectInRad')
        found['Bipolar readout'] = f'found: a ramp of {span} rad across the object, corrected.'
    return found


def read_crash(path: Path) -> dict:
    """
    Node, message and traceback of one of Nipype's crash files.

    Parameters
    ----------
    path
        A crash file in text form.

    """
    try:
        text = path.read_text(errors='replace')
    except OSError as error:
        text = f'{path.name} cannot be read: {error.strerror}'
    node = next((x[6:].strip() for x in text.splitlines() if x.startswith('Node: ')), path.name)
    traceback = text[text.find('Traceback') :] if 'Traceback' in text else text
    # Nipype nests the node's own traceback, indented by a tab, in that of its runner.
    raised = re.findall(r'^\t?([A-Za-z_][\w.]*: \S.*)$', traceback, flags=re.M)
    lines = traceback.strip().splitlines() or ['The crash file is empty.']
    message = raised[-1] if raised else lines[-1]
    # what a command said last tells more than that it failed
    said = re.search(r'^Stderr:\n(?:\t.*\n)*\t(.*\S.*)\n(?:\t\s*\n)*Traceback', text, flags=re.M)
    if said:
        message = f'{message.rstrip(".")}: {said[1].strip()}'
    return {'node': node, 'message': message, 'traceback': traceback.strip()}


def record_path(output_dir: Path, participant: str) -> Path:
    """Where the record of a participant lies."""
    return output_dir / 'logs' / f'sub-{participant}.json'


def write_record(output_dir: Path, record: dict) -> None:
    """Save the record of a participant."""
    path = record_path(output_dir, record['participant'])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)


def read_record(output_dir: Path, participant: str) -> dict:
    """
    Load the record of a participant.

    Raises
    ------
    InputError
        If the participant has not been processed yet, or the record is not as it was written.

    """
    path = record_path(output_dir, participant)
    if not path.is_file():
        raise InputError(
            f'{path} does not exist: sub-{participant} has not been processed into {output_dir}.'
        )
    record = read_json_object(path)
    acquisitions = record.get('acquisitions')
    if not isinstance(acquisitions, list) or not all(
        isinstance(x, dict)
        and all(isinstance(x.get(key), str) for key in ('stem', 'status'))
        and isinstance(x.get('quality', {}), dict)
        for x in acquisitions
    ):
        raise InputError(
            f'{path} is not as qsmprep writes it (its acquisitions have no stem, status and '
            f'quality); process sub-{participant} again.'
        )
    return record


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec='seconds')

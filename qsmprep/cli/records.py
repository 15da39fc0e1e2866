"""What happened to each participant: the record that the reports are made of."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import qsmprep
from qsmprep.bids.derivatives import bids_uri, node_name, output_path, write_json
from qsmprep.qsm.grid import Grid

if TYPE_CHECKING:
    from qsmprep.bids.acquisitions import Acquisition, RejectedAcquisition


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
            'Scanner': ' '.join(str(x) for x in scanner if x) or 'not told',
        },
        'warnings': list(acquisition.warnings),
        'error': None,
        'quality': {},
        'outputs': {'chi': output_path('chi', acquisition.entities)},
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
        'error': rejected.error,
        'quality': {},
        'outputs': {},
    }


def keep_earlier(output_dir: Path, record: dict) -> None:
    """Take over what earlier runs completed and this one leaves alone: other sessions, say."""
    path = record_path(output_dir, record['participant'])
    if not path.is_file():
        return
    stems = {acquisition['stem'] for acquisition in record['acquisitions']}
    record['acquisitions'] += [
        acquisition
        for acquisition in json.loads(path.read_text())['acquisitions']
        if acquisition['stem'] not in stems and acquisition['status'] == 'completed'
    ]
    record['acquisitions'].sort(key=lambda acquisition: acquisition['stem'])


def finish_record(output_dir: Path, record: dict, crash_dir: Path) -> None:
    """Enter the end of the run: errors from crash files, results from sidecars; and save it."""
    label = record['participant']
    subject_node = f'.sub_{node_name(label)}_wf.'
    crashes = [read_crash(path) for path in sorted(crash_dir.glob('crash-*.txt'))]
    crashes = [crash for crash in crashes if subject_node in f'.{crash["node"]}']
    record['errors'] += crashes
    for acquisition in record['acquisitions']:
        if acquisition['status'] != 'pending':
            continue
        stem = acquisition['stem'].removeprefix(f'sub-{label}_')
        branch = f'{subject_node}{node_name(stem)}_wf.'
        own = [crash for crash in crashes if branch in f'.{crash["node"]}']
        chi = output_dir / acquisition['outputs']['chi']
        sidecar = chi.with_name(chi.name.removesuffix('.nii.gz') + '.json')
        if own:
            acquisition['status'], acquisition['error'] = 'failed', own[0]['message']
        elif not chi.is_file():
            acquisition['status'] = 'failed'
            acquisition['error'] = 'The run ended before the susceptibility map was written.'
        else:
            acquisition['status'] = 'completed'
            content = json.loads(sidecar.read_text())
            acquisition['quality'] = content.get('QualityMeasures', {})
    record['finished'] = _now()
    write_record(output_dir, record)


def read_crash(path: Path) -> dict:
    """
    Node, message and traceback of one of Nipype's crash files.

    Parameters
    ----------
    path
        A crash file in text form.

    """
    text = path.read_text(errors='replace')
    node = next((x[6:].strip() for x in text.splitlines() if x.startswith('Node: ')), path.name)
    traceback = text[text.find('Traceback') :] if 'Traceback' in text else text
    # Nipype nests the node's own traceback, indented by a tab, in that of its runner.
    raised = re.findall(r'^\t?([A-Za-z_][\w.]*: \S.*)$', traceback, flags=re.M)
    message = raised[-1] if raised else traceback.strip().splitlines()[-1]
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
    FileNotFoundError
        If the participant has not been processed yet.

    """
    path = record_path(output_dir, participant)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} does not exist: sub-{participant} has not been processed into {output_dir}.'
        )
    return json.loads(path.read_text())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec='seconds')

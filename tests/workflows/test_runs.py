"""Runs of a session together, from the command line: several orientations, and averages."""

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.runs import group_runs
from qsmprep.cli.simulate import write_scan
from qsmprep.qsm.metrics import nrmse
from qsmprep.qsm.simulate import simulate_head
from tests.whole_runs import run_here

B0 = [(0.0, 0.0, 1.0), (0.42, 0.0, 0.9075), (0.0, 0.42, 0.9075)]


def save(path, data, affine, **sidecar):
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.save(nb.Nifti1Image(np.asarray(data, dtype=np.float32), affine), f'{path}.nii.gz')
    Path(f'{path}.json').write_text(json.dumps(sidecar))


@pytest.fixture(scope='module')
def session(tmp_path_factory):
    """Three orientations of a head, their local fields and brain masks; and the truth."""
    folder = tmp_path_factory.mktemp('runs')
    raw, given = folder / 'raw', folder / 'given'
    raw.mkdir()
    (raw / 'dataset_description.json').write_text('{"Name": "runs", "BIDSVersion": "1.10.0"}')
    for run, b0 in enumerate(B0, start=1):
        scan = simulate_head(
            voxel_size=(5, 5, 5),
            supersampling=(2, 2, 2),
            b0_direction=b0,
            seed=5,
            repeat=run,
            snr=300,
            echo_times_s=(0.008,),
        )
        name = f'sub-01_run-{run}'
        write_scan(scan, raw, name, 5)
        given_01 = given / 'sub-01'
        noise = np.random.default_rng(run).normal(0, 0.2, scan.brain.shape) * scan.brain
        field = scan.local_field_hz + noise
        save(given_01 / 'fmap' / f'{name}_desc-local_fieldmap', field, scan.affine, Units='Hz')
        save(given_01 / 'anat' / f'{name}_desc-brain_mask', scan.brain, scan.affine)
    return raw, given, scan


def test_three_orientations_and_their_average(session, tmp_path):
    raw, given, scan = session
    out = tmp_path / 'out'
    options = ['--start-from', 'local-field', '--derivatives', f'given={given}', '--sloppy']
    assert run_here(raw, out, *options, '--cosmos', '--average-runs', panels=['chi']) == 0
    anat = out / 'sub-01' / 'anat'
    maps = {
        name: nb.load(anat / f'sub-01_{name}.nii.gz').get_fdata()
        for name in (
            'desc-cosmos_Chimap', 'desc-mean_Chimap', 'run-1_Chimap', 'desc-cosmos_mask',
            'desc-mean_mask',
        )
    }  # fmt: skip
    inside = (maps['desc-cosmos_mask'] > 0) & (maps['desc-mean_mask'] > 0)
    assert inside.sum() > 0.8 * scan.brain.sum()
    error = {name: nrmse(data, scan.chi, inside) for name, data in maps.items()}
    assert error['desc-cosmos_Chimap'] < 0.7 * error['run-1_Chimap']
    assert error['desc-mean_Chimap'] < error['run-1_Chimap']
    sidecar = json.loads((anat / 'sub-01_desc-cosmos_Chimap.json').read_text())
    found = sidecar['MultipleOrientations']
    for mine, truth in zip(found['B0DirectionsInVoxelFrame'], B0, strict=True):
        angle = np.degrees(np.arccos(np.dot(mine, truth) / np.linalg.norm(truth)))
        assert angle < 1.0
    assert found['ConditionNumber'] == pytest.approx(5.1, abs=0.5)
    assert len([x for x in sidecar['Sources'] if 'run-3' in x]) == 3
    assert sidecar['RunRegistration']['Runs'] == 3
    assert sidecar['RunRegistration']['Warnings'] == []
    average = json.loads((anat / 'sub-01_desc-mean_Chimap.json').read_text())
    assert average['RunAverage']['Runs'] == 3
    assert '10.1002/mrm.21828' in (out / 'logs' / 'CITATION.bib').read_text()
    assert (out / 'sub-01' / 'figures' / 'sub-01_run-1_desc-cosmos_MEGRE.png').is_file()


def test_runs_are_grouped_by_their_names(tiny_dataset):
    for name in ('sub-01_run-1', 'sub-01_run-2', 'sub-01_acq-a_run-1', 'sub-01_ses-x_run-1'):
        tiny_dataset.add(name)
    found, _ = find_acquisitions(open_dataset(tiny_dataset.root), '01')
    (group,) = group_runs(found)
    assert [run.stem for run in group] == ['sub-01_run-1_MEGRE', 'sub-01_run-2_MEGRE']


def test_too_few_runs_are_an_error(tiny_dataset, tmp_path, caplog):
    tiny_dataset.add('sub-01_run-1').add('sub-01_run-2')
    assert run_here(tiny_dataset.root, tmp_path / 'out', '--cosmos', '--dry-run') == 1
    assert '--cosmos takes 3 runs of one session' in caplog.text

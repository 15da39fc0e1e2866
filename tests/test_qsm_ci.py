"""The submissions of ``benchmarks/qsm_ci`` run and are scored by qsm-ci itself."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
import yaml

from qsmprep.methods import INVERSIONS
from qsmprep.qsm.grid import hz_to_ppm
from qsmprep.qsm.simulate import simulate_head

SUBMISSIONS = Path(__file__).parent.parent / 'benchmarks' / 'qsm_ci'
FIELD_STRENGTH_T = 3.0
B0_DIRECTION = (1e-5, 0.28, 0.96)
"""Tilted, and with a number that is printed in scientific notation."""


@pytest.fixture(scope='module')
def phantom(tmp_path_factory):
    """Files of QSM-CI of a coarse head, in images whose affine does not tell where B0 points."""
    scan = simulate_head(
        voxel_size=(3.0, 3.0, 3.0),
        echo_times_s=(0.004, 0.010, 0.016),
        field_strength_t=FIELD_STRENGTH_T,
        b0_direction=B0_DIRECTION,
        supersampling=(2, 2, 2),
    )
    folder = tmp_path_factory.mktemp('qsm_ci')
    volumes = {
        'phase': scan.phase,
        'magnitude': scan.magnitude,
        'mask': scan.brain.astype(np.uint8),
        'localfield': hz_to_ppm(scan.local_field_hz, FIELD_STRENGTH_T),
        'truth': scan.chi * scan.brain,
    }
    for name, volume in volumes.items():
        image = nb.Nifti1Image(volume.astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
        nb.save(image, folder / f'{name}.nii.gz')
    parameters = {
        'TE': scan.echo_times_s,
        'B0': FIELD_STRENGTH_T,
        'B0_dir': scan.grid.b0_direction,
        'voxel_size': scan.grid.voxel_size,
    }
    (folder / 'params.json').write_text(json.dumps(parameters))
    return folder


@pytest.fixture(scope='module')
def submissions(tmp_path_factory):
    """Submissions of all inversions."""
    folder = tmp_path_factory.mktemp('submissions')
    subprocess.run([sys.executable, SUBMISSIONS / 'submissions.py', folder], check=True)
    return folder


def run(folder, submission, artifacts, *options):
    """Run a submission with qsm-ci; return its measures."""
    binaries = Path(sys.executable).parent
    files = [f'--{name}={folder / name}.nii.gz' for name in (*artifacts, 'mask', 'truth')]
    out = folder / f'{submission.name}.nii.gz'
    done = subprocess.run(
        [binaries / 'qsm-ci', 'run', submission, *files, '--runner', 'local']
        + [f'--params={folder / "params.json"}', '-o', out, *options],
        capture_output=True,
        text=True,
        env={**os.environ, 'PATH': f'{binaries}:{os.environ["PATH"]}'},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert nb.load(out).shape == nb.load(folder / 'truth.nii.gz').shape
    rows = re.findall(r'^  ([a-z_]+) +(-?[\d.]+)$', done.stdout, re.MULTILINE)
    return {name: float(value) for name, value in rows}


def test_a_dipole_submission_is_scored(phantom, submissions):
    """B0 along the third axis of the image would give an NRMSE of 64 %."""
    score = run(phantom, submissions / 'qsmprep-tv', ['localfield'])
    assert score['nrmse'] < 45
    assert score['xsim'] > 0.8
    assert score['coverage'] > 0.99


def test_a_parameter_can_be_set(phantom, submissions):
    tikhonov = submissions / 'qsmprep-tikhonov'
    smooth = run(phantom, tikhonov, ['localfield'], '--set', 'regularisation=10')
    assert smooth['nrmse'] > 90


def test_the_whole_chain_is_scored(phantom):
    """B0 tilted to the other side would give a correlation of 0.34."""
    score = run(phantom, SUBMISSIONS / 'qsmprep-end-to-end', ['phase', 'magnitude'])
    assert score['nrmse'] < 75
    assert score['correlation'] > 0.65
    assert score['coverage'] > 0.95


@pytest.mark.parametrize('method', INVERSIONS)
def test_a_submission_offers_the_parameters_that_its_method_has(submissions, method):
    folder = submissions / f'qsmprep-{method}'
    algorithm = yaml.safe_load((folder / 'algorithm.yml').read_text())
    assert algorithm['slug'] == folder.name
    assert algorithm['doi'].startswith('10.')
    assert os.access(folder / 'run.sh', os.X_OK)
    assert f' --method {method} ' in (folder / 'run.sh').read_text()
    offered = {parameter['name']: parameter['description'] for parameter in algorithm['parameters']}
    assert offered.keys() == INVERSIONS[method].parameters().keys()
    assert all(offered.values())

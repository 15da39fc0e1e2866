"""The examples run as they are."""

import subprocess
import sys
from pathlib import Path

import nibabel as nb
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / 'examples'


def run(name, folder):
    """Run an example in a folder and return what it prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_node(tmp_path):
    path = Path(run('one_node.py', tmp_path).splitlines()[-1])
    brain = nb.load(path)
    volume_mm3 = brain.get_fdata().sum() * abs(float(nb.affines.voxel_sizes(brain.affine).prod()))
    assert 1.2e6 < volume_mm3 < 1.8e6


def test_embedding_in_a_host(tmp_path):
    share, chi, mask = run('embed_in_a_host.py', tmp_path).splitlines()[-3:]
    assert 20 < float(share.split()[0]) < 80
    inside = nb.load(mask).get_fdata() > 0
    values = nb.load(chi).get_fdata()
    assert inside.sum() > 10_000
    assert values[~inside].max() == 0
    assert 0.001 < values[inside].std() < 1


def test_one_inversion(tmp_path):
    errors = {
        line.split()[0]: float(line.split()[2])
        for line in run('one_inversion.py', tmp_path).splitlines()
        if 'NRMSE' in line
    }
    assert errors['tv'] < 0.6 * errors['tkd']
    assert errors['wiener'] < 0.8 * errors['tkd']
    assert Image.open(tmp_path / 'one-inversion.png').width == 1000

"""The examples run as they are."""

import runpy
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / 'examples'


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example in a folder of its own and return the lines that it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name):
        monkeypatch.setattr(sys, 'argv', [name])
        runpy.run_path(str(EXAMPLES / name), run_name='__main__')
        return capsys.readouterr().out.splitlines()

    return run


def test_one_node(run):
    path = Path(run('one_node.py')[-1])
    brain = nb.load(path)
    volume_mm3 = brain.get_fdata().sum() * abs(float(nb.affines.voxel_sizes(brain.affine).prod()))
    assert 1.2e6 < volume_mm3 < 1.8e6


def test_embedding_in_a_host(tmp_path):
    """In a process of its own: its nodes are functions of the script."""
    command = [sys.executable, EXAMPLES / 'embed_in_a_host.py']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    share, chi, mask = done.stdout.splitlines()[-3:]
    assert 20 < float(share.split()[0]) < 80
    inside = nb.load(mask).get_fdata() > 0
    values = nb.load(chi).get_fdata()
    assert inside.sum() > 10_000
    assert values[~inside].max() == 0
    assert 0.001 < values[inside].std() < 1


def test_one_inversion(run, tmp_path):
    lines = [line.split() for line in run('one_inversion.py') if 'NRMSE' in line]
    errors = {words[0]: float(words[2]) for words in lines}
    assert errors['tv'] < 0.6 * errors['tkd']
    assert errors['wiener'] < 0.8 * errors['tkd']
    assert Image.open(tmp_path / 'one-inversion.png').width == 1000

"""A simulated head with noise around it, as scanners give it, to alter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.headers import inspect_image
from qsmprep.cli.simulate import write_scan, write_truth
from qsmprep.qsm.simulate import simulate_head


class Head:
    """A copy of the simulated dataset: four echoes, magnitude and phase in radians."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.truth = root / 'derivatives' / 'simulation'

    def image(self, echo: int, part: str) -> Path:
        return self.root / 'sub-01' / 'anat' / f'sub-01_echo-{echo}_part-{part}_MEGRE.nii.gz'

    @property
    def brain(self) -> nb.Nifti1Image:
        return nb.load(self.truth / 'sub-01' / 'anat' / 'sub-01_desc-brain_mask.nii.gz')

    def load(self, echo: int, part: str) -> np.ndarray:
        return np.asarray(nb.load(self.image(echo, part)).dataobj, dtype=np.float64)

    def store(self, echo: int, part: str, data, dtype=np.float32, slope=None, inter=0.0) -> None:
        affine = self.brain.affine
        save(self.image(echo, part), np.asarray(data).astype(dtype), affine, slope, inter)

    def sidecar(self, echo: int, part: str, drop=(), **changes) -> None:
        path = Path(str(self.image(echo, part)).replace('.nii.gz', '.json'))
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in content.items() if k not in drop}))

    def each(self, part: str, change, dtype=np.float32, drop=(), **sidecar) -> None:
        """Store change(values) for all echoes of a part, and edit their sidecars."""
        for echo in (1, 2, 3, 4):
            self.store(echo, part, change(self.load(echo, part)), dtype)
            self.sidecar(echo, part, drop, **sidecar)

    def give_mask(self, data, affine=None, name='sub-01_desc-brain_mask', folder='sub-01/anat'):
        """Write a mask into a derivatives dataset of its own; return its path."""
        path = self.root.parent / 'masks' / folder / f'{name}.nii.gz'
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, np.asarray(data), self.brain.affine if affine is None else affine)
        return path


def save(path, data, affine, slope=None, inter=0.0) -> None:
    """Write an image whose transforms both lead to the scanner."""
    image = nb.Nifti1Image(data.astype(np.uint8) if data.dtype == bool else data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    image.to_filename(path)


@pytest.fixture(scope='session')
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp('simulated') / 'head'
    root.mkdir()
    (root / 'dataset_description.json').write_text('{"Name": "head", "BIDSVersion": "1.10.0"}')
    scan = simulate_head(voxel_size=(6.0, 6.0, 6.0), supersampling=(2, 2, 2))
    write_scan(scan, root, 'sub-01', 0)
    write_truth(scan, root / 'derivatives' / 'simulation', 'sub-01')
    return root


@pytest.fixture
def head(simulated, tmp_path):
    return Head(Path(shutil.copytree(simulated, tmp_path / 'head')))


@pytest.fixture
def path(tmp_path):
    """Return an image of 6 x 5 x 4 voxels from -3 to 56.5 by a slope of 0.5."""
    image = nb.Nifti1Image(np.arange(120, dtype=np.int16).reshape(6, 5, 4), np.diag([1, 1, 2, 1]))
    image.header.set_slope_inter(0.5, -3)
    image.set_sform(image.affine, 1)
    image.to_filename(tmp_path / 'image.nii.gz')
    return tmp_path / 'image.nii.gz'


@pytest.fixture
def parts(tmp_path):
    """Magnitude and phase of an object without symmetry, noise around it."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 40)] * 3, indexing='ij')
    ball = (x + 0.15) ** 2 + (1.1 * y - 0.1) ** 2 + (1.2 * z + 0.1) ** 2 < 0.6
    phase = np.where(ball, 3 * x + 2 * y * z, rng.uniform(-np.pi, np.pi, ball.shape))
    magnitude = np.where(ball, 100.0, 2.0) + rng.uniform(0, 1, ball.shape)

    def write(name, data):
        image = nb.Nifti1Image(data.astype(np.float32), np.eye(4))
        image.to_filename(tmp_path / f'{name}.nii.gz')
        return inspect_image(tmp_path / f'{name}.nii.gz')

    return write, magnitude, (phase + np.pi) % (2 * np.pi) - np.pi

"""Datasets that tests share: copies of small real scans, and synthetic ones to break."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.files import sidecar_of

DATA = Path(__file__).parent / 'data'
LONG = ('test_slurm_cluster', 'test_whole_path', 'test_package', 'test_anatomy', 'test_qsm_ci')
"""Files that take longest: they go first, lest one is left to a single process at the end."""
STORED = {
    'radians': (np.float32, 1.0, 0.0, lambda phase: phase),
    'siemens': (np.int16, 2.0, -4096.0, lambda phase: np.floor(phase / np.pi * 2048) + 2048),
    'siemens-raw': (np.int16, 1.0, 0.0, lambda phase: np.floor(phase / np.pi * 2048) + 2048),
    'milliradians': (np.int16, 1.0, 0.0, lambda phase: np.round(1000 * phase)),
}
"""Type, scl_slope, scl_inter and stored numbers by which scanners and converters store phase."""


def pytest_collection_modifyitems(items):
    """Take the longest files first."""
    order = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


class TinyDataset:
    """
    A synthetic BIDS dataset: a ball in a field that varies over space, a few echoes.

    Parameters
    ----------
    root
        Folder to write to.
    shape
        Voxels along three axes.

    """

    def __init__(self, root: Path, shape: tuple[int, int, int] = (12, 10, 8)) -> None:
        self.root = root
        self.affine = np.diag([2.0, 2.0, 2.0, 1.0])
        position = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing='ij'))
        self.field_hz = 60.0 * position[2] + 120.0 * position[0] * position[1]
        self.signal = np.where((position**2).sum(axis=0) < 0.9, 1000.0, 20.0)
        root.mkdir(parents=True, exist_ok=True)
        self.write_json('dataset_description.json', {'Name': 'tiny', 'BIDSVersion': '1.10.0'})

    def add(
        self,
        name: str = 'sub-01',
        suffix: str = 'MEGRE',
        *,
        echo_times_s: tuple[float, ...] = (0.005, 0.010, 0.015),
        parts: tuple[str, ...] = ('mag', 'phase'),
        stored: str = 'radians',
        echo_entity: bool = True,
        units: str | None = 'rad',
        **sidecar,
    ) -> TinyDataset:
        """
        Add an acquisition.

        Parameters
        ----------
        name
            Entities before echo and part, such as ``sub-01_ses-1_run-2``.
        suffix
            Suffix of the images.
        echo_times_s
            Echo times [s].
        parts
            Parts to write.
        stored
            How the phase is stored, see ``STORED``.
        echo_entity
            Whether names hold ``echo-``.
        units
            ``Units`` of the phase.
        sidecar
            Keys of the sidecars; None leaves a key out.

        """
        sidecar = {'MagneticFieldStrength': 3, 'MRAcquisitionType': '3D'} | sidecar
        for echo, echo_time in enumerate(echo_times_s, start=1):
            phase = np.angle(np.exp(1j * (2 * np.pi * self.field_hz * echo_time + 0.5)))
            magnitude = self.signal * np.exp(-20.0 * echo_time)
            images = {
                'mag': magnitude,
                'phase': phase,
                'real': magnitude * np.cos(phase),
                'imag': magnitude * np.sin(phase),
            }
            for part in parts:
                label = f'_echo-{echo}' if echo_entity else ''
                keys = {'EchoTime': echo_time} | sidecar
                dtype, slope, intercept = np.float32, 1.0, 0.0
                if part == 'phase':
                    dtype, slope, intercept, to_stored = STORED[stored]
                    images['phase'] = to_stored(phase)
                    keys['Units'] = units
                path = self.folder(name) / f'{name}{label}_part-{part}_{suffix}.nii.gz'
                self.write_image(path, images[part], dtype, slope, intercept)
                self.write_json(sidecar_of(path), {k: v for k, v in keys.items() if v is not None})
        return self

    def folder(self, name: str, datatype: str = 'anat') -> Path:
        """Folder of the images of an acquisition."""
        labels = [label for label in name.split('_') if label[:4] in ('sub-', 'ses-')]
        return self.root.joinpath(*labels, datatype)

    def image(self, ending: str) -> Path:
        """The one image whose name ends so, without extension."""
        (path,) = self.root.rglob(f'*{ending}.nii*')
        return path

    def edit_sidecar(self, ending: str, **changes) -> None:
        """Set keys of the sidecar of an image; None removes a key."""
        path = sidecar_of(self.image(ending))
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

    def write_json(self, path: str | Path, content: dict) -> None:
        """Write a JSON file; a relative path starts at the root."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(json.dumps(content))

    def write_image(self, path, data, dtype=np.float32, slope=1.0, intercept=0.0, affine=None):
        """Write stored numbers with their type and the scaling of the header."""
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nb.Nifti1Image(np.asarray(data), self.affine if affine is None else affine)
        image.header.set_data_dtype(dtype)
        image.header.set_slope_inter(slope, intercept)
        image.header.set_xyzt_units('mm')
        image.set_sform(image.affine, 1)
        image.to_filename(path)

    def edit_image(self, ending: str, change=None, affine=None) -> None:
        """Replace an image by ``change(voxels)``, or its affine."""
        path = self.image(ending)
        data = nb.load(path).get_fdata(dtype=np.float32)
        self.write_image(path, change(data) if change else data, affine=affine)


@pytest.fixture
def tiny_dataset(tmp_path):
    """Return an empty synthetic dataset; ``add`` writes acquisitions."""
    return TinyDataset(tmp_path / 'tiny')


def _copy(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / name, tmp_path / name))


@pytest.fixture
def philips_dataset(tmp_path):
    """Copy of a real dual-echo scan, 3 T."""
    return _copy('philips', tmp_path)


@pytest.fixture
def romeo_dataset(tmp_path):
    """Copy of a real three-echo crop, 7 T."""
    return _copy('romeo', tmp_path)


@pytest.fixture
def siemens_phasediff_dataset(tmp_path):
    """Copy of a real phase difference; nothing in it can be processed."""
    return _copy('siemens_phasediff', tmp_path)


@pytest.fixture
def ge_fieldmap_dataset(tmp_path):
    """Copy of a real field map; nothing in it can be processed."""
    return _copy('ge_fieldmap', tmp_path)


@pytest.fixture(scope='session')
def two_sessions(tmp_path_factory) -> Path:
    """Simulated head in two sessions, and its T1-weighted image; to be copied, not changed."""
    from qsmprep.cli.simulate import main as simulate

    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        folder = folder.parent
    dataset = folder / 'two-sessions'
    # the first process that asks for it makes it, for all
    with (folder / 'two-sessions.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not dataset.exists():
            options = '--voxel 5 --tes 5 12 --sessions 2 --t1w 4 --fmriprep --seed 2'
            assert simulate([str(folder / 'unfinished'), *options.split()]) == 0
            (folder / 'unfinished').rename(dataset)
    return dataset


@pytest.fixture(scope='session')
def prior(tmp_path_factory) -> Path:
    """Weights of a network that was not trained: all maps are alike to it."""
    import torch

    from qsmprep.qsm.diffusion.denoiser import Architecture, Denoiser
    from qsmprep.qsm.diffusion.weights import save_weights

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('prior') / 'prior.safetensors'
    save_weights(Denoiser(Architecture(channels=(4, 8), blocks=(1, 1), embedding=16)), path, {})
    return path

"""A small three-echo phantom on disk, and a working folder for nodes."""

import nibabel as nb
import numpy as np
import pytest

ECHO_TIMES_S = [0.004, 0.009, 0.014]


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Write an array as an image of 2 mm voxels; nodes run in the same folder."""
    monkeypatch.chdir(tmp_path)

    def write(data, name, affine=None):
        path = tmp_path / f'{name}.nii.gz'
        kind = np.uint8 if data.dtype == bool else np.float32
        affine = np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine
        nb.Nifti1Image(data.astype(kind), affine).to_filename(path)
        return str(path)

    return write


@pytest.fixture
def echoes():
    """Field [Hz], phase offset [rad], magnitude and wrapped phase of a ball in a smooth field."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 32)] * 3, indexing='ij')
    ball = x**2 + y**2 + z**2 < 0.8
    field_hz = 60 * (x**2 - y**2 + z) + 20 * x * y
    offset = 0.4 * x + 0.3 * z - 0.3
    times = np.array(ECHO_TIMES_S)
    magnitude = np.where(ball, 100.0, 1.0)[..., None] * np.exp(-20 * times)
    rng = np.random.default_rng(0)
    signal = magnitude * np.exp(1j * (offset[..., None] + 2 * np.pi * field_hz[..., None] * times))
    signal += rng.normal(size=(*signal.shape, 2)) @ [1, 1j]
    return {
        'ball': ball,
        'field_hz': field_hz,
        'offset': offset,
        'magnitude': np.abs(signal),
        'phase': np.angle(signal),
    }

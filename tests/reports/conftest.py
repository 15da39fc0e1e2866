"""Small images, and a browser without network."""

import nibabel as nib
import numpy as np
import pytest

from tests.reports.browser import Browser


@pytest.fixture(scope='session')
def browser(tmp_path_factory):
    chromium = Browser(tmp_path_factory.mktemp('profile'))
    yield chromium
    chromium.close()


@pytest.fixture
def save(tmp_path):
    """Write an array as an image and return its path."""

    def write(name, data, affine=None):
        affine = np.diag([1.5, 1.0, 2.0, 1.0]) if affine is None else affine
        path = tmp_path / f'{name}.nii.gz'
        nib.save(nib.Nifti1Image(np.asarray(data, dtype=np.float32), affine), path)
        return path

    return write


@pytest.fixture
def head():
    """An ellipsoid with a bright spot in the right front upper part, in 24 x 32 x 20 voxels."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 32, 20)), indexing='ij')
    mask = x**2 + y**2 + z**2 < 0.7
    spot = (x - 0.35) ** 2 + (y - 0.3) ** 2 + (z - 0.1) ** 2 < 0.04
    chi = np.where(mask, 0.04 * np.sin(6 * y) * np.cos(5 * x) + 0.1 * spot, 0)
    return chi.astype(np.float32), mask

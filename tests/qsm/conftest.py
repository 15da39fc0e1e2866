"""A small phantom that tests of inversions share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.metrics import nrmse
from qsmprep.qsm.operators import Dipole


class Scan:
    """A ball-shaped brain with ellipsoids of 0.03 to 0.12 ppm and a vein."""

    def __init__(self, shape=(48, 52, 44), voxel_size=(1, 1, 1), b0=(0, 0, 1), noise=0.0, seed=0):
        self.grid = Grid(shape, voxel_size, b0)
        rng = np.random.default_rng(seed)
        axes = [(np.arange(n) - n / 2) * v for n, v in zip(shape, voxel_size, strict=True)]
        x = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
        radius = 0.42 * min(n * v for n, v in zip(shape, voxel_size, strict=True))
        mask = np.linalg.norm(x, axis=-1) < radius
        chi = np.full(shape, -0.02)
        for _ in range(9):
            centre, size = rng.uniform(-0.6, 0.6, 3) * radius, rng.uniform(0.15, 0.35, 3) * radius
            chi[(((x - centre) / size) ** 2).sum(-1) < 1] = rng.uniform(0.03, 0.12)
        chi[np.hypot(x[..., 0] - 3, x[..., 1] + 4) < 1.2] = 0.25
        self.mask = torch.from_numpy(mask)
        self.chi = torch.tensor(np.where(mask, chi, 0), dtype=torch.float32)
        field = Dipole(self.grid, padding=2).forward(self.chi)
        field += noise * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        self.field = field * self.mask

    def error(self, chi):
        return nrmse(chi.numpy(), self.chi.numpy(), self.mask.numpy())


@pytest.fixture(scope='session')
def make_scan():
    """The phantom: call it with shape, voxel size, B0 direction, noise [ppm] and seed."""
    return Scan


def _coloured(shape, power, seed):
    white = np.random.default_rng(seed).standard_normal(shape)
    axes = [np.fft.fftfreq(n) for n in shape]
    k = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing='ij')))
    k[0, 0, 0] = 1
    filtered = np.fft.ifftn(np.fft.fftn(white) * np.sqrt(power(k)) * (k < 0.9)).real
    return (filtered - filtered.mean()).astype(np.float32)


@pytest.fixture(scope='session')
def coloured():
    """Periodic Gaussian field of a shape, a power spectrum power(|k|) per voxel and a seed."""
    return _coloured


@pytest.fixture(scope='session')
def brain_spectrum():
    """Power of susceptibility [ppm^2] at a wavenumber, as in a brain on voxels of 1 mm."""
    return lambda k: 1.5e-2 * (np.maximum(k, 0.02) / 0.1) ** -3

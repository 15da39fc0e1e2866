"""Spatial unwrapping of phase by the least-squares method; ROMEO runs as a program of its own."""

from __future__ import annotations

import numpy as np
from scipy import fft

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.phase import wrap


def laplacian_unwrap(phase: np.ndarray, grid: Grid) -> np.ndarray:
    """Unwrap in the least-squares sense, from the Laplacian of the phase.

    Solves Poisson's equation for the divergence of the wrapped differences of neighbours, with
    reflecting borders (cosine transform). The result is smooth but *not* the input plus multiples
    of 2 pi: around poles of the phase it is wrong over a distance. It is meant for phase that an
    exact method cannot unwrap.

    Parameters
    ----------
    phase
        Wrapped phase [rad], ``(X, Y, Z)`` or ``(X, Y, Z, E)``; echoes are unwrapped one by one.
    grid
        The grid, for its voxel size.

    References
    ----------
    Ghiglia DC, Romero LA, J Opt Soc Am A 11 (1994) 107; Schofield MA, Zhu Y, Opt Lett 28 (2003)
    1194.

    """
    if phase.ndim == 4:
        return np.stack([laplacian_unwrap(echo, grid) for echo in np.moveaxis(phase, 3, 0)], axis=3)
    phase = phase.astype(np.float32)
    laplacian = np.zeros_like(phase)
    eigenvalue = np.zeros(phase.shape, dtype=np.float32)
    for axis, (count, size) in enumerate(zip(phase.shape, grid.voxel_size, strict=True)):
        step = wrap(np.diff(phase, axis=axis)) / np.float32(size**2)
        pad = [(0, 0)] * 3
        pad[axis] = (1, 1)
        laplacian += np.diff(np.pad(step, pad), axis=axis)
        shape = [1, 1, 1]
        shape[axis] = count
        wave = 2 * np.cos(np.pi * np.arange(count) / count) - 2
        eigenvalue += (wave / size**2).reshape(shape).astype(np.float32)
    spectrum = fft.dctn(laplacian, norm='ortho')
    eigenvalue[0, 0, 0] = 1
    spectrum /= eigenvalue
    spectrum[0, 0, 0] = 0
    unwrapped = fft.idctn(spectrum, norm='ortho')
    constant = np.angle(np.mean(np.exp(1j * (phase - unwrapped))))
    return (unwrapped + np.float32(constant)).astype(np.float32)

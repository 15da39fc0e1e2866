"""Projection onto dipole fields (PDF)."""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy.ndimage import distance_transform_edt

from qsmprep.qsm.background.box import bounding_box, padded_shape, paste
from qsmprep.qsm.background.sharp import vsharp
from qsmprep.qsm.grid import Grid

RIM_ERROR = 4.0
RIM_MM = 1.0
DEEP_MM = 6.0


def pdf(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    noise: np.ndarray | None = None,
    iterations: int = 30,
    tolerance: float = 1e-3,
    margin_mm: float = 20.0,
    workers: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Projection onto dipole fields (PDF).

    Sources outside the mask are fitted to the field inside by conjugate gradients on the normal
    equations, and their field is subtracted. To this fit the local field is noise as well: the
    variance of a voxel is its noise squared plus the variance of the local field, which is
    estimated from the field itself by V-SHARP. Without that, voxels of high signal would pull the
    sources towards fitting the local field.

    Parameters
    ----------
    total_field, mask, grid
        As for :func:`~qsmprep.qsm.background.sharp.vsharp`.
    noise
        Standard deviation of the field in its unit; none when None.
    iterations, tolerance
        Conjugate gradients end at this count, or when the gradient has fallen by this factor.
    margin_mm
        Room for sources around the mask [mm]. Farther ones are seen through the periodic images,
        which also lie outside the mask.
    workers
        Threads of the Fourier transforms.

    References
    ----------
    Liu T et al., NMR Biomed 24 (2011) 1129, 10.1002/nbm.1670.

    """
    box = bounding_box(mask)
    inside = np.asarray(mask[box], dtype=bool)
    shape = padded_shape(inside.shape, grid.voxel_size, 2 * margin_mm)
    crop = tuple(slice(0, n) for n in inside.shape)
    field, weight = (np.zeros(shape, dtype=np.float32) for _ in range(2))
    field[crop] = np.where(inside, total_field[box], 0)
    variance = _local_scale(field[crop], inside, grid, workers) ** 2
    if noise is not None:
        variance = variance + noise[box] ** 2
    weight[crop] = inside / variance
    weight /= weight.max()
    outside = np.ones(shape, dtype=bool)
    outside[crop] = ~inside

    dipole = _periodic_dipole(shape, grid)

    def project(source: np.ndarray) -> np.ndarray:
        return fft.irfftn(fft.rfftn(source, workers=workers) * dipole, shape, workers=workers)

    sources = np.zeros(shape, dtype=np.float32)
    residual = outside * project(weight * field)
    direction = residual.copy()
    power = start = float(np.vdot(residual, residual))
    for _ in range(iterations):
        if power <= tolerance**2 * start:
            break
        image = outside * project(weight * project(direction))
        step = np.float32(power / float(np.vdot(direction, image)))
        sources += step * direction
        residual -= step * image
        power, previous = float(np.vdot(residual, residual)), power
        direction = residual + np.float32(power / previous) * direction
    local = np.where(inside, (field - project(sources))[crop], 0)
    return paste(local, box, mask.shape), np.array(mask, dtype=bool)


def _local_scale(field: np.ndarray, inside: np.ndarray, grid: Grid, workers: int) -> float:
    """Robust standard deviation of the local field, by V-SHARP."""
    local, kept = vsharp(field, inside, grid, workers=workers)
    values = local[kept]
    return float(np.median(np.abs(values - np.median(values)))) / 0.6745 + 1e-30


def _periodic_dipole(shape: tuple[int, int, int], grid: Grid) -> np.ndarray:
    """Dipole spectrum in ``rfftn`` layout; a constant source gives a constant field."""
    frequencies = [
        np.fft.fftfreq(shape[0], grid.voxel_size[0]),
        np.fft.fftfreq(shape[1], grid.voxel_size[1]),
        np.fft.rfftfreq(shape[2], grid.voxel_size[2]),
    ]
    k = np.meshgrid(*[f.astype(np.float32) for f in frequencies], indexing='ij', sparse=True)
    along = sum(
        component * np.float32(b) for component, b in zip(k, grid.b0_direction, strict=True)
    )
    squared = sum(component**2 for component in k)
    squared[0, 0, 0] = 1
    return np.float32(1 / 3) - along**2 / squared


def rim_error(local_field: np.ndarray, mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Standard deviation of what PDF leaves at the rim of a mask, in the unit of the field.

    Sources a voxel outside cannot be told from those inside. The error is taken as four times the
    standard deviation of the local field deeper than 6 mm, falling by e every millimetre. That is
    more than it is, for it is correlated; on simulated heads it serves the inversion best.
    """
    padded = np.pad(mask, 1)
    depth_mm = distance_transform_edt(padded, sampling=grid.voxel_size)[1:-1, 1:-1, 1:-1]
    deep = depth_mm > min(DEEP_MM, depth_mm.max() / 2)
    scale = RIM_ERROR * local_field[deep].std()
    return (mask * scale * np.exp(-depth_mm / RIM_MM)).astype(np.float32)

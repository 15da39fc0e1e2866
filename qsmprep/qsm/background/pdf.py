"""Projection onto dipole fields (PDF)."""

from __future__ import annotations

import numpy as np
from scipy import fft

from qsmprep.qsm.background.box import padded_shape, paste
from qsmprep.qsm.background.sharp import vsharp
from qsmprep.qsm.distance import squared_distance
from qsmprep.qsm.grid import Grid, bounding_box, depth_mm

LOCAL_WAVENUMBER = 1 / 6
COARSEST_MM = 4.5
RESIDUAL = 1e-3
AROUND_MM = 3.0
AROUND_NOISE = 10.0
OUTLIER = 5.0
STRONG = 8.0
STEEP = 0.02
SHALLOW_MM = 10.0
RIM_ERROR = 4.0
RIM_MM = 1.0
DEEP_MM = 6.0


def pdf(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    tissue: np.ndarray,
    *,
    noise: np.ndarray | None = None,
    iterations: int = 15,
    coarsest_iterations: int = 60,
    margin_mm: float = 20.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Projection onto dipole fields (PDF).

    Sources outside the tissue are fitted to the field in the mask by conjugate gradients on the
    normal equations, and their field is subtracted. To this fit the local field is noise, and
    coloured: the power of the residual counts by 1 / (1 + D(k)^2 (k0 / \\|k\\|)^3), the inverse
    of a white part plus the field of susceptibility as smooth as that of heads, with k0 = 1/6
    cycles/mm. Low frequencies of the local field so do not pass for background. A voxel counts by
    1 / (1 + noise^2 / variance of the local field), which is estimated by V-SHARP.

    Where the noise is known, the field in the 3 mm around the tissue is fitted as well: it is what
    tells sources just outside the surface from those just inside. There it may be that of fat, or
    of several substances in a voxel; its noise counts ten times, and voxels that a first fit misses
    by more than five times the local field count less (Cauchy's weight).

    Strong sources in the tissue near its surface, such as a venous sinus or a haemorrhage, would
    be explained by sources beside them outside. Voxels of the coarsest level less than 10 mm deep
    that hold one, as the residual of a first fit shows, are fitted along; what is found there is
    not subtracted.

    The fit starts on coarse voxels, their short edges doubled as often as they stay below 4.5 mm;
    every finer level starts from the sources of the one before.

    Parameters
    ----------
    total_field, mask, grid, tissue
        As for :func:`~qsmprep.qsm.background.sharp.vsharp`.
    noise
        Standard deviation of the field in its unit, zero where none was measured; none when None.
    iterations, coarsest_iterations
        Steps of conjugate gradients on each level, and first on the coarsest; more would fit the
        local field. They end earlier where the residual of the normal equations has fallen to a
        thousandth.
    margin_mm
        Room for sources around the mask [mm]. Farther ones are seen through the periodic images,
        which also lie outside the mask.

    References
    ----------
    Liu T et al., NMR Biomed 24 (2011) 1129, 10.1002/nbm.1670; there the weights are white.

    """
    box = bounding_box(tissue, 0.0 if noise is None else AROUND_MM, grid.voxel_size)
    inside, within = np.asarray(mask[box], dtype=bool), np.asarray(tissue[box], dtype=bool)
    shape = padded_shape(
        inside.shape, grid.voxel_size, 2 * margin_mm, _largest_block(grid.voxel_size)
    )
    crop = tuple(slice(0, n) for n in inside.shape)
    field, weight = (np.zeros(shape, dtype=np.float32) for _ in range(2))
    field[crop] = np.where(inside, total_field[box], 0)
    scale = _local_scale(field[crop], inside, grid, within)
    if noise is None:
        weight[crop] = inside
    else:
        noise = noise[box]
        around = ~within & (noise > 0) & (total_field[box] != 0)
        around &= squared_distance(~within, grid.voxel_size) <= AROUND_MM**2
        field[crop][around] = total_field[box][around]
        error = np.where(around, AROUND_NOISE, 1.0) * noise
        weight[crop] = (inside | around) / (1 + (error / scale) ** 2)
    padded = Grid(shape, grid.voxel_size, grid.b0_direction)
    outside = np.ones(shape, dtype=bool)
    outside[crop] = ~within
    sources, _ = _fit_sources(
        field, weight, outside, padded, OUTLIER * scale, iterations, coarsest_iterations
    )
    sources[crop][within] = 0
    local = field - _filtered(sources, _dipole(padded))
    return paste(np.where(inside, local[crop], 0), box, mask.shape), np.array(tissue, dtype=bool)


def _block(voxel_size: tuple[float, ...]) -> tuple[int, ...]:
    """Voxels along each axis that make one of the next coarser level; ones on the coarsest."""
    shortest = min(voxel_size)
    if 2 * shortest > COARSEST_MM:
        return (1, 1, 1)
    return tuple(2 if size < 1.5 * shortest else 1 for size in voxel_size)


def _largest_block(voxel_size: tuple[float, ...]) -> tuple[int, ...]:
    """Voxels along each axis that make one of the coarsest level."""
    block = _block(voxel_size)
    if max(block) == 1:
        return block
    coarse = tuple(b * size for b, size in zip(block, voxel_size, strict=True))
    return tuple(b * c for b, c in zip(block, _largest_block(coarse), strict=True))


def _fit_sources(
    field: np.ndarray,
    weight: np.ndarray,
    outside: np.ndarray,
    grid: Grid,
    outlier: float,
    iterations: int,
    coarsest_iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Sources whose dipole fields are closest to a measured field, and tissue with strong ones."""
    block = _block(grid.voxel_size)
    if max(block) == 1:
        sources, strong = _first_sources(field, weight, outside, grid, coarsest_iterations)
    else:
        beyond, total, sum_ = (
            _mean_of_blocks(image, block) for image in (outside, weight, weight * field)
        )
        coarse = Grid(
            total.shape,
            tuple(b * size for b, size in zip(block, grid.voxel_size, strict=True)),
            grid.b0_direction,
        )
        mean = np.divide(sum_, total, out=np.zeros_like(sum_), where=total > 0)
        sources, strong = _fit_sources(
            mean, total, beyond > 0.5, coarse, outlier, iterations, coarsest_iterations
        )
        for axis, n in enumerate(block):
            sources, strong = sources.repeat(n, axis), strong.repeat(n, axis)
    free = outside | strong
    sources *= free
    residual = field - _filtered(sources, _dipole(grid))
    weight = np.where(free, weight / (1 + (residual / outlier) ** 2), weight)
    return _conjugate_gradients(sources, residual, weight, free, grid, iterations), strong


def _first_sources(
    field: np.ndarray, weight: np.ndarray, outside: np.ndarray, grid: Grid, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sources outside the tissue, and once more with strong ones in it, up to 10 mm deep.

    Deeper ones cannot be mistaken for sources outside. The strong ones are found where the residual
    of the first fit, seen through a matched filter for whitened local sources, is above eight of
    its robust standard deviations in the tissue. Where a source outside is near, the fit errs on
    coarse voxels: by 2 % of the change of the background from a voxel to the next, which then
    counts as noise.
    """
    sources = _conjugate_gradients(np.zeros_like(field), field, weight, outside, grid, iterations)
    measured = ~outside & (weight > 0)
    if not measured.any():
        return sources, measured
    background = _filtered(sources, _dipole(grid))
    steep = np.sqrt(sum(np.square(step) for step in np.gradient(background)))
    residual = field - background
    matched = _penalty(grid) * _dipole(grid) * _local_power(grid) ** 0.5
    usual = STRONG * robust_sd(_filtered(weight * residual, matched)[measured])
    sd = robust_sd(residual[measured]) or 1.0
    certain = weight / (1 + (STEEP * steep / sd) ** 2)
    strong = ~outside & (np.abs(_filtered(certain * residual, matched)) > usual)
    strong &= squared_distance(~outside, grid.voxel_size) <= SHALLOW_MM**2
    if strong.any():
        sources = _conjugate_gradients(
            np.zeros_like(field), field, weight, outside | strong, grid, iterations
        )
    return sources, strong


def _conjugate_gradients(
    sources: np.ndarray,
    residual: np.ndarray,
    weight: np.ndarray,
    outside: np.ndarray,
    grid: Grid,
    iterations: int,
) -> np.ndarray:
    """Sources, changed in place, after some steps of conjugate gradients on the normal equations.

    ``residual`` is the measured field less that of the sources at the start.
    """
    dipole, penalty = _dipole(grid), _penalty(grid)
    root = np.sqrt(weight)

    def project(image: np.ndarray) -> np.ndarray:
        weighted = _filtered(root * image, penalty)
        weighted *= root
        projected = _filtered(weighted, dipole)
        projected *= outside
        return projected

    gradient = project(residual)
    direction = gradient.copy()
    power = float(np.vdot(gradient, gradient))
    least = RESIDUAL**2 * power
    for _ in range(iterations):
        image = project(_filtered(direction, dipole))
        curvature = float(np.vdot(direction, image))
        # on small masks the fit is exact before the last step, and round-off would take over
        if power <= least or curvature <= 0:
            break
        step = np.float32(power / curvature)
        sources += step * direction
        image *= step
        gradient -= image
        power, previous = float(np.vdot(gradient, gradient)), power
        direction *= np.float32(power / previous)
        direction += gradient
    return sources


def _mean_of_blocks(image: np.ndarray, block: tuple[int, ...]) -> np.ndarray:
    """Means over blocks of voxels."""
    split = [n for size, b in zip(image.shape, block, strict=True) for n in (size // b, b)]
    return image.reshape(split).mean((1, 3, 5), dtype=np.float32)


def _filtered(image: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """Circular convolution."""
    transformed = fft.rfftn(image)
    transformed *= spectrum
    # of several axes, SciPy's inverse real transform makes a copy
    rows = fft.ifftn(transformed, axes=(0, 1), overwrite_x=True)
    return fft.irfft(rows, image.shape[2], overwrite_x=True)


def _local_scale(field: np.ndarray, inside: np.ndarray, grid: Grid, tissue: np.ndarray) -> float:
    """Robust SD of the local field by V-SHARP; of few voxels, that of the total field."""
    local, kept = vsharp(field, inside, grid, tissue)
    return robust_sd(local[kept & inside]) or robust_sd(field[inside]) or 1.0


def robust_sd(values: np.ndarray) -> float:
    """Standard deviation of a normal distribution with the same median absolute deviation."""
    return float(np.median(np.abs(values - np.median(values)))) / 0.6745


def _wave_vector(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Square of the wave vector and of its part along B0 [cycles^2/mm^2], in ``rfftn`` layout."""
    frequencies = [
        np.fft.fftfreq(grid.shape[0], grid.voxel_size[0]),
        np.fft.fftfreq(grid.shape[1], grid.voxel_size[1]),
        np.fft.rfftfreq(grid.shape[2], grid.voxel_size[2]),
    ]
    k = np.meshgrid(*[f.astype(np.float32) for f in frequencies], indexing='ij', sparse=True)
    x, y, z = np.array(grid.b0_direction, dtype=np.float32)
    return k[0] ** 2 + k[1] ** 2 + k[2] ** 2, (k[0] * x + k[1] * y + k[2] * z) ** 2


def _dipole(grid: Grid) -> np.ndarray:
    """Dipole spectrum of a periodic grid; a constant source gives a constant field."""
    squared, along = _wave_vector(grid)
    squared[0, 0, 0] = 1
    return np.float32(1 / 3) - along / squared


def _penalty(grid: Grid) -> np.ndarray:
    """Inverse power of the local field; constants are background."""
    return 1 / (1 + _dipole(grid) ** 2 * _local_power(grid))


def _local_power(grid: Grid) -> np.ndarray:
    """Power of the susceptibility of heads over that of white local field."""
    squared, _ = _wave_vector(grid)
    squared[0, 0, 0] = np.inf
    return (LOCAL_WAVENUMBER**2 / squared) ** 1.5


def rim_error(
    local_field: np.ndarray, mask: np.ndarray, tissue: np.ndarray, grid: Grid
) -> np.ndarray:
    """Standard deviation of what PDF leaves at the rim of the tissue, in the unit of the field.

    Sources a voxel outside look like those inside. The error is taken as four times the
    robust standard deviation of the local field deeper than 6 mm, which a strong source leaves as
    it is, falling by e every millimetre. That is more than it is, for it is correlated; on
    simulated heads it serves the inversion best.
    """
    box = bounding_box(tissue)
    depth, inside = depth_mm(tissue[box], grid.voxel_size), mask[box]
    deep = inside & (depth > min(DEEP_MM, depth[inside].max() / 2))
    scale = RIM_ERROR * robust_sd(local_field[box][deep])
    error = np.exp(-depth.astype(np.float32) / RIM_MM)
    return paste(inside * np.float32(scale) * error, box, mask.shape)

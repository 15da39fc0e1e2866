"""Background field removal: V-SHARP, PDF, LBV, and PDF followed by V-SHARP.

Fields may be in any one unit; the local field comes out in the unit that went in, float32, zero
outside the mask that is returned with it. A method keeps only voxels that it can treat, so the
returned mask may be smaller than the mask given.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import fft, ndimage

from qsmprep.qsm.grid import Grid


@dataclass(frozen=True)
class BackgroundRemoval:
    """A local field and how it was made.

    Parameters
    ----------
    local_field
        Local field in the unit of the total field, zero outside the mask.
    mask
        Voxels where the local field is valid.
    parameters
        Method and every numeric parameter, defaults included.

    """

    local_field: np.ndarray
    mask: np.ndarray
    parameters: dict[str, object]


def vsharp(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    max_radius_mm: float = 12.0,
    min_radius_mm: float = 2.0,
    threshold: float = 0.05,
    workers: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Variable-kernel sophisticated harmonic artifact reduction (V-SHARP).

    A harmonic field equals its mean over any sphere. From each voxel the mean over the largest
    sphere inside the mask is subtracted, which cancels the background, and the filter of the
    largest sphere is then undone by truncated division. The weights of a sphere's voxels are
    corrected so that, on anisotropic grids too, all harmonic polynomials up to degree five cancel
    exactly; sampled spheres of a few voxels otherwise let steep fields leak through.

    Parameters
    ----------
    total_field
        Field in any unit, ``(X, Y, Z)``.
    mask
        Voxels with a valid field.
    grid
        The grid of both.
    max_radius_mm, min_radius_mm
        Radii [mm], in steps of a voxel but at least 1 mm. Voxels closer to the edge of the mask
        than the smallest radius are dropped. The smallest radius is at least the longest edge of
        a voxel.
    threshold
        Spatial frequencies whose filter gain is below this are set to zero.
    workers
        Threads of the Fourier transforms.

    Raises
    ------
    ValueError
        If the radii are not in order, or no voxel lies deeper in the mask than the smallest.

    References
    ----------
    Schweser F et al., NeuroImage 54 (2011) 2789; Li W et al., NeuroImage 55 (2011) 1645.

    """
    smallest = max(min_radius_mm, *grid.voxel_size)
    if not 0 < smallest <= max_radius_mm:
        raise ValueError(
            f'V-SHARP needs 0 < smallest radius <= largest radius, '
            f'not {smallest} mm and {max_radius_mm} mm.'
        )
    box = _bounding_box(mask)
    inside = np.asarray(mask[box], dtype=bool)
    shape = _padded_shape(inside.shape, grid.voxel_size, max_radius_mm)
    crop = tuple(slice(0, n) for n in inside.shape)
    depth = _depth(inside, grid.voxel_size)
    field = np.where(inside, total_field[box], 0).astype(np.float32)
    spectrum = fft.rfftn(field, shape, workers=workers)

    step = max(1.0, min(grid.voxel_size))
    highpass = np.zeros(inside.shape, dtype=np.float32)
    kept = np.zeros(inside.shape, dtype=bool)
    largest = None
    for radius in np.arange(max_radius_mm, smallest - 1e-3, -step):
        # The spheres hold voxels up to this tolerance beyond the radius; header rounding is less.
        fits = (depth > radius * (1 + 1e-5)) & ~kept
        if fits.any():
            gain = 1 - sphere_spectrum(shape, grid.voxel_size, radius)
            largest = gain if largest is None else largest
            highpass[fits] = fft.irfftn(spectrum * gain, shape, workers=workers)[crop][fits]
            kept |= fits
    if largest is None:
        raise ValueError(
            f'No voxel of the mask lies {smallest} mm deep: it is too thin for V-SHARP; '
            'give a larger mask or a smaller radius.'
        )
    spectrum = fft.rfftn(highpass, shape, workers=workers)
    spectrum *= np.divide(1, largest, out=np.zeros_like(largest), where=largest > threshold)
    local = fft.irfftn(spectrum, shape, workers=workers)[crop]
    return _paste(np.where(kept, local, 0), box, mask.shape), _paste(kept, box, mask.shape)


def sphere_spectrum(
    shape: tuple[int, int, int], voxel_size: tuple[float, float, float], radius_mm: float
) -> np.ndarray:
    """Spectrum of the mean over a sphere that is exact for harmonic polynomials.

    The weights of the voxels in the sphere are the constant nearest to one, in the sense of least
    squares, that is orthogonal to the even harmonic polynomials of degree two and four; all other
    harmonic polynomials up to degree five vanish by symmetry.

    Parameters
    ----------
    shape
        Shape of the transform.
    voxel_size
        Edge lengths of a voxel [mm].
    radius_mm
        Radius [mm].

    Returns
    -------
    spectrum
        Real, in the layout of ``rfftn``, 1 at frequency zero.

    """
    half = [int(radius_mm / size + 1e-6) for size in voxel_size]
    index = np.meshgrid(*[np.arange(-h, h + 1) for h in half], indexing='ij')
    scaled = [(i * size / radius_mm) ** 2 for i, size in zip(index, voxel_size, strict=True)]
    within = sum(scaled) <= 1 + 1e-6
    x, y, z = (squared[within] for squared in scaled)
    quartics = [a * a - 6 * a * b + b * b for a, b in ((x, y), (y, z), (z, x))]
    harmonics = np.stack([x - y, x + y - 2 * z, *quartics], axis=1)
    weight = 1 - harmonics @ np.linalg.lstsq(harmonics, np.ones(len(x)), rcond=1e-6)[0]
    kernel = np.zeros(shape, dtype=np.float32)
    at = tuple(i[within] % n for i, n in zip(index, shape, strict=True))
    np.add.at(kernel, at, (weight / weight.sum()).astype(np.float32))
    return fft.rfftn(kernel).real


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
        As for :func:`vsharp`.
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
    box = _bounding_box(mask)
    inside = np.asarray(mask[box], dtype=bool)
    shape = _padded_shape(inside.shape, grid.voxel_size, 2 * margin_mm)
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
    return _paste(local, box, mask.shape), np.array(mask, dtype=bool)


def pdf_vsharp(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    noise: np.ndarray | None = None,
    iterations: int = 30,
    tolerance: float = 1e-3,
    margin_mm: float = 20.0,
    max_radius_mm: float = 10.0,
    min_radius_mm: float = 2.0,
    threshold: float = 0.05,
    workers: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """PDF, then V-SHARP on what PDF leaves.

    PDF removes the steep fields of sinuses and skull, which V-SHARP smears from the rim over the
    radius of its spheres; V-SHARP removes what PDF leaves at the rim, where its local field is
    mixed with that of sources one voxel outside. On simulated heads with sinuses the local field
    is better than either's. Parameters are those of :func:`pdf` and :func:`vsharp`.
    """
    local, kept = pdf(total_field, mask, grid, noise, iterations, tolerance, margin_mm, workers)
    return vsharp(local, kept, grid, max_radius_mm, min_radius_mm, threshold, workers)


def lbv(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    erosion_mm: float = 1.0,
    sweeps: int = 600,
    tolerance: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """Laplacian boundary value method (LBV).

    The background is the solution of Laplace's equation inside the mask that equals the total
    field on the mask's outermost voxels, found by successive over-relaxation in red-black order.
    The local field is taken to vanish there, and errors at the boundary spread inwards.

    Parameters
    ----------
    total_field, mask, grid
        As for :func:`vsharp`.
    erosion_mm
        Rim to drop before its next voxels serve as the boundary [mm].
    sweeps, tolerance
        Relaxation ends at this count, or when no voxel changes by more than this fraction of the
        field's standard deviation.

    References
    ----------
    Zhou D et al., NMR Biomed 27 (2014) 312, 10.1002/nbm.3064.

    """
    box = _bounding_box(mask)
    domain = np.pad(_depth(mask[box], grid.voxel_size) > erosion_mm, 1)
    interior = ndimage.binary_erosion(domain)
    if not interior.any():
        raise ValueError(
            f'Nothing of the mask is left {erosion_mm} mm inside its edge; LBV needs a larger mask.'
        )
    field = np.where(domain, np.pad(total_field[box], 1), 0).astype(np.float64)
    background = np.where(interior, 0, field)
    weights = np.array([1 / size**2 for size in grid.voxel_size])
    longest = max(interior.shape)
    relaxation = 2 / (1 + np.pi / longest)
    _relax(
        background,
        interior,
        weights / weights.sum(),
        relaxation,
        sweeps,
        tolerance * field[domain].std(),
    )
    inner = (slice(1, -1),) * 3
    local = np.where(interior, field - background, 0)[inner].astype(np.float32)
    return _paste(local, box, mask.shape), _paste(interior[inner], box, mask.shape)


BACKGROUND_METHODS = {'vsharp': vsharp, 'pdf': pdf, 'pdf+vsharp': pdf_vsharp, 'lbv': lbv}
"""Methods by name."""


def remove_background(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    method: str = 'pdf+vsharp',
    noise: np.ndarray | None = None,
    **parameters: float,
) -> BackgroundRemoval:
    """Remove the background by any method.

    Parameters
    ----------
    total_field, mask, grid
        As for :func:`vsharp`.
    method
        Name in :data:`BACKGROUND_METHODS`.
    noise
        Standard deviation of the field in its unit; used by the methods that weight voxels.
    **parameters
        Parameters of the method.

    Raises
    ------
    ValueError
        If the method or a parameter is unknown, shapes disagree or the mask is empty.

    """
    if method not in BACKGROUND_METHODS:
        raise ValueError(
            f'Unknown background removal {method!r}; choose one of {", ".join(BACKGROUND_METHODS)}.'
        )
    function = BACKGROUND_METHODS[method]
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ('total_field', 'mask', 'grid', 'noise')
    }
    unknown = sorted(set(parameters) - set(defaults))
    if unknown:
        raise ValueError(
            f'{method} has no parameter {", ".join(unknown)}; it has {", ".join(defaults)}.'
        )
    mask = np.asarray(mask, dtype=bool)
    if total_field.shape != mask.shape or mask.shape != grid.shape:
        raise ValueError(
            f'The field {total_field.shape}, the mask {mask.shape} and the grid {grid.shape} '
            'must have one shape.'
        )
    if not mask.any():
        raise ValueError('The mask is empty: there is no field to separate.')
    chosen = {**defaults, **parameters}
    weighting = {'noise': noise} if 'noise' in inspect.signature(function).parameters else {}
    local_field, kept = function(total_field, mask, grid, **weighting, **chosen)
    chosen.pop('workers', None)
    return BackgroundRemoval(local_field, kept, {'method': method, **chosen})


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


@njit(cache=True)
def _relax(u, interior, weights, relaxation, sweeps, tolerance):  # pragma: no cover (compiled)
    a, b, c = 0.5 * weights
    for _ in range(sweeps):
        change = 0.0
        for colour in range(2):
            for i in range(1, u.shape[0] - 1):
                for j in range(1, u.shape[1] - 1):
                    for k in range(1 + (i + j + 1 + colour) % 2, u.shape[2] - 1, 2):
                        if interior[i, j, k]:
                            step = (
                                a * (u[i - 1, j, k] + u[i + 1, j, k])
                                + b * (u[i, j - 1, k] + u[i, j + 1, k])
                                + c * (u[i, j, k - 1] + u[i, j, k + 1])
                                - u[i, j, k]
                            )
                            u[i, j, k] += relaxation * step
                            change = max(change, abs(step))
        if change < tolerance:
            break


def _depth(inside: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Distance to the nearest voxel outside [mm]; beyond the image is outside."""
    padded = np.pad(np.asarray(inside, dtype=bool), 1)
    return ndimage.distance_transform_edt(padded, sampling=voxel_size)[1:-1, 1:-1, 1:-1]


def _padded_shape(
    shape: tuple[int, ...], voxel_size: tuple[float, ...], padding_mm: float
) -> tuple[int, ...]:
    return tuple(
        fft.next_fast_len(n + int(np.ceil(padding_mm / size)) + 1, real=True)
        for n, size in zip(shape, voxel_size, strict=True)
    )


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    return ndimage.find_objects(np.asarray(mask, dtype=bool).astype(np.uint8))[0]


def _paste(values: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...]) -> np.ndarray:
    volume = np.zeros(shape, dtype=values.dtype)
    volume[box] = values
    return volume

"""V-SHARP."""

from __future__ import annotations

import numpy as np
from scipy import fft

from qsmprep.qsm.background.box import fill_in, padded_shape, paste
from qsmprep.qsm.grid import Grid, bounding_box, depth_mm


def vsharp(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    tissue: np.ndarray,
    *,
    max_radius_mm: float = 12.0,
    min_radius_mm: float = 2.0,
    threshold: float = 0.05,
) -> tuple[np.ndarray, np.ndarray]:
    """Variable-kernel sophisticated harmonic artifact reduction (V-SHARP).

    A harmonic field equals its mean over any sphere. From each voxel the mean over the largest
    sphere inside the tissue is subtracted, which cancels the background, and the filter of the
    largest sphere is then undone by truncated division. The weights of a sphere's voxels are
    corrected so that, on anisotropic grids too, all harmonic polynomials up to degree five cancel
    exactly; sampled spheres of a few voxels otherwise let steep fields leak through. Spheres reach
    across tissue of unknown field, which is filled in from around: around a hole, the field of
    what lies in it is harmonic too, and would otherwise go with the background.

    Parameters
    ----------
    total_field
        Field in any unit, ``(X, Y, Z)``.
    mask
        Voxels with a valid field.
    grid
        The grid of both.
    tissue
        The mask, and tissue whose field is unknown: no background source lies there.
    max_radius_mm, min_radius_mm
        Radii [mm], in steps of a voxel but at least 1 mm. Voxels closer to the edge of the mask
        than the smallest radius are dropped. Both are at least the longest edge of a voxel.
    threshold
        Spatial frequencies whose filter gain is below this are set to zero.

    Raises
    ------
    ValueError
        If the radii are not in order, or no voxel lies deeper in the mask than the smallest.

    References
    ----------
    Schweser F et al., NeuroImage 54 (2011) 2789; Li W et al., NeuroImage 55 (2011) 1645.

    """
    smallest = max(min_radius_mm, *grid.voxel_size)
    max_radius_mm = max(max_radius_mm, *grid.voxel_size)
    if not 0 < smallest <= max_radius_mm:
        raise ValueError(
            f'V-SHARP needs 0 < smallest radius <= largest radius, '
            f'not {smallest} mm and {max_radius_mm} mm.'
        )
    box = bounding_box(tissue)
    inside = np.asarray(tissue[box], dtype=bool)
    shape = padded_shape(inside.shape, grid.voxel_size, max_radius_mm)
    crop = tuple(slice(0, n) for n in inside.shape)
    depth = depth_mm(inside, grid.voxel_size)
    field = fill_in(total_field[box], mask[box], inside, grid.voxel_size).astype(np.float32)
    spectrum = fft.rfftn(field, shape)

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
            highpass[fits] = fft.irfftn(spectrum * gain, shape)[crop][fits]
            kept |= fits
    if largest is None:
        raise ValueError(
            f'No voxel of the mask lies {smallest} mm deep: it is too thin for V-SHARP; '
            'give a larger mask or a smaller radius.'
        )
    spectrum = fft.rfftn(highpass, shape)
    spectrum *= np.divide(1, largest, out=np.zeros_like(largest), where=largest > threshold)
    local = fft.irfftn(spectrum, shape)[crop]
    return paste(np.where(kept, local, 0), box, mask.shape), paste(kept, box, mask.shape)


def sphere_spectrum(
    shape: tuple[int, ...], voxel_size: tuple[float, ...], radius_mm: float
) -> np.ndarray:
    """Spectrum of the mean over a sphere that is exact for harmonic polynomials.

    The weights of the voxels in the sphere are the constant nearest to one, in the sense of least
    squares, that is orthogonal to the even harmonic polynomials of degree two and four; all other
    harmonic polynomials up to degree five vanish by symmetry. The smallest sphere, a voxel and its
    six neighbours, leaves degree four be.

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
    # on the axes alone the quartics leave all weight to the middle: the mean would be the value
    off_axes = np.count_nonzero([x, y, z], axis=0).max() > 1
    harmonics = np.stack([x - y, x + y - 2 * z, *(quartics if off_axes else [])], axis=1)
    weight = 1 - harmonics @ np.linalg.lstsq(harmonics, np.ones(len(x)), rcond=1e-6)[0]
    kernel = np.zeros(shape, dtype=np.float32)
    at = tuple(i[within] % n for i, n in zip(index, shape, strict=True))
    np.add.at(kernel, at, (weight / weight.sum()).astype(np.float32))
    return fft.rfftn(kernel).real

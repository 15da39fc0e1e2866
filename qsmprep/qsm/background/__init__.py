"""Background field removal: V-SHARP, PDF, LBV, and PDF followed by V-SHARP.

Fields may be in any one unit; the local field comes out in the unit that went in, float32, zero
outside the mask that is returned with it.

Where a field was measured and where tissue lies are two things. A strong source dephases its own
voxels and is a hole in the mask of measured voxels; yet its field is local. No method looks for
background sources in tissue, and each returns, beside the local field, the tissue that it kept: a
method keeps only what it can treat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from qsmprep.methods import choose
from qsmprep.qsm.background.pdf import pdf, rim_error
from qsmprep.qsm.background.sharp import vsharp
from qsmprep.qsm.grid import Grid, relative_size


@dataclass(frozen=True)
class BackgroundRemoval:
    """A local field and how it was made.

    Parameters
    ----------
    local_field
        Local field in the unit of the total field, zero outside the mask.
    mask
        Voxels where the local field is valid.
    tissue
        The mask and tissue whose field is unknown: all that may hold sources of the local field.
    parameters
        Method and every numeric parameter, defaults included.
    noise
        Standard deviation of the local field, in its unit: that of the total field and, after
        PDF, of what is left at the rim; None where no noise was given.

    """

    local_field: np.ndarray
    mask: np.ndarray
    tissue: np.ndarray
    parameters: dict[str, object]
    noise: np.ndarray | None = None


def pdf_vsharp(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    tissue: np.ndarray,
    *,
    noise: np.ndarray | None = None,
    iterations: int = 15,
    coarsest_iterations: int = 60,
    margin_mm: float = 20.0,
    max_radius_mm: float = 10.0,
    min_radius_mm: float = 2.0,
    threshold: float = 0.05,
) -> tuple[np.ndarray, np.ndarray]:
    """PDF, then V-SHARP on what PDF leaves.

    PDF removes the steep fields of sinuses and skull, which V-SHARP smears from the rim over the
    radius of its spheres; V-SHARP removes what PDF leaves at the rim, where its local field is
    mixed with that of sources one voxel outside, and drops the rim. Parameters are those of
    :func:`pdf` and :func:`vsharp`.
    """
    local, kept = pdf(
        total_field,
        mask,
        grid,
        tissue,
        noise=noise,
        iterations=iterations,
        coarsest_iterations=coarsest_iterations,
        margin_mm=margin_mm,
    )
    return vsharp(
        local,
        mask,
        grid,
        kept,
        max_radius_mm=max_radius_mm,
        min_radius_mm=min_radius_mm,
        threshold=threshold,
    )


def remove_background(
    total_field: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    method: str = 'pdf',
    *,
    noise: np.ndarray | None = None,
    tissue: np.ndarray | None = None,
    **parameters: float,
) -> BackgroundRemoval:
    """Remove the background by any method.

    Lengths in millimetres hold for objects of 34 ml and more; in smaller ones (animals,
    specimens) they are scaled with the cube root of the volume.

    Parameters
    ----------
    total_field, mask, grid
        As for :func:`vsharp`.
    method
        Key of :data:`qsmprep.methods.BACKGROUNDS`.
    noise
        Standard deviation of the field in its unit; used by the methods that weight voxels.
    tissue
        Tissue whose field may be unknown, such as the brain mask. What the mask encloses is tissue
        in any case.
    **parameters
        Parameters of the method.

    Raises
    ------
    ValueError
        If the method or a parameter is unknown, shapes disagree or the mask is empty.

    """
    chosen = choose('background removal', method)
    settings = chosen.complete(parameters)
    mask = np.asarray(mask, dtype=bool)
    if total_field.shape != mask.shape or mask.shape != grid.shape:
        raise ValueError(
            f'The field {total_field.shape}, the mask {mask.shape} and the grid {grid.shape} '
            'must have one shape.'
        )
    if not mask.any():
        raise ValueError('The mask is empty: there is no field to separate.')
    whole = mask if tissue is None else mask | (np.asarray(tissue) > 0)
    whole = ndimage.binary_fill_holes(whole)
    # fields do not change with the scale of an object: lengths in mm are those in larger ones
    scale = relative_size(whole, grid.voxel_size)
    grid = grid.magnified(1 / scale)
    if noise is not None:
        noise = np.where(np.isfinite(noise), noise, 0)
    # the same everywhere: no source's field, but that of a centre frequency off the water
    known = mask | (np.isfinite(total_field) & (total_field != 0))
    centred = np.where(known, total_field - np.median(total_field[mask]), 0)
    local_field, kept = chosen.run(centred, mask, grid, whole, scan={'noise': noise}, **settings)
    valid = kept & mask
    local_field *= valid
    if noise is not None:
        noise = noise * valid
        if 'rim noise' in chosen.gives:
            noise = np.hypot(noise, rim_error(local_field, valid, kept, grid))
    record = {'method': method, **settings}
    if scale < 1:
        record['length_scale'] = scale
    return BackgroundRemoval(local_field, valid, kept, record, noise)

"""Reading and writing the images that pass between nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import isdefined

from qsmprep.bids.geometry import (
    SAME_PLACE_VOXELS,
    SCANNER,
    header_transforms,
    is_bare,
    placement,
    scanner_affine,
    scanner_transform,
)
from qsmprep.qsm.grid import Grid


def read(path: str | Path, dtype: type = np.float32) -> np.ndarray:
    """Voxels of an image, as floats or, for ``dtype=bool``, as a mask.

    Axes of length one beyond the third are dropped. Floats that are stored as such are mapped, not
    copied: a change of them stays in memory.

    Raises
    ------
    ValueError
        If they are complex numbers.

    """
    stored = nb.load(path).dataobj
    if np.issubdtype(stored.dtype, np.complexfloating):
        raise ValueError(f'{path} holds complex numbers; an image of real ones is expected.')
    shape = stored.shape[:3] if math.prod(stored.shape[3:]) == 1 else stored.shape
    if dtype is np.float32 and stored.dtype.itemsize <= 2:
        # nibabel scales in double precision, which 16 bits have no use for
        data = stored.get_unscaled().astype(np.float32)
        data *= np.float32(stored.slope)
        data += np.float32(stored.inter)
        return data.reshape(shape)
    data = np.asarray(stored).reshape(shape)
    return data > 0 if dtype is bool else data.astype(dtype, copy=False)


def read_given(path: str | Path, dtype: type = np.float32) -> np.ndarray | None:
    """Voxels of an image that a node may have been given, else None."""
    return read(path, dtype) if isdefined(path) else None


def read_echoes(path: str | Path, count: int | None = None) -> np.ndarray:
    """Voxels of a multi-echo image, echoes along the fourth axis, also when there is one.

    With a count, no more than the first echoes are read.
    """
    stored = nb.load(path).dataobj
    data = np.asarray(stored if count is None or len(stored.shape) == 3 else stored[..., :count])
    return data.astype(np.float32, copy=False).reshape(*data.shape[:3], -1)


def count_echoes(path: str | Path) -> int:
    """Echoes of a multi-echo image, by its header."""
    return math.prod(nb.load(path).shape[3:])


def read_grid(path: str | Path) -> Grid:
    """Return the grid of an image: shape, voxel size and B0 direction from its affine."""
    return Grid.from_affine(nb.load(path).shape, affine_of(path))


def affine_of(path: str | Path) -> np.ndarray:
    """Affine of an image to scanner mm: of its two transforms the one that leads to the scanner."""
    return scanner_affine(nb.load(path).header)


def check_same_place(path: str | Path, reference: str | Path) -> None:
    """
    Complain of an image that does not lie on the grid of another, voxel by voxel.

    An affine that states nothing (no code, or voxel sizes alone) is passed over.

    Raises
    ------
    ValueError
        If it does not.

    """
    shape, expected = read_grid(path).shape, read_grid(reference).shape
    if shape != expected:
        raise ValueError(
            f'{path} has the shape {shape}, but {reference} has {expected}; resample it to that '
            'grid.'
        )
    mine, theirs = (header_transforms(nb.load(x).header) for x in (path, reference))
    mine = [affine for affine in mine if not is_bare(affine)]
    shifts = [placement(a, shape, b, shape) for a in mine for b in theirs]
    if shifts and min(shifts) > SAME_PLACE_VOXELS:
        raise ValueError(
            f'{path} has another affine than {reference} (corners {min(shifts):.3g} voxels away). '
            'If their voxels are the same, copy the header (fslcpgeom); else resample it.'
        )


def save(
    data: np.ndarray, reference: str | Path, path: str | Path, affine: np.ndarray | None = None
) -> None:
    """Save voxels on the grid of ``reference``, or with an affine of their own to its space.

    Masks are saved as uint8, all else as float32; sform and qform have the code of the transform
    of ``reference`` that leads to the scanner.
    """
    kind = np.uint8 if data.dtype == bool else np.float32
    own, code = scanner_transform(nb.load(reference).header)
    affine = own if affine is None else affine
    image = nb.Nifti1Image(np.asarray(data, dtype=kind), affine)
    image.set_sform(affine, code or SCANNER)
    image.set_qform(affine, code or SCANNER)
    image.header.set_xyzt_units('mm')
    image.to_filename(path)


def write(data: np.ndarray, reference: str | Path, folder: str | Path, name: str) -> str:
    """Save voxels as ``folder/name.nii`` and return the path, as nodes do with their results."""
    path = Path(folder) / f'{name}.nii'
    save(data, reference, path)
    return str(path)


def write_each(
    volumes: Mapping[str, np.ndarray], reference: str | Path, folder: str | Path
) -> dict[str, str]:
    """Write the outputs of a node; return the path of each, by its name."""
    return {name: write(data, reference, folder, name) for name, data in volumes.items()}

"""The box around a mask in which the methods work, and fields completed in it."""

from __future__ import annotations

import numpy as np
from scipy import fft, sparse
from scipy.sparse.linalg import cg


def padded_shape(
    shape: tuple[int, ...],
    voxel_size: tuple[float, ...],
    padding_mm: float,
    multiple_of: tuple[int, ...] = (1, 1, 1),
) -> tuple[int, ...]:
    """Shape with room on one side of each axis, fast to transform and of whole multiples."""
    return tuple(
        m * fft.next_fast_len(-(-(n + int(np.ceil(padding_mm / size)) + 1) // m), real=True)
        for n, size, m in zip(shape, voxel_size, multiple_of, strict=True)
    )


def paste(values: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Volume that is zero outside a box of values."""
    volume = np.zeros(shape, dtype=values.dtype)
    volume[box] = values
    return volume


def fill_in(
    field: np.ndarray, mask: np.ndarray, tissue: np.ndarray, voxel_size: tuple[float, ...]
) -> np.ndarray:
    """Field in all tissue, zero outside; where it was not measured, as smooth as it can be.

    The solution of Laplace's equation that equals the field where it was measured, without flow
    through the surface of the tissue.

    Parameters
    ----------
    field
        Field in any unit.
    mask
        Voxels with a measured field.
    tissue
        Voxels to fill; parts that do not touch the mask become zero.
    voxel_size
        Edge lengths of a voxel [mm].

    Examples
    --------
    >>> line = np.array([[[2.0, 7.0, 7.0, 8.0]]])
    >>> fill_in(line, line != 7, line > 0, (1, 1, 1)).round(3).tolist()
    [[[2.0, 4.0, 6.0, 8.0]]]

    """
    complete = np.where(mask, field, 0)
    unknown = tissue & ~mask
    n = np.count_nonzero(unknown)
    if not n:
        return complete
    index = np.zeros(field.shape, dtype=np.intp)
    index[unknown] = np.arange(n)
    at = np.argwhere(unknown)
    rows, columns, values = [], [], []
    total, known = np.full(n, 1e-9), np.zeros(n)
    for axis, size in enumerate(voxel_size):
        for step in (-1, 1):
            beside = at.copy()
            beside[:, axis] = np.clip(at[:, axis] + step, 0, field.shape[axis] - 1)
            near = tuple(beside.T)
            weight = tissue[near] * (beside != at).any(1) / size**2
            total += weight
            known += weight * complete[near]
            inner = unknown[near] & (weight > 0)
            rows.append(np.flatnonzero(inner))
            columns.append(index[near][inner])
            values.append(-weight[inner])
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    matrix = sparse.csr_matrix(entries, (n, n)) + sparse.diags(total)
    scale = sparse.diags(1 / total)
    complete[unknown] = cg(matrix, known, rtol=1e-4, maxiter=500, M=scale)[0]
    return complete

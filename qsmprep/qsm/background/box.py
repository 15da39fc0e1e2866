"""The box around a mask in which the methods work, and depths in it."""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage


def depth_mm(inside: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """Distance to the nearest voxel outside [mm]; beyond the image is outside."""
    padded = np.pad(np.asarray(inside, dtype=bool), 1)
    return ndimage.distance_transform_edt(padded, sampling=voxel_size)[1:-1, 1:-1, 1:-1]


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


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box that holds a mask, which must not be empty."""
    return ndimage.find_objects(np.asarray(mask, dtype=bool).astype(np.uint8))[0]


def paste(values: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Volume that is zero outside a box of values."""
    volume = np.zeros(shape, dtype=values.dtype)
    volume[box] = values
    return volume

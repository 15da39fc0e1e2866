"""The sampling grid of a scan: shape, voxel size and the direction of B0 in the voxel frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

LARGE_MM = 20.0
"""Radius of the balls from which on lengths hold that were found on heads."""
PROTON_GYROMAGNETIC_RATIO = 42.577478518
"""MHz/T (gamma over 2 pi of the free proton, CODATA 2018)."""
STRONGEST_T = 30.0
"""Above it a field strength is a frequency [MHz], or in other units."""


@dataclass(frozen=True)
class Grid:
    """A regular grid of voxels.

    Parameters
    ----------
    shape
        Number of voxels along the three array axes.
    voxel_size
        Edge lengths of a voxel along the three array axes [mm].
    b0_direction
        Direction of the static field in the frame of the array axes; normalised on creation.

    Raises
    ------
    ValueError
        If a length is not positive and finite, or the direction has no length.

    Examples
    --------
    >>> Grid((64, 64, 32), (1, 1, 2), (0, 0, 2)).b0_direction
    (0.0, 0.0, 1.0)

    """

    shape: tuple[int, ...]
    voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0)
    b0_direction: tuple[float, ...] = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        voxel_size = tuple(float(v) for v in self.voxel_size)
        direction = np.asarray(self.b0_direction, dtype=np.float64)
        length = np.linalg.norm(direction)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f'A grid has three axes of at least one voxel, not the shape {shape}.')
        if len(voxel_size) != 3 or not all(np.isfinite(v) and v > 0 for v in voxel_size):
            raise ValueError(f'Voxel sizes are three positive lengths in mm, not {voxel_size}.')
        if direction.shape != (3,) or not np.isfinite(length) or length == 0:
            raise ValueError(f'The B0 direction is a vector of three, not {self.b0_direction}.')
        object.__setattr__(self, 'shape', shape)
        object.__setattr__(self, 'voxel_size', voxel_size)
        object.__setattr__(self, 'b0_direction', tuple(float(x) for x in direction / length))

    @classmethod
    def from_affine(cls, shape: tuple[int, ...], affine: np.ndarray) -> Grid:
        """Grid of an image whose affine maps voxel indices to scanner coordinates in mm.

        B0 points along the scanner's z axis; the columns of the affine are the array axes in
        scanner coordinates, so its direction in the voxel frame is the third row of the
        rotation part. Oblique scans thus need no resampling.

        Parameters
        ----------
        shape
            Shape of the image; axes beyond the third are ignored.
        affine
            4 x 4 matrix, voxel indices to scanner mm.

        Examples
        --------
        >>> import numpy as np
        >>> Grid.from_affine((8, 8, 8), np.diag([1.0, 2.0, 3.0, 1.0])).voxel_size
        (1.0, 2.0, 3.0)

        """
        axes = np.asarray(affine, dtype=np.float64)[:3, :3]
        if not np.all(np.isfinite(axes)):
            raise ValueError('The affine holds values that are not finite; repair the header.')
        voxel_size = np.linalg.norm(axes, axis=0)
        if np.any(voxel_size == 0) or abs(np.linalg.det(axes / voxel_size)) < 1e-3:
            raise ValueError('The affine is singular; repair the header.')
        b0_direction = np.linalg.solve(axes / voxel_size, [0.0, 0.0, 1.0])
        return cls(tuple(shape[:3]), tuple(voxel_size), tuple(b0_direction))

    def magnified(self, factor: float) -> Grid:
        """Grid of the same object made larger: its dipole fields are the same.

        Examples
        --------
        >>> Grid((9, 9, 9), (0.5, 0.5, 1.0)).magnified(4).voxel_size
        (2.0, 2.0, 4.0)

        """
        return replace(self, voxel_size=tuple(factor * size for size in self.voxel_size))

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel [ml]."""
        return float(np.prod(self.voxel_size)) / 1000.0


def relative_size(tissue: np.ndarray, voxel_size: tuple[float, ...]) -> float:
    """Size of an object by its volume, one for a ball of 20 mm and all that is larger.

    Lengths that were found on heads (radii, margins, the width of a rim) hold for smaller objects
    in this proportion.

    Examples
    --------
    >>> round(relative_size(np.ones((10, 10, 10)), (1, 1, 1)), 3)
    0.31

    """
    volume = np.count_nonzero(tissue) * float(np.prod(voxel_size))
    return min(1.0, float(0.75 * volume / np.pi) ** (1 / 3) / LARGE_MM)


def bounding_box(
    mask: np.ndarray, margin_mm: float = 0.0, voxel_size: Sequence[float] = (1.0, 1.0, 1.0)
) -> tuple[slice, ...]:
    """Smallest box that holds a mask, which must not be empty, and a margin if the image has it.

    Examples
    --------
    >>> mask = np.pad(np.ones((1, 2, 3)), 1)
    >>> bounding_box(mask)
    (slice(1, 2, None), slice(1, 3, None), slice(1, 4, None))
    >>> bounding_box(mask, 2.0, (2.0, 1.0, 1.0))
    (slice(0, 3, None), slice(0, 4, None), slice(0, 5, None))

    """
    box = []
    for axis, size in enumerate(voxel_size):
        found = np.flatnonzero(np.any(mask, axis=tuple({0, 1, 2} - {axis})))
        room = math.ceil(margin_mm / size)
        last = min(int(found[-1]) + 1 + room, mask.shape[axis])
        box.append(slice(max(int(found[0]) - room, 0), last))
    return tuple(box)


def depth_mm(mask: np.ndarray, voxel_size: Sequence[float]) -> np.ndarray:
    """Distance to the nearest voxel outside a mask [mm]; beyond the image is outside.

    Examples
    --------
    >>> depth_mm(np.ones((1, 3, 3)), (9, 1, 1))[0, 1]
    array([1., 2., 1.])

    """
    from qsmprep.qsm.distance import squared_distance

    depth = np.zeros(np.shape(mask))
    if np.any(mask):
        box = bounding_box(mask)
        squared = squared_distance(np.pad(np.asarray(mask[box], dtype=bool), 1), voxel_size)
        depth[box] = np.sqrt(squared[1:-1, 1:-1, 1:-1])
    return depth


def block_means(image: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Means over blocks of voxels; what a last block lacks counts as zero.

    Parameters
    ----------
    image
        (X, Y, Z), of floats.
    steps
        Voxels along each edge of a block.

    Examples
    --------
    >>> block_means(np.array([[1.0, 3.0, 4.0]]), (1, 2))
    array([[2., 2.]])

    """
    for axis, step in enumerate(steps):
        image = np.add.reduceat(image, np.arange(0, image.shape[axis], step), axis=axis) / step
    return image


def hz_to_ppm(field_hz: np.ndarray | float, field_strength_t: float) -> np.ndarray | float:
    """Off-resonance frequency [Hz] as a fraction of the Larmor frequency [ppm].

    Raises
    ------
    ValueError
        If the field strength is none of a scanner.

    Examples
    --------
    >>> round(hz_to_ppm(127.732435554, 3.0), 6)
    1.0

    """
    if not 0 < field_strength_t < STRONGEST_T:
        raise ValueError(f'A field strength in tesla is expected, not {field_strength_t:g}.')
    return field_hz / (PROTON_GYROMAGNETIC_RATIO * field_strength_t)


def ppm_to_hz(field_ppm: np.ndarray | float, field_strength_t: float) -> np.ndarray | float:
    """Inverse of :func:`hz_to_ppm`."""
    return field_ppm * (PROTON_GYROMAGNETIC_RATIO * field_strength_t)

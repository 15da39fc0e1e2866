"""Grids of one field of view at two resolutions, and the scan that links them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.operators import KSpaceCrop

Resolution = float | Literal['iso']
"""Longest edge of a voxel that is asked for [mm]; ``'iso'`` is the shortest one that there is."""

MARGIN = 4
"""Coarse voxels around a mask that belong to the part of a scan that is looked at."""


def finer_grid(grid: Grid, resolution_mm: Resolution) -> Grid | None:
    """Grid that fills the same field of view with voxels of about the size that is asked for.

    The number of voxels along an axis is the nearest whole one, and never smaller than it was.

    Parameters
    ----------
    grid
        Grid of the scan.
    resolution_mm
        Longest edge of a voxel [mm], or ``'iso'``.

    Returns
    -------
    Grid or None
        None where the grid is as fine already.

    Raises
    ------
    ValueError
        If the resolution is neither a length nor ``'iso'``.

    Examples
    --------
    >>> finer_grid(Grid((64, 64, 30), (1, 1, 2.5)), 'iso').voxel_size
    (1.0, 1.0, 1.0)
    >>> finer_grid(Grid((64, 64, 32), (1, 1, 1)), 1.0) is None
    True

    """
    target = min(grid.voxel_size) if resolution_mm == 'iso' else resolution_mm
    if isinstance(target, str) or not 0 < target < math.inf:
        raise ValueError(
            f"A resolution is the edge of a voxel in mm, or 'iso', not {resolution_mm!r}."
        )
    edges = list(zip(grid.shape, grid.voxel_size, strict=True))
    shape = tuple(max(n, round(n * size / target)) for n, size in edges)
    if shape == grid.shape:
        return None
    sizes = tuple(n * size / m for (n, size), m in zip(edges, shape, strict=True))
    return replace(grid, shape=shape, voxel_size=sizes)


def finer_affine(affine: np.ndarray, grid: Grid, fine: Grid) -> np.ndarray:
    """Affine of a finer image that fills the field of view of a coarse one.

    The outer faces of both images coincide, so that the centre of the first voxel moves outwards
    by half the difference of the voxels' edges.

    Parameters
    ----------
    affine
        4 x 4, indices of the coarse image to scanner mm.
    grid, fine
        Grids of both images.

    Examples
    --------
    >>> coarse = Grid((8, 8, 8), (2, 2, 2))
    >>> finer_affine(np.diag([2.0, 2, 2, 1]), coarse, finer_grid(coarse, 1.0))[:3, 3]
    array([-0.5, -0.5, -0.5])

    """
    ratio = np.array(grid.shape) / np.array(fine.shape)
    scale = np.diag([*ratio, 1.0])
    scale[:3, 3] = (ratio - 1) / 2
    return np.asarray(affine, dtype=np.float64) @ scale


def evaluate_on(
    function: Callable[[Sequence[np.ndarray]], np.ndarray], mask: np.ndarray, grid: Grid, fine: Grid
) -> np.ndarray:
    """Map of a function of positions on a finer grid, zero where the nearest voxel is not masked.

    Parameters
    ----------
    function
        Susceptibility [ppm] on the product of three vectors of positions, in voxels of ``grid``.
    mask
        Voxels of the map, of the shape of ``grid``.
    grid, fine
        Grids that fill one field of view.

    Examples
    --------
    >>> coarse, fine = Grid((2, 1, 1), (2, 1, 1)), Grid((4, 1, 1), (1, 1, 1))
    >>> evaluate_on(lambda p: p[0][:, None, None], np.ones((2, 1, 1)), coarse, fine)[:, 0, 0]
    array([-0.25,  0.25,  0.75,  1.25])

    """
    positions = [
        (np.arange(m) + 0.5) * n / m - 0.5 for n, m in zip(grid.shape, fine.shape, strict=True)
    ]
    nearest = [
        np.rint(p).clip(0, n - 1).astype(int) for p, n in zip(positions, grid.shape, strict=True)
    ]
    return function(positions) * (mask[np.ix_(*nearest)] > 0)


def resized(image: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Image interpolated linearly over the same field of view."""
    image = functional.interpolate(image.float()[None, None], size=shape, mode='trilinear')
    return image[0, 0]


@dataclass(frozen=True)
class FieldOfView:
    """The part of a scan that holds its mask, on a coarse and on a fine grid.

    It begins and ends where voxels of both grids do, so that their sizes are kept.

    Parameters
    ----------
    whole, whole_fine
        Both grids of the whole scan.
    box, fine_box
        The part, in both.
    whole_mask
        Coarse voxels of the map.
    device
        Where tensors are made.

    """

    whole: Grid
    whole_fine: Grid
    box: tuple[slice, ...]
    fine_box: tuple[slice, ...]
    whole_mask: np.ndarray
    device: torch.device

    @classmethod
    def of(
        cls, mask: np.ndarray, grid: Grid, resolution_mm: Resolution, device: str
    ) -> FieldOfView | None:
        """Part that holds a mask, None where the grid is as fine as asked for already.

        Raises
        ------
        ValueError
            If the mask is empty or not of the shape of the grid.

        """
        mask = np.asarray(mask) > 0
        fine = finer_grid(grid, resolution_mm)
        if mask.shape != grid.shape or not mask.any():
            raise ValueError(
                f'The mask has {mask.sum()} voxels in the shape {mask.shape}; at least one is '
                f'needed, in the shape {grid.shape} of the grid.'
            )
        if fine is None:
            return None
        box, fine_box = [], []
        for found, n, m in zip(mask.nonzero(), grid.shape, fine.shape, strict=True):
            step = n // math.gcd(n, m)
            first = max(int(found.min()) - MARGIN, 0) // step * step
            last = min(math.ceil((int(found.max()) + 1 + MARGIN) / step) * step, n)
            box.append(slice(first, last))
            fine_box.append(slice(first * m // n, last * m // n))
        return cls(grid, fine, tuple(box), tuple(fine_box), mask, torch.device(device))

    @cached_property
    def grid(self) -> Grid:
        """Coarse grid of the part."""
        return replace(self.whole, shape=tuple(b.stop - b.start for b in self.box))

    @cached_property
    def fine(self) -> Grid:
        """Fine grid of the part."""
        return replace(self.whole_fine, shape=tuple(b.stop - b.start for b in self.fine_box))

    @cached_property
    def mask(self) -> Tensor:
        """Coarse mask."""
        return torch.from_numpy(self.whole_mask[self.box]).to(self.device)

    @cached_property
    def support(self) -> Tensor:
        """Fine voxels whose middle lies in the mask, interpolated."""
        return resized(self.mask, self.fine.shape) > 0.5

    @cached_property
    def operator(self) -> KSpaceCrop:
        """From the fine to the coarse grid."""
        return KSpaceCrop(self.fine.shape, self.grid.shape, device=self.device)

    def cropped(self, name: str, image: np.ndarray) -> Tensor:
        """Image in the box, zero outside the mask."""
        image = np.asarray(image)
        if image.shape != self.whole.shape or not np.isfinite(image[self.whole_mask]).all():
            raise ValueError(
                f'The {name} has the shape {image.shape}; finite values in the shape '
                f'{self.whole.shape} of the mask are needed.'
            )
        inside = np.where(self.whole_mask[self.box], image[self.box], 0)
        return torch.from_numpy(inside.astype(np.float32)).to(self.device)

    def uncropped(self, image: Tensor) -> np.ndarray:
        """Fine image over the whole field of view."""
        whole = np.zeros(self.whole_fine.shape, dtype=np.float32)
        whole[self.fine_box] = image.float().cpu().numpy()
        return whole

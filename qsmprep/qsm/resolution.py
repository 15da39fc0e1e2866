"""Grids of one field of view at two resolutions, and the scan that links them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qsmprep.qsm.dipole import AXES, Dipole, frequencies
from qsmprep.qsm.grid import Grid

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


class KSpaceCrop:
    """A scanner of lower resolution: it takes the central part of k-space along each axis.

    Both images fill one field of view. The Nyquist frequency of even axes that are cropped is left
    out: a shift by a fraction of a voxel makes its phase ambiguous. On the band that is
    kept, A A' is the ratio of the numbers of voxels; elsewhere it is zero.

    Parameters
    ----------
    fine, coarse
        Number of voxels along the three axes.
    device
        Torch device.

    Attributes
    ----------
    share
        Number of coarse voxels to a fine one, A A'.

    Raises
    ------
    ValueError
        If the coarse image has more voxels than the fine one along an axis.

    """

    def __init__(
        self,
        fine: tuple[int, ...],
        coarse: tuple[int, ...],
        *,
        device: torch.device | str = 'cpu',
    ) -> None:
        if any(n > m for n, m in zip(coarse, fine, strict=True)):
            raise ValueError(f'A crop of k-space leads from {fine} to fewer voxels, not {coarse}.')
        self.fine, self.coarse = tuple(fine), tuple(coarse)
        self.share = math.prod(coarse) / math.prod(fine)
        self._in_fine, self._in_coarse, ramps = [], [], []
        for axis, (n, m) in enumerate(zip(coarse, fine, strict=True)):
            order = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).round()
            if n < m:
                order = order[order.abs() < n / 2]
            shape = [-1 if a == axis else 1 for a in range(3)]
            self._in_fine.append((order.long() % m).reshape(shape).to(device))
            self._in_coarse.append((order.long() % n).reshape(shape).to(device))
            ramp = torch.exp(1j * math.pi * (1 / n - 1 / m) * order)
            ramps.append(ramp.to(torch.complex64).reshape(shape).to(device))
        self._ramp = ramps[0] * ramps[1] * ramps[2]

    def forward(self, image: Tensor) -> Tensor:
        """Coarse image of a fine one, (..., X, Y, Z); means are kept."""
        spectrum = torch.fft.fftn(image, dim=AXES)
        band = spectrum[(..., *self._in_fine)] * (self.share * self._ramp)
        return self._image(band, self._in_coarse, self.coarse)

    def adjoint(self, image: Tensor) -> Tensor:
        """Adjoint of :meth:`forward`."""
        return self.share * self.zero_filled(image)

    def zero_filled(self, image: Tensor) -> Tensor:
        """Fine image with zeros where k-space was not measured; its crop is the coarse image."""
        spectrum = torch.fft.fftn(image, dim=AXES)
        band = spectrum[(..., *self._in_coarse)] * (self._ramp.conj() / self.share)
        return self._image(band, self._in_fine, self.fine)

    @staticmethod
    def _image(band: Tensor, places: list[Tensor], shape: tuple[int, ...]) -> Tensor:
        spectrum = band.new_zeros((*band.shape[:-3], *shape))
        spectrum[(..., *places)] = band  # type: ignore[index]
        return torch.fft.ifftn(spectrum, dim=AXES).real

    def band(self, dipole: Dipole) -> Tensor:
        """Which frequencies of the padded grid of an operator on the fine grid are measured."""
        sizes = dipole.grid.voxel_size
        k = frequencies(dipole.padded_shape, sizes, device=dipole.device)
        inside = torch.ones_like(dipole.kernel, dtype=torch.bool)
        for axis, n, m, size in zip(k, self.coarse, self.fine, sizes, strict=True):
            if n < m:
                inside &= axis.abs() < 0.5 * n / (m * size)
        return inside


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

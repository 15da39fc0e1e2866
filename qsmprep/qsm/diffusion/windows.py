"""Windows of a volume: what a network says of each, put together again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from qsmprep.qsm.diffusion.denoiser import Denoiser
from qsmprep.qsm.diffusion.schedules import Denoise
from qsmprep.qsm.grid import Grid


@dataclass(frozen=True)
class Windows:
    """A tiling of volumes with overlapping cubes; the last of every axis is flush with the edge.

    Diffusion-QSM blends windows of 64 over an overlap of 16 linearly; DM-QSM averages windows of
    48 with an overlap of 8, or of 0 in its ablation. For a fully convolutional network,
    windows without overlap, seen with a ``halo`` of context that is thrown away, give what the
    whole volume gives, in bounded memory.

    Parameters
    ----------
    size
        Edge length of a window [voxels], with a halo and no overlap the largest: they are then as
        even as they can be. Axes that are shorter are taken whole.
    overlap
        Voxels shared by neighbours.
    blending
        'linear': weights rise over the overlap; 'uniform': windows count alike.
    halo
        Voxels around a window that the function sees too. They end at the edges of the volume.
    multiple
        Lengths are filled up with zeros to a multiple of this. With the stride of a network here,
        and in ``size``, ``overlap`` and ``halo``, its coarse voxels lie in every window where they
        lie in the volume.

    Raises
    ------
    ValueError
        If the overlap is not smaller than the window, or a size makes no sense.

    Examples
    --------
    >>> volume = torch.rand(70, 65, 40)
    >>> same = Windows(size=32, overlap=8).apply(torch.clone, volume)
    >>> torch.allclose(same, volume)
    True

    """

    size: int = 64
    overlap: int = 16
    blending: Literal['linear', 'uniform'] = 'linear'
    halo: int = 0
    multiple: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.size or self.halo < 0 or self.multiple < 1:
            raise ValueError(f'{self} tile nothing: the overlap must be smaller than the size.')
        if self.blending not in ('linear', 'uniform'):
            raise ValueError(f"Windows blend 'linear' or 'uniform', not {self.blending!r}.")

    def apply(
        self,
        function: Callable[[Tensor], Tensor],
        volume: Tensor,
        mask: Tensor | None = None,
        batch: int = 1,
    ) -> Tensor:
        """Apply a function to every window and blend the results.

        Can be differentiated with respect to the volume; if there are several batches, each is
        then evaluated a second time in the backward pass, so that memory stays bounded.

        Parameters
        ----------
        function
            Takes and returns windows, (n, 1, x, y, z), of one size for one volume.
        volume
            (x, y, z).
        mask
            Windows without a voxel of the mask are skipped, and count as zero.
        batch
            Windows to a call, at most.

        Returns
        -------
        Tensor
            Of the shape of the volume. Where every window was evaluated, and so in all of the
            mask, the weights of the windows add up to one.

        """
        shape = volume.shape
        fill = [side for n in reversed(shape) for side in (0, -n % self.multiple)]
        padded = F.pad(volume, fill)
        result = torch.zeros_like(padded)
        tiles = list(self._tiles(padded.shape))
        if mask is not None:
            inside = F.pad(mask.bool(), fill)
            tiles = [tile for tile in tiles if inside[tuple(axis.core for axis in tile)].any()]
        again = torch.is_grad_enabled() and padded.requires_grad and len(tiles) > batch
        for chunk in (tiles[n : n + batch] for n in range(0, len(tiles), batch)):
            windows = torch.stack([padded[tuple(axis.seen for axis in tile)] for tile in chunk])
            windows = windows[:, None]
            found = (
                checkpoint(function, windows, use_reentrant=False) if again else function(windows)
            )
            for tile, window in zip(chunk, found[:, 0], strict=True):
                kept = window[tuple(axis.kept for axis in tile)]
                for dimension, axis in enumerate(tile):
                    weights = torch.tensor(axis.weights, dtype=kept.dtype, device=kept.device)
                    kept = kept * weights.reshape([-1 if d == dimension else 1 for d in range(3)])
                result[tuple(axis.core for axis in tile)] += kept
        return result[tuple(slice(n) for n in shape)]

    def _tiles(self, shape: tuple[int, ...]) -> Iterator[tuple[_Extent, ...]]:
        """All windows of a volume, as extents along its three axes."""
        return itertools.product(*(self._extents(length) for length in shape))

    def _extents(self, length: int) -> list[_Extent]:
        """Windows along an axis of given length."""
        size = min(self.size, length)
        if self.halo and not self.overlap:
            parts = ceil(length / self.size)
            size = min(self.multiple * ceil(length / (parts * self.multiple)), length)
        starts = [*range(0, length - size, size - self.overlap), length - size]
        span = min(size + min(len(starts) - 1, 2) * self.halo, length)
        position = torch.arange(size, dtype=torch.float64) + 0.5
        weight = torch.ones(size, dtype=torch.float64)
        if self.blending == 'linear' and self.overlap:
            weight = (torch.minimum(position, size - position) / self.overlap).clamp(max=1)
        total = torch.zeros(length, dtype=torch.float64)
        for start in starts:
            total[start : start + size] += weight
        extents = []
        for start in starts:
            first = min(max(start - self.halo, 0), length - span)
            core = slice(start, start + size)
            extents.append(
                _Extent(
                    seen=slice(first, first + span),
                    core=core,
                    kept=slice(start - first, start - first + size),
                    weights=(weight / total[core]).tolist(),
                )
            )
        return extents


@dataclass(frozen=True)
class _Extent:
    """One window along one axis."""

    seen: slice
    """What the function sees, in the volume."""
    core: slice
    """What the window answers for, in the volume."""
    kept: slice
    """The same within what is seen."""
    weights: list[float]


WHOLE = Windows(size=192, overlap=0, halo=32, multiple=8)
"""Volumes as a whole; those of more than 192 voxels along an axis in even parts, without seams."""


def windowed_denoiser(
    denoiser: Denoiser, grid: Grid, mask: Tensor, windows: Windows = WHOLE, batch: int = 1
) -> Denoise:
    """Denoise whole maps (X, Y, Z), given a noisy one [ppm] and its noise level [ppm].

    Parameters
    ----------
    denoiser
        The network; its convolutions run in bfloat16.
    grid
        Grid of the maps.
    mask
        Voxels of the maps. The network sees zeros outside, as in its training, where noise ends
        at the mask; windows without a voxel of it are skipped.
    windows
        How maps are taken apart and put together.
    batch
        Windows to a pass of the network.

    """
    voxel_size = torch.tensor(grid.voxel_size, device=mask.device)

    def denoise(noisy: Tensor, sigma: Tensor | float) -> Tensor:
        level = torch.as_tensor(sigma).to(noisy).reshape(-1)

        def evaluate(parts: Tensor) -> Tensor:
            with torch.autocast(parts.device.type, torch.bfloat16):
                return denoiser(parts, level, voxel_size)

        return windows.apply(evaluate, noisy * mask, mask, batch)

    return denoise

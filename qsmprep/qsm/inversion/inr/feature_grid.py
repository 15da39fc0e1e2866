"""A function of coordinates: a sum of grids of several resolutions."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import torch
from torch import Tensor, nn

from qsmprep.qsm.grid import Grid

LEVELS = 6


class FeatureGrid(nn.Module):
    """Sum of grids whose spacing doubles from level to level, each interpolated linearly.

    The first level has the voxels of the image as its nodes. On an image with voxels of unequal
    edges the coarser levels have nodes at equal distances, as far as the voxels allow it. The
    interpolation is a product of one small matrix along each axis.

    Parameters
    ----------
    grid
        Grid of the image.
    levels
        Number of levels; level ``l`` has its nodes 2^l shortest voxel edges apart.
    start
        Image (X, Y, Z) that the function takes at first; zero by default.

    Examples
    --------
    >>> function = FeatureGrid(Grid((4, 4, 4), (1, 1, 2)), levels=2)
    >>> [tuple(values.shape) for values in function.values], tuple(function().shape)
    ([(4, 4, 4), (3, 3, 4)], (4, 4, 4))

    """

    def __init__(self, grid: Grid, levels: int = LEVELS, *, start: Tensor | None = None) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f'The function has at least one level, not {levels}.')
        device = None if start is None else start.device
        edge = min(grid.voxel_size)
        self.nodes = [
            [
                _nodes(n, max(2**level * edge / v, 1.0), device)
                for n, v in zip(grid.shape, grid.voxel_size, strict=True)
            ]
            for level in range(levels)
        ]
        centres = [torch.arange(n, dtype=torch.float32, device=device) for n in grid.shape]
        self._at_centres = self._matrices(centres)
        self.values = nn.ParameterList(
            nn.Parameter(torch.zeros([len(nodes) for nodes in axes], device=device))
            for axes in self.nodes
        )
        if start is not None:
            self.values[0].data.copy_(start)

    def _matrices(self, positions: list[Tensor]) -> list[list[Tensor]]:
        return [
            [_hats(p, nodes) for p, nodes in zip(positions, axes, strict=True)]
            for axes in self.nodes
        ]

    def forward(self, positions: list[Tensor] | None = None) -> Tensor:
        """Value on the product of positions along the three axes.

        Parameters
        ----------
        positions
            One vector for each axis, in voxels: 0 is the centre of the first voxel. By default
            the centres of all voxels. Beyond the outermost centres the value there goes on.

        """
        if positions is None:
            levels = zip(self._at_centres[1:], self.values[1:], strict=True)
            return self.values[0] + self._sum(levels)
        return self._sum(zip(self._matrices(positions), self.values, strict=True))

    def _sum(self, levels: Iterable[tuple[list[Tensor], Tensor]]) -> Tensor:
        total = torch.zeros((), device=self.values[0].device)
        for matrices, values in levels:
            total = total + _product(matrices, values)
        return total

    @torch.no_grad()
    def blend(self, share: float, image: Tensor) -> None:
        """Become ``share`` times the function plus an image on the voxels."""
        for values in self.values:
            values.mul_(share)
        self.values[0].add_(image)


def _nodes(voxels: int, spacing: float, device: torch.device | None) -> Tensor:
    """Equidistant positions, centred on an axis of voxels, that cover it."""
    count = ceil((voxels - 1) / spacing - 1e-6) + 1
    first = ((voxels - 1) - (count - 1) * spacing) / 2
    return first + spacing * torch.arange(count, dtype=torch.float32, device=device)


def _hats(positions: Tensor, nodes: Tensor) -> Tensor:
    """Matrix that interpolates linearly from nodes to positions."""
    if len(nodes) == 1:
        return torch.ones(len(positions), 1, device=positions.device)
    inside = positions.clamp(nodes[0], nodes[-1])
    distance = (inside[:, None] - nodes[None, :]).abs() / (nodes[1] - nodes[0])
    return (1 - distance).clamp_(min=0)


def _product(matrices: list[Tensor], values: Tensor) -> Tensor:
    """Values carried along all three axes by a matrix for each."""
    first, second, third = matrices
    rows = torch.einsum('by,xyz->xbz', second, values @ third.T)
    return (first @ rows.flatten(1)).view(len(first), *rows.shape[1:])

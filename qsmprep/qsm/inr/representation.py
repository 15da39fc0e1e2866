"""Functions of coordinates: a sum of grids of several resolutions, and a sine network."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

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
            return self.values[0] + sum(_product(*level) for level in levels)
        matrices = self._matrices(positions)
        return sum(_product(*level) for level in zip(matrices, self.values, strict=True))

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


class Siren(nn.Module):
    """Fully connected network with sine activations, of coordinates in mm.

    Coordinates are centred and divided by half the longest edge of the field of view, so that
    they lie between -1 and 1 and a length counts alike along all axes. The first and the
    last layer are computed in single precision, hidden ones in ``hidden_dtype``.

    Parameters
    ----------
    grid
        Grid whose voxels are the unit of the positions.
    layers
        Number of linear layers.
    width
        Units of a hidden layer.
    frequency
        Factor w0 in front of every sine's argument.
    first_frequency
        That of the first layer, where it differs.
    generator
        Source of the initial weights.
    hidden_dtype
        Precision of the hidden layers, by default that which :func:`hidden_precision` finds.

    References
    ----------
    Sitzmann et al. 2020, 10.48550/arXiv.2006.09661.

    """

    def __init__(
        self,
        grid: Grid,
        *,
        layers: int = 10,
        width: int = 512,
        frequency: float = 40.0,
        first_frequency: float | None = None,
        generator: torch.Generator,
        hidden_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        device = generator.device
        self.frequencies = [first_frequency or frequency, *[frequency] * (layers - 2)]
        self.hidden_dtype = hidden_dtype or hidden_precision(device)
        voxel_size = torch.tensor(grid.voxel_size, device=device)
        shape = torch.tensor(grid.shape, dtype=torch.float32, device=device)
        half = (shape * voxel_size).max() / 2
        self._scale, self._centre = voxel_size / half, (shape - 1) / 2
        sizes = [3, *[width] * (layers - 1), 1]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            bound = 1 / fan_in if layer == 0 else sqrt(6 / fan_in) / frequency
            weight = torch.empty(fan_out, fan_in, device=device)
            self.weights.append(weight.uniform_(-bound, bound, generator=generator))
            bias = torch.empty(fan_out, device=device)
            limit = 1 / sqrt(fan_in) if layer < layers - 1 else 0
            self.biases.append(bias.uniform_(-limit, limit, generator=generator))

    def forward(self, positions: Tensor) -> Tensor:
        """Values (N,) at positions (N, 3) in voxels from the centre of the first one."""
        hidden = zip(self.frequencies, self.weights, self.biases, strict=False)
        layers = [(w0 * w, w0 * b) for w0, w, b in hidden]
        scaled = (positions - self._centre) * self._scale
        hidden = functional.linear(scaled, *layers[0]).sin()
        hidden = hidden.to(self.hidden_dtype)
        for weight, bias in layers[1:]:
            weight, bias = weight.to(self.hidden_dtype), bias.to(self.hidden_dtype)
            hidden = functional.linear(hidden, weight, bias).sin()
        return functional.linear(hidden.float(), self.weights[-1], self.biases[-1])[:, 0]


def hidden_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it fast, else float32."""
    if device.type == 'cuda':
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32

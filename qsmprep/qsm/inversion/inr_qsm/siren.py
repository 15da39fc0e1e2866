"""A function of coordinates: a sine network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn

from qsmprep.qsm.grid import Grid

CHUNK = 8192
"""Positions that pass a network at once."""


class Siren(nn.Module):
    """Fully connected network with sine activations, of coordinates in mm.

    Coordinates are centred and divided by half the longest edge of the field of view, so that
    they lie between -1 and 1 and a length counts alike along all axes. The first and the
    last layer are computed in single precision, hidden ones in ``hidden_dtype``.

    Parameters
    ----------
    grid
        Grid whose voxels are the unit of the positions.
    corner
        Its first voxel, where positions are counted from elsewhere.
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
        corner: Sequence[int] = (0, 0, 0),
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
        self._scale = voxel_size / half
        self._centre = torch.tensor(corner, device=device) + (shape - 1) / 2
        sizes = [3, *[width] * (layers - 1), 1]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            bound = 1 / fan_in if layer == 0 else sqrt(6 / fan_in) / frequency
            weight = torch.empty(fan_out, fan_in, device=device)
            self.weights.append(weight.uniform_(-bound, bound, generator=generator))
            bias = torch.empty(fan_out, device=device)
            limit = 1 / sqrt(fan_in) if layer < layers - 1 else 0
            self.biases.append(bias.uniform_(-limit, limit, generator=generator))

    def scaled(self, positions: Tensor) -> Tensor:
        """Coordinates of positions (N, 3) in voxels, within -1 and 1 in the grid."""
        return (positions - self._centre) * self._scale

    def forward(self, positions: Tensor) -> Tensor:
        """Values (N,) at positions (N, 3) in voxels from the centre of the first one."""
        weights, biases = list(self.weights), list(self.biases)
        chunks = self.scaled(positions).split(CHUNK)
        return torch.cat([self.values(chunk, weights, biases) for chunk in chunks])

    def values(self, x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
        """Values (..., N) at scaled coordinates (..., N, 3), of weights that may be stacked."""
        for w0, weight, bias in zip(self.frequencies, weights, biases, strict=False):
            weight, bias = (w0 * weight).to(x.dtype), (w0 * bias).to(x.dtype)
            x = (x @ weight.mT + bias[..., None, :]).sin().to(self.hidden_dtype)
        return (x.float() @ weights[-1].mT + biases[-1][..., None, :])[..., 0]


def stacked(networks: Sequence[Siren]) -> tuple[list[Tensor], list[Tensor]]:
    """Weights (K, out, in) and biases (K, out) of K networks of one shape, layer by layer.

    The networks hold views of them from now on: what is fitted here is fitted there.
    """

    def stack(parameters: list[nn.ParameterList]) -> list[Tensor]:
        layers = [torch.stack(each).detach() for each in zip(*parameters, strict=True)]
        for k, own in enumerate(parameters):
            for n, layer in enumerate(layers):
                own[n] = nn.Parameter(layer[k])
        return [layer.requires_grad_() for layer in layers]

    return stack([n.weights for n in networks]), stack([n.biases for n in networks])


def hidden_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it fast, else float32."""
    if device.type == 'cuda':
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32

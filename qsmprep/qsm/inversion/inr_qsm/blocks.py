"""Functions of coordinates side by side, each for a block of the volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Function = TypeVar('Function', bound=nn.Module)


class SideBySide(nn.Module):
    """Two functions of coordinates, one on each side of a plane between two layers of voxels.

    Between the centres of these layers it passes linearly from one function to the other.

    Parameters
    ----------
    axis
        Axis across the plane.
    layer
        The first function's last layer of voxels; the next one is the second's first.
    low, high
        The functions.

    """

    def __init__(self, axis: int, layer: int, low: nn.Module, high: nn.Module) -> None:
        super().__init__()
        self.axis, self.layer, self.low, self.high = axis, layer, low, high

    def forward(self, positions: Tensor) -> Tensor:
        """Values (N,) at positions (N, 3) in voxels."""
        share = (positions[:, self.axis] - self.layer).clamp(0, 1)
        values = torch.zeros_like(share)
        for function, weight in ((self.low, 1 - share), (self.high, share)):
            seen = weight > 0
            values[seen] += weight[seen] * function(positions[seen])
        return values


def in_blocks(
    places: Tensor, most: int, build: Callable[[Tensor], Function]
) -> tuple[nn.Module, list[tuple[Function, Tensor]]]:
    """Function of a volume out of functions of blocks of it.

    Voxels are halved across the axis along which they lie farthest apart, until a block holds few
    enough. Neighbours share the layers of voxels on both sides of the plane between them.

    Parameters
    ----------
    places
        Voxels (N, 3).
    most
        The most voxels of a block.
    build
        Called with the voxels of a block; makes its function.

    Returns
    -------
    function
        That of the volume.
    parts
        Functions of the blocks, and their voxels.

    """
    if len(places) <= most:
        function = build(places)
        return function, [(function, places)]
    first, last = places.amin(0), places.amax(0)
    axis = int((last - first).argmax())
    along = places[:, axis]
    layer = int(along.median().clamp(first[axis] + 1, last[axis] - 2))
    low, low_parts = in_blocks(places[along <= layer + 1], most, build)
    high, high_parts = in_blocks(places[along >= layer], most, build)
    return SideBySide(axis, layer, low, high), low_parts + high_parts

"""The dipole operator and the published loss on windows of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from qsmprep.qsm.operators import Dipole

Window = tuple[slice, slice, slice]


def draw_windows(
    mask: Tensor, size: Sequence[int], least_tissue: float, generator: torch.Generator
) -> list[Window]:
    """Windows that tile a volume side by side, from a random corner and in random order.

    Parameters
    ----------
    mask
        Voxels of tissue (X, Y, Z).
    size
        Voxels of a window; those at the border are cut off there.
    least_tissue
        Share of tissue below which a window is dropped.
    generator
        Source of the corner and the order.

    """
    sides = []
    for n, length in zip(mask.shape, size, strict=True):
        device = generator.device
        offset = int(torch.randint(length, (1,), generator=generator, device=device))
        first = -offset if n > length else 0
        starts = range(first, n, length)
        sides.append([slice(max(s, 0), min(s + length, n)) for s in starts])
    boxes = [(x, y, z) for x in sides[0] for y in sides[1] for z in sides[2]]
    boxes = [box for box in boxes if mask[box].any() and mask[box].float().mean() >= least_tissue]
    order = torch.randperm(len(boxes), generator=generator, device=generator.device)
    return [boxes[i] for i in order.tolist()]


class WindowedDipole:
    """A dipole operator seen through windows.

    With R the restriction to a window and D the operator on the volume, R D R' is a convolution
    with D's own kernel in space, here without any wrap-around of its own.

    Parameters
    ----------
    dipole
        The operator on the volume.

    """

    def __init__(self, dipole: Dipole) -> None:
        self.dipole = dipole
        self._in_space = torch.fft.irfftn(dipole.kernel, s=dipole.padded_shape)
        self._responses: dict[tuple[int, ...], tuple[Tensor, tuple[int, ...]]] = {}

    def forward(self, chi: Tensor) -> Tensor:
        """R D R' of a map on a window; it is its own adjoint."""
        response, padded = self._response(tuple(chi.shape))
        n0, n1, n2 = chi.shape
        spectrum = torch.fft.rfftn(chi, s=padded).mul_(response)
        return torch.fft.irfftn(spectrum, s=padded)[:n0, :n1, :n2]

    def _response(self, shape: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
        if shape not in self._responses:
            kernel, padded = self._in_space, tuple(next_fast_len(2 * n - 1) for n in shape)
            for axis, (n, size) in enumerate(zip(shape, padded, strict=True)):
                lags = torch.arange(size, device=kernel.device)
                lags = torch.where(lags < n, lags, lags - size)
                apart = lags.abs() < n
                kernel = kernel.index_select(axis, lags % kernel.shape[axis])
                kernel = kernel * apart.view([-1 if a == axis else 1 for a in range(3)])
            self._responses[shape] = torch.fft.rfftn(kernel), padded
        return self._responses[shape]

    def compensation(self, chi: Tensor, field: Tensor, window: Window) -> Tensor:
        """Field in a window of the sources outside it, R D (1 - R'R) chi.

        Parameters
        ----------
        chi
            Map of the volume [ppm].
        field
            Its field D chi [ppm].
        window
            The window.

        """
        return field[window] - self.forward(chi[window])


@dataclass(frozen=True)
class PublishedLoss:
    """Squared field error, squared differences of the map and of the field error, in a window.

    Parameters
    ----------
    operator
        The dipole operator on windows.
    mask
        Mask of the volume.
    edges
        Weights of the differences along each axis of the volume.
    regularisation, gradient_weight
        Weights of the two penalties on differences.

    """

    operator: WindowedDipole
    mask: Tensor
    edges: list[Tensor]
    regularisation: float
    gradient_weight: float

    def __call__(self, chi: Tensor, target: Tensor, window: Window) -> tuple[Tensor, Tensor]:
        """Loss per voxel of the mask [ppm^2], and its gradient.

        Parameters
        ----------
        chi
            Map in the window [ppm].
        target
            Field in the window less the compensation [ppm].
        window
            The window.

        """
        inside = self.mask[window]
        edges = [_within(e, window, axis) for axis, e in enumerate(self.edges)]
        error = self.operator.forward(chi) - target
        masked = error * inside
        field_cost, field_gradient = _squared_differences(error, edges)
        map_cost, map_gradient = _squared_differences(chi, edges)
        loss = masked.square().sum() + self.gradient_weight * field_cost
        gradient = self.operator.forward(masked + self.gradient_weight * field_gradient)
        gradient += self.regularisation * map_gradient
        count = inside.sum()
        return (loss + self.regularisation * map_cost) / count, gradient.mul_(2 / count)


def _within(edges: Tensor, window: Window, axis: int) -> Tensor:
    sides = list(window)
    sides[axis] = slice(window[axis].start, window[axis].stop - 1)
    return edges[tuple(sides)]


def _squared_differences(image: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Weighted sum of squared differences, and half its gradient."""
    cost, gradient = image.new_zeros(()), torch.zeros_like(image)
    for axis, weight in enumerate(weights):
        difference = image.diff(dim=axis)
        flow = difference * weight
        cost = cost + (difference * flow).sum()
        n = flow.shape[axis]
        gradient.narrow(axis, 0, n).sub_(flow)
        gradient.narrow(axis, 1, n).add_(flow)
    return cost, gradient

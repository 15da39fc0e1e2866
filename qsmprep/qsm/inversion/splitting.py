"""Alternating directions for total variation with a coloured error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from qsmprep.qsm.operators import AXES, Dipole, gradient_power

FIELD_COUPLING = 0.3
RELAXATION = 1.8
SLAB = 100_000
"""Voxels of the slabs in which gradients are updated on a CPU, so that they stay in its cache."""


@dataclass(frozen=True)
class Problem:
    """What is minimised, in the whitened map y [ppm], where the white noise has weight one.

    Parameters
    ----------
    variation
        Weight of the (Huber) total variation [ppm].
    coupling, outside_coupling
        Weights of the splittings of gradient and of the map outside the mask.
    knee
        Length of the gradient up to which it is quadratic [ppm].
    smoothness
        Weight of half the squared gradient, as long as it is shorter than ``reach``.
    reach
        Length of the gradient from which its square goes on as a straight line [ppm].
    shape
        Response that makes the map out of y; None for one.
    colour
        Spectrum of the coloured error over that of white noise; None for zero.
    freedom
        0: the map is zero outside the mask; 1: it is free there.
    edges_outside
        Weight of the gradient outside the mask and across its edge.
    edges
        Weights of the differences between neighbours along each axis, at most one; None for ones.
    start
        Half spectrum of a first y.

    """

    variation: float
    coupling: float
    outside_coupling: float
    knee: float = 0.0
    smoothness: float = 0.0
    reach: float = 0.0
    freedom: float = 0.0
    edges_outside: float = 0.0
    shape: Tensor | None = None
    colour: Tensor | None = None
    edges: list[Tensor] | None = None
    start: Tensor | None = None


def slabs(array: Tensor) -> Iterator[slice]:
    """Slabs along the first axis; all at once on a GPU."""
    count = len(array)
    step = max(1, SLAB * count // array.numel()) if array.device.type == 'cpu' else count
    return (slice(first, first + step) for first in range(0, count, step))


class Splitting:
    """State of the alternating directions, in increments that keep two pairs of transforms.

    The map (its whitened ``spectrum``) and the coloured ``error`` are the primal variables, the
    multipliers of the field, of the gradient and of the map outside the mask the dual ones.
    """

    def __init__(
        self, dipole: Dipole, field: Tensor, mask: Tensor, power: Tensor, problem: Problem
    ) -> None:
        self.dipole, self.field, self.mask = dipole, field, mask
        self.power, self.problem = power, problem
        gradients = gradient_power(dipole)
        self.response = dipole.kernel
        if problem.shape is not None:
            self.response = self.response * problem.shape
        self.adjoint = FIELD_COUPLING * self.response
        self.colour = None
        if problem.colour is not None:
            self.colour = 1 - 1 / (1 + FIELD_COUPLING * problem.colour)
            self.adjoint = (1 - self.colour) * self.adjoint
        self.metric = 1 / (
            self.adjoint * self.response + problem.coupling * gradients + problem.outside_coupling
        )
        if problem.freedom == 1:
            # nothing but the start determines the mean of a map that is free everywhere
            self.metric[0, 0, 0] = 0
        self.outside = torch.ones(dipole.padded_shape, dtype=field.dtype, device=field.device)
        self._grid_part(self.outside).sub_(mask.to(field.dtype))
        self.outside_dual = torch.zeros_like(self.outside)
        self.field_dual = torch.zeros_like(field)
        if problem.start is None:
            kind = torch.result_type(self.response, 1j)
            self.spectrum = torch.zeros_like(self.response, dtype=kind)
        else:
            self.spectrum = problem.start.clone()
        self.error = torch.zeros_like(self.spectrum)
        self.edges = self._edge_weights()
        grid = self.outside if problem.edges_outside else field
        self.duals = [torch.zeros_like(grid.diff(dim=a)) for a in range(3)]

    def prediction(self) -> Tensor:
        """Field of the map and of what it has outside the mask [ppm]."""
        return self.dipole.inverse(self.response * self.spectrum)

    def _grid_part(self, padded: Tensor) -> Tensor:
        n0, n1, n2 = self.mask.shape
        return padded[:n0, :n1, :n2]

    def _edge_weights(self) -> list[Tensor | float]:
        """Those of the problem in the mask, per mean voxel edge; outside as far as it is free."""
        inside, free = self.mask, self.problem.edges_outside
        size = self.dipole.grid.voxel_size
        edge = prod(size) ** (1 / 3)
        if free == 1 and self.problem.edges is None:
            return [edge / v for v in size]
        if free:
            inside = self.outside == 0
        weights: list[Tensor | float] = []
        for a, (n, v) in enumerate(zip(inside.shape, size, strict=True)):
            both = (inside.narrow(a, 0, n - 1) & inside.narrow(a, 1, n - 1)).to(self.field.dtype)
            weight = (both * (1 - free) + free) * (edge / v)
            if self.problem.edges is not None:
                given = self.problem.edges[a]
                weight[tuple(slice(m) for m in given.shape)] *= given
            weights.append(weight)
        return weights

    def run(
        self,
        iterations: int,
        tolerance: float,
        tell: Callable[[float], None],
    ) -> Tensor:
        """Iterate, on from where the last run ended, until the whitened map stands still.

        ``tell`` is called with the relative change of the map in each iteration.
        """
        dipole, spectrum, error = self.dipole, self.spectrum, self.error
        padded = self._image(spectrum)
        inside = self._grid_part(padded) * self.mask
        for _ in range(iterations):
            wanted = self._field_step((self.response * spectrum).add_(error)).neg_().add_(error)
            step = torch.fft.rfftn(self._image_step(padded), dim=AXES)
            step += self.adjoint * wanted
            step *= self.metric
            if self.colour is not None:
                wanted -= self.response * step
                wanted *= self.colour
                error.lerp_(wanted, RELAXATION)
            spectrum.add_(step, alpha=RELAXATION)
            padded = self._image(spectrum)
            previous, inside = inside, self._grid_part(padded) * self.mask
            change = float(previous.sub_(inside).norm() / inside.norm().clamp(min=1e-12))
            tell(change)
            if change < tolerance:
                break
        if self.problem.shape is None:
            return inside
        return dipole.inverse(self.problem.shape * spectrum) * self.mask

    def _field_step(self, predicted: Tensor) -> Tensor:
        """Update the multiplier of the field; half spectrum of the gradient by the prediction."""
        change = self.dipole.inverse(predicted).sub_(self.field).add_(self.field_dual)
        change *= self.power / (self.power + FIELD_COUPLING)
        change -= self.field_dual
        self.field_dual.add_(change, alpha=RELAXATION)
        return self.dipole.transform(change.mul_(2 - RELAXATION).add_(self.field_dual))

    def _image(self, spectrum: Tensor) -> Tensor:
        return torch.fft.irfftn(spectrum, s=self.dipole.padded_shape, dim=AXES)

    def _dual_share(self, squares: Tensor) -> Tensor:
        """Part of proposed vectors, by their squares, that is dual: what the penalty takes off."""
        problem = self.problem
        linear, square = (w / problem.coupling for w in (problem.variation, problem.smoothness))
        least = (1 + square) * problem.knee + linear
        inverse = squares.clamp_(min=least**2).rsqrt_()
        short = (inverse * (linear / (1 + square))).add_(square / (1 + square))
        return torch.minimum(short, inverse.mul_(linear + square * problem.reach), out=short)

    def _image_step(self, padded: Tensor) -> Tensor:
        """Update both multipliers; minus the gradient of prior and mask by the map."""
        free = self.problem.freedom == 1
        descent = torch.zeros_like(padded) if free else self._outside_step(padded)
        image, target = padded, descent
        if not self.problem.edges_outside:
            image, target = self._grid_part(padded), self._grid_part(descent)
        for rows in slabs(image):
            self._gradient_step(image, target, rows)
        return descent

    def _gradient_step(self, image: Tensor, target: Tensor, rows: slice) -> None:
        """Update the multiplier of the gradient in a slab, and add its part of the descent."""
        beyond = slice(rows.start, rows.stop + 1)
        reach = [beyond, rows, rows]
        duals = [dual[rows] for dual in self.duals]
        edges = [edge[rows] if isinstance(edge, Tensor) else edge for edge in self.edges]
        changes = [
            image[reach[a]].diff(dim=a).mul_(e).add_(d)
            for a, (e, d) in enumerate(zip(edges, duals, strict=True))
        ]
        squares = torch.zeros_like(image[rows])
        for a, change in enumerate(changes):
            squares.narrow(a, 0, change.shape[a]).addcmul_(change, change)
        share = self._dual_share(squares)
        for a, (change, dual, e) in enumerate(zip(changes, duals, edges, strict=True)):
            n = change.shape[a]
            change.mul_(share.narrow(a, 0, n)).sub_(dual)
            dual.add_(change, alpha=RELAXATION)
            flow = change.mul_(2 - RELAXATION).add_(dual).mul_(e)
            here = target[reach[a]]
            here.narrow(a, 0, n).add_(flow, alpha=self.problem.coupling)
            here.narrow(a, 1, n).sub_(flow, alpha=self.problem.coupling)

    def _outside_step(self, padded: Tensor) -> Tensor:
        """Update the multiplier of the map outside the mask; minus the gradient by the map."""
        change = (padded * self.outside).add_(self.outside_dual)
        change.mul_(1 - self.problem.freedom).sub_(self.outside_dual)
        self.outside_dual.add_(change, alpha=RELAXATION)
        descent = change.mul_(2 - RELAXATION).add_(self.outside_dual)
        return descent.mul_(-self.problem.outside_coupling)

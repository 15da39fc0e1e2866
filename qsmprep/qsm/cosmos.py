r"""Susceptibility from several orientations (COSMOS): no prior, for together they leave no cone.

Fields f_i of one head that was turned between the scans, resampled into one frame, in which B0 has
another direction b_i each time: :math:`\min_x \sum_i \|W_i (D_i x - f_i)\|^2`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from math import acos, degrees
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from qsmprep.qsm.grid import Grid, bounding_box
from qsmprep.qsm.noise import even_weights
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.solvers import conjugate_gradients

LEAST_ORIENTATIONS = 3
LARGEST_CONDITION = 10.0
"""Condition number beyond which the orientations are too close for a map without streaks."""
RIDGE = 1e-4
"""Weight of |x|^2 over that of the field of one orientation: it decides what no field does."""


@dataclass(frozen=True)
class Cosmos:
    """A susceptibility map of several orientations.

    Parameters
    ----------
    chi_ppm
        Susceptibility [ppm], zero outside the tissue.
    parameters
        Angles between the orientations, condition number and how the map was solved.

    """

    chi_ppm: np.ndarray
    parameters: dict[str, Any]


def condition_number(b0_directions: Sequence[Sequence[float]]) -> float:
    """Largest over smallest response of a set of orientations, over all directions in k-space.

    The response is the root of the mean of D_i^2 over the orientations. One orientation has an
    infinite number; three of one plane, 60 degrees apart, have 2; three or four that are
    20 degrees apart, as heads can be turned, 4 to 6.

    Parameters
    ----------
    b0_directions
        Unit vectors along B0 in the common frame.

    Examples
    --------
    >>> round(condition_number([(0, 0, 1), (0.866, 0, 0.5), (0.866, 0, -0.5)]), 1)
    2.0

    """
    count = 4000
    z = (np.arange(count) + 0.5) / count
    angle = np.pi * (1 + 5**0.5) * np.arange(count)
    flat = np.sqrt(1 - z**2)
    directions = np.stack([flat * np.cos(angle), flat * np.sin(angle), z], axis=-1)
    b0 = np.asarray(b0_directions, dtype=np.float64)
    b0 = b0 / np.linalg.norm(b0, axis=1, keepdims=True)
    response = np.sqrt(np.mean((1 / 3 - (directions @ b0.T) ** 2) ** 2, axis=1))
    return float(response.max() / max(response.min(), 1e-12))


def angles_between(b0_directions: Sequence[Sequence[float]]) -> list[float]:
    """Angle of each pair of orientations [degrees]; B0 has no sign.

    Examples
    --------
    >>> [round(x) for x in angles_between([(0, 0, 1), (0, 1, 1), (0, 0, -1)])]
    [45, 0, 45]

    """
    unit = [np.asarray(b, dtype=np.float64) / np.linalg.norm(b) for b in b0_directions]
    return [degrees(acos(min(1.0, abs(float(a @ b))))) for a, b in combinations(unit, 2)]


def invert_orientations(
    fields_ppm: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    b0_directions: Sequence[Sequence[float]],
    grid: Grid,
    *,
    noises_ppm: Sequence[np.ndarray] | None = None,
    device: str = 'cpu',
    iterations: int = 60,
    tolerance: float = 1e-3,
    progress: Callable[[int, int, float], None] | None = None,
) -> Cosmos:
    """Susceptibility of three or more orientations.

    The closed form in k-space takes the field outside the mask, where it is unknown, for zero.
    It is where conjugate gradients start that know of masks and noise: each voxel counts by the
    inverse of the variance of its field in each orientation, at most as much as the median voxel.

    Parameters
    ----------
    fields_ppm
        Local fields in the common frame (X, Y, Z) [ppm].
    masks
        Where each is known; the map has all voxels that any of them has, and what they enclose.
    b0_directions
        B0 of each in the frame of the array axes.
    grid
        Shape and voxel size of the common frame; its own B0 plays no part.
    noises_ppm
        Standard deviation of each field [ppm].
    device
        Torch device.
    iterations, tolerance
        Of the conjugate gradients; none give the closed form.
    progress
        Called with the iteration, their greatest number, and the relative residual.

    Raises
    ------
    ValueError
        If there are fewer than three orientations, numbers or shapes differ, or a mask is empty.

    References
    ----------
    Liu et al. 2009, 10.1002/mrm.21828.

    """
    count = len(fields_ppm)
    if count < LEAST_ORIENTATIONS:
        raise ValueError(f'COSMOS takes three orientations or more, not {count}.')
    if not count == len(masks) == len(b0_directions) == len(noises_ppm or masks):
        raise ValueError('Each orientation has one field, one mask, one B0 and one noise map.')
    inside = [np.asarray(mask) > 0 for mask in masks]
    for image in (*fields_ppm, *inside, *(noises_ppm or ())):
        if image.shape != grid.shape:
            raise ValueError(f'An image has the shape {image.shape}, but the grid {grid.shape}.')
    if not all(mask.any() for mask in inside):
        raise ValueError('The mask of an orientation is empty; check their registration.')
    tissue = binary_fill_holes(np.logical_or.reduce(inside))
    box = bounding_box(tissue)
    cropped = replace(grid, shape=tissue[box].shape)

    def tensor(image: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image[box], dtype=np.float32)).to(device)

    fields = [tensor(np.where(m, f, 0)) for f, m in zip(fields_ppm, inside, strict=True)]
    weights = [tensor(mask) for mask in inside]
    if noises_ppm is not None:
        weights = [
            _weight(tensor(noise), weight)
            for noise, weight in zip(noises_ppm, weights, strict=True)
        ]
    dipoles = [
        Dipole(replace(cropped, b0_direction=tuple(b)), device=device) for b in b0_directions
    ]
    support = tensor(tissue)
    chi = _closed_form(fields, dipoles) * support
    if iterations:
        chi = _weighted(fields, weights, dipoles, support, chi, iterations, tolerance, progress)
    whole = np.zeros(grid.shape, dtype=np.float32)
    whole[box] = chi.cpu().numpy()
    return Cosmos(
        whole, describe(b0_directions, 'conjugate gradients' if iterations else 'k-space')
    )


def describe(b0_directions: Sequence[Sequence[float]], solver: str) -> dict[str, Any]:
    """Record of a set of orientations, with a warning where they are too close."""
    condition, angles = condition_number(b0_directions), angles_between(b0_directions)
    record: dict[str, Any] = {
        'Method': f'COSMOS, {solver}',
        'Orientations': len(b0_directions),
        'B0DirectionsInVoxelFrame': [[float(x) for x in b] for b in b0_directions],
        'AnglesInDegrees': angles,
        'ConditionNumber': condition,
    }
    if condition > LARGEST_CONDITION:
        record['Warnings'] = [
            f'The orientations lie close together (at most {max(angles):.0f} degrees, condition '
            f'number {condition:.0f}): noise and errors of the fields are amplified along streaks; '
            'turn the head further, or use a single-orientation inversion.'
        ]
    return record


def _weight(noise: Tensor, mask: Tensor) -> Tensor:
    """Median noise over noise, at most one; zero where nothing was measured."""
    return even_weights(noise, mask > 0) if ((mask > 0) & (noise > 0)).any() else mask


def _closed_form(fields: Sequence[Tensor], dipoles: Sequence[Dipole]) -> Tensor:
    """Least squares in k-space: sum D_i f_i over sum D_i^2."""
    pairs = zip(dipoles, fields, strict=True)
    matched = reduce(torch.add, (d.kernel * d.transform(f) for d, f in pairs))
    power = reduce(torch.add, (d.kernel.square() for d in dipoles))
    return dipoles[0].inverse(matched / (power + RIDGE * len(dipoles)))


def _weighted(
    fields: Sequence[Tensor],
    weights: Sequence[Tensor],
    dipoles: Sequence[Dipole],
    support: Tensor,
    start: Tensor,
    iterations: int,
    tolerance: float,
    progress: Callable[[int, int, float], None] | None,
) -> Tensor:
    """Least squares in image space, preconditioned by the response in k-space."""
    ridge = RIDGE * len(dipoles)
    power = reduce(torch.add, (d.kernel.square() for d in dipoles)) + 10 * ridge
    first = dipoles[0]

    def normal(x: Tensor) -> Tensor:
        total = ridge * x
        for dipole, weight in zip(dipoles, weights, strict=True):
            total = total + dipole.adjoint(weight.square() * dipole.forward(x))
        return support * total

    def precondition(residual: Tensor) -> Tensor:
        return support * first.filter(residual, 1 / power)

    target = support * sum(
        d.adjoint(w.square() * f) for d, w, f in zip(dipoles, weights, fields, strict=True)
    )
    return conjugate_gradients(
        normal,
        target,
        start=start,
        precondition=precondition,
        iterations=iterations,
        tolerance=tolerance,
        progress=progress,
    )

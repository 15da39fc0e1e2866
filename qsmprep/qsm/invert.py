"""One door for all inversions: a table of names, the same arguments and result for each."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from qsmprep.qsm.classical import tikhonov, tkd, tv
from qsmprep.qsm.dipole import Dipole
from qsmprep.qsm.grid import Grid

METHODS: dict[str, Callable] = {'tkd': tkd, 'tikhonov': tikhonov, 'tv': tv}
"""Name -> function of field, weight and dipole, with the method's parameters as keywords."""


@dataclass(frozen=True)
class Inversion:
    """A susceptibility map and how it was made.

    Parameters
    ----------
    chi_ppm
        Susceptibility (X, Y, Z) [ppm], float32, zero outside the mask.
    parameters
        Every parameter of the method.

    """

    chi_ppm: np.ndarray
    parameters: dict[str, float]


def invert(
    field_ppm: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    method: str = 'tv',
    *,
    magnitude: np.ndarray | None = None,
    noise_ppm: np.ndarray | None = None,
    seed: int = 0,
    device: str = 'cpu',
    progress: Callable[[int, int, float], None] | None = None,
    **parameters: float,
) -> Inversion:
    """
    Compute the susceptibility of a local field.

    Parameters
    ----------
    field_ppm
        Local field (X, Y, Z) [ppm].
    mask
        Voxels that have a field.
    grid
        Their grid.
    method
        Key of :data:`METHODS`.
    magnitude, noise_ppm
        Magnitude, or standard deviation of the noise of the field [ppm], for voxel weights; the
        noise is preferred.
    seed
        Seed of methods that draw random numbers.
    device
        Torch device.
    progress
        Called with iteration, number of iterations and a measure of convergence.
    **parameters
        Parameters of the method that differ from their defaults.

    Raises
    ------
    ValueError
        If the method or a parameter is unknown, shapes disagree, the mask is empty, or the field
        is not finite in the mask.

    """
    if method not in METHODS:
        raise ValueError(f'Unknown inversion {method!r}; choose one of {", ".join(METHODS)}.')
    function = METHODS[method]
    keywords = inspect.signature(function).parameters.values()
    defaults = {k.name: k.default for k in keywords if k.kind is k.KEYWORD_ONLY}
    takes_progress = 'progress' in defaults
    defaults.pop('progress', None)
    unknown = sorted(set(parameters) - set(defaults))
    if unknown:
        raise ValueError(f'{method} has no parameter {unknown[0]!r}; it has {", ".join(defaults)}.')
    mask = np.asarray(mask, dtype=bool)
    for name, image in (('field', field_ppm), ('magnitude', magnitude), ('noise', noise_ppm)):
        if image is not None and not image.shape == mask.shape == grid.shape:
            raise ValueError(
                f'The {name} {image.shape}, the mask {mask.shape} and the grid {grid.shape} must '
                'have one shape.'
            )
    if not mask.any():
        raise ValueError('The mask is empty: there is no field to invert.')
    if not np.isfinite(field_ppm[mask]).all():
        raise ValueError('The field is not finite everywhere in the mask; repair field or mask.')

    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(mask))
    inside = mask[box]
    cropped = replace(grid, shape=inside.shape)
    torch.manual_seed(seed)
    chosen = defaults | parameters
    chi = function(
        torch.from_numpy(np.where(inside, field_ppm[box], 0).astype(np.float32)).to(device),
        torch.from_numpy(_weights(inside, box, magnitude, noise_ppm)).to(device),
        Dipole(cropped, device=device),
        **chosen,
        **({'progress': progress} if takes_progress else {}),
    )
    result = np.zeros(mask.shape, dtype=np.float32)
    result[box] = chi.cpu().numpy() * inside
    return Inversion(result, chosen)


def _weights(inside, box, magnitude, noise_ppm) -> np.ndarray:
    """Weights of mean one inside the mask, zero outside."""
    weight = inside.astype(np.float32)
    if noise_ppm is not None:
        noise = noise_ppm[box].astype(np.float32)
        weight = np.divide(1, noise, out=np.zeros_like(noise), where=(noise > 0) & inside)
    elif magnitude is not None:
        weight = np.where(inside, magnitude[box], 0).astype(np.float32)
    limit = 3 * np.median(weight[inside])
    weight = np.minimum(weight, limit) if limit > 0 else inside.astype(np.float32)
    return weight / weight[inside].mean()

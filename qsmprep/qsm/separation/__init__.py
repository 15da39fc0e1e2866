r"""Susceptibility separation: paramagnetic and diamagnetic sources of one voxel, separated.

A voxel's susceptibility is the sum of both shares, :math:`\chi = \chi^+ + \chi^-` with
:math:`\chi^+ \ge 0 \ge \chi^-`; its reversible relaxation grows with both,
:math:`R_2' = r (\chi^+ + |\chi^-|)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from qsmprep.methods import choose
from qsmprep.qsm.grid import Grid, bounding_box, relative_size
from qsmprep.qsm.separation.rates import LEAST_SD
from qsmprep.qsm.separation.sources import Sources


@dataclass(frozen=True)
class Separation:
    """Two maps that sum up to a susceptibility.

    Parameters
    ----------
    paramagnetic
        Susceptibility of paramagnetic sources [ppm], from 0 up; zero outside the tissue.
    diamagnetic
        That of diamagnetic sources [ppm], from 0 down.
    parameters
        Every constant and parameter of the method.

    """

    paramagnetic: np.ndarray
    diamagnetic: np.ndarray
    parameters: dict[str, Any]


def separate(
    field_ppm: np.ndarray,
    chi_ppm: np.ndarray,
    rate_hz: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    method: str = 'joint',
    *,
    field_strength_t: float,
    reversible: bool,
    rate_sd_hz: np.ndarray | None = None,
    noise_ppm: np.ndarray | None = None,
    tissue: np.ndarray | None = None,
    remnant: bool = False,
    device: str = 'cpu',
    progress: Callable[[int, int, float], None] | None = None,
    **parameters: Any,
) -> Separation:
    """Paramagnetic and diamagnetic susceptibility of a scan.

    Parameters
    ----------
    field_ppm, chi_ppm
        Local field, and susceptibility that was computed from it [ppm].
    rate_hz, rate_sd_hz
        R2' or R2* [1/s], and its standard deviation.
    mask
        Voxels that have a local field.
    grid
        Their grid.
    method
        Key of :data:`qsmprep.methods.SEPARATIONS`.
    field_strength_t
        Field strength [T].
    reversible
        Whether the rate is R2', not R2*.
    noise_ppm
        Standard deviation of the field [ppm].
    tissue
        Voxels of the maps beyond the mask and its holes.
    remnant
        Whether background removal came before.
    device
        Torch device.
    progress
        Called by iterative methods.
    **parameters
        Parameters of the method that differ from their defaults.

    Raises
    ------
    ValueError
        If shapes differ, the mask is empty, a value in it is not finite, the rate is nowhere above
        zero, or a parameter is unknown.

    """
    chosen = choose('separation', method)
    settings = chosen.complete(parameters)
    inside = np.asarray(mask) > 0
    if not inside.any():
        raise ValueError('The mask is empty, so there is nothing to separate; check the mask.')
    whole = inside if tissue is None else inside | (np.asarray(tissue) > 0)
    whole = binary_fill_holes(whole)
    box = bounding_box(whole)
    scale = relative_size(whole, grid.voxel_size)

    def cropped(name: str, image: np.ndarray) -> Tensor:
        return _cropped(name, image, inside, box, device)

    rate = cropped('rate', rate_hz)
    if not (rate > 0).any():
        raise ValueError('The relaxation rate is nowhere above zero in the mask; check its map.')
    even = torch.full_like(rate, LEAST_SD)
    sources = Sources(
        field=cropped('field', field_ppm),
        chi=cropped('chi', chi_ppm),
        rate=rate,
        rate_sd=even if rate_sd_hz is None else cropped('rate_sd', rate_sd_hz),
        noise=None if noise_ppm is None else cropped('noise', noise_ppm),
        reversible=reversible,
        mask=torch.from_numpy(inside[box]).to(device),
        tissue=torch.from_numpy(whole[box]).to(device),
        grid=replace(grid, shape=inside[box].shape).magnified(1 / scale),
        field_strength_t=field_strength_t,
        remnant=remnant,
        progress=progress,
    )
    positive, negative, constants = chosen.run(sources, scan={}, **settings)

    def uncropped(share: Tensor) -> np.ndarray:
        volume = np.zeros(grid.shape, dtype=np.float32)
        volume[box] = (share * sources.tissue).cpu().numpy() + 0.0
        return volume

    return Separation(uncropped(positive), uncropped(-negative), {**settings, **constants})


def _cropped(name: str, image: np.ndarray, inside: np.ndarray, box: tuple, device: str) -> Tensor:
    if image.shape != inside.shape:
        raise ValueError(
            f'The {name} has the shape {image.shape}, but the mask {inside.shape}; '
            'resample them to one grid.'
        )
    if not np.isfinite(image[inside]).all():
        raise ValueError(f'The {name} is not finite in the mask; repair it.')
    return torch.from_numpy(np.nan_to_num(image[box]).astype(np.float32)).to(device)

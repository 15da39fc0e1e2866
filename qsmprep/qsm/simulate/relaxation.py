"""Sources of either sign and relaxation rates of a phantom."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from qsmprep.qsm.separation.rates import R2PRIME_PER_PPM, at_field_strength, r2_at_field_strength
from qsmprep.qsm.simulate.anatomy import Tissue
from qsmprep.qsm.simulate.susceptibility import Phantom, tissue_table


def sources(labels: Tensor, chi: Tensor) -> tuple[Tensor, Tensor]:
    """Paramagnetic (from 0 up) and diamagnetic (from 0 down) share of susceptibility [ppm].

    The diamagnetic one is that of the tissue, or all of a susceptibility that is lower.

    Parameters
    ----------
    labels
        Tissue codes.
    chi
        Susceptibility [ppm], the sum of both.

    """
    diamagnetic = torch.minimum(tissue_table('diamagnetic', labels.device)[labels.int()], chi)
    return chi - diamagnetic, diamagnetic


def r2(labels: Tensor, field_strength_t: float) -> Tensor:
    """R2 of the tissues [1/s]."""
    at_3t = tissue_table('r2', labels.device)[labels.int()]
    return at_3t * r2_at_field_strength(1.0, field_strength_t)


def r2star(labels: Tensor, chi: Tensor, field_strength_t: float) -> Tensor:
    """R2* within a voxel [1/s]: R2 of the tissue, plus R2' of its sources of either sign.

    Parameters
    ----------
    labels
        Tissue codes.
    chi
        Susceptibility [ppm]; see :func:`sources`.
    field_strength_t
        Field strength [T]; R2' grows in proportion.

    """
    positive, negative = sources(labels, chi)
    both = torch.where(labels <= int(Tissue.BONE), 0, positive - negative)
    return (
        r2(labels, field_strength_t) + at_field_strength(R2PRIME_PER_PPM, field_strength_t) * both
    )


def tissue_maps(phantom: Phantom, field_strength_t: float) -> dict[str, Tensor]:
    """Mean over each voxel of the shares of susceptibility [ppm], R2* and R2 [1/s]."""
    names = ('paramagnetic', 'diamagnetic', 'r2star_hz', 'r2_hz')
    maps = {name: torch.zeros_like(phantom.chi) for name in names}
    for part in parts(phantom):
        labels, chi = phantom.labels_fine[part], phantom.chi_fine[part]
        maps['r2star_hz'] += r2star(labels, chi, field_strength_t)
        maps['r2_hz'] += r2(labels, field_strength_t)
        for name, share in zip(names, sources(labels, chi), strict=False):
            maps[name] += share
    return {name: volume.div_(math.prod(phantom.factors)) for name, volume in maps.items()}


def parts(phantom: Phantom) -> Iterator[tuple[slice, ...]]:
    """Where the parts of the voxels lie on the finer grid, one after another."""
    fx, fy, fz = phantom.factors
    for i, j, k in np.ndindex(fx, fy, fz):
        yield slice(i, None, fx), slice(j, None, fy), slice(k, None, fz)

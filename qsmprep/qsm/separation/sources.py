"""What is known of the sources of a tissue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from qsmprep.qsm.grid import Grid


@dataclass(frozen=True)
class Sources:
    """What is known of the sources in a box of tissue: tensors of one shape.

    Parameters
    ----------
    field, noise
        Local field and its standard deviation [ppm]; the noise may be missing.
    chi
        Susceptibility [ppm] that an inversion made of the field.
    rate, rate_sd
        R2' or, where R2 is not known, R2* [1/s]; its standard deviation.
    reversible
        Whether the rate is R2'.
    mask, tissue
        Voxels that have a field; those of the maps.
    grid
        Their grid.
    field_strength_t
        Field strength [T].
    remnant
        Whether background removal came before, whose remnants the likelihood must allow for.
    progress
        Called with the iteration, their greatest number, and the relative change of the maps.

    """

    field: Tensor
    noise: Tensor | None
    chi: Tensor
    rate: Tensor
    rate_sd: Tensor
    reversible: bool
    mask: Tensor
    tissue: Tensor
    grid: Grid
    field_strength_t: float
    remnant: bool = False
    progress: Callable[[int, int, float], None] | None = None

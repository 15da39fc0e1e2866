"""What every inversion returns, and the check of a number that it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor


class Estimate(NamedTuple):
    """A susceptibility map [ppm], the values that were chosen on the scan, and its uncertainty.

    The uncertainty is a standard deviation (X, Y, Z) [ppm], None for methods that know none. The
    function gives susceptibility [ppm] on the product of three vectors of positions, in voxels
    from the centre of the first one; None for methods whose map is one of voxels.
    """

    chi: Tensor
    chosen: dict[str, Any]
    sd: Tensor | None = None
    function: Callable[[list[Tensor]], Tensor] | None = None


def check_range(name: str, value: float, low: float, high: float = float('inf')) -> None:
    """Complain of a parameter that does not lie between two numbers.

    Raises
    ------
    ValueError
        If it is not above the lower and below the higher one.

    """
    if not low < value < high:
        limits = f'between {low:g} and {high:.3g}' if high < float('inf') else f'above {low:g}'
        raise ValueError(f'The parameter {name} lies {limits}, unlike {value}.')

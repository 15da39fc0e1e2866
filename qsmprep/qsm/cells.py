"""Power of a field in cells of |k| and |D|: measured, beside what a model expects."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import numpy as np

ON_CONE = 0.1
PROFILES = (
    'wavenumber',
    *(f'{kind}_{side}_cone' for side in ('on', 'off') for kind in ('measured', 'expected')),
)


class Cells(NamedTuple):
    """Mean periodogram over cells of |k| and |D|.

    ``wavenumber`` [cycles/mm] and ``response``, the size of D, of each cell; ``measured`` and
    ``expected`` power [ppm^2], number of independent ``samples``, and the power S(k) there.
    """

    wavenumber: np.ndarray
    response: np.ndarray
    measured: np.ndarray
    expected: np.ndarray
    samples: np.ndarray
    susceptibility: np.ndarray

    def misfit(self) -> float:
        """Mean Itakura-Saito divergence of measured from expected power; 0 for a perfect fit."""
        ratio = self.measured / self.expected
        return float(np.average(ratio - 1 - np.log(ratio), weights=self.samples))

    def profiles(self) -> dict[str, list[float]]:
        r"""Power over \|k\| near the cone (\|D\| < 0.1) and far from it, for a plot.

        There are 16 wavenumbers, evenly spaced in their logarithm; empty ones are left out.

        Returns
        -------
        dict
            ``wavenumber`` [cycles/mm], and ``measured`` and ``expected`` power [ppm^2] as
            ``..._on_cone`` and ``..._off_cone``; four digits of each.

        """
        edges = np.geomspace(self.wavenumber.min(), 1.0001 * self.wavenumber.max(), 17)
        found: dict[str, list[float]] = {name: [] for name in PROFILES}
        for low, high in pairwise(edges):
            here = (self.wavenumber >= low) & (self.wavenumber < high)
            near = self.response < ON_CONE
            sides = {'on': here & near, 'off': here & ~near}
            if not all(side.any() for side in sides.values()):
                continue
            found['wavenumber'].append(sqrt(low * high))
            for name, side in sides.items():
                for kind in ('measured', 'expected'):
                    power = np.average(getattr(self, kind)[side], weights=self.samples[side])
                    found[f'{kind}_{name}_cone'].append(power)
        return {name: [float(f'{x:.4g}') for x in values] for name, values in found.items()}

    def power_at(self, wavenumber: float) -> float:
        """S [ppm^2] at the cell nearest to a wavenumber [cycles/mm]."""
        return float(self.susceptibility[np.abs(self.wavenumber - wavenumber).argmin()])

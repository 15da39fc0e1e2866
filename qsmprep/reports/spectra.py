"""Plot of the spectrum of a local field, as it was measured and as its calibration expects it."""

from __future__ import annotations

import math

WIDTH, HEIGHT = (60.0, 610.0), (260.0, 24.0)
SIDES = {'off': ('away from the cone', 'var(--dot)', 30), 'on': ('near the cone', 'var(--far)', 50)}


def spectra_plot(spectra: object) -> dict:
    """
    Places of lines, dots and ticks; nothing where a record holds no such spectra.

    Parameters
    ----------
    spectra
        Lists as of ``Cells.profiles`` of :mod:`qsmprep.qsm.calibration`.

    Examples
    --------
    >>> spectra_plot({'wavenumber': ['<script>']})
    {}

    """
    if not isinstance(spectra, dict):
        return {}
    lists = {
        (kind, side): spectra.get(f'{kind}_{side}_cone')
        for side in SIDES
        for kind in ('measured', 'expected')
    }
    wavenumbers = spectra.get('wavenumber')
    if not all(_are_positive(values) for values in (wavenumbers, *lists.values())):
        return {}
    if {len(values) for values in lists.values()} != {len(wavenumbers)} or len(wavenumbers) < 2:
        return {}
    powers = [value for values in lists.values() for value in values]
    across = _Axis(min(wavenumbers), max(wavenumbers), *WIDTH)
    up = _Axis(max(min(powers), max(powers) * 1e-6), max(powers), *HEIGHT)
    sides = []
    for side, (name, colour, place) in SIDES.items():
        dots, line = (
            [(across.place(k), up.place(p)) for k, p in zip(wavenumbers, values, strict=True)]
            for values in (lists['measured', side], lists['expected', side])
        )
        path = 'M' + 'L'.join(f'{x} {y}' for x, y in line)
        sides.append({'name': name, 'colour': colour, 'dots': dots, 'line': path, 'at': place})
    label = (
        f'Power of the local field at {len(wavenumbers)} spatial frequencies from '
        f'{min(wavenumbers):.2g} to {max(wavenumbers):.2g} cycles/mm, measured and expected'
    )
    return {'sides': sides, 'across': across.ticks(), 'up': up.ticks(), 'label': label}


def _are_positive(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(x, int | float) and not isinstance(x, bool) and 0 < x < math.inf for x in values
    )


class _Axis:
    """A logarithmic axis."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = math.log10(low), math.log10(high)
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        """Where a value lies [user units of the SVG]; what is beyond lies at the end."""
        part = (math.log10(value) - self.low) / max(self.high - self.low, 1e-9)
        return round(self.start + min(max(part, 0.0), 1.0) * (self.end - self.start), 1)

    def ticks(self) -> list[dict]:
        """Places and texts of powers of ten, and of twos and fives where there are few of them."""
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        steps = (1, 2, 5) if self.high - self.low < 2.5 else (1,)
        values = [step * 10.0**decade for decade in decades for step in steps]
        inside = [v for v in values if self.low - 1e-9 <= math.log10(v) <= self.high + 1e-9]
        return [{'at': self.place(value), 'text': f'{value:g}'} for value in inside]

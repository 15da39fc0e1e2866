"""What a quality measure is: its name, meaning, unit, and the values that are expected."""

from __future__ import annotations

import math
from dataclasses import dataclass

RIM_MM = 4.0
"""Width of the edge of a map, which is compared with what lies deeper."""
WIDE = 'wide, against wrong units'
"""Source of bounds that no publication gives."""


@dataclass(frozen=True)
class Measure:
    """
    What a quality measure means.

    Parameters
    ----------
    key
        Name in sidecars and tables.
    label
        Name in the report.
    unit
        Unit; empty for ratios.
    description
        What it is, in one or two sentences.
    low, high
        Values of an adult brain at 1.5 to 7 T are expected between these. They are wide: meant
        to catch wrong units, masks and methods, not to grade scans. None where nothing is known.
    advice
        What to look at when the value is outside.
    why
        Why that matters, in one sentence.
    source
        Where definition and bounds come from.
    tried
        Whether the bounds have no source, but lie between the clean and the faulty scans of
        ``benchmarks/report_faults.py``.
    brain
        Whether the bounds are those of tissue and size of a human brain, and say nothing of mice
        and specimens.
    bound
        Value beyond which no map can be right, whatever was scanned; the run then counts as
        failed.
    head
        Values outside of which no map of a head with several echoes can be right, likewise.

    """

    key: str
    label: str
    unit: str
    description: str
    low: float | None = None
    high: float | None = None
    advice: str = ''
    why: str = ''
    source: str = ''
    tried: bool = False
    brain: bool = False
    bound: float = math.inf
    head: tuple[float, float] = (-math.inf, math.inf)

    @property
    def band(self) -> str:
        """
        The expected values in words.

        Examples
        --------
        >>> Measure('a', 'A', 'ml', '', 0.5, None).band
        'at least 0.5'

        """
        if self.low is None and self.high is None:
            return ''
        if self.high is None:
            return f'at least {self.low:g}'
        if self.low is None:
            return f'at most {self.high:g}'
        return f'{self.low:g} to {self.high:g}'

    def accepts(self, value: float) -> bool:
        """Whether a value is finite and as expected."""
        above = self.low is None or value >= self.low
        return math.isfinite(value) and above and (self.high is None or value <= self.high)

"""What quality measures say of an acquisition, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qsmprep.reports.catalogue import MEASURES

OTHER_SIGN, LEAST_RISE = -0.15, 15.0
"""Sign of susceptibility below which it is wrong, where R2* rises less with susceptibility than
this [1/s/ppm/T]. Clean scans have 0.15 to 0.31 and 46 to 115; a large calcification alone leaves
the latter as it is."""


def implausible(quality: Mapping[str, float]) -> list[str]:
    """
    Sentences on measures beyond what any map can have.

    Parameters
    ----------
    quality
        Values by key of :data:`MEASURES`; others are passed over.

    Examples
    --------
    >>> implausible({'chi_max_ppm': 480.0, 'chi_sd_ppb': 30.0})
    ['Largest susceptibility: 480 ppm, beyond 100 ppm, which no map can have.']

    """
    found = []
    for measure in MEASURES:
        value = quality.get(measure.key)
        if not isinstance(value, int | float) or measure.floor <= value <= measure.bound:
            continue
        way, limit = (
            ('below', measure.floor) if value < measure.floor else ('beyond', measure.bound)
        )
        shown = f'{value:.3g} {measure.unit}'.rstrip(), f'{limit:g} {measure.unit}'.rstrip()
        found.append(f'{measure.label}: {shown[0]}, {way} {shown[1]}, which no map can have.')
    tails, rise = quality.get('chi_tail_asymmetry', 0.0), quality.get('r2star_per_chi', 0.0)
    if tails < OTHER_SIGN and rise < LEAST_RISE:
        found.append(
            f'Susceptibility has the other sign (long tail: {tails:.2f}; R2* with susceptibility: '
            f'{rise:.3g} 1/s/ppm/T): correct the sign of the phase, run again with --phase-sign -1.'
        )
    return found


@dataclass(frozen=True)
class Problem:
    """
    A measure that is not as expected, in words.

    Parameters
    ----------
    what
        Measure, value and what was expected.
    why
        Why it matters.
    advice
        What to do.

    """

    what: str
    why: str
    advice: str


def problems(quality: Mapping[str, float]) -> list[Problem]:
    """
    Measures that are not as expected.

    Parameters
    ----------
    quality
        Values by key of :data:`MEASURES`; others are passed over.

    Examples
    --------
    >>> problems({'chi_beyond_1ppm_percent': 12.0})[0].what
    'Voxels beyond ±1 ppm: 12 %, expected at most 1 %.'

    """
    found = []
    for measure in MEASURES:
        value = quality.get(measure.key)
        if isinstance(value, int | float) and not measure.accepts(value):
            unit = f' {measure.unit}' if measure.unit else ''
            what = f'{measure.label}: {value:.3g}{unit}, expected {measure.band}{unit}.'
            found.append(Problem(what, measure.why, measure.advice))
    return found


def quality_warnings(quality: Mapping[str, float]) -> list[str]:
    """
    Sentences on measures that are not as expected, for the terminal.

    Parameters
    ----------
    quality
        Values by key of :data:`MEASURES`; others are passed over.

    """
    return [f'{problem.what} {problem.advice}' for problem in problems(quality)]

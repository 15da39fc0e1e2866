"""What quality measures say of an acquisition, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qsmprep.reports.catalogue import MEASURES


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
    return [
        f'{measure.label}: {value:.3g} {measure.unit}'.rstrip()
        + f', beyond {measure.bound:g} {measure.unit}'.rstrip()
        + ', which no map can have.'
        for measure in MEASURES
        if isinstance(value := quality.get(measure.key), int | float) and value > measure.bound
    ]


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

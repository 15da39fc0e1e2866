"""What quality measures say of an acquisition, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qsmprep.reports.catalogue import MEASURES

OTHER_SIGN, LEAST_RISE = -0.15, 15.0
"""Sign of susceptibility below which it is wrong, where R2* rises less with susceptibility than
this [1/s/ppm/T]. Clean scans have 0.15 to 0.31 and 46 to 115; a large calcification alone leaves
the latter as it is."""

HEAD_ML, LARGEST_LOCAL_PPB = 250.0, 75.0
"""Volume of a map from which on it is that of a head, and the spread of the local field that a head
cannot have. One echo keeps the phase of the coils, and specimens are under no such bound."""


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
    tails, rise = (quality.get(key) for key in ('chi_tail_asymmetry', 'r2star_per_chi'))
    if tails is not None and rise is not None and tails < OTHER_SIGN and rise < LEAST_RISE:
        found.append(
            f'Susceptibility has the other sign (long tail: {tails:.2f}; R2* with susceptibility: '
            f'{rise:.3g} 1/s/ppm/T): correct the sign of the phase, run again with --phase-sign -1.'
        )
    if (
        quality.get('local_field_sd_ppb', 0.0) > LARGEST_LOCAL_PPB
        and 'r2star_median_hz' in quality
        and quality.get('map_volume_ml', 0.0) > HEAD_ML
    ):
        found.append(
            f'The local field spreads by {quality["local_field_sd_ppb"]:.3g} ppb, beyond '
            f'{LARGEST_LOCAL_PPB:g} ppb, which that of a head cannot: look at mask and echoes.'
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

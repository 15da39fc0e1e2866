"""What quality measures say of an acquisition, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.measure import Measure

HEAD_ML = 250.0
"""Volume of a map from which on it is that of a head: specimens may have other values."""
SMALL_ML = 100.0
"""Volume of a mask below which it is of no human brain, or of a small part of one."""
OTHER_SIGN, LEAST_RISE = -0.15, 15.0
"""Sign of susceptibility below which it is wrong, where R2* rises less with susceptibility than
this [1/s/ppm/T]. Clean scans have 0.12 to 0.39 and 28 to 115; a large calcification alone leaves
the latter as it is."""
OTHER_INNER = -0.04
"""Sign without small lesions below which it is wrong, where nothing else tells."""
TURN = (
    'correct the sign of the phase, run again with --phase-sign -1, or turn the sign of the field '
    'or map that was given.'
)
INFANTS = ' Infants have small values of both: state their age in participants.tsv or sessions.tsv.'
GROWING = (
    'brain_volume_ml', 'map_volume_ml', 'local_field_sd_ppb', 'local_field_middle_ppb',
    'chi_sd_ppb', 'r2star_median_hz', 'r2star_relative',
)  # fmt: skip
"""Measures that grow with iron, myelin and the head."""
ONE_ECHO = ('b0_angle_deg', 'local_field_middle_ppb')
"""Measures whose bounds hold for heads of one echo too, which keeps the phase of the coils."""
LARGE, SMALL = (12.0, 1.9), (4.5, 0.65)
"""Middle of the local field [ppb] and R2* over that of brains beyond which both are wrong by a
factor. Simulated scans have up to 9.3 and 1.3, a measured one 14 and 1.44; 7 T called 3 T and echo
times of half make twice of either."""
FOREIGN_RISE = 12.0
"""Rise of R2* with susceptibility below which magnitude and phase show different tissue, though R2*
itself is as expected: true maps of one head against R2* of others have 2 to 15."""
FLIPPED = 3.0
"""Gain of a flip [standard errors] beyond which phase and magnitude are flipped against each other:
where they have nothing in common, one scan of 30,000 has as much by chance."""
NO_TISSUE = 0.08
"""Sign of susceptibility below which neither veins nor nuclei show. Clean scans have 0.12 to 0.39,
at low SNR and in slabs as little as motion, ghosts and noise leave: their echoes agree, though."""
RIM_FIELD, RIM_CHI = 7.5, 4.0
"""Spread of the local field and of the map at the rim, over that in the core, beyond which the rim
is no tissue. True masks have about 1 of both, own ones up to 5.7 and 1.1, one that is 6 mm too wide
6.6 and 3, and all that has signal in a head 9 and 6."""
MOST_MISFIT, LARGEST_MISFIT = 2.0, 7.0
"""Misfits of the echoes beyond which they contradict each other where the map shows no tissue, and
beyond which they belong to no one field where the local field is not as expected either: without
any noise the misfit is large by itself."""


def implausible(quality: Mapping[str, float], infant: bool = False) -> list[str]:
    """
    Sentences on measures beyond what any map can have.

    Parameters
    ----------
    quality
        Values by key of :data:`MEASURES`; others are passed over.
    infant
        Whether it is the brain of an infant, for which values of adults are no bounds.

    Examples
    --------
    >>> implausible({'chi_max_ppm': 480.0, 'chi_sd_ppb': 30.0})
    ['Largest susceptibility: 480 ppm, beyond 100 ppm, which no map can have.']

    """
    large = quality.get('map_volume_ml', 0.0) > HEAD_ML
    head = large and 'r2star_median_hz' in quality
    found = []
    for measure in MEASURES:
        value = quality.get(measure.key)
        bounded = head or (large and measure.key in ONE_ECHO)
        bounded = bounded and not (infant and measure.brain)
        low, high = measure.head if bounded else (-math.inf, math.inf)
        high = min(high, measure.bound)
        if not isinstance(value, int | float) or low <= value <= high:
            continue
        unit = f' {measure.unit}'.rstrip()
        limit = f'below {low:g}' if value < low else f'beyond {high:g}'
        found.append(f'{measure.label}: {value:.3g}{unit}, {limit}{unit}, which no map can have.')
    if 'r2star_median_hz' in quality:
        found += _wide_mask(quality)
    if head:
        return [*found, *_contradictions(quality, infant)]
    return [*found, *_turned_sign(quality), *_flipped(quality)] if large else found


def _wide_mask(quality: Mapping[str, float]) -> list[str]:
    """A sentence on a rim that is no tissue, by the local field and by the map."""
    rim, chi = (quality.get(key, 0) for key in ('field_rim_to_core_sd', 'chi_rim_to_core_sd'))
    if rim <= RIM_FIELD or chi <= RIM_CHI:
        return []
    return [
        f'The rim of the map is no tissue (spread of the local field {rim:.2g} times, of '
        f'susceptibility {chi:.2g} times that of the core): the mask is too wide; give one by '
        '--derivatives.'
    ]


def _turned_sign(quality: Mapping[str, float]) -> list[str]:
    """A sentence on a map of one echo whose tails are diamagnetic, beyond any calcification."""
    tails, inner = (quality.get(f'chi_{key}_asymmetry', math.nan) for key in ('tail', 'inner'))
    if not (tails < OTHER_SIGN and inner < OTHER_INNER):
        return []
    return [f'Susceptibility has the other sign (long tails: {tails:.2f} and {inner:.2f}): {TURN}']


def _flipped(quality: Mapping[str, float]) -> list[str]:
    """A sentence on a map that fits the magnitude better if it is flipped."""
    gain = quality.get('flip_gain_errors', math.nan)
    if not gain > FLIPPED:
        return []
    return [
        'Susceptibility, from the phase, fits the decay of the magnitude better if it is flipped '
        f'along an array axis (by {gain:.2g} standard errors): the phase, or the field or map that '
        'was given, is flipped; flip its array, and keep its header.'
    ]


def _contradictions(quality: Mapping[str, float], infant: bool) -> list[str]:
    """Sentences on measures of a head with several echoes that contradict it together."""
    found = []
    tails, rise, misfit, spread, disagreement = (
        quality.get(key, math.nan)
        for key in (
            'chi_tail_asymmetry', 'r2star_per_chi', 'echo_misfit', 'local_field_sd_ppb',
            'echo_disagreement_percent',
        )
    )  # fmt: skip
    disagree = _side('echo_disagreement_percent', disagreement) > 0
    no_tissue = OTHER_SIGN < tails < NO_TISSUE and (
        rise < LEAST_RISE or misfit > MOST_MISFIT or disagree
    )
    found += [] if infant else _wrong_scale(quality)
    found += _flipped(quality)
    if tails < OTHER_SIGN and rise < LEAST_RISE:
        found.append(
            f'Susceptibility has the other sign (long tail: {tails:.2f}; R2* with susceptibility: '
            f'{rise:.3g} 1/s/ppm/T): {TURN}'
        )
    elif no_tissue:
        found.append(
            f'The map shows neither veins nor nuclei (long tail: {tails:.2f}; R2* with '
            f'susceptibility: {rise:.3g} 1/s/ppm/T; misfit of the echoes: {misfit:.3g}; '
            f'disagreement: {disagreement:.3g} %): the scan is damaged, as by motion, ghosts or '
            'phases that are differences of echoes; look at magnitude and phase.'
        )
    elif rise < FOREIGN_RISE and _measure('r2star_relative').accepts(
        quality.get('r2star_relative', math.nan)
    ):
        found.append(
            'Susceptibility, from the phase, does not fit R2*, from the magnitude (rise: '
            f'{rise:.3g} 1/s/ppm/T): they may be of two participants or of two positions of the '
            'head, or the scan is damaged; look at magnitude and phase.'
        )
    if misfit > LARGEST_MISFIT and _side('local_field_sd_ppb', spread):
        found.append(
            f'The echoes belong to no one field (misfit {misfit:.3g}; the local field spreads by '
            f'{spread:.3g} ppb): look for echoes or echo times that are exchanged.'
        )
    return found


def _wrong_scale(quality: Mapping[str, float]) -> list[str]:
    """Sentences on a scale that several measures say is wrong, each in the same direction."""
    sides = {
        key: _side(key, quality.get(key, math.nan))
        for key in ('local_field_sd_ppb', 'chi_sd_ppb', 'r2star_per_chi', 'r2star_relative')
    }
    words = {1: 'too large', -1: 'too small'}
    side = sides['local_field_sd_ppb']
    rises = quality.get('r2star_per_chi', math.nan) > 0  # no scale makes it fall
    if side and rises and side == -sides['r2star_per_chi'] == _half('chi_sd_ppb', quality):
        return [
            f'Susceptibility is {words[side]} (spread: {quality["chi_sd_ppb"]:.3g} ppb; R2* with '
            f'susceptibility: {quality["r2star_per_chi"]:.3g} 1/s/ppm/T): the scale of the phase '
            'is wrong (--phase-range), or the Units of a field or map that was given.'
        ]
    side = sides['chi_sd_ppb'] if sides['chi_sd_ppb'] == sides['r2star_relative'] else 0
    middle, decay = (
        quality.get(key, math.nan) for key in ('local_field_middle_ppb', 'r2star_relative')
    )
    if middle > LARGE[0] and decay > LARGE[1]:
        side = 1
    elif middle < SMALL[0] and decay < SMALL[1]:
        side = -1
    if side:
        return [
            f'Susceptibility and R2* are both {words[side]} (spread of susceptibility: '
            f'{quality.get("chi_sd_ppb", math.nan):.3g} ppb; middle of the local field: '
            f'{middle:.3g} ppb; R2* over that of brains: {decay:.3g}): echo times or the field '
            f'strength are wrong.{INFANTS if side < 0 else ""}'
        ]
    return []


def _side(key: str, value: float) -> int:
    """-1 where a value is below the band of its measure, 1 where it is above, else 0."""
    measure = _measure(key)
    if math.isnan(value) or measure.accepts(value):
        return 0
    return -1 if measure.low is not None and value < measure.low else 1


def _half(key: str, quality: Mapping[str, float]) -> int:
    """-1 where a value is in the lower half of its band, in proportion, or below, else 1."""
    measure = _measure(key)
    return -1 if quality.get(key, math.nan) < math.sqrt(measure.low * measure.high) else 1


def _measure(key: str) -> Measure:
    return next(measure for measure in MEASURES if measure.key == key)


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


def problems(quality: Mapping[str, float], infant: bool = False) -> list[Problem]:
    """
    Measures that are not as expected.

    Parameters
    ----------
    quality
        Values by key of :data:`MEASURES`; others are passed over.
    infant
        Whether it is the brain of an infant, which has less iron and myelin than that of an adult.

    Examples
    --------
    >>> problems({'chi_beyond_1ppm_percent': 12.0})[0].what
    'Voxels beyond ±1 ppm: 12 %, expected at most 1 %.'

    """
    size_ml = quality.get('brain_volume_ml', quality.get('map_volume_ml', math.inf))
    small = size_ml < SMALL_ML
    found, others = [], []
    for measure in MEASURES:
        value = quality.get(measure.key)
        if isinstance(value, int | float) and not measure.accepts(value):
            unit = f' {measure.unit}' if measure.unit else ''
            young = infant and measure.key in GROWING and _side(measure.key, value) < 0
            if young or (small and measure.brain):
                others.append(f'{measure.label} {value:.3g}{unit}')
                continue
            what = f'{measure.label}: {value:.3g}{unit}, expected {measure.band}{unit}.'
            found.append(Problem(what, measure.why, measure.advice))
    if others:
        found.append(_other_object(size_ml, others) if small else _infant(others))
    return found


def _infant(others: list[str]) -> Problem:
    """One problem for all measures that are smaller than those of an adult's brain."""
    return Problem(
        f'The participant is an infant by the age that is stated: {", ".join(others)} are small '
        'for an adult, which is as it should be.',
        'Iron and myelin grow with age, and susceptibility, its field and R2* with them.',
        'Compare with others of this age.',
    )


def _other_object(size_ml: float, others: list[str]) -> Problem:
    """One problem for all measures of a small object that are not those of a human brain."""
    return Problem(
        f'The object has {size_ml:.3g} ml, and is no human brain, or a small part of one: the '
        f'values that are expected of a whole one do not apply to {", ".join(others)}.',
        'What an animal, a specimen or a small part should have is not known.',
        'Compare with others of its kind.',
    )


def quality_warnings(quality: Mapping[str, float], infant: bool = False) -> list[str]:
    """
    Sentences on measures that are not as expected, for the terminal.

    Parameters
    ----------
    quality
        Values by key of :data:`MEASURES`; others are passed over.
    infant
        As :func:`problems` takes it.

    """
    return [f'{problem.what} {problem.advice}' for problem in problems(quality, infant)]

"""Which stored values stand for -pi and pi: read from what is known, never from the extrema."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from qsmprep.bids.contents import turn
from qsmprep.bids.errors import InputError
from qsmprep.bids.headers import ImageSummary
from qsmprep.bids.notes import Note
from qsmprep.bids.sidecars import shorten

RADIANS = (-math.pi, math.pi)
MILLIRADIANS = (-1000 * math.pi, 1000 * math.pi)
NOMINAL_RANGES = {
    'Siemens': ((0.0, 4096.0), (-4096.0, 4096.0)),
    'Philips': (RADIANS, (0.0, 4095.0), MILLIRADIANS),
    'GE': (RADIANS, MILLIRADIANS),
}
"""Stored values that stand for -pi and pi, by manufacturer, narrow ranges first.

Siemens stores 12 bits, which its DICOM header and dcm2niix scale by 2 and -4096. Philips stores
12 bits as well, scaled to milliradians by the DICOM rescale slope or to radians by dcm2niix. GE
stores milliradians.
"""
TOLERANCE = 0.01
"""Part of a range by which values may lie outside (rounding, interpolation)."""
LEAST_COVERAGE = 0.5
"""Part of a nominal range that the values must span for it to be trusted."""
LEAST_SPAN_RAD = 0.02 * math.pi
WHOLE_SPAN_RAD = 0.9 * 2 * math.pi
LARGEST_RAD = 1000.0
"""Radians beyond which unwrapped phase is not trusted: 160 turns."""
TURN_TOLERANCE = 0.03
"""Part of a turn by which the turn that the values show may differ from that of the scale."""
ODD_TURN = 0.75
"""Part of a turn of radians that no scale makes of it: units of pi, turns and degrees are far."""


@dataclass(frozen=True)
class InputOverrides:
    """
    What the user knows better than the headers.

    Parameters
    ----------
    phase_range
        Stored values that stand for -pi and pi.
    phase_sign
        -1 inverts the phase.
    fix_ge_slices
        Slices alternate by pi in images that are not of another manufacturer.

    """

    phase_range: tuple[float, float] | None = None
    phase_sign: int = 1
    fix_ge_slices: bool = False


@dataclass(frozen=True)
class PhaseScale:
    """
    How stored values become phase.

    Values in the file (after ``scl_slope``) from ``low`` to ``high`` map linearly onto
    [-pi, pi); what lies outside wraps. For real and imaginary parts the range is that of their
    argument.

    Parameters
    ----------
    low, high
        Stored values that stand for -pi and pi.
    sign
        Factor of the phase, 1 or -1.
    alternate_slices
        Whether slices are known to alternate by pi.
    rule
        A sentence on how this was chosen.

    """

    low: float
    high: float
    sign: int
    alternate_slices: bool
    rule: str


def manufacturer_of(metadata: dict) -> str | None:
    """
    Manufacturer as one of the keys of ``NOMINAL_RANGES``, or as written.

    Examples
    --------
    >>> manufacturer_of({'Manufacturer': 'GE MEDICAL SYSTEMS'})
    'GE'
    >>> manufacturer_of({'Manufacturer': 'SIEMENS'})
    'Siemens'

    """
    name = str(metadata.get('Manufacturer') or '').strip()
    for known, pattern in {
        'Siemens': r'siemens',
        'Philips': r'philips',
        'GE': r'\bge\b|\bgems\b|general electric',
    }.items():
        if re.search(pattern, name.lower()):
            return known
    return name or None


def choose_phase_scale(
    images: list[ImageSummary], metadata: dict, overrides: InputOverrides
) -> tuple[PhaseScale, list[str]]:
    """
    Choose the scaling of the phase images of one acquisition.

    In this order: the user's range; ``Units`` of radians; the manufacturer's nominal range, of
    which the data may only rule some out; values in +-pi that are no integers.

    Parameters
    ----------
    images
        Phase of each echo.
    metadata
        Sidecar of the phase.
    overrides
        What the user has set.

    Returns
    -------
    scale
        The scaling.
    warnings
        Sentences on what was assumed: warnings, and notes (:class:`Note`).

    Raises
    ------
    InputError
        If no rule applies or the values contradict it.

    """
    if overrides.phase_range is not None:
        limits, rule, warnings = _as_set(images, overrides.phase_range)
    elif (units := _units(images, metadata)) == 'rad':
        limits, rule, warnings = _radians(images)
    else:
        limits, rule, warnings = _nominal_range(images, metadata, units)
    warnings += _check_turns(images, limits, overrides)
    alternate, sign_note = _slices_and_sign(metadata, overrides, warnings)
    return PhaseScale(
        low=limits[0],
        high=limits[1],
        sign=overrides.phase_sign,
        alternate_slices=alternate,
        rule=f'Values from {_text(limits)} stand for -pi to pi, {rule}{sign_note}.',
    ), warnings


def complex_phase_scale(metadata: dict, overrides: InputOverrides) -> tuple[PhaseScale, list[str]]:
    """Sign and slice correction of real and imaginary parts, and warnings."""
    warnings: list[str] = []
    alternate, sign_note = _slices_and_sign(metadata, overrides, warnings)
    rule = f'The phase is the argument of the real and imaginary parts{sign_note}.'
    return PhaseScale(*RADIANS, overrides.phase_sign, alternate, rule), warnings


def _units(images: list[ImageSummary], metadata: dict) -> str:
    units = str(metadata.get('Units') or '').strip().lower()
    if units in ('rad', 'radian', 'radians'):
        return 'rad'
    if units in ('', 'arbitrary', 'a.u.', 'au'):
        return units
    raise InputError(
        f'{images[0].path} has the Units {shorten(metadata["Units"])}; the phase of an echo has '
        'the Units "rad" or "arbitrary": correct the sidecar, give the values that stand for -pi '
        'and pi with --phase-range LOW HIGH (-180 180 for degrees), or leave field maps out.'
    )


def _as_set(
    images: list[ImageSummary], phase_range: tuple[float, float]
) -> tuple[tuple[float, float], str, list[str]]:
    limits = float(phase_range[0]), float(phase_range[1])
    if not all(math.isfinite(x) for x in limits) or limits[0] >= limits[1]:
        raise InputError(f'--phase-range {limits[0]:g} {limits[1]:g}: LOW must be less than HIGH.')
    warnings = []
    if not _contains(limits, images):
        low, high = _extremes(images)
        warnings.append(
            f'{images[0].path.name}: phase values from {low:.5g} to {high:.5g} go beyond '
            f'--phase-range {_text(limits)}; they are wrapped.'
        )
    return limits, 'as set by --phase-range', warnings


def _radians(images: list[ImageSummary]) -> tuple[tuple[float, float], str, list[str]]:
    """Scale of radians, those beyond pi being wrapped, which is exact."""
    name, (low, high) = images[0].path.name, _extremes(images)
    if high - low < LEAST_SPAN_RAD:
        raise _no_range(
            images, 'span next to nothing of 2 pi, though Units says rad (is scl_slope right?)'
        )
    if all(_is_whole(image) for image in images):
        raise _no_range(images, 'are whole numbers, as radians are not, though Units says rad')
    if _contains(RADIANS, images):
        if high - low >= WHOLE_SPAN_RAD:
            return RADIANS, 'as Units says rad', []
        warning = (
            f'{name}: the phase stays between {low:.3g} and {high:.3g} rad, where a head with its '
            'background fills -pi to pi; if it was scaled, give the values that stand for -pi and '
            'pi with --phase-range LOW HIGH.'
        )
        return RADIANS, 'as Units says rad', [warning]
    if max(-low, high) > LARGEST_RAD:
        raise _no_range(images, 'do not lie within +-pi, though Units says rad')
    if _contains((0.0, 2 * math.pi), images):
        warning = f'{name} holds radians from 0 to 2 pi; they are wrapped to +-pi.'
    else:
        warning = (
            f'{name} holds radians from {low:.4g} to {high:.4g}; they are wrapped to +-pi. That is '
            'exact where an unwrapping added multiples of 2 pi, and wrong after a Laplacian one: '
            'give the phase as the scanner stored it.'
        )
    return RADIANS, 'as Units says rad, those beyond pi being wrapped', [warning]


def _check_turns(
    images: list[ImageSummary], limits: tuple[float, float], overrides: InputOverrides
) -> list[str]:
    """Compare the turn that the values of each echo show, if any, with that of the scale."""
    whole = limits[1] - limits[0]
    for image in images:
        shown = turn(image.sample)
        if shown is None:
            continue
        if abs((shown[1] - shown[0]) / whole - 1) <= TURN_TOLERANCE:
            continue
        if limits == RADIANS and ODD_TURN < (shown[1] - shown[0]) / whole < 1:
            raise InputError(
                f'{image.path}: the phase wraps between {shown[0]:.5g} and {shown[1]:.5g}, but '
                'radians do at -pi and pi: it was averaged or filtered after it had wrapped, '
                'which no scale undoes. Give the phase as the scanner stored it, or the mean of '
                'complex images.'
            )
        if overrides.phase_range is None:
            raise InputError(
                f'{image.path}: the phase wraps between {shown[0]:.5g} and {shown[1]:.5g}, but '
                f'{_text(limits)} were expected to stand for -pi to pi. If it is so in all '
                f'echoes, give --phase-range {shown[0]:.5g} {shown[1]:.5g}; else store all '
                'echoes in one scale.'
            )
        return [
            f'{image.path.name}: the phase wraps between {shown[0]:.5g} and {shown[1]:.5g}, not '
            f'between the ends of --phase-range {_text(limits)}.'
        ]
    return []


def _nominal_range(
    images: list[ImageSummary], metadata: dict, units: str
) -> tuple[tuple[float, float], str, list[str]]:
    maker = manufacturer_of(metadata)
    stated = f'Units {units!r}' if units else 'no Units'
    warnings: list[str] = []
    if not units:
        warnings.append(Note(f'{images[0].path.name} has no Units in its sidecar.'))
    if maker == 'Siemens' and all((x.slope, x.intercept) == (2, -4096) for x in images):
        limits = (-4096.0, 4096.0)
        if not _contains(limits, images):
            raise _no_range(images, f'do not lie in the nominal range {_text(limits)} of Siemens')
        return limits, 'as scl_slope 2 and scl_inter -4096 of a Siemens image say', warnings
    for limits in NOMINAL_RANGES.get(maker or '', ()):
        if limits == RADIANS and all(x.integer for x in images):
            continue
        if _contains(limits, images) and _span(images) >= LEAST_COVERAGE * (limits[1] - limits[0]):
            return limits, f'a nominal range of {maker} ({stated})', warnings
    if (
        not any(x.integer for x in images)
        and _contains(RADIANS, images)
        and _span(images) >= LEAST_COVERAGE * 2 * math.pi
    ):
        note = Note(
            f'{images[0].path.name} has {stated}; its values lie within +-pi and are read as '
            'radians.'
        )
        return RADIANS, f'as the values lie within +-pi and are no integers ({stated})', [note]
    known = ' or '.join(_text(limits) for limits in NOMINAL_RANGES.get(maker or '', ()))
    what = f'and {stated}, from {maker or "an unknown manufacturer"}, cannot be scaled to radians'
    raise _no_range(images, f'{what} (known for it: {known})' if known else what)


def _slices_and_sign(
    metadata: dict, overrides: InputOverrides, warnings: list[str]
) -> tuple[bool, str]:
    """Whether to correct the slices; a note for the rule; warnings are appended."""
    maker = manufacturer_of(metadata)
    alternate = overrides.fix_ge_slices and maker in ('GE', None)
    if overrides.fix_ge_slices and not alternate:
        warnings.append(f'--fix-ge-slices is not applied to an image from {maker}.')
    if maker == 'GE' and overrides.phase_sign == 1:
        warnings.append(
            Note(
                'GE scanners often store phase with the opposite sign: if the pallidum is dark in '
                'the susceptibility map, run again with --phase-sign -1.'
            )
        )
    note = ', inverted by --phase-sign -1' if overrides.phase_sign == -1 else ''
    return alternate, note + (', with pi added to every second slice' if alternate else '')


def _extremes(images: list[ImageSummary]) -> tuple[float, float]:
    return min(x.minimum for x in images), max(x.maximum for x in images)


def _span(images: list[ImageSummary]) -> float:
    low, high = _extremes(images)
    return high - low


def _is_whole(image: ImageSummary) -> bool:
    """Whether all values are whole numbers, as radians are not."""
    if image.sample.size:
        return bool(np.all(image.sample == np.rint(image.sample)))
    return image.integer


def _contains(limits: tuple[float, float], images: list[ImageSummary]) -> bool:
    slack = TOLERANCE * (limits[1] - limits[0])
    return all(x.minimum >= limits[0] - slack and x.maximum <= limits[1] + slack for x in images)


def _text(limits: tuple[float, float]) -> str:
    return f'{limits[0]:.5g} to {limits[1]:.5g}'


def _no_range(images: list[ImageSummary], what: str) -> InputError:
    widest = max(images, key=lambda x: x.maximum - x.minimum)
    advice = 'Give the values that stand for -pi and pi with --phase-range LOW HIGH'
    turns = [shown for image in images if (shown := turn(image.sample))]
    low, high = min((x for x, _ in turns), default=0.0), max((x for _, x in turns), default=0.0)
    slack = TURN_TOLERANCE * (high - low)
    if any(first > low + slack or last < high - slack for first, last in turns):
        advice = 'The echoes wrap at different values: store all of them in one scale'
    elif len(turns) == len(images):
        advice += f' (those at which all echoes wrap: --phase-range {low:.5g} {high:.5g})'
    return InputError(
        f'{widest.path}: phase values from {widest.minimum:.5g} to {widest.maximum:.5g} {what}. '
        f'{advice}, or store radians and set Units to "rad" in the sidecar.'
    )

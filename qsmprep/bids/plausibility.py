"""What the values of a phase show against it: copied voxels, other scales, filters, moves."""

from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Sequence

import numpy as np

from qsmprep.bids.contents import BACKGROUND
from qsmprep.bids.notes import Doubt
from qsmprep.bids.sidecars import PROTON_GYROMAGNETIC_RATIO

STRONG = 0.3
"""Part of the 99th percentile of the magnitude above which there is a head."""
FEWEST = 1000
LATE = 1.5
"""Turns a ppm by an echo from which on the field of a head fills the circle."""
CLEAN, NARROW = 0.36, 0.42
"""Length of the mean of all unit phasors: that of 30 unfiltered heads is at most the first then."""
LONGER = 1.05
"""That of an echo over that of an earlier one beyond which it contradicts it: a field never gathers
phasors that it has spread."""
AT_ZERO, EXACTLY_ZERO = 0.15, 0.06
"""Angles of that mean [rad]: a filter leaves zero, coils and shims leave any."""
UNMOVED_PPM, LEAST_TURNS = 0.025, 0.5
"""Spread of the field between two echoes below which no field has changed their phase, and turns a
ppm between them from which that can be told: fields of heads spread by 0.05 ppm and more."""
WHITE = 0.7
"""Part of the variance between two echoes that neighbours must not share for it to be noise."""
UNBALANCED = 0.05
"""Change of the logarithm of the magnitude with the cosine of twice the phase, from voxel to voxel,
from which real and imaginary parts differ in scale: by a factor of about 0.88. It was 0.3 for one
half, and at most 0.014 in simulated scans and a real one as they are."""
UNEVEN = 0.3
"""Part of its mean by which that change may differ between echoes: scales are alike in all, while
it falls with the echo time where phase follows tissue and has not yet turned, as in a specimen."""
STEADY = 0.5
"""Changes of that logarithm from one voxel to the next above which there is an edge."""
LESS, SURE = 0.9, 6.0
"""Another place explains a phase where it leaves this part of its jumps, by that many standard
errors."""
ROUGH = 0.3
"""Part of the neighbours with signal above which a phase jumps too often to have a place: half of
them do in noise. It was 0.17 at most in heads whose phase lay elsewhere, 0.42 in a late echo of a
spinal cord in bone."""
REPEATED = 0.01
"""Part of the neighbours that hold the same two numbers, above which voxels were taken from the
nearest of another grid: 4 % where that was turned by 20 degrees. Noise repeats both hardly ever."""
MOVES = (-4, -2, -1, 1, 2, 4)
"""Voxels by which a phase is moved to see whether it fits better there."""


def check_copies(first: np.ndarray, second: np.ndarray) -> list[str]:
    """
    Warn of voxels that are copies of their neighbours, as interpolation by the nearest leaves them.

    Whole slices of copies are left to :func:`~qsmprep.bids.slices.check_slices`: nothing is wrong
    where voxels were split.

    Parameters
    ----------
    first, second
        Both parts of an echo, (X, Y, Z).

    Returns
    -------
    list of str
        A :class:`~qsmprep.bids.notes.Doubt`, or nothing.

    """
    inside = np.abs(first) > STRONG * np.percentile(np.abs(first), 99)
    shares = []
    for axis in range(3):
        one, same, both = (np.moveaxis(x, axis, 0) for x in (first, second, inside))
        equal = (one[1:] == one[:-1]) & (same[1:] == same[:-1])
        whole = equal.all(axis=(1, 2), keepdims=True)
        pairs = both[1:] & both[:-1] & ~whole
        shares.append(int(np.count_nonzero(equal & pairs)) / max(int(pairs.sum()), FEWEST))
    if max(shares) < REPEATED:
        return []
    return [
        Doubt(
            f'{100 * max(shares):.0f} % of the neighbours with signal hold the same numbers in '
            'both parts of the first echo: the images were resampled by nearest neighbours, which '
            'tears the phase; give them on the grid on which they were measured.'
        )
    ]


def check_filter(
    signals: Sequence[np.ndarray], echo_times_s: Sequence[float], field_strength_t: float
) -> list[str]:
    """
    Warn of a phase that lies around zero, where coils and background spread that of a head.

    A high-pass filter takes the local mean off the phase. The mean of all unit phasors then has the
    angle zero in every echo, and stays long when the field of the head should have spread them
    over the circle. Of one echo alone that was filtered, the mean is longer than that of an earlier
    echo, though the field has spread its phasors for a longer time.

    Parameters
    ----------
    signals
        Complex values of the same voxels in each echo.
    echo_times_s
        Echo times [s].
    field_strength_t
        Field strength [T].

    Returns
    -------
    list of str
        A :class:`~qsmprep.bids.notes.Doubt` where both are so, a warning where the angles alone
        are.

    """
    if signals[0].size < FEWEST:
        return []
    means = [_mean_phasor(signal) for signal in signals]
    angles = [abs(cmath.phase(mean)) for mean in means]
    turns = [PROTON_GYROMAGNETIC_RATIO * field_strength_t * time for time in echo_times_s]
    lengths = [abs(mean) for mean in means]
    late = [length for length, turn in zip(lengths, turns, strict=True) if turn > LATE]
    what = (
        f'The phase of all echoes lies around zero (mean of the last: {angles[-1]:.2f} rad, '
        f'{lengths[-1]:.2f} long): it looks high-pass filtered, as for SWI'
    )
    advice = 'a filter removes susceptibility: export the phase unfiltered.'
    if late and min(late) > NARROW and max(angles) < AT_ZERO:
        return [Doubt(f'{what}; {advice}')]
    longest = CLEAN if len(angles) < 3 else 0
    if late and min(late) > longest and max(angles) < EXACTLY_ZERO:
        return [f'{what} with a wide window; {advice}']
    for echo in range(1, len(means)):
        length, angle, earlier = lengths[echo], angles[echo], min(lengths[:echo])
        alone = turns[echo] > LATE and length > max(CLEAN, LONGER * earlier)
        if alone and angle < AT_ZERO:
            return [
                Doubt(
                    f'The phase of echo {echo + 1} lies around zero (mean {angle:.2f} rad, '
                    f'{length:.2f} long), and is less spread than that of an earlier echo '
                    f'({earlier:.2f}): it looks high-pass filtered; {advice}'
                )
            ]
    return []


def check_differences(
    signals: Sequence[np.ndarray], echo_times_s: Sequence[float], field_strength_t: float
) -> list[str]:
    """
    Warn of echoes between which nothing but noise changes the phase, whatever time lies between.

    The field of a head turns it further from echo to echo. Where each phase was taken against that
    of the echo before, evenly spaced echoes hold the same phase.

    Parameters
    ----------
    signals
        Complex values of neighbours (n, 2) in each echo.
    echo_times_s
        Echo times [s].
    field_strength_t
        Field strength [T].

    Returns
    -------
    list of str
        A :class:`~qsmprep.bids.notes.Doubt`, or nothing.

    """
    pairs = zip(itertools.pairwise(signals), itertools.pairwise(echo_times_s), strict=True)
    for number, ((first, second), (earlier, later)) in enumerate(pairs, start=1):
        turns = PROTON_GYROMAGNETIC_RATIO * field_strength_t * (later - earlier)
        spread_rad, share = between_echoes(first, second)
        if turns >= LEAST_TURNS and spread_rad < 2 * np.pi * turns * UNMOVED_PPM and share > WHITE:
            return [
                Doubt(
                    f'Between the echoes {number} and {number + 1} nothing but noise changes the '
                    f'phase, though they are {1000 * (later - earlier):.3g} ms apart: they hold '
                    'one phase, as where each was taken against the echo before; export the phase '
                    'of each echo as it was measured.'
                )
            ]
    return []


def between_echoes(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """
    Spread of the phase between two echoes, and how much of it is noise.

    Parameters
    ----------
    first, second
        Complex values of neighbours (n, 2).

    Returns
    -------
    spread_rad
        Standard deviation [rad]; NaN where there is too little signal.
    share
        Part of the variance that neighbours do not have in common: 1 for white noise.

    """
    between = second * first.conj()
    strength = np.abs(between)
    between = between[(strength > STRONG**2 * np.percentile(strength, 99)).all(axis=1)]
    if len(between) < FEWEST:
        return math.nan, math.nan
    unit = between / np.abs(between)
    angle = np.angle(unit * np.conj(unit.mean()))
    return float(angle.std()), float(np.var(np.diff(angle, axis=1)) / 2 / max(angle.var(), 1e-30))


def check_balance(signals: Sequence[np.ndarray]) -> list[str]:
    """
    Warn of a magnitude that depends on the phase, as where both parts had scales of their own.

    The magnitude of tissue knows nothing of its phase. If the real part is stored in another scale
    than the imaginary one, that of neighbours differs as the cosine of twice their phase does,
    whatever coils and tissue do to both.

    Parameters
    ----------
    signals
        Complex values of neighbours (n, 2) in each echo.

    Returns
    -------
    list of str
        A :class:`~qsmprep.bids.notes.Doubt` where it is alike in two echoes or more, or nothing.

    """
    slopes = np.array([_change_with_phase(signal) for signal in signals])
    mean = slopes.mean()
    together = abs(mean)
    alike = len(slopes) > 1 and abs(slopes - mean).max() < UNEVEN * together
    if not alike or together < UNBALANCED:
        return []
    return [
        Doubt(
            'The magnitude changes with the phase in all echoes (by '
            f'{100 * together:.0f} % with the cosine of twice the phase): the real and the '
            'imaginary part were stored in different scales, which makes the phase wrong; export '
            'both in one scale, or magnitude and phase from the scanner.'
        )
    ]


def _change_with_phase(signal: np.ndarray) -> complex:
    """Slope of the log-magnitude of neighbours on their squared unit phasors, zero if unknown."""
    magnitude = np.abs(signal)
    strong = (magnitude > STRONG * np.percentile(magnitude, 99)).all(axis=1)
    if np.count_nonzero(strong) < FEWEST:
        return 0j
    pairs, magnitude = signal[strong], magnitude[strong]
    change = np.diff(np.log(magnitude), axis=1)[:, 0]
    turned = np.diff((pairs / magnitude) ** 2, axis=1)[:, 0]
    steady = np.abs(change) < STEADY
    design = np.stack([turned.real, turned.imag], axis=1)[steady]
    slope = np.linalg.lstsq(design, change[steady])[0]
    return complex(*slope)


def _mean_phasor(signal: np.ndarray) -> complex:
    """Mean of the unit phasors of strong signal."""
    magnitude = np.abs(signal)
    strong = magnitude > STRONG * np.percentile(magnitude, 99)
    return complex(np.exp(1j * np.angle(signal[strong])).mean()) if strong.any() else 1j


def check_place(
    magnitude: np.ndarray, phase: np.ndarray, turn: float, names: Sequence[str]
) -> list[str]:
    """
    Warn of a phase that fits its magnitude better when it is flipped or moved along an axis.

    Where there is signal the phase is smooth, where there is none it is noise: in the right place,
    the phase of neighbours with signal jumps less often than in any other. What all neighbours
    have in common, and steps of half a turn, count as smooth.

    Parameters
    ----------
    magnitude, phase
        Both parts of an echo, (X, Y, Z).
    turn
        Stored phase values in a full turn.
    names
        Of the files of both.

    Returns
    -------
    list of str
        A :class:`~qsmprep.bids.notes.Doubt`, a warning where they are a voxel apart, or nothing.

    """
    if np.mean(phase == phase[0, 0, 0]) > BACKGROUND:  # masked, smooth where there is no head
        return []
    inside = magnitude > STRONG * np.percentile(magnitude, 99)
    pairs = inside[1:] & inside[:-1]
    jumps = _jumps(phase, pairs, turn)
    here = int(np.count_nonzero(jumps & pairs))
    neighbours = max(int(np.count_nonzero(pairs)), 1)
    best, place = min(LESS * here, ROUGH * neighbours), None
    for axis, change in itertools.product(range(3), (0, *MOVES)):
        moved = np.roll(jumps, change, axis) if change else np.flip(jumps, axis)
        there = int(np.count_nonzero(moved & pairs))
        if there < best:
            error = math.sqrt(np.count_nonzero((jumps ^ moved) & pairs))
            if here - there > SURE * error:
                best, place = there, (axis, change)
    if place is None:
        return []
    axis, change = place
    how = f'moved by {change} voxels' if change else 'flipped'
    text = (
        f'{names[1]} does not fit {names[0]}: the phase of '
        f'{100 * here / neighbours:.1f} % of the neighbours with signal jumps, of '
        f'{100 * best / neighbours:.1f} % if it is {how} along array axis {axis + 1}. '
        'One of them was changed without its header: convert them again.'
    )
    return [text if abs(change) == 1 else Doubt(text)]


def _jumps(phase: np.ndarray, pairs: np.ndarray, turn: float) -> np.ndarray:
    """Where the phase changes along the first axis by more than an eighth of a turn, modulo half.

    The mean change of the pairs is taken off before.
    """
    halves = np.diff(phase.astype(np.float32, copy=False), axis=0)
    halves *= np.float32(2 / turn)
    common = np.exp(np.complex64(2j * np.pi) * halves[pairs]).sum()
    halves -= np.float32(np.angle(common) / (2 * np.pi))
    halves -= np.rint(halves)
    return np.abs(halves, out=halves) > 0.25

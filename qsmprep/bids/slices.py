"""What the slices of a volume show against it: copies, scales of their own, moves, gaps."""

from __future__ import annotations

import itertools

import numpy as np

from qsmprep.bids.contents import turn
from qsmprep.bids.errors import InputError
from qsmprep.bids.headers import ImageSummary
from qsmprep.bids.notes import Doubt
from qsmprep.bids.plausibility import FEWEST, STRONG

MOST_COPIES = 0.6
"""Part of the slices that may be copies of their neighbours: half are, where voxels were split."""
FILLED = 0.1
"""Part of a slice that holds other values than its corner where it crosses the head: of phase that
was masked, single voxels are left beyond it."""
FEWEST_RANGES, ALIKE = 10, 0.9
"""Slices whose phase wraps, and the ratio of the narrow ranges among them to the wide ones below
which they have scales of their own: noise and wraps fill the whole range in all of them."""
APART, TORN = 0.15, 0.4
"""Voxels by which odd and even slices may lie apart, and from which on the field is torn. It was at
most 0.06 in simulated and real scans as they are, noise and thick slices included."""
ROWS = 64
"""Rows of each slice that are looked at."""
CLEAR, GAP = 0.7, 1.4
"""Slopes of the phase between slices on that between their neighbours: what the median of a scan
must have for noise not to rule, and from which on a slice is missing, if it is larger than both
beside it together. Scans as they are have 1.16 at most, those that lack one 1.5 to 2.5."""
APART_FROM_OTHERS = 4.0
"""Changes of that slope from one pair of slices to the next (their median) by which a gap must
stand above the median: 7 and more where a slice was lost, 2.4 in a phantom of sharp edges without
gap."""
EDGE = 0.1
"""Part of the voxels of the widest slice below which one is an edge, where images ring."""
MORE_THAN_ONE = 2.25
"""The same slope over the median, from which on more than one slice is missing: one made it 2.07 in
a simulated head, two 2.5."""


def check_slices(image: ImageSummary, stored: np.ndarray) -> list[str]:
    """
    Warn of slices that hold the same values as the one before them: noise never repeats.

    Slices of one value alone, such as those around a mask, do not count, but those between others.

    Parameters
    ----------
    image
        Phase, real or imaginary part of an echo.
    stored
        Its values.

    Raises
    ------
    InputError
        If most of them do: a volume made of one slice has no field along its normal.

    """
    for axis, count in enumerate(stored.shape[:3]):
        pairs = itertools.pairwise(np.moveaxis(stored, axis, 0))
        copies = sum(np.array_equal(one, other) and np.ptp(one) > 0 for one, other in pairs)
        what = (
            f'{image.path.name}: {copies} of {count} slices along array axis {axis + 1} hold the '
            'same values as the one before them'
        )
        if copies > MOST_COPIES * count:
            raise InputError(
                f'{image.path.parent / what}; a volume that was measured is needed: a single slice '
                'cannot be repeated to make one.'
            )
        if copies:
            return [f'{what}; slices were lost or repeated: convert the image again.']
        slices = np.moveaxis(stored, axis, 0)
        filled = np.flatnonzero([np.mean(x != x.flat[0]) > FILLED for x in slices])
        inner = slices[filled[0] : filled[-1]] if len(filled) else slices[:0]
        empty = sum(int(np.ptp(x) == 0) for x in inner)
        if empty:
            return [
                f'{image.path.name}: {empty} of {count} slices along array axis {axis + 1} hold '
                'one value alone between others that are filled; convert the image again.'
            ]
    return []


def check_scales(image: ImageSummary, stored: np.ndarray) -> None:
    """
    Refuse a phase whose slices were stored in scales of their own.

    Philips may scale each slice by itself; a converter that keeps one slope loses the others. A
    phase that wraps fills its whole range, so that all slices end at the same values.

    Parameters
    ----------
    image
        Phase of an echo.
    stored
        Its values.

    Raises
    ------
    InputError
        If they do not.

    """
    for axis in range(3):
        slices = _band(stored, axis).astype(np.float32, copy=False)
        pairs = (np.stack([x[1:].ravel(), x[:-1].ravel()], axis=1) for x in slices)
        ranges = [high - low for low, high in filter(None, map(turn, pairs))]
        if len(ranges) < FEWEST_RANGES:
            continue
        narrow, wide = np.percentile(ranges, [10, 90])
        if narrow < ALIKE * wide:
            raise InputError(
                f'{image.path}: the phase of the slices along array axis {axis + 1} wraps within '
                f'ranges from {narrow:.5g} to {wide:.5g}: each was stored in a scale of its own, '
                'which the header cannot hold. Convert it with the scale of each slice (dcm2niix '
                'does), or export it in one scale.'
            )


def check_interleaves(magnitude: np.ndarray) -> list[str]:
    """
    Warn where odd and even slices lie apart, as where the head moved between their excitations.

    Each slice is compared with the mean of its neighbours. What moved every second one within its
    plane makes a difference along the gradient of the image that changes sign from slice to slice;
    the anatomy does not. Other brightness of every second slice is fitted along, and left alone.

    Parameters
    ----------
    magnitude
        Of the first echo, (X, Y, Z).

    Returns
    -------
    list of str
        A warning, a :class:`~qsmprep.bids.notes.Doubt` where they are far apart, or nothing.

    """
    found = [_shift_of_odd(_band(magnitude, axis)) for axis in range(3)]
    axis, voxels = int(np.argmax(found)), max(found)
    if voxels < APART:
        return []
    text = (
        f'Odd and even slices along array axis {axis + 1} lie {voxels:.2f} voxels apart, at most '
        f'{APART:g} were expected: in 2-D scans the head moved between their excitations, or '
        'slices are not in their order. What lies between slices is not in the field.'
    )
    return [Doubt(text) if voxels > TORN else text]


def _band(volume: np.ndarray, axis: int) -> np.ndarray:
    """Slices along an axis, of each the rows in its middle: enough of a head to tell."""
    slices = np.moveaxis(volume, axis, 0)
    first = max(0, slices.shape[1] - ROWS) // 2
    return slices[:, first : first + ROWS]


def _shift_of_odd(image: np.ndarray) -> float:
    """Distance of odd and even slices along the first axis [voxels], zero if unknown."""
    if min(image.shape) < 3:
        return 0.0
    image = image.astype(np.float32, copy=False)
    strong = image > STRONG * np.percentile(image, 99)
    inside = strong[1:-1] & strong[:-2] & strong[2:]
    if np.count_nonzero(inside) < FEWEST:
        return 0.0
    here, around = image[1:-1], (image[:-2] + image[2:]) / 2
    sign = (-1.0) ** np.arange(len(here))[:, None, None]
    slopes = np.gradient((here + around) / 2, axis=(1, 2))
    design = np.stack([(sign * x)[inside] for x in (*slopes, around)])
    fit = np.linalg.lstsq(design @ design.T, design @ (here - around)[inside])[0]
    return float(np.hypot(*fit[:2]))


def check_gaps(signal: np.ndarray) -> list[str]:
    """
    Warn of slices that are missing between two others.

    The field of a head is smooth: the phase changes between two slices as it does on the average
    between the pairs on both sides, up to a constant. Where one is missing, twice as much.

    Parameters
    ----------
    signal
        Complex values of the first echo, (X, Y, Z).

    Returns
    -------
    list of str
        A warning, a :class:`~qsmprep.bids.notes.Doubt` where more than one is missing, or nothing.

    """
    for axis in range(3):
        growth = _growth_between(_band(signal, axis))
        known = growth[np.isfinite(growth)]
        if len(known) < FEWEST_RANGES:
            continue
        usual, unrest = np.median(known), np.median(np.abs(np.diff(known)))
        between = growth[1:-1]
        alone = between > growth[:-2] + growth[2:]  # beside a gap, the gap counts for them
        least = max(GAP, GAP * usual, usual + APART_FROM_OTHERS * unrest)
        gaps = np.flatnonzero(alone & (between > least))
        if usual > CLEAR and len(gaps):
            number, times = int(gaps[0]) + 3, between[gaps].max() / usual
            text = (
                f'Between the slices {number} and {number + 1} along array axis {axis + 1} the '
                f'phase changes {times:.1f} times as much as between those beside them: a slice is '
                'missing there, or more, and the field is wrong around. Convert the images again.'
            )
            return [Doubt(text) if times > MORE_THAN_ONE else text]
    return []


def _growth_between(signal: np.ndarray) -> np.ndarray:
    """Slope of the phase between two slices on that between their neighbours, NaN if unknown."""
    strength = np.abs(signal)
    strong = strength > STRONG * np.percentile(strength, 99)
    found = np.full(max(len(signal) - 3, 0), np.nan)
    shared = [strong[k : k + 4].all(axis=0) for k in range(len(found))]
    counts = [np.count_nonzero(inside) for inside in shared]
    least = max(FEWEST // 4, int(EDGE * max(counts, default=0)))
    for k, inside in enumerate(shared):
        if counts[k] < least:
            continue
        near = signal[k : k + 4, inside]
        steps = near[1:] * near[:-1].conj()
        before, here, after = np.angle(steps * steps.sum(axis=1, keepdims=True).conj())
        around = (before + after) / 2
        steady = (np.abs(before - after) < 1) & (np.abs(here) < np.pi / 2)
        around, here = around[steady], here[steady]
        found[k] = np.cov(around, here)[0, 1] / max(np.var(around), 1e-12)
    return found

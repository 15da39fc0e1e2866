"""Whether the phases of two echoes lie alike: one field bends both, at the same places."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import fft

from qsmprep.bids.notes import Doubt
from qsmprep.bids.plausibility import FEWEST, STRONG

ROWS = 64
"""Rows of each slice that are looked at."""
SURE, SURE_OF_SLICES = 8.0, 12.0
"""Spreads of the agreement over all displacements by which another place must fit better, and by
which a slice must fail to fit: of these there are hundreds. Clean scans have 4.3 and 7.8 at most,
at an SNR of 6; at 10 a shift by a voxel has 9.5."""
STEADY = 0.5
"""Cosine of a second difference below which it may have wrapped, or is noise."""
LOST = 0.5
"""Part of the agreement of the slices on both sides below which a slice does not belong to them."""


@dataclass(frozen=True)
class Agreement:
    """
    How the bends of two phases agree within slices, by the displacement of the second.

    Parameters
    ----------
    maps
        Sum of their products for each displacement within the slice, (slices, rows, columns).
    largest
        What it would be for phases that bend alike, of each slice.
    flipped
        Sum over all slices where the second is flipped along its rows, and along its columns.

    """

    maps: np.ndarray
    largest: np.ndarray
    flipped: tuple[np.ndarray, np.ndarray]


def check_alignment(echoes: Iterable[tuple[str, np.ndarray]]) -> list[str]:
    """
    Warn of phases of two echoes that do not lie alike, in all slices or in some.

    The phase of both grows with one field, so that it bends at the same voxels, up or down alike.
    Second differences within a slice know nothing of offsets, ramps and steps from slice to slice,
    and little of coils and background. Their products, summed for each displacement of one against
    the other, are largest without any.

    Parameters
    ----------
    echoes
        File of the phase and complex values, (X, Y, Z), of each echo.

    Returns
    -------
    list of str
        A :class:`~qsmprep.bids.notes.Doubt`, or nothing.

    """
    for (name, first), (other, second) in itertools.pairwise(echoes):
        found = [agreement(first, second, axis) for axis in range(3)]
        for test, least in ((_moved, SURE), (_flipped, SURE), (_foreign, SURE_OF_SLICES)):
            sure, sentence = max(test(one, axis) for axis, one in enumerate(found))
            if sure > least:
                return [
                    Doubt(
                        f'The phases of {name} and {other} do not lie alike: {sentence}. One field '
                        'makes both: slices were exchanged, lost, moved or turned when the images '
                        'were written, or the head moved; convert them again.'
                    )
                ]
    return []


def agreement(first: np.ndarray, second: np.ndarray, axis: int) -> Agreement:
    """
    Agreement of two phases within the slices along an axis.

    Parameters
    ----------
    first, second
        Complex values of two echoes, (X, Y, Z).
    axis
        Across the slices.

    """
    ones, others = (_bends(np.moveaxis(signal, axis, 0)) for signal in (first, second))
    shape = ones[0].shape[1:]
    spectra = [[fft.rfft2(x) for x in both] for both in (ones, others)]
    products = sum(x.conj() * y for x, y in zip(*spectra, strict=True))
    flipped = [
        sum(
            (x.conj() * fft.rfft2(np.flip(y, along))).sum(axis=0)
            for x, y in zip(spectra[0], others, strict=True)
        )
        for along in (1, 2)
    ]
    maps = [fft.irfft2(x, shape) for x in (products, *flipped)]
    power = [sum(np.square(x).sum(axis=(1, 2)) for x in both) for both in (ones, others)]
    return Agreement(maps[0], np.sqrt(power[0] * power[1]), (maps[1], maps[2]))


def _bends(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sines of the second differences of the phase along rows and columns, where there is signal.

    Of the rows those in the middle are taken.
    """
    rows = min(ROWS + signal.shape[1] % 2, signal.shape[1])
    begin = (signal.shape[1] - rows) // 2
    signal = signal[:, begin : begin + rows].astype(np.complex64, copy=False)
    strength = np.abs(signal)
    strong = strength > STRONG * np.percentile(strength, 99)
    unit = signal / np.maximum(strength, 1e-30)
    found = []
    for axis in (1, 2):
        here, before, after = ([slice(None)] * 3 for _ in range(3))
        here[axis], before[axis], after[axis] = slice(1, -1), slice(-2), slice(2, None)
        bend = np.zeros(signal.shape, np.float32)
        turn = unit[*before] * unit[*after] * unit[*here].conj() ** 2
        steady = strong[*before] & strong[*here] & strong[*after] & (turn.real > STEADY)
        bend[*here] = np.where(steady, turn.imag, 0)
        few = np.count_nonzero(bend, axis=(1, 2)) < FEWEST // 4
        bend[few] = 0
        found.append(bend)
    return found[0], found[1]


def _moved(found: Agreement, axis: int) -> tuple[float, str]:
    """How surely one phase lies elsewhere within all slices or every second one, and where."""
    odd = np.arange(len(found.maps)) % 2 == 0
    results = []
    for words, chosen in (('the', odd | ~odd), ('the odd', odd), ('the even', ~odd)):
        agreed = found.maps[chosen].sum(axis=0)
        places = np.unravel_index(agreed.argmax(), agreed.shape)
        moves = [
            f'{(place + size // 2) % size - size // 2} along array axis {name}'
            for name, place, size in zip(_within(axis), places, agreed.shape, strict=True)
        ]
        sentence = (
            f'{words} slices along array axis {axis + 1} fit better if one is moved, in voxels: '
            f'{", ".join(moves)}'
        )
        results.append((_gain(agreed, agreed[0, 0]), sentence))
    return results[0] if results[0][0] > SURE else max(results)


def _flipped(found: Agreement, axis: int) -> tuple[float, str]:
    """How surely one phase is flipped within the slices, and along which axis."""
    here = found.maps[:, 0, 0].sum()
    return max(
        (_gain(flipped, here), f'they fit better if one is flipped along array axis {name}')
        for name, flipped in zip(_within(axis), found.flipped, strict=True)
    )


def _foreign(found: Agreement, axis: int) -> tuple[float, str]:
    """How surely slices fit the other phase far less than those beside them, or are opposite."""
    largest = np.maximum(found.largest, 1e-30)
    share, error = found.maps[:, 0, 0] / largest, _spread(found.maps) / largest
    around, lacking = np.zeros((2, len(share)))
    around[1:-1] = (share[:-2] + share[2:]) / 2
    apart = np.sqrt(error[1:-1] ** 2 + (error[:-2] ** 2 + error[2:] ** 2) / 4)
    known = np.minimum(np.minimum(error[:-2], error[1:-1]), error[2:]) > 0
    lacking[1:-1][known] = ((around - share)[1:-1] / np.maximum(apart, 1e-30))[known]
    lacking[share >= LOST * around] = 0
    sure = np.maximum(lacking, -share / np.maximum(error, 1e-30))
    worst, count = int(sure.argmax()), np.count_nonzero(sure > SURE_OF_SLICES)
    sentence = f'of slices along array axis {axis + 1} {count} do not fit, as slice {worst + 1}'
    return float(sure[worst]), sentence


def _within(axis: int) -> list[int]:
    """Numbers of the array axes within the slices."""
    return [other + 1 for other in range(3) if other != axis]


def _gain(agreed: np.ndarray, here: float) -> float:
    """Largest agreement less that in place, in spreads over all displacements."""
    return float((agreed.max() - here) / max(_spread(agreed), 1e-30))


def _spread(agreed: np.ndarray) -> np.ndarray:
    """Root of the mean square over all displacements."""
    return np.sqrt(np.mean(np.square(agreed), axis=(-2, -1)))

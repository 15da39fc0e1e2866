"""Whether the phases of two echoes lie alike and grow as their times: one field bends both."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from qsmprep.bids.notes import Doubt
from qsmprep.bids.plausibility import FEWEST, STRONG

ROWS = 64
"""Rows of each slice that are looked at."""
SURE = 8.0
"""Spreads of the agreement over all displacements by which another place must fit better, or slices
must disagree. Scans as they are have 4.9 at most, at an SNR of 6, and 5.9 where ringing bends the
phase at edges; at an SNR of 10 a shift by a voxel has 9.5."""
STEADY = 0.5
"""Cosine of a second difference below which it may have wrapped, or is noise."""

OFF, FAR_OFF = 1.25, 1.4
"""Factor by which the growth of the bends may differ from that of the echo times, and from which on
the map is wrong. Phase offsets of coils, which do not grow, make it less: by 1.07 at most in
simulated heads and in a real one."""
KNOWN = 20.0
"""Correlation of the bends, in its standard errors, from which on their growth is known."""


@dataclass(frozen=True)
class Agreement:
    """
    How the bends of two phases agree within slices, by the displacement of the second.

    Parameters
    ----------
    maps
        Sum of their products for each displacement within the slice, (slices, rows, columns).
    flipped
        Sum over all slices where the second is flipped along its rows, and along its columns.

    """

    maps: np.ndarray
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
        for test in (_moved, _flipped, _opposite):
            sure, sentence = max(test(one, axis) for axis, one in enumerate(found))
            if sure > SURE:
                return [
                    Doubt(
                        f'The phases of {name} and {other} do not lie alike: {sentence}. One field '
                        'makes both: they were exchanged, moved or turned when the images were '
                        'written, or the head moved; convert them again.'
                    )
                ]
    return []


def check_growth(signals: Sequence[np.ndarray], echo_times_s: Sequence[float]) -> list[str]:
    """
    Warn where the phase of the second of two echoes has grown by another factor than its time.

    The field makes the second differences of both phases, and those of the second are larger by the
    ratio of the echo times. Noise makes their regression on each other too small, either way: the
    ratio lies between the two slopes.

    Parameters
    ----------
    signals
        Complex values of both echoes, (X, Y, Z).
    echo_times_s
        Their echo times [s].

    Returns
    -------
    list of str
        A warning, a :class:`~qsmprep.bids.notes.Doubt` where they are far apart, or nothing.

    """
    stated = echo_times_s[1] / echo_times_s[0]
    found = [_slopes(*(np.moveaxis(_halved(x), axis, 1) for x in signals)) for axis in range(3)]
    # steps from slice to slice bend both phases alike, along one axis
    off, least, most = min((max(low / stated, stated / high), low, high) for low, high in found)
    if off < OFF:
        return []
    text = (
        f'From the first echo to the second the phase has grown {least:.2f} to {most:.2f} times, '
        f'and the echo times {stated:.2f} times: an EchoTime, or the scale of a phase, is wrong, '
        'and susceptibility with it.'
    )
    return [Doubt(text) if off > FAR_OFF else text]


def _slopes(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Least and largest growth of the bends along rows, from zero to infinity if it is unknown."""
    bends = [_bends(signal)[0] for signal in (first, second)]
    both = (bends[0] != 0) & (bends[1] != 0)
    one, other = (np.arcsin(bend[both]).astype(np.float64) for bend in bends)
    product, powers = one @ other, (one @ one, other @ other)
    if not product * np.sqrt(one.size) > KNOWN * np.sqrt(powers[0] * powers[1]):
        return 0.0, np.inf
    return product / powers[0], powers[1] / product


def _halved(signal: np.ndarray) -> np.ndarray:
    """Means of two by two by two voxels."""
    even = tuple(slice(n // 2 * 2) for n in signal.shape)
    shape = [size for n in signal.shape for size in (n // 2, 2)]
    return signal[even].reshape(shape).mean(axis=(1, 3, 5), dtype=np.complex64)


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
    return Agreement(maps[0], (maps[1], maps[2]))


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


def _opposite(found: Agreement, axis: int) -> tuple[float, str]:
    """How surely slices bend the other way, and which."""
    sure = -found.maps[:, 0, 0] / np.maximum(_spread(found.maps), 1e-30)
    worst, count = int(sure.argmax()), np.count_nonzero(sure > SURE)
    sentence = (
        f'in {count} of {len(sure)} slices along array axis {axis + 1}, such as slice {worst + 1}, '
        'one has the sign of the other turned'
    )
    return float(sure[worst]), sentence


def _within(axis: int) -> list[int]:
    """Numbers of the array axes within the slices."""
    return [other + 1 for other in range(3) if other != axis]


def _gain(agreed: np.ndarray, here: float) -> float:
    """Largest agreement less that in place, in spreads over all displacements.

    Nothing is gained on phases that are opposite in place.
    """
    if -here > agreed.max():
        return 0.0
    return float((agreed.max() - here) / max(_spread(agreed), 1e-30))


def _spread(agreed: np.ndarray) -> np.ndarray:
    """Root of the mean square over all displacements."""
    return np.sqrt(np.mean(np.square(agreed), axis=(-2, -1)))

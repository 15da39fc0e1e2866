"""Whether the phase grows with the echo times that are given.

The phase offset is common to all echoes, so that their phase against the first one grows in
proportion to the time since: the echo times show but for their start and unit, whatever the field.
"""

from __future__ import annotations

import numpy as np

from qsmprep.qsm.grid import block_means
from qsmprep.qsm.phase import turn

BLOCKS = 400_000
"""Blocks of voxels that the volume is averaged to, of two voxels along each axis at least."""
SIGNAL = 0.3
"""Signal of a block, in units of that of bright ones, from which on it counts."""
STEEPEST_RAD = 1.5
"""Step of the phase from block to block up to which it has not wrapped in any echo."""
LEAST_STEPS = 100
ONE_FIELD = 0.9
"""Share of the steps' power that one field must explain."""
OFF = 0.25
"""Part of the mean distance of echoes by which one must be off to be named."""
FOLLOWS = 0.7
"""Least correlation of its phase with that of the others: noise has no echo time."""


def times_by_phase(
    phase: np.ndarray, magnitude: np.ndarray, echo_times_s: tuple[float, ...]
) -> tuple[int, float] | None:
    """
    Echo whose phase is that of another echo time, and that time [s].

    Parameters
    ----------
    phase, magnitude
        All echoes, phase wrapped [rad], ``(X, Y, Z, E)``.
    echo_times_s
        Echo times [s].

    Returns
    -------
    echo, time_s
        Counted from zero; None where all times fit, or there are fewer than three. Three cannot
        tell which one it is: the middle one stands for any. Where two of more are off, it is one
        of them or one that they make look so.

    """
    times = np.array(echo_times_s)
    if len(times) < 3:
        return None
    for reference in (0, 1):
        grown, follows = _growth(phase, magnitude, reference)
        if not grown.any():
            return None
        misfits, predicted = np.empty(len(times)), np.empty(len(times))
        for echo in range(len(times)):
            others = np.arange(len(times)) != echo
            slope, start = np.polyfit(grown[others], times[others], 1)
            misfits[echo] = np.std(times[others] - start - slope * grown[others])
            predicted[echo] = start + slope * grown[echo]
        echo = int(np.argmin(misfits)) if len(times) > 3 else 1
        error = abs(predicted[echo] - times[echo])
        spacing = np.ptp(times) / (len(times) - 1)
        if error < OFF * spacing or follows[echo] < FOLLOWS:
            return None
        if echo != reference:
            break
    return echo, float(predicted[echo])


def _growth(
    phase: np.ndarray, magnitude: np.ndarray, reference: int
) -> tuple[np.ndarray, np.ndarray]:
    """Phase of each echo beyond that of one, in units of one field (zeros where no field tells),
    and its correlation with that of all others."""
    step = max(2, int(np.ceil((phase[..., 0].size / BLOCKS) ** (1 / 3))))
    first = turn(-phase[..., reference])
    echoes = [echo for echo in range(phase.shape[3]) if echo != reference]
    between = []
    for echo in echoes:
        signal = magnitude[..., echo] * turn(phase[..., echo]) * first
        real, imaginary = (block_means(x, [step] * 3) for x in (signal.real, signal.imag))
        between.append(real + 1j * imaginary)
    signal = np.stack(between)
    least = np.abs(signal).min(axis=0)
    strong = least > SIGNAL * np.percentile(least, 98)
    covariance, same = np.zeros((2, len(signal), len(signal)))
    count = 0
    for axis in range(3):
        along, inside = np.moveaxis(signal, axis + 1, 1), np.moveaxis(strong, axis, 0)
        pairs = inside[1:] & inside[:-1]
        if not pairs.any():
            continue
        change = np.angle(along[:, 1:] * along[:, :-1].conj())
        # an echo may have a ramp of its own, from eddy currents
        change -= np.median(change[:, pairs], axis=1)[:, None, None, None]
        known = pairs & (np.abs(change).max(axis=0) < STEEPEST_RAD)
        # steps two apart share no block, and so no noise
        both = known[2:] & known[:-2]
        covariance += change[:, 2:][:, both] @ change[:, :-2][:, both].T
        same += change[:, known] @ change[:, known].T
        count += int(both.sum())
    grown, follows = np.zeros(len(echoes) + 1), np.ones(len(echoes) + 1)
    powers, shapes = np.linalg.eigh(covariance + covariance.T)
    if count < LEAST_STEPS or powers[-1] < ONE_FIELD * np.abs(powers).sum():
        return grown, follows
    grown[echoes] = shapes[:, -1] * np.sign(shapes[:, -1].sum())
    all_others = same.sum(axis=0) - np.diag(same)
    power = same.sum() - 2 * all_others - np.diag(same)
    follows[echoes] = np.abs(all_others) / np.sqrt(np.diag(same) * np.maximum(power, 1e-30))
    return grown, follows

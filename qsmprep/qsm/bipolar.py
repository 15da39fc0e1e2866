"""Bipolar readouts and echoes of the other sign: what echoes contradict each other by.

Phase is in radians and echo times are in seconds throughout; arrays are ``(X, Y, Z, E)``. What is
found here is found on a sample of voxels with signal, so that it costs little on any matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from qsmprep.qsm.phase import check_echo_times, wrap

SAMPLE = 60_000
"""Voxels that an estimate is made of."""
BLOCKS = 5
"""Parts of each axis: a ramp is trusted where it is the same in all parts of the object."""
LEAST_CONFIDENCE = 6.0
"""Slope of a ramp over its standard error, above which the readout is taken for bipolar."""
LEAST_RAMP_RAD = 0.1
"""Ramp across the object below which it does not matter."""
MOST = 0.75
"""Share of what the echoes contradict each other by that a model of the readout must explain."""
ABOVE_NOISE = 4.0
"""Contradiction of the echoes over its noise from which its cause is sought."""


WHOLE = 0.02
"""How far echo spacings may be from whole multiples of the shortest for echoes to be missing."""


@dataclass(frozen=True)
class BipolarRamp:
    """Phase that every second echo has beyond the others: linear in place.

    Parameters
    ----------
    axis
        Axis of the array along which it rises most: the readout.
    slopes_rad
        Slope along each axis [rad / voxel], zero where none was found.
    constant_rad
        Phase in the middle of the array [rad].
    span_rad
        Phase from one end of the object to the other along ``axis`` [rad].
    confidence
        Slope along ``axis`` over its standard error, from parts of the object.
    echoes
        Those that have it, from 0.

    """

    axis: int
    slopes_rad: tuple[float, ...]
    constant_rad: float
    span_rad: float
    confidence: float
    echoes: tuple[int, ...]

    def remove(self, phase: np.ndarray) -> np.ndarray:
        """Phase of all echoes as in a monopolar readout, ``(X, Y, Z, E)`` [rad], wrapped."""
        ramp = np.array(self.constant_rad, dtype=np.float32)
        for axis, slope in enumerate(self.slopes_rad):
            count = phase.shape[axis]
            line = (slope * (np.arange(count) - (count - 1) / 2)).astype(np.float32)
            ramp = ramp + np.expand_dims(line, [a for a in range(3) if a != axis])
        corrected = phase.copy(order='K')
        for echo in self.echoes:
            corrected[..., echo] = wrap(phase[..., echo] - ramp)
        return corrected


@dataclass(frozen=True)
class Alternation:
    """What every second echo has that the others do not, or one echo alone.

    Parameters
    ----------
    opposite
        Echoes whose phase has the other sign, from 0: one, or every second.
    flipped
        Axis along which every second echo is stored from the other side, as it was read out.
    turned
        Those echoes, from 0.
    ramp
        That of a bipolar readout.

    """

    opposite: tuple[int, ...] = ()
    flipped: int | None = None
    turned: tuple[int, ...] = ()
    ramp: BipolarRamp | None = None


def find_alternation(
    phase: np.ndarray, magnitude: np.ndarray, echo_times_s: tuple[float, ...]
) -> Alternation:
    """Find echoes of the other sign or from the other side, or the ramp of a bipolar readout.

    Signs and sides are looked for where the echoes contradict each other by more than their noise,
    and taken for the cause where undoing them makes most of that vanish. Without either a ramp is
    looked for. Offset and field explain a phase that is linear in the echo time. Of the alternation
    (0, 1, 0, 1, ..., echoes left out counted) what is left after both, weighted by the squared
    magnitude, is a contrast c with sum(c) = sum(c TE) = 0, whatever the echo times. Its slope is
    the median over pairs of neighbours along each axis of the contrast of their wrapped phase
    differences, which needs no unwrapping. A readout is bipolar where a ramp is seen along some
    axis that explains most of what the echoes contradict each other by, along all axes, in all
    parts of the object and in all echoes: an echo of another scale shows a mean ramp too, but
    contradicts the others as the field changes. Then slopes along all such axes are fitted.

    Parameters
    ----------
    phase, magnitude
        All echoes, phase wrapped [rad], ``(X, Y, Z, E)``.
    echo_times_s
        Echo times [s].

    Returns
    -------
    Alternation
        The one cause that was found; empty where there is none, or fewer than three echoes.

    References
    ----------
    Li J et al., MAGMA 28 (2015) 347, 10.1007/s10334-014-0470-3: linear along readout and slices.

    """
    times = check_echo_times(echo_times_s, phase)
    signal = _Sample.of(magnitude, every_second(times)) if len(times) > 2 else None
    if signal is None:
        return Alternation()
    contradiction, noise = _contradiction(phase, signal, times)
    most = (1 - MOST) * contradiction
    if contradiction >= ABOVE_NOISE * noise:
        opposite = _opposite_echoes(phase, signal, times, most)
        if opposite:
            return Alternation(opposite=opposite)
        flipped = _flipped_axis(phase, signal, times, most)
        if flipped is not None:
            return Alternation(flipped=flipped, turned=_indices(signal.turned))
    return Alternation(ramp=_bipolar_ramp(phase, magnitude, signal, times, most))


def every_second(times: np.ndarray) -> np.ndarray:
    """Which echoes are every second one: True, False in turn, those that were left out counted.

    Examples
    --------
    >>> every_second(np.array([4.0, 9.0, 19.0, 24.0])).tolist()
    [False, True, True, False]

    """
    steps = np.diff(times) / np.diff(times).min()
    gaps = np.rint(steps)
    if np.abs(steps - gaps).max() > WHOLE:
        gaps = np.ones(len(times) - 1)
    return np.concatenate([[0], np.cumsum(gaps)]) % 2 == 1


def _indices(which: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(which).tolist())


def _opposite_echoes(
    phase: np.ndarray, signal: _Sample, times: np.ndarray, most: float
) -> tuple[int, ...]:
    """Echoes whose change of sign leaves less than ``most``; empty for none."""
    every = range(len(times))
    left = {}
    alternate = _indices(signal.turned)
    for echoes in {*((e,) for e in every), tuple(every)[1::2], alternate}:
        signs = np.where(np.isin(every, echoes), -1, 1)
        left[echoes] = _contradiction(phase, signal, times, signs)[0]
    best = min(left, key=left.__getitem__)
    return best if left[best] < most else ()


def _flipped_axis(phase: np.ndarray, signal: _Sample, times: np.ndarray, most: float) -> int | None:
    """Axis along which turning every second echo leaves less than ``most``."""
    left = []
    for axis in range(3):
        both = signal.on_both_sides(axis)
        left.append(_contradiction(phase, both, times, mirror=axis)[0] if both else np.inf)
    return int(np.argmin(left)) if min(left) < most else None


def _bipolar_ramp(
    phase: np.ndarray, magnitude: np.ndarray, signal: _Sample, times: np.ndarray, most: float
) -> BipolarRamp | None:
    """Ramp of every second echo that leaves no more than ``most`` of the contradiction."""
    contrast = alternation_contrast(times, signal.power, signal.turned)
    found, extent = [], np.ptp(signal.index, axis=0) + 1
    for axis in range(3):
        slopes, _ = _by_parts(phase, signal, contrast[np.newaxis], axis)
        if len(slopes) > 3:
            mean = float(np.mean(slopes))
            error = max(np.std(slopes, ddof=1) / np.sqrt(len(slopes)), 1e-7)
            if abs(mean) > LEAST_CONFIDENCE * error and abs(mean) * extent[axis] > LEAST_RAMP_RAD:
                found.append((abs(mean) / error, axis, mean))
    if not found:
        return None
    start = np.zeros(3)
    for _, axis, slope in found:
        start[axis] = slope
    if _contradiction(phase, signal, times, ramp=start)[0] > most:
        return None
    slopes, constant = _refine(phase, magnitude, times, signal, contrast, start)
    confidence, axis, _ = max(found, key=lambda f: abs(f[2]) * extent[f[1]])
    return BipolarRamp(
        axis=axis,
        slopes_rad=tuple(slopes.tolist()),
        constant_rad=constant,
        span_rad=float(slopes[axis] * extent[axis]),
        confidence=float(confidence),
        echoes=_indices(signal.turned),
    )


def alternation_contrast(
    times: np.ndarray, weights: np.ndarray, turned: np.ndarray | None = None
) -> np.ndarray:
    """Contrast of the echoes that sees the phase of those turned, blind to offset and field.

    Examples
    --------
    >>> alternation_contrast(np.array([4.0, 9.0, 14.0]), np.ones(3)).round(3).tolist()
    [-0.5, 1.0, -0.5]

    """
    alternation = (every_second(times) if turned is None else turned).astype(np.float64)
    contrast = np.sqrt(weights) * (_left_over(times, weights) @ alternation)
    return contrast / (contrast @ alternation)


@dataclass(frozen=True)
class _Sample:
    """Voxels with signal in the last echo, mean squared magnitudes there, every second echo."""

    index: np.ndarray
    strong: np.ndarray
    power: np.ndarray
    turned: np.ndarray

    @classmethod
    def of(cls, magnitude: np.ndarray, turned: np.ndarray) -> _Sample | None:
        last = magnitude[..., -1]
        bright = np.percentile(last[::3, ::3, ::3], 98)
        strong = last > 0.3 * bright
        where = np.flatnonzero(strong)
        if bright <= 0 or where.size < 1000:
            return None
        # a step that has no factor in common with the matrix, or lines would be missed
        where = np.random.default_rng(0).choice(where, min(SAMPLE, where.size), replace=False)
        index = np.stack(np.unravel_index(np.sort(where), last.shape), axis=1)
        power = np.mean(magnitude[tuple(index.T)].astype(np.float64) ** 2, axis=0)
        return cls(index, strong, power, turned)

    def on_both_sides(self, axis: int) -> _Sample | None:
        """Those voxels that have signal at their mirror images too; None where they are few."""
        strong = self.strong & np.flip(self.strong, axis)
        index = self.index[strong[tuple(self.index.T)]]
        return replace(self, index=index, strong=strong) if len(index) >= 1000 else None


def _steps(
    phase: np.ndarray, places: tuple[np.ndarray, np.ndarray], mirror: int | None, turned: np.ndarray
) -> np.ndarray:
    """Phase steps of all echoes between voxels, of those turned at their mirror images."""
    index, neighbour = places
    steps = phase[tuple(neighbour.T)] - phase[tuple(index.T)]
    if mirror is not None:
        size = np.eye(3, dtype=int)[mirror] * (phase.shape[mirror] - 1)
        index, neighbour = (
            np.where(size, size - places, places).T for places in (index, neighbour)
        )
        for echo in np.flatnonzero(turned):
            volume = phase[..., echo]
            steps[:, echo] = volume[tuple(neighbour)] - volume[tuple(index)]
    return steps


def _left_over(times: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Matrix that takes offset and field, fitted with weights, off the phase of the echoes."""
    design = np.stack([np.ones_like(times), times - times.mean()], axis=1)
    weighted = weights[:, np.newaxis] * design
    fit = design @ np.linalg.solve(design.T @ weighted, weighted.T)
    return np.sqrt(weights)[:, np.newaxis] * (np.eye(len(times)) - fit)


def _by_parts(
    phase: np.ndarray,
    signal: _Sample,
    combinations: np.ndarray,
    axis: int,
    signs: np.ndarray | float = 1.0,
    mirror: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Combinations (N, E) of the echoes' phase steps along an axis in parts of the object.

    ``signs`` multiplies the phase of each echo, and every second one is mirrored along ``mirror``.

    Returns
    -------
    medians
        Over the voxels of a part [rad / voxel], (parts, N).
    error
        Their variance, by the spread in the part [rad^2].

    """
    index = signal.index[signal.index[:, axis] + 1 < phase.shape[axis]]
    neighbour = index + np.eye(3, dtype=int)[axis]
    both = signal.strong[tuple(neighbour.T)]
    index, neighbour = index[both], neighbour[both]
    steps = _steps(phase, (index, neighbour), mirror, signal.turned) * np.float32(signs)
    steps = wrap(steps - steps[:, :1]) @ combinations.T.astype(np.float32)
    low, high = index.min(axis=0), index.max(axis=0) + 1
    part = (index - low) * BLOCKS // (high - low)
    block = np.ravel_multi_index(tuple(part.T), (BLOCKS,) * 3)
    counts = np.bincount(block, minlength=BLOCKS**3)
    order = np.argsort(block, kind='stable')
    members = [m for m in np.split(steps[order], np.cumsum(counts)[:-1]) if len(m) >= 30]
    medians = np.array([np.median(m, axis=0) for m in members]).reshape(-1, len(combinations))
    spread = [
        np.median(np.abs(m - middle), axis=0) / 0.6745 / np.sqrt(len(m))
        for m, middle in zip(members, medians, strict=True)
    ]
    return medians, np.pi / 2 * np.array(spread).reshape(medians.shape) ** 2


def _contradiction(
    phase: np.ndarray,
    signal: _Sample,
    times: np.ndarray,
    signs: np.ndarray | float = 1.0,
    ramp: np.ndarray | None = None,
    mirror: int | None = None,
) -> tuple[float, float]:
    """How far the echoes are from one field and offset, above the noise, and the noise.

    Mean square over parts of the object of the phase steps that are left, summed over the axes,
    less a ramp of every second echo [rad / voxel] if one is given.
    """
    left_over = _left_over(times, signal.power)
    unit = left_over @ signal.turned
    power, noise = 0.0, 0.0
    for axis in range(3):
        rest, error = _by_parts(phase, signal, left_over, axis, signs, mirror)
        if ramp is not None:
            rest = rest - ramp[axis] * unit
        if len(rest):
            noise += float(error.sum(axis=1).mean())
            power += float((rest**2 - error).sum(axis=1).mean())
    return power, noise


def _refine(
    phase: np.ndarray,
    magnitude: np.ndarray,
    times: np.ndarray,
    signal: _Sample,
    contrast: np.ndarray,
    slopes: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Slopes and constant of the ramp, from the misfit of each voxel of the sample to one field.

    The constant is the one for which all echoes fit best; where several fit alike (evenly spaced
    echoes cannot tell pi in every second echo from a constant field), the smallest.
    """
    index = signal.index[:: max(1, len(signal.index) // 20_000)]
    place = (index - (np.array(phase.shape[:3]) - 1) / 2) * (slopes != 0)
    samples = phase[tuple(index.T)].astype(np.float64)
    weights = magnitude[tuple(index.T)].astype(np.float64) ** 2
    shortest, span = np.diff(times).min(), times[-1] - times[0]
    fields = np.arange(-0.5 / shortest, 0.5 / shortest, 1 / (8 * span))
    turned = np.exp(-2j * np.pi * np.outer(times, fields))
    signals = weights * np.exp(1j * samples)
    which = signal.turned
    one, other = signals[:, ~which] @ turned[~which], signals[:, which] @ turned[which]

    few = slice(None, None, max(1, len(index) // 1000))
    constants = np.arange(-32, 32) * np.pi / 32
    level = other[few] * np.exp(-1j * place[few] @ slopes)[:, np.newaxis]
    fit = [np.abs(one[few] + np.exp(-1j * c) * level).max(axis=1).sum() for c in constants]
    alike = constants[np.array(fit) > max(fit) - 0.02 * (max(fit) - min(fit))]
    constant = float(alike[np.argmin(np.abs(alike))])
    for _ in range(3):
        ramp = constant + place @ slopes
        together = np.abs(one + np.exp(-1j * ramp)[:, np.newaxis] * other)
        misfit = samples - 2 * np.pi * np.outer(fields[np.argmax(together, axis=1)], times)
        misfit[:, which] -= ramp[:, np.newaxis]
        rest = wrap(misfit - misfit[:, :1]).astype(np.float64) @ contrast
        away = np.abs(rest - np.median(rest))
        near = away <= 4 * np.median(away)
        design = np.column_stack([place, np.ones(len(place))])[near]
        *steps, shift = np.linalg.lstsq(design, rest[near])[0]
        slopes, constant = slopes + steps, constant + float(shift)
    return slopes, float(wrap(np.float64(constant)))

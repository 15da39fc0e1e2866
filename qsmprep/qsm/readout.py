"""What the readout did to the phase: bipolar gradients, and slices with an offset of their own.

Phase is in radians and echo times are in seconds throughout; arrays are ``(X, Y, Z, E)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from qsmprep.qsm.bipolar import Alternation, find_alternation
from qsmprep.qsm.growth import times_by_phase
from qsmprep.qsm.phase import correct_alternate_slices, slice_steps, turn, wrap

ALTERNATING = -0.5
"""Mean cosine of the phase step between slices below which they alternate by pi."""
LEAST_SLICES = 4
SLICE_STEP_RAD = 0.3
"""Root mean square of the change of the phase step from slice to slice that is named."""

FADED = 0.3
"""Size of the phase beside voxels without phase, over that elsewhere, below which it fades out."""


def alternating_axis(signal: np.ndarray, sure: bool = False) -> int | None:
    """Axis along which slices alternate by pi, as some GE scanners export them; None without one.

    Parameters
    ----------
    signal
        Complex signal of one echo, ``(X, Y, Z)``.
    sure
        That there is one is known: take the likeliest.

    """
    cosines = []
    for axis in range(3):
        step, weight = slice_steps(signal, axis)
        enough = len(step) >= LEAST_SLICES
        cosines.append(np.average(np.cos(step), weights=weight + 1e-30) if enough else 1.0)
    axis = int(np.argmin(cosines))
    return axis if sure or cosines[axis] < ALTERNATING else None


def stepping_axis(signal: np.ndarray) -> tuple[int, float] | None:
    """Axis along which the phase steps from slice to slice, and by how much.

    Parameters
    ----------
    signal
        Complex signal, ``(X, Y, Z)``.

    Returns
    -------
    axis, step_rad
        The axis, and the root mean square of the change of the step from one slice to the next;
        None where that is small or no larger than along the other axes.

    """
    changes = []
    for axis in range(3):
        step, weight = slice_steps(signal, axis)
        both = np.minimum(weight[1:], weight[:-1])
        kept = both > 0.05 * weight.max(initial=0)
        change = wrap(np.diff(step))[kept]
        changes.append(float(np.sqrt(np.mean(change**2))) if kept.any() else 0.0)
    axis = int(np.argmax(changes))
    others = max(c for a, c in enumerate(changes) if a != axis)
    if changes[axis] < max(SLICE_STEP_RAD, 3 * others):
        return None
    return axis, changes[axis]


@dataclass(frozen=True)
class Readout:
    """What the phase tells of the readout.

    Parameters
    ----------
    echoes
        Their number.
    alternating
        Axis along which slices alternated by pi (corrected), or None.
    stepping
        Axis along which the phase steps from slice to slice, and its step [rad], or None.
    shared
        Whether all echoes share these steps: then they are in the phase offset, not in the field.
    alternation
        Echoes of the other sign or side (left as they are), or the ramp of a bipolar readout
        (corrected).
    other_time
        Echo whose phase is that of another echo time, and that time [s], or None.

    """

    echoes: int
    alternating: int | None = None
    stepping: tuple[int, float] | None = None
    shared: bool = True
    alternation: Alternation = Alternation()
    other_time: tuple[int, float] | None = None

    @property
    def warnings(self) -> list[str]:
        """Sentences on what was found and should be looked at."""
        found = []
        if self.alternating is not None:
            found.append(
                f'The phase alternated by pi between slices along axis {self.alternating + 1}, as '
                'in some GE exports; it was corrected.'
            )
        if self.stepping is not None:
            axis, step = self.stepping
            consequence = 'all echoes share it, so that it went with the phase offset.'
            if self.echoes == 1:
                consequence = 'one echo cannot tell it from the field, in which it stays.'
            elif not self.shared:
                consequence = 'the echoes do not share it, and it stays in the field.'
            found.append(
                f'The phase steps by {step:.2g} rad from slice to slice along axis {axis + 1}: '
                f'{consequence}'
            )
        found += self.doubts
        ramp = self.alternation.ramp
        if ramp is not None:
            found.append(
                f'The readout is bipolar: echoes {_numbers(ramp.echoes)} had a phase ramp of '
                f' {ramp.span_rad:.2f} rad across the object along axis {ramp.axis + 1}; '
                'it was corrected.'
            )
        return found

    @property
    def doubts(self) -> list[str]:
        """Those of the warnings after which the field cannot be right."""
        found = []
        opposite = self.alternation.opposite
        if opposite:
            many = len(opposite) > 1
            found.append(
                f'The phase of echo{"es" if many else ""} {_numbers(opposite)} has the sign '
                'opposite to that of the others and was left as it is: the field is wrong. Change '
                f'the sign of {"these files" if many else "this file"}, or leave the '
                f'echo{"es" if many else ""} out.'
            )
        flipped = self.alternation.flipped
        if flipped is not None:
            found.append(
                'Every second echo is stored from the other side of array axis '
                f'{flipped + 1}, as a bipolar readout takes it, and was left so: the field is '
                f'wrong. Flip magnitude and phase of echoes {_numbers(self.alternation.turned)} '
                'along that axis, keep their headers, and run again.'
            )
        if self.other_time is not None:
            echo, time_s = self.other_time
            others = ', or one of the others is not' if self.echoes == 3 else ''
            found.append(
                f'The phase of echo {echo + 1} has grown as until {1000 * time_s:.1f} ms, which is '
                f'not its echo time{others}: the field is wrong. Mend EchoTime, or leave the echo '
                'out.'
            )
        return found

    @property
    def notes(self) -> list[str]:
        """Sentences on what cannot be known, and asks for nothing."""
        if self.echoes != 2:
            return []
        return [
            'There are two echoes: a phase ramp of a bipolar readout could not be distinguished '
            'from a linear field, and was not corrected.'
        ]


def correct_readout(
    phase: np.ndarray,
    magnitude: np.ndarray,
    echo_times_s: tuple[float, ...],
    alternate_slices: bool = False,
) -> tuple[np.ndarray, Readout]:
    """Find what the readout did to the phase, and undo what can be undone.

    Parameters
    ----------
    phase, magnitude
        All echoes, phase wrapped [rad], ``(X, Y, Z, E)``.
    echo_times_s
        Echo times [s].
    alternate_slices
        That slices alternate by pi is known; else it is found where the phase shows it.

    Returns
    -------
    phase
        Wrapped phase [rad]: slices that alternate by pi and the ramp of a bipolar readout undone.
    readout
        What was found.

    """
    first = _signal(phase, magnitude, 0)
    alternating = alternating_axis(first, sure=alternate_slices)
    if alternating is not None:
        phase = correct_alternate_slices(phase, alternating)
        first = _signal(phase, magnitude, 0)
    stepping, shared = stepping_axis(first), True
    if phase.shape[3] > 1:
        between = _signal(phase, magnitude, 1) * first.conj()
        apart = stepping_axis(between)
        shared = apart is None
        stepping = apart or stepping
    found = find_alternation(phase, magnitude, echo_times_s)
    if found.ramp is not None:
        phase = found.ramp.remove(phase)
    clear = not (found.opposite or found.flipped is not None)
    other_time = times_by_phase(phase, magnitude, echo_times_s) if clear else None
    return phase, Readout(phase.shape[3], alternating, stepping, shared, found, other_time)


def fades_out(phase: np.ndarray, masked: np.ndarray) -> bool:
    """Whether the phase of the last echo goes to zero next to where it was masked.

    A product with a soft mask does so; of what is left nothing is known. Phase that is cut off has
    any angle there.

    Parameters
    ----------
    phase
        All echoes, wrapped [rad], ``(X, Y, Z, E)``.
    masked
        Voxels without phase, ``(X, Y, Z)``.

    Examples
    --------
    >>> phase = np.full((1, 1, 9, 1), 2.0)
    >>> phase[0, 0, :3, 0] = 0, 0.1, 1
    >>> fades_out(phase, phase[..., 0] == 0)
    True
    >>> phase[0, 0, 1, 0] = -2
    >>> fades_out(phase, phase[..., 0] == 0)
    False

    """
    size, known = np.abs(phase[..., -1]), ~masked
    beside = ndimage.binary_dilation(masked) & known
    return bool(beside.any() and size[beside].mean() < FADED * size[known].mean())


def _numbers(echoes: tuple[int, ...]) -> str:
    """Numbers of echoes, from 1.

    Examples
    --------
    >>> _numbers((1, 2, 4))
    '2, 3 and 5'

    """
    *others, last = (str(echo + 1) for echo in echoes)
    return f'{", ".join(others)} and {last}' if others else last


def _signal(phase: np.ndarray, magnitude: np.ndarray, echo: int) -> np.ndarray:
    return magnitude[..., echo] * turn(phase[..., echo])

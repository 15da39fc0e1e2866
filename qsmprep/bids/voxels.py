"""What the voxels of the echoes show, each file read once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsmprep.bids.alignment import check_alignment, check_growth
from qsmprep.bids.headers import ImageSummary, read_image
from qsmprep.bids.notes import Doubt
from qsmprep.bids.phase_scale import PhaseScale
from qsmprep.bids.plausibility import check_copies, check_place
from qsmprep.bids.slices import check_gaps, check_interleaves, check_scales, check_slices


def check_voxels(
    first: Sequence[ImageSummary],
    second: Sequence[ImageSummary],
    scale: PhaseScale | None,
    echo_times_s: Sequence[float],
) -> list[str]:
    """
    Check the voxels of all echoes, one after another: two echoes are in memory at most.

    Parameters
    ----------
    first, second
        Both parts of each echo, (X, Y, Z).
    scale
        How the second becomes phase; None where they are real and imaginary part.
    echo_times_s
        Echo times [s].

    Returns
    -------
    list of str
        Warnings; of what may be wrong with any echo, that of the first for which it is.

    Raises
    ------
    InputError
        If slices are copies, or were stored in scales of their own.

    """
    slices: list[str] = []
    of_first: list[str] = []
    alignment: list[str] = []
    places: list[str] = []
    before: tuple[str, np.ndarray] | None = None
    for one, other in zip(first, second, strict=True):
        values, stored = (np.asarray(read_image(part.path).dataobj) for part in (one, other))
        volume = signal_of(values, stored, scale)
        slices = slices or check_slices(other, stored)
        if before is None:
            of_first += check_copies(values, stored)
            of_first += [*check_interleaves(np.abs(volume)), *check_gaps(volume)]
            if scale is not None:
                check_scales(other, stored)
        if scale is not None:
            names = one.path.name, other.path.name
            moved = check_place(values, stored, scale.high - scale.low, names)
            # by a voxel against the first echo: the alignment tells that better
            places = places or [x for x in moved if before is None or isinstance(x, Doubt)]
        here = other.path.name, volume.astype(np.complex64, copy=False)
        if before is not None:
            alignment = alignment or check_alignment([before, here])
            if len(first) == 2:  # of more the field map tells
                alignment += check_growth([before[1], here[1]], echo_times_s)
        before = here
    return [*slices, *of_first, *alignment, *places]


def signal_of(first: np.ndarray, second: np.ndarray, scale: PhaseScale | None) -> np.ndarray:
    """Signal of both parts of an echo; without a scale they are real and imaginary."""
    if scale is None:
        return first + np.complex64(1j) * second
    turn = (second - scale.low) / (scale.high - scale.low)
    angle = (2 * np.pi * (turn - 0.5)).astype(np.float32)
    return first * np.cos(angle) + np.complex64(1j) * (first * np.sin(angle))

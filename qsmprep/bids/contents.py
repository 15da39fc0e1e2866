"""Whether an image holds what its name says: magnitude or phase, and an echo of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsmprep.bids.errors import InputError
from qsmprep.bids.headers import ImageSummary
from qsmprep.bids.sidecars import EchoPair, image_type

PART_WORDS = {
    'mag': {'M', 'MAGNITUDE', 'M_FFE', 'M_IR', 'M_SE'},
    'phase': {'P', 'PHASE', 'PHASE MAP', 'P_FFE'},
    'real': {'R', 'REAL', 'R_FFE'},
    'imag': {'I', 'IMAGINARY', 'I_FFE'},
}
"""Words of DICOM's image type that stand for each part."""
NAMES = {'mag': 'magnitude', 'phase': 'phase', 'real': 'real part', 'imag': 'imaginary part'}
MIN_PAIRS = 500
"""Sampled voxels below which nothing is concluded."""
BACKGROUND = 0.05
"""Part of the voxels from which on one single value is background, and set aside."""
EDGE = 0.02
EDGE_SHARE = 0.004
JUMP = 0.75
JUMP_SHARE = 0.0005
FILLED_SHARE = 0.005
"""Wrapped phase: within 2 % of either end of its range lie 0.4 % of its values at least (2 % if it
were uniform), 0.05 % of neighbours differ by more than three quarters of the range, and each tenth
of the range holds 0.5 %. A magnitude thins out towards its maximum."""
LEAST_CONSTANT = 0.25
LEAST_RISE = 1.1
LEAST_COPY = 0.9999
LEAST_LIKENESS = 0.8
COPY_ROUNDING = 1e-3
"""Part of the range by which a copy that was stored in another way may differ."""
LEAVE_OUT = (
    'convert it again, or leave this echo out: --bids-filter-file with {{"megre": {{"echo": {}}}}}'
)


def turn(sample: np.ndarray) -> tuple[float, float] | None:
    """
    Range of a wrapped phase: the values between which it jumps, by a full turn.

    Parameters
    ----------
    sample
        Values of neighbours, (n, 2), as in :class:`~qsmprep.bids.headers.ImageSummary`.

    Returns
    -------
    tuple of float or None
        Low and high end; None where the values are not those of a phase that wraps.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> low, high = turn(rng.uniform(-np.pi, np.pi, (9999, 2)))
    >>> round(float(low), 2), round(float(high), 2)
    (-3.14, 3.14)
    >>> turn(rng.exponential(1.0, (9999, 2)))

    """
    pairs = sample[~_is_background(sample).any(axis=1)]
    if len(pairs) < MIN_PAIRS or np.ptp(pairs) == 0:
        return None
    low, high = float(pairs.min()), float(pairs.max())
    span = high - low
    histogram = np.histogram(pairs, bins=10, range=(low, high))[0] / pairs.size
    ends = np.mean(pairs < low + EDGE * span), np.mean(pairs > high - EDGE * span)
    jumps = np.mean(np.abs(pairs[:, 1] - pairs[:, 0]) > JUMP * span)
    wrapped = min(ends) >= EDGE_SHARE and jumps >= JUMP_SHARE and histogram.min() >= FILLED_SHARE
    return (low, high) if wrapped else None


def check_parts(pairs: Sequence[EchoPair], images: Sequence[Sequence[ImageSummary]]) -> list[str]:
    """
    Check that both parts of each echo are what their names say, as far as can be known.

    Parameters
    ----------
    pairs
        Both files of each echo.
    images
        What was read of them.

    Returns
    -------
    list of str
        Warnings.

    Raises
    ------
    InputError
        If the parts look swapped, or one is a copy of the other.

    """
    warnings = []
    for pair, summaries in zip(pairs, images, strict=True):
        parts = [file.entities.get('part', 'mag') for file in pair.files]
        named = [_parts_named(sidecar) for sidecar in pair.sidecars]
        contrary = [
            bool(words) and part not in words for part, words in zip(parts, named, strict=True)
        ]
        if all(contrary) and parts[1] in named[0] and parts[0] in named[1]:
            raise InputError(
                f'{pair.second.path} and {pair.first.name} look swapped: by the ImageType of their '
                f'sidecars the former is the {NAMES[parts[0]]}, the latter the {NAMES[parts[1]]}; '
                'exchange their names (images and sidecars), or correct ImageType.'
            )
        first, second = (summary.sample for summary in summaries)
        if _alike(first, second):
            raise InputError(
                f'{pair.second.path} holds the same values as {pair.first.name}, but '
                f'part-{parts[0]} and part-{parts[1]} of an echo differ; convert them again.'
            )
        if parts[1] == 'phase' and turn(first) and not turn(second):
            raise InputError(
                f'{pair.first.path} holds what looks like a phase (its values jump from one end of '
                f'their range to the other), and {pair.second.name} does not: they look swapped; '
                'exchange their names, or convert them again.'
            )
        if parts[1] == 'phase' and not turn(second) and _follows(second, first):
            raise InputError(
                f'{pair.second.path} looks like a magnitude: it rises and falls with '
                f'{pair.first.name} and wraps nowhere; convert the phase again.'
            )
        for file, part, words, other in zip(pair.files, parts, named, contrary, strict=True):
            if other:
                said = ' or '.join(NAMES[word] for word in words)
                warnings.append(
                    f'{file.name}: ImageType names a {said}, the file a {NAMES[part]}; the '
                    'name is trusted.'
                )
        if parts[1] == 'phase' and turn(first) and turn(second):
            warnings.append(
                f'{pair.first.name} looks like a phase image (its values jump from one end of '
                'their range to the other); check that it is the magnitude.'
            )
    return warnings


def check_echoes(images: Sequence[ImageSummary]) -> None:
    """
    Check that each echo of one part holds values of its own.

    Parameters
    ----------
    images
        One part of all echoes.

    Raises
    ------
    InputError
        If an echo is constant, mostly constant where the others are not, or a copy of another.

    """
    constant = [_most_common_share(image.sample) for image in images]
    for number, image in enumerate(images):
        others = [x for x in images if x is not image]
        advice = LEAVE_OUT.format(_echo_numbers(others)) if others else 'convert it again'
        if image.minimum == image.maximum:
            raise InputError(
                f'{image.path} holds one value alone, {image.minimum:g}, in all voxels; {advice}.'
            )
        if constant[number] - min(constant) > LEAST_CONSTANT:
            raise InputError(
                f'{image.path} holds one single value in {100 * constant[number]:.0f} % of its '
                f'voxels, other echoes in {100 * min(constant):.0f} % at least: part of it is '
                f'missing; {advice}.'
            )
        for earlier in images[:number]:
            if _same_values(image.sample, earlier.sample):
                raise InputError(
                    f'{image.path} holds the same values as {earlier.path.name}, but every echo '
                    f'has its own; {advice}.'
                )


def check_signed(images: Sequence[ImageSummary]) -> None:
    """
    Check that a real or imaginary part has both signs.

    Parameters
    ----------
    images
        One part of all echoes.

    Raises
    ------
    InputError
        If no echo holds a negative value, or none a positive one.

    """
    low, high = min(image.minimum for image in images), max(image.maximum for image in images)
    if low >= 0 or high <= 0:
        raise InputError(
            f'{images[0].path} and the other echoes hold values from {low:.5g} to {high:.5g}; real '
            'and imaginary parts have both signs. If they were shifted when they were exported, '
            'shift them back; if they are magnitude and phase, name them part-mag and part-phase.'
        )


def check_decay(magnitude: Sequence[ImageSummary], echo_times_s: Sequence[float]) -> list[str]:
    """
    Warn where the magnitude rises from one echo to a later one, as it does not in tissue.

    Parameters
    ----------
    magnitude
        Magnitude of each echo, in the order of the echo times.
    echo_times_s
        Echo times [s].

    """
    first = np.ravel(magnitude[0].sample)
    if first.size < 2 * MIN_PAIRS:
        return []
    strong = first > 0.3 * np.percentile(first, 99)
    means = [float(np.mean(np.ravel(image.sample)[strong])) for image in magnitude]
    for index, (earlier, later) in enumerate(zip(means, means[1:], strict=False)):
        if later > LEAST_RISE * earlier > 0:
            return [
                f'The magnitude rises from {magnitude[index].path.name} '
                f'({1000 * echo_times_s[index]:g} ms) to {magnitude[index + 1].path.name} '
                f'({1000 * echo_times_s[index + 1]:g} ms) by a factor of {later / earlier:.2f}; '
                'check that echoes and echo times belong together.'
            ]
    return []


def _parts_named(sidecar: dict) -> set[str]:
    """Parts that the sidecar of an image names."""
    words = {*image_type(sidecar), str(sidecar.get('ComplexImageComponent') or '').upper()}
    return {part for part, known in PART_WORDS.items() if words & known}


def _alike(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether one sample is a copy of the other, scaled or not."""
    if first.shape != second.shape or len(first) < MIN_PAIRS:
        return False
    if first.std() == 0 or second.std() == 0:
        return False
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1]) > LEAST_COPY


def _follows(second: np.ndarray, first: np.ndarray) -> bool:
    """Whether one sample is nearly proportional to another where neither is constant background."""
    if first.shape != second.shape or len(first) < MIN_PAIRS:
        return False
    inside = ~(_is_background(first) | _is_background(second))
    ones, others = first[inside], second[inside]
    if ones.size < MIN_PAIRS or ones.std() == 0 or others.std() == 0:
        return False
    return float(np.corrcoef(ones, others)[0, 1]) > LEAST_LIKENESS


def _is_background(sample: np.ndarray) -> np.ndarray:
    """Where a sample holds a value that is too common to be measured."""
    values, counts = np.unique(sample, return_counts=True)
    return np.isin(sample, values[counts > BACKGROUND * sample.size])


def _same_values(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two samples hold the same values, or the same turns of a phase."""
    if first.shape != second.shape or not first.size:
        return False
    ends, others = turn(first), turn(second)
    if ends is not None and others is not None:
        first = (first - ends[0]) / (ends[1] - ends[0])
        second = (second - others[0]) / (others[1] - others[0])
    return bool(np.abs(first - second).max() <= COPY_ROUNDING * max(np.ptp(first), np.ptp(second)))


def _most_common_share(sample: np.ndarray) -> float:
    if len(sample) < MIN_PAIRS:
        return 0.0
    return float(np.unique(sample, return_counts=True)[1].max() / sample.size)


def _echo_numbers(images: Sequence[ImageSummary]) -> str:
    """Numbers of echoes as a JSON list, from their names."""
    numbers = [image.path.name.partition('_echo-')[2].partition('_')[0] for image in images]
    return f'[{", ".join(str(int(x)) if x.isdecimal() else "..." for x in numbers)}]'

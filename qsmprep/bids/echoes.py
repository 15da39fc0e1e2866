"""Pairing the files of an acquisition by echo and part, echo times, and the order of echoes."""

from __future__ import annotations

import itertools
import re

import numpy as np

from qsmprep.bids.errors import InputError
from qsmprep.bids.layout import ImageFile
from qsmprep.bids.names import PHASE
from qsmprep.bids.sidecars import EchoPair, read_number

PARTS = ('mag', 'phase', 'real', 'imag')
LONGEST_ECHO_TIME_S = 0.5


def pair_up(
    stem: str, files: list[ImageFile]
) -> tuple[list[tuple[ImageFile, ImageFile]], bool, list[str]]:
    """Pairs of files by echo, whether they are real and imaginary, and warnings."""
    by_part: dict[str | None, dict[tuple, ImageFile]] = {}
    for file in files:
        echoes = by_part.setdefault(file.entities.get('part'), {})
        echo = (file.entities.get('echo'), file.entities.get('coil'))
        if echo in echoes:
            raise InputError(
                f'{file.path} and {echoes[echo].name} are the same image of {stem} by their '
                'names; keep one, or distinguish them by an acq-, rec- or run- label.'
            )
        echoes[echo] = file
    warnings = []
    for part in sorted(set(by_part) - {None, *PARTS}, key=str):
        path = next(iter(by_part[part].values())).path
        unknown = f'{path} has the label part-{part}; BIDS has part-{", part-".join(PARTS)}'
        if not any(set(both) <= set(by_part) for both in (PARTS[:2], PARTS[2:])):
            raise InputError(f'{unknown}: rename images and sidecars.')
        warnings.append(f'{unknown}; images of part-{part} are left out.')
    if 'phase' in by_part and 'mag' not in by_part and None in by_part:
        by_part['mag'] = by_part[None]
        warnings.append(f'{stem}: images without a part- label are taken for the magnitude.')
    if 'phase' not in by_part and {'real', 'imag'} & set(by_part):
        return _pair_parts(stem, by_part, 'real', 'imag'), True, warnings
    magnitude, phase = by_part.get('mag', {}), by_part.get('phase', {})
    if not phase:
        raise InputError(
            f'{stem}: there is no phase (part-phase, or part-real and part-imag) beside '
            f'{files[0].path}; susceptibility cannot be mapped from magnitude alone: export the '
            f'phase.{_phase_by_name(files[0])}'
        )
    dropped = sorted(set(magnitude) - set(phase), key=str)
    if dropped and set(magnitude) & set(phase):
        names = [f'{echo} of coil-{coil}' if coil else str(echo) for echo, coil in dropped if echo]
        if names:
            warnings.append(f'{stem}: echo {", ".join(names)} has no phase and is left out.')
        warnings += [
            f'{magnitude[key].name} has no label echo- and no phase, and is left out.'
            for key in dropped
            if not key[0]
        ]
        by_part['mag'] = {echo: file for echo, file in magnitude.items() if echo in phase}
    return _pair_parts(stem, by_part, 'mag', 'phase'), False, warnings


def _phase_by_name(file: ImageFile) -> str:
    """Sentence on an image in the folder whose name says phase, if not as BIDS does."""
    for path in sorted(file.path.parent.glob('*.nii*')):
        if PHASE.search(path.name) and 'part-phase' not in path.name:
            return (
                f' {path.name} looks like one: name it part-phase, its magnitude part-mag, with '
                f'the same labels otherwise and the suffix {file.entities["suffix"]}.'
            )
    return ''


def _pair_parts(
    stem: str, by_part: dict, first: str, second: str
) -> list[tuple[ImageFile, ImageFile]]:
    ones, others = by_part.get(first, {}), by_part.get(second, {})
    for mine, theirs, missing in ((ones, others, second), (others, ones, first)):
        lonely = [file for echo, file in mine.items() if echo not in theirs]
        if lonely:
            raise InputError(
                f'{lonely[0].path} has no part-{missing} image beside it; {stem} needs '
                f'part-{first} and part-{second} of each echo, with the same labels otherwise: '
                'export both, or correct the name.'
            )
    return [(ones[echo], others[echo]) for echo in ones]


def order_echoes(stem: str, pairs: list[EchoPair]) -> tuple[list[EchoPair], list[float], int]:
    """Pairs coil by coil, each by its echo times; the echo times [s]; and the count of coils."""
    by_coil: dict[str, list[EchoPair]] = {}
    for pair in pairs:
        by_coil.setdefault(pair.second.entities.get('coil', ''), []).append(pair)
    ordered: list[EchoPair] = []
    first: list[float] = []
    for coil, members in sorted(by_coil.items(), key=lambda item: (len(item[0]), item[0])):
        times = [echo_time(pair, len(members)) for pair in members]
        order = np.argsort(times, kind='stable')
        times = [times[i] for i in order]
        first = first or times
        alike = len(times) == len(first) and np.allclose(times, first, atol=1e-6)
        if len(by_coil) > 1 and (len(times) < 2 or not alike):
            raise InputError(
                f'{members[0].second.path}: coil-{coil} of {stem} has the echo times {times} s and '
                f'the first coil {first} s; coils can be combined from two echoes on, and all need '
                'the same: complete them, or combine them before.'
            )
        ordered += [members[i] for i in order]
    return ordered, first, len(by_coil)


def echo_time(pair: EchoPair, n_echoes: int) -> float:
    """
    Echo time [s] on which both files of an echo agree.

    Siemens' converters write ``EchoTime1`` and ``EchoTime2`` beside the ``EchoTime`` of every
    phase image; they mean a phase difference only where there is no other echo.

    Raises
    ------
    InputError
        If it is missing, no number, or differs; or if the second file is a phase difference.

    """
    path = pair.second.path
    for sidecar, file in zip(pair.sidecars, pair.files, strict=True):
        if isinstance(times := sidecar.get('EchoTime'), list) and len(times) > 1:
            raise InputError(
                f'{file.path} has {len(times)} echo times in its sidecar; one number is expected, '
                'for BIDS keeps each echo in a 3-D file of its own (echo-1, echo-2, ...). If it '
                'holds all echoes, split it along the fourth axis, for instance with fslsplit; '
                'else keep its own echo time.'
            )
    first, second = (
        read_number(sidecar, 'EchoTime', file.path)
        for sidecar, file in zip(pair.sidecars, pair.files, strict=True)
    )
    difference = {'EchoTime1', 'EchoTime2'} <= set(pair.sidecars[1])
    if difference and (n_echoes == 1 or second is None):
        raise InputError(
            f'{path} is a phase difference (its sidecar has EchoTime1 and EchoTime2, and there is '
            'no other echo with an EchoTime of its own); the phase of each echo is needed. If it '
            'is the phase of one echo, remove EchoTime1 and EchoTime2 from its sidecar and keep '
            'EchoTime.'
        )
    found = [time for time in (first, second) if time is not None]
    if not found:
        raise InputError(
            f'{path}: EchoTime is missing from the sidecar; add the echo time in seconds.'
            f'{_echo_time_elsewhere(pair)}'
        )
    if abs(found[0] - found[-1]) > 1e-5:
        raise InputError(
            f'{path} has EchoTime {found[-1]:g} s but {pair.first.name} has {found[0]:g} s; '
            'both parts of an echo must agree: correct the sidecars.'
        )
    return found[-1]


def _echo_time_elsewhere(pair: EchoPair) -> str:
    """Sentence on a key or a file that may hold the missing echo time, if there is one."""
    for sidecar, file in zip(pair.sidecars, pair.files, strict=True):
        for key in sidecar:
            if re.sub('[^a-z]', '', key.lower()) in ('echotime', 'te', 'echotimems'):
                return f' It has {key}; BIDS spells the key EchoTime.'
        stem = file.path.name.partition('.')[0]
        for path in sorted(file.path.parent.glob(f'{stem}*')):
            if path.name.lower().endswith('.json') and path.name != f'{stem}.json':
                return f' {path.name} is read for no image; the sidecar of this one is {stem}.json.'
    return ''


def check_echo_times(times: list[float], pairs: list[EchoPair]) -> list[str]:
    """
    Check echo times [s] in rising order.

    Returns
    -------
    list of str
        Warnings: echo times that do not fit the numbers of the echoes or the repetition time.

    Raises
    ------
    InputError
        If one is not positive, looks like milliseconds or occurs twice.

    """
    path = pairs[-1].second.path
    listing = ', '.join(f'{time:g}' for time in times)
    if times[0] <= 0:
        raise InputError(
            f'{pairs[0].second.path} has EchoTime {times[0]:g}; echo times are positive seconds.'
        )
    if times[-1] > LONGEST_ECHO_TIME_S:
        raise InputError(
            f'{path} has EchoTime {times[-1]:g}, which looks like milliseconds; BIDS keeps echo '
            f'times in seconds (0.001 x {times[-1]:g}): correct the sidecar.'
        )
    for number, (earlier, later) in enumerate(itertools.pairwise(times)):
        if later - earlier < 1e-6:
            one, other = (pair.second.path for pair in pairs[number : number + 2])
            raise InputError(
                f'{one} and {other.name} have one EchoTime, and those of their acquisition '
                f'are {listing} s; they must all differ: correct EchoTime in the sidecar of each '
                'echo, or remove the echo that is there twice.'
            )
    warnings = []
    numbers = [pair.second.entities.get('echo', '') for pair in pairs]
    if all(number.isdecimal() for number in numbers) and numbers != sorted(numbers, key=int):
        warnings.append(
            f'{path.name}: in the order of their echo times ({listing} s) the echoes have the '
            f'numbers {", ".join(numbers)}; echo times are trusted: check that the sidecars '
            'belong to their images.'
        )
    repetition = pairs[-1].metadata.get('RepetitionTime')
    if isinstance(repetition, int | float) and 0 < repetition < times[-1]:
        warnings.append(
            f'{path.name} has EchoTime {times[-1]:g} s but RepetitionTime {repetition:g} s; an '
            'echo comes before the next excitation: check the units of both (seconds).'
        )
    return warnings

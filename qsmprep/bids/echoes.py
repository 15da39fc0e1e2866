"""Pairing the files of an acquisition by echo and part, and putting the echoes in order."""

from __future__ import annotations

import numpy as np

from qsmprep.bids.errors import InputError
from qsmprep.bids.layout import ImageFile
from qsmprep.bids.sidecars import EchoPair, echo_time

PARTS = ('mag', 'phase', 'real', 'imag')


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
            'phase.'
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
        if len(by_coil) > 1 and (len(times) < 2 or not np.allclose(times, first, atol=1e-6)):
            raise InputError(
                f'{members[0].second.path}: coil-{coil} of {stem} has the echo times {times} s and '
                f'the first coil {first} s; coils can be combined from two echoes on, and all need '
                'the same: complete them, or combine them before.'
            )
        ordered += [members[i] for i in order]
    return ordered, first, len(by_coil)

"""One scan under several names: echoes exported apart, and parts of a volume."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from qsmprep.bids.names import LONG_NAMES

SHORT = {name: short for short, name in LONG_NAMES.items()}


class Scan(Protocol):
    """What is looked at of an :class:`~qsmprep.bids.acquisitions.Acquisition`."""

    @property
    def stem(self) -> str: ...
    @property
    def session(self) -> str | None: ...
    @property
    def entities(self) -> dict[str, str]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def affine(self) -> tuple[tuple[float, ...], ...]: ...
    @property
    def echo_times_s(self) -> tuple[float, ...]: ...
    @property
    def sources(self) -> tuple[str, ...]: ...
    @property
    def checksum(self) -> int: ...


def scattered(found: Sequence[Scan]) -> Mapping[str, str]:
    """
    Warnings, by stem, on acquisitions that look like parts of one.

    These are acquisitions of one echo each that differ in a label and their echo time alone, pairs
    that differ in a label and have no number of an echo in common, runs that lack echoes of another
    run, chunks of a volume, and copies.

    Parameters
    ----------
    found
        Acquisitions of a participant.

    """
    warned = _copies(found) | _cut_short(found) | _halves(found) | _single_echoes(found)
    return warned | {x.stem: _of_chunk(x) for x in found if 'chunk' in x.entities}


def _single_echoes(found: Sequence[Scan]) -> dict[str, str]:
    """Warnings on acquisitions of one echo each that differ in a label and the echo time alone."""
    kin: dict[tuple, list[Scan]] = {}
    for acquisition in found:
        if len(acquisition.echo_times_s) == 1:
            kin.setdefault((_grid(acquisition), tuple(sorted(acquisition.entities))), []).append(
                acquisition
            )
    warned: dict[str, str] = {}
    for members in kin.values():
        entities: list[set] = [set(member.entities.items()) for member in members]
        differing = {key for key, _ in set.union(*entities) - set.intersection(*entities)}
        times = sorted({member.echo_times_s[0] for member in members})
        if len(differing) == 1 and len(times) == len(members) > 1:
            short = SHORT.get(key := differing.pop(), key)
            listing = ', '.join(f'{1000 * time:.4g}' for time in times)
            warning = (
                f'{len(members)} acquisitions of one echo each differ in {short}- and in EchoTime '
                f'alone ({listing} ms): they look like the echoes of one acquisition, exported '
                f'one by one. If so, name them echo-1 to echo-{len(members)} without {short}-; '
                'here each is processed by itself.'
            )
            warned |= {member.stem: warning for member in members}
    return warned


def _halves(found: Sequence[Scan]) -> dict[str, str]:
    """Warnings on pairs on one grid that differ in a label and have no number of an echo alike."""
    warned: dict[str, str] = {}
    for one, other in itertools.combinations(found, 2):
        differing = {key for key, _ in set(one.entities.items()) ^ set(other.entities.items())}
        numbers = [_echo_numbers(x) for x in (one, other)]
        apart = all(numbers) and not set.intersection(*numbers)
        if apart and len(differing) == 1 and _grid(one) == _grid(other):
            short = SHORT.get(key := differing.pop(), key)
            listing = ' and '.join(', '.join(sorted(x, key=int)) for x in numbers)
            warning = (
                f'{one.stem} and {other.stem} have the echoes {listing} and differ in {short}- '
                'alone: they look like one acquisition. If so, give all files the same labels; '
                'here each is processed by itself.'
            )
            warned |= {one.stem: warning, other.stem: warning}
    return warned


def _cut_short(found: Sequence[Scan]) -> dict[str, str]:
    """Warnings on runs on one grid that have some of the echo times of another run alone."""
    warned: dict[str, str] = {}
    for one, other in itertools.permutations(found, 2):
        differing = {key for key, _ in set(one.entities.items()) ^ set(other.entities.items())}
        lacks = set(one.echo_times_s) < set(other.echo_times_s)
        if differing == {'run'} and lacks and _grid(one) == _grid(other):
            numbers = len(one.echo_times_s), len(other.echo_times_s)
            warned[one.stem] = (
                f'{one.stem} has {numbers[0]} of the {numbers[1]} echoes of {other.stem}: it was '
                'stopped, or not all of it was exported. Add what is missing, or leave this run '
                'out with --bids-filter-file; here it is processed as it is.'
            )
    return warned


def _copies(found: Sequence[Scan]) -> dict[str, str]:
    """Warnings on acquisitions whose phase holds the same values: noise never repeats."""
    return {
        other.stem: (
            f'{other.stem} holds the same values as {one.stem}: one scan under two names, which '
            'would count twice. Remove one, or convert again what was measured.'
        )
        for one, other in itertools.combinations(found, 2)
        if one.checksum == other.checksum and one.shape == other.shape
    }


def _of_chunk(acquisition: Scan) -> str:
    return (
        f'chunk-{acquisition.entities["chunk"]} is a part of a volume, and is processed by itself: '
        'the field of what lies in the other parts is taken for background. If the parts were '
        'measured together, join them, and name the whole without chunk-.'
    )


def _grid(acquisition: Scan) -> tuple:
    return acquisition.session, acquisition.shape, acquisition.affine


def _echo_numbers(acquisition: Scan) -> set[str]:
    """Numbers of the echoes, as the names of the files state them."""
    return {x for source in acquisition.sources for x in re.findall(r'_echo-(\d+)_', source)}

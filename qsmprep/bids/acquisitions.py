"""Finding gradient-echo acquisitions and checking that they can be processed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qsmprep.bids.errors import InputError
from qsmprep.bids.headers import ImageSummary, check_same_grid, inspect_image
from qsmprep.bids.layout import (
    IMAGES,
    explain_missing,
    load_filters,
    normalise_label,
    open_layout,
    select_participants,
    select_sessions,
)
from qsmprep.bids.phase_scale import (
    InputOverrides,
    PhaseScale,
    choose_phase_scale,
    complex_phase_scale,
)
from qsmprep.bids.sidecars import (
    CONSTANT_METADATA,
    EchoPair,
    check_echo_times,
    echo_time,
    field_strength,
    scan_warnings,
    shared_metadata,
)

if TYPE_CHECKING:
    from bids import BIDSLayout
    from bids.layout import BIDSFile

__all__ = [
    'Acquisition',
    'InputError',
    'InputOverrides',
    'PhaseScale',
    'RejectedAcquisition',
    'explain_missing',
    'find_acquisitions',
    'load_filters',
    'open_layout',
    'select_participants',
    'select_sessions',
]

OBLIQUE_DEGREES = 5.0
SUFFIXES = ('MEGRE', 'T2starw')
STEM_ENTITIES = {
    'subject': 'sub',
    'session': 'ses',
    'task': 'task',
    'acquisition': 'acq',
    'ceagent': 'ce',
    'reconstruction': 'rec',
    'direction': 'dir',
    'run': 'run',
    'flip': 'flip',
    'inv': 'inv',
    'mt': 'mt',
    'chunk': 'chunk',
}
"""Entities that tell acquisitions apart, in BIDS order."""


@dataclass(frozen=True)
class Acquisition:
    """
    The echoes of one gradient-echo acquisition, checked, in the order of their echo times.

    Parameters
    ----------
    subject, session
        Labels without prefix; the session may be missing.
    entities
        BIDS entities by their long names, with suffix and datatype, without echo and part.
    stem
        File name without echo, part and extension.
    magnitude, phase
        Files of each echo; empty where ``real`` and ``imaginary`` are given.
    real, imaginary
        Files of each echo; empty where ``magnitude`` and ``phase`` are given.
    echo_times_s
        Echo times [s].
    field_strength_t
        Field strength [T].
    field_strength_rule, phase_scale
        How the field strength was read; how stored values become phase.
    shape
        Voxels along three axes.
    affine
        4 x 4, voxel indices to scanner mm.
    sources
        Image files, relative to the dataset's root.
    metadata
        Those of ``CONSTANT_METADATA`` that all echoes share.
    warnings
        Sentences on what a user should know.

    """

    subject: str
    session: str | None
    entities: dict[str, str]
    stem: str
    magnitude: tuple[Path, ...]
    phase: tuple[Path, ...]
    real: tuple[Path, ...]
    imaginary: tuple[Path, ...]
    echo_times_s: tuple[float, ...]
    field_strength_t: float
    field_strength_rule: str
    phase_scale: PhaseScale
    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    sources: tuple[str, ...]
    metadata: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RejectedAcquisition:
    """
    An acquisition that cannot be processed.

    Parameters
    ----------
    stem
        File name without echo, part and extension.
    error
        What is wrong and what to do.
    inputs
        Image files, relative to the dataset's root.

    """

    stem: str
    error: str
    inputs: tuple[str, ...]


def find_acquisitions(
    layout: BIDSLayout,
    subject: str,
    sessions: tuple[str, ...] | list[str] = (),
    filters: Mapping[str, dict] | None = None,
    overrides: InputOverrides | None = None,
) -> tuple[list[Acquisition], list[RejectedAcquisition]]:
    """
    Find and check the gradient-echo acquisitions of a participant.

    Candidates are all ``MEGRE`` and ``T2starw`` images in ``anat/``, except ``T2starw`` images
    without any ``part``, which are taken for ordinary magnitude images.

    Parameters
    ----------
    layout
        Index of the dataset.
    subject
        Label, with or without ``sub-``.
    sessions
        Labels of the sessions to use, with or without ``ses-``; none means all.
    filters
        Queries from :func:`qsmprep.bids.layout.load_filters`; ``megre`` is used.
    overrides
        Phase range, sign and slice correction as set by the user.

    Returns
    -------
    acquisitions
        Those that can be processed, by name.
    rejected
        Those that cannot, each with its error.

    Raises
    ------
    InputError
        If a label is not valid or a filter names an unknown entity.

    """
    overrides = overrides or InputOverrides()
    files = _candidates(layout, normalise_label(subject, 'sub-'), sessions, filters or {})
    groups: dict[str, list[BIDSFile]] = {}
    for file in sorted(files, key=lambda file: file.path):
        groups.setdefault(_stem(file), []).append(file)
    found, rejected = [], []
    for stem, members in sorted(groups.items()):
        parts = {_part(file) for file in members}
        if stem.endswith('_T2starw') and parts == {None}:
            continue
        sources = tuple(_relative(layout, file) for file in members)
        try:
            found.append(_build(layout, stem, members, overrides))
        except InputError as error:
            rejected.append(RejectedAcquisition(stem, str(error), sources))
    return found, rejected


def _candidates(layout: BIDSLayout, subject: str, sessions, filters: Mapping[str, dict]) -> list:
    query = {'datatype': 'anat', 'suffix': list(SUFFIXES), 'extension': list(IMAGES)}
    query |= dict(filters.get('megre', {})) | {'subject': subject}
    unknown = sorted(set(query) - set(layout.get_entities()))
    if unknown:
        raise InputError(
            f'The filter for megre cannot be used: {unknown[0]!r} is no entity; in '
            '--bids-filter-file entities go by their long names, such as session, acquisition, '
            'reconstruction, run and echo.'
        )
    wanted = {normalise_label(label, 'ses-') for label in sessions}
    try:
        files = layout.get(**query)
    except (ValueError, TypeError) as error:
        raise InputError(
            f'The filter for megre cannot be used: {error}; correct --bids-filter-file.'
        ) from error
    return [file for file in files if not wanted or file.entities.get('session') in wanted]


def _relative(layout: BIDSLayout, file: BIDSFile) -> str:
    return Path(file.path).relative_to(layout.root).as_posix()


def _stem(file: BIDSFile) -> str:
    labels = [
        f'{short}-{file.entities[name]}'
        for name, short in STEM_ENTITIES.items()
        if name in file.entities
    ]
    return '_'.join([*labels, file.entities['suffix']])


def _part(file: BIDSFile) -> str | None:
    return file.entities.get('part')


def _build(
    layout: BIDSLayout, stem: str, files: list[BIDSFile], overrides: InputOverrides
) -> Acquisition:
    pairs, is_complex, warnings = _pair_up(stem, files)
    times = [echo_time(pair) for pair in pairs]
    order = np.argsort(times, kind='stable')
    pairs, times = [pairs[i] for i in order], [times[i] for i in order]
    check_echo_times(times, pairs)
    metadata = shared_metadata(pairs)
    path = Path(pairs[0].second.path)
    strength, strength_rule, notes = field_strength(metadata, path)
    warnings += notes

    images = [[inspect_image(file.path) for file in pair.files] for pair in pairs]
    reference = images[0][0]
    for image in (image for pair in images for image in pair):
        check_same_grid(image, reference)
        warnings += [text for text in image.warnings if text not in warnings]
    first, second = ([pair[k] for pair in images] for k in (0, 1))
    if is_complex:
        _check_complex(images)
        scale, notes = complex_phase_scale(metadata, overrides)
    else:
        warnings += _check_magnitude(first)
        scale, notes = choose_phase_scale(second, metadata, overrides)
    warnings += notes + scan_warnings(metadata, len(pairs)) + _oblique(reference)

    paths = [tuple(image.path for image in part) for part in (first, second)]
    labels = pairs[0].first.entities
    entities = {name: str(labels[name]) for name in STEM_ENTITIES if name in labels}
    return Acquisition(
        subject=entities['subject'],
        session=entities.get('session'),
        entities=entities | {'datatype': 'anat', 'suffix': stem.rsplit('_', 1)[1]},
        stem=stem,
        magnitude=() if is_complex else paths[0],
        phase=() if is_complex else paths[1],
        real=paths[0] if is_complex else (),
        imaginary=paths[1] if is_complex else (),
        echo_times_s=tuple(times),
        field_strength_t=strength,
        field_strength_rule=strength_rule,
        phase_scale=scale,
        shape=reference.shape,
        affine=reference.affine,
        sources=tuple(_relative(layout, file) for pair in pairs for file in pair.files),
        metadata={key: metadata[key] for key in CONSTANT_METADATA if key in metadata},
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _pair_up(stem: str, files: list[BIDSFile]) -> tuple[list[EchoPair], bool, list[str]]:
    """Pairs of files by echo, whether they are real and imaginary, and warnings."""
    by_part: dict[str | None, dict] = {}
    for file in files:
        echoes = by_part.setdefault(_part(file), {})
        echo = file.entities.get('echo')
        if echo in echoes:
            raise InputError(
                f'{file.path} and {echoes[echo].filename} are the same image of {stem} by their '
                'names; keep one, or tell them apart by an acq-, rec- or run- label.'
            )
        echoes[echo] = file
    warnings = []
    if 'phase' in by_part and 'mag' not in by_part and None in by_part:
        by_part['mag'] = by_part[None]
        warnings.append(f'{stem}: images without a part- label are taken for the magnitude.')
    if 'phase' not in by_part and {'real', 'imag'} & set(by_part):
        return _pair_parts(stem, by_part, 'real', 'imag'), True, warnings
    magnitude, phase = by_part.get('mag', {}), by_part.get('phase', {})
    if not phase:
        names = [file.filename for file in files]
        raise InputError(
            f'{stem}: there is no phase (part-phase, or part-real and part-imag) beside '
            f'{names[0]}; susceptibility cannot be mapped from magnitude alone: export the phase.'
        )
    dropped = sorted(set(magnitude) - set(phase), key=str)
    if dropped and set(magnitude) & set(phase):
        warnings.append(
            f'{stem}: echo {", ".join(str(echo) for echo in dropped)} has no phase and is left out.'
        )
        by_part['mag'] = {echo: file for echo, file in magnitude.items() if echo in phase}
    return _pair_parts(stem, by_part, 'mag', 'phase'), False, warnings


def _pair_parts(stem: str, by_part: dict, first: str, second: str) -> list[EchoPair]:
    ones, others = by_part.get(first, {}), by_part.get(second, {})
    for mine, theirs, missing in ((ones, others, second), (others, ones, first)):
        lonely = [file for echo, file in mine.items() if echo not in theirs]
        if lonely:
            raise InputError(
                f'{lonely[0].path} has no part-{missing} image beside it; {stem} needs '
                f'part-{first} and part-{second} of each echo.'
            )
    return [EchoPair(ones[echo], others[echo]) for echo in ones]


def _check_magnitude(images: list[ImageSummary]) -> list[str]:
    for image in images:
        if image.maximum <= 0:
            raise InputError(
                f'{image.path} holds no positive value; a magnitude image is expected. Convert it '
                'again.'
            )
    negative = [image for image in images if image.minimum < 0]
    return [f'{image.path.name} has negative magnitudes.' for image in negative]


def _check_complex(images: list[list[ImageSummary]]) -> None:
    for pair in images:
        for image in pair:
            if image.minimum == image.maximum:
                raise InputError(f'{image.path} holds one value alone; convert it again.')


def _oblique(image: ImageSummary) -> list[str]:
    """A note when no array axis lies near the axis of B0."""
    axes = np.asarray(image.affine)[:3, :3]
    cosines = np.abs(axes[2]) / np.linalg.norm(axes, axis=0)
    degrees = math.degrees(math.acos(min(1.0, float(cosines.max()))))
    if degrees <= OBLIQUE_DEGREES:
        return []
    return [f'The image is oblique by {degrees:.1f} degrees; the direction of B0 is adapted.']

"""Finding gradient-echo acquisitions and checking that they can be processed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from qsmprep.bids.contents import check_decay, check_echoes, check_parts, check_signed
from qsmprep.bids.echoes import check_echo_times, order_echoes, pair_up
from qsmprep.bids.errors import InputError
from qsmprep.bids.filters import check_query, matches
from qsmprep.bids.geometry import grid_warnings
from qsmprep.bids.headers import ImageSummary, check_same_grid, inspect_image
from qsmprep.bids.layout import Dataset, ImageFile
from qsmprep.bids.names import LONG_NAMES, normalise_label
from qsmprep.bids.notes import Doubt, Note
from qsmprep.bids.phase_scale import (
    InputOverrides,
    PhaseScale,
    choose_phase_scale,
    complex_phase_scale,
)
from qsmprep.bids.plausibility import check_balance, check_differences, check_filter
from qsmprep.bids.scattered import scattered
from qsmprep.bids.sidecars import (
    EchoPair,
    check_one_scan,
    field_strength,
    handed_on,
    scan_warnings,
    shared_metadata,
)
from qsmprep.bids.voxels import check_voxels, signal_of

SUFFIXES = ('MEGRE', 'T2starw')
STEM_ENTITIES = {
    name: short for short, name in LONG_NAMES.items() if name not in ('echo', 'coil', 'part')
}
"""Entities that distinguish acquisitions, in BIDS order: long name -> short name."""


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
        Files of each echo (4-D with coils along the fourth axis, or 3-D for one coil after
        another where coils were not combined); empty where ``real`` and ``imaginary`` are
        given.
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
        Sentences on what a user should look at.
    notes
        Sentences on plain facts, which ask for nothing.
    doubts
        Those of the warnings after which no map can be right.
    coils
        Coils that were not combined (``coil-``); 1 for images that the scanner combined.
    checksum
        Of a sample of the first phase or imaginary part: copies of a scan have the same.

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
    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    sources: tuple[str, ...]
    metadata: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    coils: int = 1
    checksum: int = 0

    @property
    def first_image(self) -> Path:
        """Magnitude, or real part, of the first echo: it stands for the grid of all."""
        return (self.magnitude or self.real)[0]


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
    dataset: Dataset,
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
    dataset
        The dataset.
    subject
        Label, with or without ``sub-``.
    sessions
        Labels of the sessions to use, with or without ``ses-``; none means all.
    filters
        Queries from :func:`qsmprep.bids.filters.load_filters`; ``megre`` is used.
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
    files = _candidates(dataset, normalise_label(subject, 'sub-'), sessions, filters or {})
    groups: dict[str, list[ImageFile]] = {}
    for file in files:
        groups.setdefault(_stem(file), []).append(file)
    found, rejected = [], []
    for stem, members in sorted(groups.items()):
        if stem.endswith('_T2starw') and not any('part' in file.entities for file in members):
            continue
        sources = tuple(file.relative for file in members)
        try:
            found.append(_build(dataset, stem, members, overrides))
        except InputError as error:
            advice = _other_part(stem, members, groups)
            rejected.append(RejectedAcquisition(stem, f'{error}{advice}', sources))
    parts = scattered(found)
    return [
        replace(x, warnings=(*x.warnings, parts[x.stem])) if x.stem in parts else x for x in found
    ], rejected


def _candidates(
    dataset: Dataset, subject: str, sessions, filters: Mapping[str, dict]
) -> list[ImageFile]:
    query = dict(filters.get('megre', {}))
    check_query(query)
    wanted = {normalise_label(label, 'ses-') for label in sessions}
    return [
        file
        for file in dataset.images(subject, 'anat', SUFFIXES)
        if matches(file, query) and (not wanted or file.entities.get('session') in wanted)
    ]


def _stem(file: ImageFile) -> str:
    labels = [
        f'{short}-{file.entities[name]}'
        for name, short in STEM_ENTITIES.items()
        if name in file.entities
    ]
    return '_'.join([*labels, file.entities['suffix']])


def _other_part(stem: str, members: list[ImageFile], groups: dict[str, list[ImageFile]]) -> str:
    """Sentence on the other part of an acquisition of one part, if that has other labels."""
    mine = {file.entities.get('part') for file in members}
    for other, files in groups.items():
        theirs = {file.entities.get('part') for file in files}
        complete = mine | theirs in ({'mag', 'phase'}, {None, 'phase'}, {'real', 'imag'})
        if other != stem and complete and len(mine) == len(theirs) == 1:
            return (
                f' {files[0].name} may be the other part: both parts of an echo need the same '
                'labels, part- excepted; rename one of them.'
            )
    return ''


def _build(
    dataset: Dataset, stem: str, files: list[ImageFile], overrides: InputOverrides
) -> Acquisition:
    names, is_complex, warnings = pair_up(stem, files)
    pairs = [EchoPair.read(dataset, *both) for both in names]
    pairs, times, coils = order_echoes(stem, pairs)
    warnings += check_echo_times(times, pairs[: len(times)])
    metadata = shared_metadata(pairs)
    warnings += check_one_scan(pairs)
    path = pairs[0].second.path
    strength, strength_rule, notes = field_strength(metadata, path)
    warnings += notes

    images = [
        [inspect_image(file.path, coils='coil' in file.entities) for file in pair.files]
        for pair in pairs
    ]
    reference = images[0][0]
    for image in (image for pair in images for image in pair):
        check_same_grid(image, reference)
    warnings += _of_headers([image for pair in images for image in pair])
    first, second = ([pair[k] for pair in images] for k in (0, 1))
    if len(reference.shape) > 3 and coils > 1:
        raise InputError(
            f'{reference.path} has a fourth axis, and other files of {stem} another coil-; keep '
            'either one 3-D file a coil, or one 4-D file (coil-all) with all of them.'
        )
    for coil in range(coils):
        check_echoes(first[coil * len(times) : (coil + 1) * len(times)])
        check_echoes(second[coil * len(times) : (coil + 1) * len(times)])
    warnings += check_parts(pairs, images)
    if is_complex:
        check_signed(first)
        check_signed(second)
        scale, notes = complex_phase_scale(metadata, overrides)
    else:
        warnings += [*_check_magnitude(first), *check_decay(first[: len(times)], times)]
        scale, notes = choose_phase_scale(second, metadata, overrides)
    warnings += notes + scan_warnings(metadata, len(times))
    warnings += grid_warnings(np.asarray(reference.affine), reference.shape)
    if coils == 1 and len(reference.shape) == 3:
        how = None if is_complex else scale
        signals = [
            signal_of(one.sample, other.sample, how)
            for one, other in zip(first, second, strict=True)
        ]
        warnings += check_balance(signals)
        warnings += check_filter(signals, times, strength)
        warnings += check_differences(signals, times, strength)
        warnings += check_voxels(first, second, how, times)
    sentences = dict.fromkeys(warnings)

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
        shape=reference.shape[:3],
        affine=reference.affine,
        sources=tuple(file.relative for pair in pairs for file in pair.files),
        metadata=handed_on(metadata),
        warnings=tuple(text for text in sentences if not isinstance(text, Note)),
        notes=tuple(text for text in sentences if isinstance(text, Note)),
        doubts=tuple(text for text in sentences if isinstance(text, Doubt)),
        coils=math.prod(reference.shape[3:], start=coils),
        checksum=zlib.crc32(second[0].sample.tobytes()),
    )


def _of_headers(images: list[ImageSummary]) -> list[str]:
    """Warnings of all headers, those that say the same as one."""
    said: dict[str, list[str]] = {}
    for image in images:
        for text in image.warnings:
            said.setdefault(text.removeprefix(image.path.name), []).append(image.path.name)
    return [
        f'{names[0]}{f" (and {len(names) - 1} more)" if len(names) > 1 else ""}{text}'
        for text, names in said.items()
    ]


def _check_magnitude(images: list[ImageSummary]) -> list[str]:
    for image in images:
        if image.maximum <= 0:
            raise InputError(
                f'{image.path} holds no positive value; a magnitude image is expected. Convert it '
                'again.'
            )
    negative = [image for image in images if image.minimum < 0]
    if not negative:
        return []
    return [
        f'{len(negative)} magnitude images, the first {negative[0].path.name}, have negative '
        f'values (down to {min(image.minimum for image in negative):.5g}); a magnitude has none: '
        'the numbers may have overflowed (16 bits hold 32767 at most), convert it again.'
    ]

"""Maps that were made elsewhere: fields, susceptibility, relaxation rates, unwrapped phase."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qsmprep.bids.acquisitions import Acquisition
from qsmprep.bids.errors import InputError
from qsmprep.bids.files import check_path, read_sidecar_of
from qsmprep.bids.geometry import SAME_PLACE_VOXELS, by
from qsmprep.bids.given import find_given
from qsmprep.bids.masks import distance_to_echoes, magnitude_signal, read_volume

HZ_PER_T = 42.577478518e6
"""Off-resonance of protons in one tesla [Hz]."""


@dataclass(frozen=True)
class MapKind:
    """
    A kind of map, as it is found among derivatives.

    Parameters
    ----------
    ending, datatype
        End of the file's name, and its folder.
    words
        What it is, for messages.
    unit
        Unit in which it is used.
    scales
        Units that a sidecar may state -> factor to ``unit`` and power of the field strength [T] in
        that factor.
    limit, least
        Median size of its values, where they are not zero, that none can exceed, or fall below.

    """

    ending: str
    datatype: str
    words: str
    unit: str
    scales: Mapping[str, tuple[float, int]]
    limit: float
    least: float = 0.0


FREQUENCY = {
    'Hz': (1.0, 0),
    'rad/s': (1 / (2 * math.pi), 0),
    'ppm': (HZ_PER_T * 1e-6, 1),
    'ppb': (HZ_PER_T * 1e-9, 1),
    'T': (HZ_PER_T, 0),
}
MAPS = {
    'unwrapped': MapKind(
        'echo-{echo}_part-phase_desc-unwrapped_{suffix}', 'anat', 'unwrapped phase', 'rad',
        {'rad': (1.0, 0)}, 1e4,
    ),
    'total_field': MapKind(
        'desc-total_fieldmap', 'fmap', 'total field', 'Hz', FREQUENCY, 2e4
    ),
    'field_noise': MapKind(
        'desc-noise_fieldmap', 'fmap', 'noise of the field', 'Hz', FREQUENCY, 2e3
    ),
    'local_field': MapKind(
        'desc-local_fieldmap', 'fmap', 'local field', 'Hz', FREQUENCY, 2e2
    ),
    'chi': MapKind(
        'Chimap', 'anat', 'susceptibility', 'ppm', {'ppm': (1.0, 0), 'ppb': (1e-3, 0)}, 2.0
    ),
    'r2': MapKind(
        'R2map', 'anat', 'R2', '1/s',
        {'1/s': (1.0, 0), 's^-1': (1.0, 0), 'Hz': (1.0, 0), '1/ms': (1e3, 0)}, 1e3, 0.3,
    ),
}  # fmt: skip
"""Name of a map in ``io_spec.json`` -> what it is."""


TORN, MOST_TORN = 0.75, 0.003
"""Neighbours whose field differs by more than this part of the whole range are torn, and the part
of all of them from which a field is wrapped: 2 to 6 % in wrapped heads, .01 to .04 in others."""


@dataclass(frozen=True)
class GivenMap:
    """
    A map from a derivatives dataset, checked.

    Parameters
    ----------
    paths, uris
        Its files, one an echo for unwrapped phase, and their BIDS URIs.
    scale
        Factor from the stored to the used unit.
    unit
        The unit that the sidecar states.
    warnings
        Sentences on what a user should know.

    """

    paths: tuple[Path, ...]
    uris: tuple[str, ...]
    scale: float = 1.0
    unit: str = ''
    warnings: tuple[str, ...] = field(default=())


def find_map(
    datasets: Mapping[str, Path], acquisition: Acquisition, name: str
) -> tuple[GivenMap | None, list[str]]:
    """
    Find a map of an acquisition among derivatives datasets, and check it like input.

    Parameters
    ----------
    datasets
        Name and root folder of each dataset; earlier ones win.
    acquisition
        The acquisition.
    name
        Key of :data:`MAPS`.

    Returns
    -------
    found
        The map, if there is one.
    notes
        Where there are candidates but none fits: why.

    Raises
    ------
    InputError
        If it is not what its name says: units, grid, values, echo time.

    """
    kind = MAPS[name]
    suffix = acquisition.entities['suffix']
    count = len(acquisition.echo_times_s) if '{echo}' in kind.ending else 1
    found = []
    for echo in range(1, count + 1):
        ending = kind.ending.format(echo=echo, suffix=suffix)
        own = name if name in ('total_field', 'field_noise', 'local_field', 'chi') else None
        path, uri, reasons = find_given(datasets, acquisition, ending, own, kind.datatype)
        if path is None:
            return None, reasons
        found.append((path, uri, *_check(path, kind, acquisition, echo)))
    paths, uris, scales, units, notes = zip(*found, strict=True)
    if len(set(units)) > 1:
        raise InputError(f'{paths[0]} and its other echoes differ in Units; make them one.')
    warnings = tuple(dict.fromkeys(text for texts in notes for text in texts))
    return GivenMap(paths, uris, scales[0], units[0], warnings), []


def _check(
    path: Path, kind: MapKind, acquisition: Acquisition, echo: int
) -> tuple[float, str, list[str]]:
    """Factor to the used unit, the stored unit, and warnings."""
    path = check_path(path)
    sidecar = read_sidecar_of(path)
    unit = sidecar.get('Units')
    if not isinstance(unit, str) or unit not in kind.scales:
        known = ', '.join(kind.scales)
        says = 'states no Units' if unit is None else f'has the Units {unit!r}'
        raise InputError(
            f'The sidecar of {path} {says}; a map of {kind.words} has one of {known}: add it.'
        )
    factor, power = kind.scales[unit]
    scale = factor * acquisition.field_strength_t**power
    data, affine, transforms = read_volume(path, 'map')
    _check_grid(path, data.shape, [affine, *transforms], kind, acquisition)
    data = data.astype(np.float32)
    warnings = []
    finite = np.isfinite(data)
    if not finite.all():
        warnings.append(f'{path.name} holds values that are not finite; they count as zero.')
    values = np.abs(data[finite & (data != 0)]) * abs(scale)
    if not values.size:
        raise InputError(f'{path} is zero everywhere; give a map that holds the {kind.words}.')
    typical = float(np.median(values))
    if not kind.least <= typical <= kind.limit:
        raise InputError(
            f'{path} has values of {typical:.3g} {kind.unit} (median size), '
            f'{"more" if typical > kind.limit else "less"} than any {kind.words} has; its Units '
            f'say {unit!r}: check them.'
        )
    if kind is MAPS['total_field']:
        _check_torn(path, data, magnitude_signal(acquisition))
    if '{echo}' in kind.ending:
        warnings += _check_echo(path, data, sidecar, acquisition.echo_times_s[echo - 1])
    return scale, unit, warnings


def _check_grid(
    path: Path,
    shape: tuple[int, ...],
    affines: list[np.ndarray],
    kind: MapKind,
    acquisition: Acquisition,
) -> None:
    if shape != acquisition.shape:
        raise InputError(
            f'{path} has {by(shape)} voxels, but {acquisition.stem} has '
            f'{by(acquisition.shape)}; give the {kind.words} on its grid.'
        )
    shift = distance_to_echoes(affines, shape, acquisition)
    if shift > SAME_PLACE_VOXELS:
        raise InputError(
            f'{path} has the matrix of the echoes but another affine (corners {shift:.3g} voxels '
            f'away). If its voxels are those of the echoes, copy the header (fslcpgeom '
            f'{acquisition.first_image} {path}); else resample it to their grid.'
        )


def _check_torn(path: Path, field: np.ndarray, signal: np.ndarray) -> None:
    """Refuse a field that jumps by most of its range from voxel to voxel where there is signal."""
    inside = signal & np.isfinite(field) & (field != 0)
    span = np.ptp(np.percentile(field[inside], [1, 99])) if inside.any() else 0.0
    torn = pairs = 0
    for axis in range(3):
        one, both = (np.moveaxis(x, axis, 0) for x in (field, inside))
        within = both[1:] & both[:-1]
        torn += int(np.count_nonzero(np.abs(one[1:] - one[:-1])[within] > TORN * span))
        pairs += int(np.count_nonzero(within))
    if span and torn > MOST_TORN * pairs:
        raise InputError(
            f'{path}: {100 * torn / pairs:.1f} % of the neighbours differ by more than three '
            'quarters of the range of the field, as where it was not unwrapped; unwrap it, or '
            'start from the echoes.'
        )


def _check_echo(path: Path, data: np.ndarray, sidecar: dict, echo_time_s: float) -> list[str]:
    stated = sidecar.get('EchoTime')
    if isinstance(stated, int | float) and abs(stated - echo_time_s) > 1e-5 + 1e-3 * echo_time_s:
        raise InputError(
            f'{path} has the EchoTime {stated:g} s, but that echo of the acquisition '
            f'{echo_time_s:g} s; number the unwrapped echoes by their echo times.'
        )
    largest = float(np.nanmax(np.abs(data)))
    if largest <= math.pi * 1.001:
        return [f'{path.name} stays within -pi and pi; check that it is unwrapped.']
    return []

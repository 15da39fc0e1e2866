"""Masks that were made elsewhere: what they hold, and where they lie on the echoes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsmprep.bids.acquisitions import Acquisition
from qsmprep.bids.errors import InputError
from qsmprep.bids.files import check_path, read_sidecar_of
from qsmprep.bids.geometry import (
    SAME_PLACE_VOXELS,
    WIDE_MM,
    by,
    check_geometry,
    header_transforms,
    is_bare,
    placement,
)
from qsmprep.bids.headers import MAX_VOXELS, read_header, read_image
from qsmprep.bids.notes import Doubt

HALF = 0.5
PLAUSIBLE_BRAIN_ML = (250.0, 2500.0)
SIGNAL = 0.08
"""Part of the 99th percentile of the magnitude above which there is signal."""
HEAD_ML = 1000.0
"""Volume with signal from which there is a head: the brain of a newborn alone has half of it."""
PART_OF_HEAD = (
    'It is a part of a head, and the field of tissue around it would be taken for background: '
    'give the whole brain, and cut the map.'
)
WELL_PLACED, BADLY_PLACED = 0.8, 0.5
"""Part of a mask that lies over signal where it belongs, and where it does not."""


@dataclass(frozen=True)
class GivenMask:
    """
    A mask from a derivatives dataset, checked.

    Parameters
    ----------
    path
        The file.
    uri
        Its BIDS URI, which outputs name.
    by_voxels
        Whether its voxels are those of the echoes; else its affine says where it lies.
    threshold
        Values above belong to the mask.
    warnings
        Sentences on what a user should know.

    """

    path: Path
    uri: str
    by_voxels: bool
    threshold: float
    warnings: tuple[str, ...] = ()


def inspect_mask(
    path: Path, uri: str, acquisition: Acquisition, volume_ml: tuple[float, float] | None = None
) -> GivenMask:
    """
    Check a mask that was made elsewhere: file, values, and where it lies.

    Parameters
    ----------
    path, uri
        The mask.
    acquisition
        The acquisition whose echoes it must lie on.
    volume_ml
        Volumes that are plausible; others are a warning.

    Raises
    ------
    InputError
        If it cannot be read, is empty, holds other values than a mask, or lies elsewhere.

    """
    origin = _origin(path, acquisition)
    data, affine, transforms = read_volume(path, 'mask')
    threshold, warnings = _threshold(data, path)
    mask = data > threshold
    by_voxels, notes = _place(mask, affine, transforms, path, acquisition)
    target = np.asarray(acquisition.affine)
    turned = mask.shape == acquisition.shape and _is_turned(affine, target, acquisition.shape)
    if not (by_voxels or turned or origin):
        origin = [
            f'{path.name} has another grid than the echoes, as where it was made from another '
            'image; that the head lay where it lay for the echoes is taken for granted.'
        ]
    if volume_ml is not None:
        voxel = np.asarray(acquisition.affine) if by_voxels else affine
        size_ml = np.count_nonzero(mask) * abs(float(np.linalg.det(voxel[:3, :3]))) / 1000
        if not volume_ml[0] <= size_ml <= volume_ml[1]:
            text = (
                f'{path.name} has a volume of {size_ml:.3g} ml; a human brain has '
                f'{volume_ml[0]:g} to {volume_ml[1]:g} ml: check that it is the mask of the brain.'
            )
            small = size_ml < volume_ml[0] and _is_head(acquisition)
            notes.append(Doubt(f'{text} {PART_OF_HEAD}') if small else text)
    return GivenMask(path, uri, by_voxels, threshold, (*warnings, *origin, *notes))


def _is_head(acquisition: Acquisition) -> bool:
    """Whether the field of view can hold a head, and as much as one gives signal."""
    sizes_mm = np.linalg.norm(np.asarray(acquisition.affine)[:3, :3], axis=0)
    signal_ml = np.count_nonzero(magnitude_signal(acquisition)) * float(np.prod(sizes_mm)) / 1000
    extents_mm = sizes_mm * np.array(acquisition.shape)
    return bool(extents_mm.min() >= WIDE_MM and signal_ml >= HEAD_ML)


def place_mask(
    path: str | Path,
    threshold: float,
    by_voxels: bool,
    shape: tuple[int, ...],
    affine: np.ndarray,
) -> np.ndarray:
    """
    Mask of :func:`inspect_mask` on the grid of the echoes.

    Parameters
    ----------
    path, threshold, by_voxels
        As in :class:`GivenMask`.
    shape, affine
        The grid.

    """
    data, own_affine, _ = read_volume(Path(path), 'mask')
    mask = data > threshold
    return mask if by_voxels else _resample(mask, own_affine, np.asarray(affine), shape)


def read_volume(path: Path, words: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Values (X, Y, Z) of an image, its affine, and all affines in its header."""
    path = check_path(path)
    header = read_header(path)
    try:
        shape = tuple(int(n) for n in header.get_data_shape())
        if math.prod(shape) > MAX_VOXELS:
            raise InputError(f'{path} claims {shape} voxels, more than {MAX_VOXELS}; replace it.')
        data = np.asanyarray(read_image(path).dataobj)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f'{path} cannot be read as NIfTI: {error}; the file is truncated or corrupt, copy or '
            'make it again.'
        ) from error
    if math.prod(data.shape[3:]) == 1:
        data = data.reshape(data.shape[:3])
    if data.ndim != 3 or min(data.shape) < 2 or data.dtype.kind not in 'biuf':
        raise InputError(
            f'{path} has the shape {by(shape)} and values of type {data.dtype}; '
            f'a {words} is one volume of numbers: extract the right one, for instance with fslroi.'
        )
    affine, _ = check_geometry(header, path)
    return data, affine, header_transforms(header)


def distance_to_echoes(
    affines: list[np.ndarray], shape: tuple[int, ...], acquisition: Acquisition
) -> float:
    """Distance of the corners of a grid from those of the echoes, in voxels of the echoes.

    A header may hold two affines; the pair counts that lies closest.
    """
    theirs = [
        np.asarray(acquisition.affine),
        *header_transforms(read_header(acquisition.first_image)),
    ]
    return min(placement(a, shape, b, acquisition.shape) for a in affines for b in theirs)


def _origin(path: Path, acquisition: Acquisition) -> list[str]:
    """Warnings on what a mask was made from, as its sidecar states it.

    Raises
    ------
    InputError
        If that is another session of the participant.

    """
    content = read_sidecar_of(path)
    stated = [content.get(key) for key in ('Sources', 'RawSources')]
    names = [
        source.rpartition('/')[2].partition('.')[0]
        for sources in stated
        for source in ([sources] if isinstance(sources, str) else sources or [])
        if isinstance(source, str)
    ]
    sessions = {part for name in names for part in name.split('_') if part.startswith('ses-')}
    mine = f'ses-{acquisition.session}'
    if acquisition.session is not None and sessions and mine not in sessions:
        raise InputError(
            f'{path} was made from {", ".join(sorted(sessions))}, as its sidecar states, but '
            f'{acquisition.stem} is of {mine}; give a mask of this session.'
        )
    suffixes = {name.rpartition('_')[2] for name in names if '_' in name}
    if not suffixes or suffixes & {acquisition.entities['suffix'], 'mask'}:
        return []
    return [
        f'{path.name} was made from {", ".join(sorted(suffixes))}, as its sidecar states; that '
        'the head lay where it lay for the echoes is taken for granted.'
    ]


def _threshold(data: np.ndarray, path: Path) -> tuple[float, list[str]]:
    """Value above which a voxel belongs to a mask, and warnings."""
    warnings = []
    if data.dtype.kind == 'f' and not np.isfinite(data).all():
        warnings.append(f'{path.name} holds values that are not finite; they count as outside.')
        data = data[np.isfinite(data)]
    inside = data[data > 0]
    if not data.size:
        raise InputError(f'{path} holds no finite value (NaN alone); make the mask again.')
    low, high = float(data.min()), float(data.max())
    binarise = f'for instance with fslmaths {path.name} -thr VALUE -bin MASK'
    if not inside.size or low < 0:
        raise InputError(
            f'{path} holds values from {low:g} to {high:g}; a mask has 0 outside and one positive '
            f'value inside: make it again, {binarise}.'
        )
    if inside.min() == inside.max():
        return high / 2, warnings
    if high > 1 + 1e-6:
        raise InputError(
            f'{path} holds more than two values, from {low:g} to {high:g}; a mask has 0 outside '
            f'and one value inside, or probabilities from 0 to 1: make it so, {binarise}.'
        )
    if high <= HALF:
        raise InputError(
            f'{path} holds probabilities of {high:g} at most; none is above one half, where they '
            f'are cut: make a mask of it, {binarise}.'
        )
    warnings.append(f'{path.name} holds probabilities (up to {high:.3g}); it is cut at one half.')
    return HALF, warnings


def _place(
    mask: np.ndarray,
    affine: np.ndarray,
    transforms: list[np.ndarray],
    path: Path,
    acquisition: Acquisition,
) -> tuple[bool, list[str]]:
    """Whether a mask lies on the echoes voxel by voxel, and warnings."""
    reference = acquisition.first_image
    target, shape = np.asarray(acquisition.affine), acquisition.shape
    signal = magnitude_signal(acquisition)
    same_matrix = mask.shape == shape
    by_voxels = _over_signal(mask, signal) if same_matrix else 0.0
    shift = distance_to_echoes([affine, *transforms], mask.shape, acquisition)
    if shift <= SAME_PLACE_VOXELS:
        return True, _judge(by_voxels, path)
    if not transforms or is_bare(affine):
        if by_voxels < BADLY_PLACED:
            raise InputError(
                f'{path} has an affine that does not state where it lies, and its '
                f'{by(mask.shape)} voxels are not those of the echoes '
                f'({by(shape)}); make it again with the header of {reference}.'
            )
        return True, [
            f'{path.name} has the matrix of the echoes but an affine that does not state where '
            'it lies; it is taken voxel by voxel.'
        ]
    placed = _resample(mask, affine, target, shape)
    by_affine = _over_signal(placed, signal)
    if not same_matrix or _is_turned(affine, target, shape):
        if by_affine < BADLY_PLACED:
            raise InputError(
                f'{path} does not lie on the echoes: by its affine {100 * by_affine:.0f} % of it '
                f'lie over their signal; give a mask in the scanner space of {reference}, '
                'resampled to it if it was made from another image.'
            )
        return False, _judge(by_affine, path)
    within = np.count_nonzero(placed) / max(1.0, _voxels_on(mask, affine, target))
    if by_voxels >= WELL_PLACED and by_affine * within < BADLY_PLACED:
        return True, [
            f'{path.name} has the matrix of the echoes but another affine (corners {shift:.3g} '
            'voxels away), by which it would not lie on the head; it is taken voxel by voxel.'
        ]
    raise InputError(
        f'{path} has the matrix of the echoes but another affine (corners {shift:.3g} voxels '
        f'away). If its voxels are those of the echoes, copy the header (fslcpgeom {reference} '
        f'{path}); if its affine is right, resample it to the grid of the echoes.'
    )


def magnitude_signal(acquisition: Acquisition) -> np.ndarray:
    """Where the first echo has signal."""
    files = acquisition.magnitude[:1] or (acquisition.real[0], acquisition.imaginary[0])
    parts = [np.asanyarray(read_image(file).dataobj).astype(np.float32) for file in files]
    echoes = np.hypot(parts[0], parts[-1] if len(parts) > 1 else 0).reshape(*acquisition.shape, -1)
    magnitude = np.linalg.norm(echoes, axis=-1)
    return magnitude > SIGNAL * np.percentile(magnitude, 99)


def _over_signal(mask: np.ndarray, signal: np.ndarray) -> float:
    """Part of a mask that lies over signal."""
    inside = np.count_nonzero(mask)
    return np.count_nonzero(mask & signal) / inside if inside else 0.0


def _resample(
    mask: np.ndarray, affine: np.ndarray, target: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Mask on another grid, nearest neighbour."""
    from scipy.ndimage import affine_transform

    change = np.linalg.solve(affine, target)
    placed = affine_transform(
        mask.astype(np.uint8), change[:3, :3], change[:3, 3], output_shape=shape, order=0
    )
    return placed > 0


def _voxels_on(mask: np.ndarray, affine: np.ndarray, target: np.ndarray) -> float:
    """Voxels that a mask would have on another grid that holds all of it."""
    sizes = [abs(float(np.linalg.det(a[:3, :3]))) for a in (affine, target)]
    return np.count_nonzero(mask) * sizes[0] / sizes[1]


def _is_turned(affine: np.ndarray, target: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether two grids of one shape hold the same voxels, their axes turned or exchanged."""
    change = np.linalg.solve(target, affine)
    rotation = np.rint(change[:3, :3])
    if not np.allclose(change[:3, :3], rotation, atol=1e-2):
        return False
    if not np.array_equal(np.abs(rotation).sum(axis=0), [1, 1, 1]):
        return False
    corners = np.array([[0, 0, 0, 1], [*(n - 1 for n in shape), 1]]).T
    ends = np.sort((change @ corners)[:3], axis=1)
    expected = np.array([[0, n - 1] for n in shape])
    return bool(np.abs(ends - expected).max() <= SAME_PLACE_VOXELS * 10)


def _judge(over_signal: float, path: Path) -> list[str]:
    """Warnings on a mask part of which lies where there is no signal."""
    if over_signal >= WELL_PLACED:
        return []
    if over_signal < BADLY_PLACED:
        raise InputError(
            f'{path} lies over the signal of the echoes with {100 * over_signal:.0f} % of its '
            'volume alone, where there is no phase elsewhere; give one that was made for this '
            'acquisition.'
        )
    return [
        f'{path.name}: {100 * over_signal:.0f} % of the mask lie over the signal of the echoes; '
        'check that it belongs to this acquisition and lies in its space.'
    ]

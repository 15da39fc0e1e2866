"""Where the voxels of an image lie in the scanner, as the transforms of its header say."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import nibabel as nb
import numpy as np
from nibabel.spatialimages import HeaderDataError

from qsmprep.bids.errors import InputError
from qsmprep.bids.notes import Doubt, Note

VOXEL_SIZE_RANGE_MM = (0.02, 20.0)
MOST_SKEW_DEGREES = 3.0
TOLD_SKEW_DEGREES = 0.2
SCANNER = 1
STANDARD_SPACE_CODES = (3, 4)
SAME_PLACE_VOXELS = 0.1
"""Distance of the corners, in voxels, up to which two grids are the same."""
COARSE_MM = 4.0
WIDE_MM, THIN_MM, THINNEST_MM = 110.0, 70.0, 40.0
"""Extent of a field of view that holds a head across, and thickness below which it is a slab: in
a simulated head, susceptibility loses 30 % at 72 mm, 40 % at 48 mm and 60 % at 30 mm."""
OBLIQUE_DEGREES = 5.0


def scanner_affine(header: nb.Nifti1Header) -> np.ndarray:
    """Affine (4 x 4) of :func:`scanner_transform`."""
    return scanner_transform(header)[0]


def scanner_transform(header: nb.Nifti1Header) -> tuple[np.ndarray, int]:
    """
    Affine (4 x 4) from voxel indices to scanner mm, and its code; its third row points along B0.

    Of sform and qform it is the one whose code says scanner (1); where both or none say so, the
    sform, if there is one. Code 0 means that the header has neither.

    Parameters
    ----------
    header
        Header of an image.

    """
    sform, sform_code = header.get_sform(coded=True)
    qform, qform_code = header.get_qform(coded=True)
    if qform_code and (not sform_code or qform_code == SCANNER != sform_code):
        return np.asarray(qform, dtype=np.float64), int(qform_code)
    affine = sform if sform_code else header.get_best_affine()
    return np.asarray(affine, dtype=np.float64), int(sform_code)


def header_transforms(header) -> list[np.ndarray]:
    """Both affines of a header, if its codes say that they mean something."""
    pairs = (header.get_sform(coded=True), header.get_qform(coded=True))
    return [np.asarray(transform, dtype=np.float64) for transform, code in pairs if code]


def is_bare(affine: np.ndarray) -> bool:
    """Whether an affine holds voxel sizes alone, as where an array was saved without header."""
    return bool(np.array_equal(affine, np.diag(np.diag(affine))) and (np.diag(affine) > 0).all())


def placement(
    affine: np.ndarray, shape: tuple[int, ...], target: np.ndarray, target_shape: tuple[int, ...]
) -> float:
    """
    Largest distance between the corners of two grids, in voxels of the second.

    Parameters
    ----------
    affine, shape
        The one grid.
    target, target_shape
        The other grid.

    Returns
    -------
    float
        Infinite where the shapes differ.

    Examples
    --------
    >>> placement(np.eye(4), (4, 4, 4), np.eye(4), (4, 4, 4))
    0.0

    """
    if tuple(shape[:3]) != tuple(target_shape[:3]):
        return math.inf
    try:
        change = np.linalg.solve(target, affine) - np.eye(4)
    except np.linalg.LinAlgError:
        return math.inf
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[:3]], (1,))).reshape(4, -1)
    return float(np.abs(change @ corners)[:3].max())


def check_geometry(header: nb.Nifti1Header, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """
    Affine to scanner mm by :func:`scanner_affine`, and warnings.

    Raises
    ------
    InputError
        If voxel sizes or transforms are impossible.

    """
    zooms = np.asarray(header['pixdim'][1:4], dtype=np.float64)
    if not np.all(np.isfinite(zooms)) or np.any(zooms <= 0):
        raise InputError(
            f'{path} has the voxel size (pixdim) {_lengths(zooms)} mm; three positive numbers are '
            'expected: repair the header.'
        )
    try:
        affine = scanner_affine(header)
        sform, qform = _Transform(*header.get_sform(True)), _Transform(*header.get_qform(True))
    except (HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f'{path} has no valid affine: {error}; repair the header.') from error
    sizes, skew_degrees = _check_affine(affine, path)
    warnings = []
    if skew_degrees > TOLD_SKEW_DEGREES:
        warnings.append(
            f'{path.name}: the voxel axes are {skew_degrees:.1f} degrees off right angles by the '
            'affine; they are taken for right angles.'
        )
    warnings += _doubts_of_codes(sform, qform, path)
    if not np.allclose(sizes, zooms, rtol=0.01):
        warnings.append(
            f'{path.name}: the voxel size by the affine ({_lengths(sizes, 4)} mm) is used, not '
            f'pixdim ({_lengths(zooms)} mm).'
        )
    if sform.code and qform.code and not np.allclose(sform.affine, qform.affine, atol=0.01):
        used = 'qform' if qform.code == SCANNER != sform.code else 'sform'
        warnings.append(
            f'{path.name}: sform (code {sform.code}) and qform (code {qform.code}) differ by up to '
            f'{np.abs(sform.affine - qform.affine).max():.3g}, their directions of B0 by '
            f'{_b0_angle(sform.affine, qform.affine):.1f} degrees; the {used} is used.'
        )
    return affine, tuple(warnings)


class _Transform(NamedTuple):
    affine: np.ndarray
    code: int


def _check_affine(affine: np.ndarray, path: Path) -> tuple[np.ndarray, float]:
    """Voxel size [mm] and skew [degrees] of an affine that is possible."""
    if not np.all(np.isfinite(affine)):
        raise InputError(f'{path} has an affine with values that are not finite; repair it.')
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if np.any(sizes == 0) or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        raise InputError(f'{path} has a singular affine; repair sform and qform of the header.')
    skew = _skew_degrees(affine[:3, :3] / sizes)
    if skew > MOST_SKEW_DEGREES:
        raise InputError(
            f'{path} has voxel axes that are {skew:.1f} degrees off right angles by its affine; '
            'dipole fields are computed on voxels with right angles: repair the header, or '
            'resample all images to such voxels.'
        )
    low, high = VOXEL_SIZE_RANGE_MM
    if np.any(sizes < low) or np.any(sizes > high):
        raise InputError(
            f'{path} has voxels of {_lengths(sizes)} mm by its affine; {low:g} to {high:g} mm are '
            'expected: repair the header (unit: mm).'
        )
    return sizes, skew


def _doubts_of_codes(sform: _Transform, qform: _Transform, path: Path) -> list[str]:
    """Warnings that the direction of B0 may not be what the affine says."""
    codes = (sform.code, qform.code)
    if codes == (0, 0):
        return [
            f'{path.name} holds no orientation (sform and qform codes are 0): its third axis is '
            'taken as the direction of B0.'
        ]
    if SCANNER in codes:
        return []
    standard = (sform.code or qform.code) in STANDARD_SPACE_CODES
    return [
        f'{path.name}: neither transform leads to the scanner by its code (sform {sform.code}, '
        f'qform {qform.code}; 1 is expected){", but to a standard space" if standard else ""}, so '
        'that the direction of B0 read from it may be wrong.'
    ]


def by(shape: Iterable[int]) -> str:
    """
    Say how many voxels there are along each axis.

    Examples
    --------
    >>> by((64, 64, 40))
    '64 x 64 x 40'

    """
    return ' x '.join(str(n) for n in shape)


def _lengths(sizes: np.ndarray, digits: int = 6) -> str:
    return ', '.join(f'{s:.{digits}g}' for s in sizes)


def _skew_degrees(axes: np.ndarray) -> float:
    """
    Largest deviation of the angles between three unit vectors (columns) from a right one.

    Examples
    --------
    >>> round(_skew_degrees(np.array([[1, 0.6, 0], [0, 0.8, 0], [0, 0, 1]])), 1)
    36.9

    """
    cosines = np.abs(axes.T @ axes)[~np.eye(3, dtype=bool)]
    return float(np.degrees(np.arcsin(min(cosines.max(), 1.0))))


def _b0_angle(first: np.ndarray, second: np.ndarray) -> float:
    """Angle between the scanner's z axis in the voxel frames of two affines [degrees]."""
    ones, others = (a[2, :3] / np.linalg.norm(a[:3, :3], axis=0) for a in (first, second))
    cosine = ones @ others / (np.linalg.norm(ones) * np.linalg.norm(others))
    return math.degrees(math.acos(min(1.0, max(-1.0, float(cosine)))))


def grid_warnings(affine: np.ndarray, shape: tuple[int, ...]) -> list[str]:
    """
    What limits a susceptibility map on a grid: obliqueness, large voxels, a thin slab.

    Parameters
    ----------
    affine
        4 x 4, voxel indices to scanner mm.
    shape
        Voxels along three axes, more are passed over.

    Returns
    -------
    list of str
        Notes, warnings, and a :class:`~qsmprep.bids.notes.Doubt` of a slab too thin for any map.

    Examples
    --------
    >>> grid_warnings(np.diag([1.0, 1.0, 1.0, 1.0]), (180, 220, 160))
    []

    """
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(affine[2, :3]) / edges
    degrees = math.degrees(math.acos(min(1.0, float(cosines.max()))))
    found: list[str] = []
    if degrees > OBLIQUE_DEGREES:
        text = f'The image is oblique by {degrees:.1f} degrees; the direction of B0 is adapted.'
        found.append(Note(text))
    if edges.max() > COARSE_MM:
        listing = ' x '.join(f'{edge:.3g}' for edge in edges)
        found.append(
            Note(
                f'The voxels are {listing} mm: susceptibility of veins and nuclei that are no '
                'larger is underestimated (10.1002/mrm.26475); edges of 1 mm are recommended.'
            )
        )
    return found + _slab_warnings(edges * shape[:3])


def _slab_warnings(extents_mm: np.ndarray) -> list[str]:
    """A warning of a slab: background removal takes the field that varies slowly across it."""
    axis, thickness = int(extents_mm.argmin()), float(extents_mm.min())
    if thickness >= THIN_MM or np.sort(extents_mm)[1] < WIDE_MM:
        return []
    text = (
        f'The field of view is a slab of {thickness:.0f} mm (array axis {axis + 1}): much of the '
        'field of tissue is taken for background, and susceptibility is underestimated'
    )
    if thickness < THINNEST_MM:
        return [Doubt(f'{text} by more than a factor of two; {THIN_MM:.0f} mm are needed.')]
    return [f'{text} by a third or more; {THIN_MM:.0f} mm are needed.']

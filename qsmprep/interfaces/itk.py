"""Images and spatial transforms in ITK's form, which SimpleITK reads, writes and applies.

A transform ``from-A_to-B`` brings images from A to B: it maps points of B to points of A, in mm.
Affines and matrices here are those of NIfTI (x to the right, y to the front); ITK turns both round.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_itk(data: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """
    Image of ITK, of floats.

    Parameters
    ----------
    data
        Voxels (X, Y, Z).
    affine
        4 x 4, voxel indices to mm; shears, which ITK has none of, are dropped.

    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(data, np.float32).T))
    matrix = LPS @ np.asarray(affine, float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    left, _, right = np.linalg.svd(matrix[:3, :3] / spacing)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((left @ right).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


def affine_transform(moves: np.ndarray) -> sitk.AffineTransform:
    """
    Transform that brings images where a matrix brings points.

    Parameters
    ----------
    moves
        4 x 4, points [mm] of the image to points of where it is brought.

    Examples
    --------
    >>> shift = np.eye(4)
    >>> shift[0, 3] = 5
    >>> affine_transform(shift).TransformPoint((0.0, 0.0, 0.0))
    (5.0, 0.0, 0.0)

    """
    import SimpleITK as sitk

    back = LPS @ np.linalg.inv(moves) @ LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(back[:3, :3].ravel().tolist())
    transform.SetTranslation(back[:3, 3].tolist())
    return transform


def matrix_of(transform: sitk.Transform) -> np.ndarray:
    """Matrix that :func:`affine_transform` was made from; exact for affine transforms alone."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    back = np.eye(4)
    back[:3, 3] = origin
    for axis, unit in enumerate(np.eye(3)):
        back[:3, axis] = np.array(transform.TransformPoint(unit.tolist())) - origin
    return np.linalg.inv(LPS @ back @ LPS)


def chain(transforms: Sequence[sitk.Transform]) -> sitk.Transform:
    """
    One transform for several, in the order in which images pass through them.

    Examples
    --------
    >>> shift, grow = np.eye(4), np.diag([2.0, 2.0, 2.0, 1.0])
    >>> shift[0, 3] = 1
    >>> first, second = affine_transform(shift), affine_transform(grow)
    >>> matrix_of(chain([first, second]))[0].tolist()
    [2.0, 0.0, 0.0, 2.0]

    """
    import SimpleITK as sitk

    # ITK applies the last transform of a composite first, to points of the target
    composite = sitk.CompositeTransform(3)
    for transform in transforms:
        composite.AddTransform(transform)
    return composite


def read_transform(path: str | Path) -> sitk.Transform:
    """
    Read a transform: ITK's text, its HDF5, or a field of displacements as an image.

    Raises
    ------
    ValueError
        If the file holds no transform of three dimensions.

    """
    import SimpleITK as sitk

    try:
        if str(path).endswith(('.nii', '.nii.gz')):
            field = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
            return sitk.DisplacementFieldTransform(field)
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f'{path} cannot be read as a transform of ITK: {reason}') from error
    if transform.GetDimension() != 3:
        raise ValueError(f'{path} holds a transform of {transform.GetDimension()} dimensions.')
    return transform


def write_transform(transform: sitk.Transform, path: str | Path) -> str:
    """Write a transform: displacements as an image (``.nii``), all else in ITK's own forms."""
    import SimpleITK as sitk

    if str(path).endswith('.nii'):
        field = sitk.DisplacementFieldTransform(transform).GetDisplacementField()
        sitk.WriteImage(sitk.Cast(field, sitk.sitkVectorFloat32), str(path))
    else:
        sitk.WriteTransform(transform, str(path))
    return str(path)


def resample(
    data: np.ndarray,
    affine: np.ndarray,
    transform: sitk.Transform,
    shape: Sequence[int],
    target: np.ndarray,
    *,
    order: int = 1,
    threads: int = 1,
) -> np.ndarray:
    """
    Bring an image to another grid through a transform, in one interpolation.

    Parameters
    ----------
    data, affine
        The image.
    transform
        From the image's space to that of the grid.
    shape, target
        The grid: voxels and affine.
    order
        0 for the nearest voxel, 1 for linear interpolation, 3 for cubic splines.
    threads
        Threads of ITK.

    Returns
    -------
    numpy.ndarray
        Floats; zero where the image does not reach.

    """
    import SimpleITK as sitk

    empty = to_itk(np.zeros((1, 1, 1)), target)
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(threads)
    resampler.SetSize([int(n) for n in shape])
    resampler.SetOutputSpacing(empty.GetSpacing())
    resampler.SetOutputDirection(empty.GetDirection())
    resampler.SetOutputOrigin(empty.GetOrigin())
    resampler.SetTransform(transform)
    kinds = {0: sitk.sitkNearestNeighbor, 1: sitk.sitkLinear, 3: sitk.sitkBSpline}
    resampler.SetInterpolator(kinds[order])
    return sitk.GetArrayFromImage(resampler.Execute(to_itk(data, affine))).T

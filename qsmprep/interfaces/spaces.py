"""Maps in other spaces than their own: one interpolation, whatever lies between."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from scipy.ndimage import distance_transform_edt

from qsmprep.interfaces import images, itk

MNI152 = 4
"""Code of the template space in NIfTI."""
TEMPLATE_ORIGIN_MM = {1: (-96.0, -132.0, -78.0), 2: (-96.5, -132.5, -78.5)}
TEMPLATE_SHAPE = {1: (193, 229, 193), 2: (97, 115, 97)}
"""Grids of MNI152NLin2009cAsym as TemplateFlow has them, by their resolution [mm]."""


class _ResampleToSpaceInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='map or mask; never wrapped phase')
    mask = File(exists=True, desc='where a map holds values')
    transforms = InputMultiObject(File(exists=True), mandatory=True, desc='in order of passage')
    reference = File(exists=True, desc='image whose grid is taken')
    resolution = traits.Int(desc='grid of the template with that voxel size [mm] instead')
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads')


class _ResampleToSpaceOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='map or mask in the other space')


class ResampleToSpace(SimpleInterface):
    """
    Bring a map (cubic splines) or a mask (cut at one half) to another space.

    Outside of its mask a map goes on with its nearest value while it is interpolated, so that its
    edge does not fade into the zeros around it.
    """

    input_spec = _ResampleToSpaceInputSpec
    output_spec = _ResampleToSpaceOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        affine = images.affine_of(inputs.in_file)
        if isdefined(inputs.reference):
            shape, target = nb.load(inputs.reference).shape[:3], images.affine_of(inputs.reference)
        else:
            shape, target = template_grid(inputs.resolution)
        transform = itk.chain([itk.read_transform(path) for path in inputs.transforms])

        def bring(data: np.ndarray, order: int) -> np.ndarray:
            return itk.resample(
                data, affine, transform, shape, target, order=order, threads=inputs.num_threads
            )

        if nb.load(inputs.in_file).get_data_dtype().kind in 'iu':
            placed = bring(images.read(inputs.in_file, bool), 1) > 0.5
        else:
            data = images.read(inputs.in_file)
            if isdefined(inputs.mask):
                inside = images.read(inputs.mask, bool)
                placed = bring(continued(data, inside), 3) * (bring(inside, 1) > 0.5)
            else:
                placed = bring(data, 3)
        path = Path(runtime.cwd) / 'resampled.nii'
        if isdefined(inputs.reference):
            images.save(placed, inputs.reference, path)
        else:
            kind = np.uint8 if placed.dtype == bool else np.float32
            image = nb.Nifti1Image(placed.astype(kind), target)
            image.set_sform(target, MNI152)
            image.set_qform(target, MNI152)
            image.header.set_xyzt_units('mm')
            image.to_filename(path)
        self._results['out_file'] = str(path)
        return runtime


def template_grid(resolution: int) -> tuple[tuple[int, ...], np.ndarray]:
    """
    Shape and affine of the grid of MNI152NLin2009cAsym.

    Parameters
    ----------
    resolution
        1 or 2 [mm].

    """
    affine = np.diag([resolution, resolution, resolution, 1.0])
    affine[:3, 3] = TEMPLATE_ORIGIN_MM[resolution]
    return TEMPLATE_SHAPE[resolution], affine


def continued(data: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """
    Data whose voxels outside of a mask have the value of the nearest one inside.

    Examples
    --------
    >>> continued(np.array([0.0, 3.0, 5.0, 0.0]), np.array([False, True, True, False]))
    array([3., 3., 5., 5.])

    """
    if not mask.any():
        return data
    nearest = distance_transform_edt(~mask, return_distances=False, return_indices=True)
    return data[tuple(nearest)]

"""Registration by greedy (https://github.com/pyushkevich/greedy), and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from scipy.ndimage import binary_dilation

from qsmprep.interfaces import itk
from qsmprep.interfaces.brains import Brain, load_atlas, load_template
from qsmprep.interfaces.greedy import greedy, greedy_affine
from qsmprep.qsm.registration import dependence, distance_mm, overlap

REPEAT_MM = 1.0
"""Distance up to which a second rigid registration, from another start, agrees."""
OVERLAP = {'T1w': 0.85, 'template': 0.9}
"""Dice coefficient of the brains above which they lie on one another."""
CORE = 0.3
"""Share of the variance about the deep nuclei that the template explains where labels fit."""
FOLDED = 0.0
"""Determinant of the Jacobian at which a deformation folds."""
WORKING_MM = 2.0


class _RigidRegistrationInputSpec(BaseInterfaceInputSpec):
    magnitude = File(exists=True, mandatory=True, desc='combined magnitude of the echoes')
    magnitude_mask = File(exists=True, mandatory=True, desc='brain on it')
    t1w = File(exists=True, mandatory=True, desc='T1-weighted image')
    t1w_mask = File(exists=True, mandatory=True, desc='brain on it')
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads')


class _RigidRegistrationOutputSpec(TraitedSpec):
    to_t1w = File(exists=True, desc='from-MEGRE_to-T1w, text of ITK')
    from_t1w = File(exists=True, desc='its inverse')
    parameters = traits.Dict(desc='software, measures of the check, warnings')


class RigidRegistration(SimpleInterface):
    """Bring the magnitude of the echoes to a T1-weighted image of the same head."""

    input_spec = _RigidRegistrationInputSpec
    output_spec = _RigidRegistrationOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        moving = Brain.load(inputs.magnitude, inputs.magnitude_mask).coarser(WORKING_MM)
        fixed = Brain.load(inputs.t1w, inputs.t1w_mask).coarser(WORKING_MM)
        moves, parameters = register_rigidly(moving, fixed, folder, inputs.num_threads)
        for name, matrix in (('to_t1w', moves), ('from_t1w', np.linalg.inv(moves))):
            path = folder / f'{name}.txt'
            self._results[name] = itk.write_transform(itk.affine_transform(matrix), path)
        self._results['parameters'] = parameters
        return runtime


class _TemplateRegistrationInputSpec(BaseInterfaceInputSpec):
    image = File(exists=True, mandatory=True, desc='T1-weighted image or magnitude')
    mask = File(exists=True, mandatory=True, desc='brain on it')
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads')


class _TemplateRegistrationOutputSpec(TraitedSpec):
    to_template = File(exists=True, desc='displacements [mm] on the grid of the template')
    from_template = File(exists=True, desc='displacements [mm] on the grid of the image')
    parameters = traits.Dict(desc='software, measures of the check, warnings')


class TemplateRegistration(SimpleInterface):
    """Deform a head to the template that comes with qsmprep, affinely first."""

    input_spec = _TemplateRegistrationInputSpec
    output_spec = _TemplateRegistrationOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        head = Brain.load(inputs.image, inputs.mask).coarser(WORKING_MM)
        found = register_to_template(head, folder, inputs.num_threads)
        self._results.update(
            to_template=itk.write_transform(found[0], folder / 'to_template.nii'),
            from_template=itk.write_transform(found[1], folder / 'from_template.nii'),
            parameters=found[2],
        )
        return runtime


def register_rigidly(
    moving: Brain,
    fixed: Brain,
    folder: Path,
    threads: int = 1,
    starts: Sequence[np.ndarray] = (),
) -> tuple[np.ndarray, dict]:
    """
    Rigid registration by normalised mutual information, twice, from the best of some starts.

    Parameters
    ----------
    moving, fixed
        Two images of one head.
    folder
        Where files pass to greedy.
    threads
        Threads of greedy.
    starts
        Matrices to start from, besides none and the shift of the centres.

    Returns
    -------
    moves
        4 x 4, points of the moving image to those of the fixed one [mm].
    parameters
        Software, measures, warnings.

    """
    points = moving.points()
    shift = np.eye(4)
    shift[:3, 3] = fixed.points().mean(axis=0) - points.mean(axis=0)
    starts = [np.eye(4), shift, *starts]
    started = [
        greedy_affine(moving, fixed, start, 6, '100x40x0', folder, threads) for start in starts
    ]
    ranked = sorted(started, key=lambda moves: -_explained(moving, fixed, moves))
    moves = greedy_affine(moving, fixed, ranked[0], 6, '20x50x10', folder, threads)
    away = _about(points.mean(axis=0), 6.0, 5.0)
    other = greedy_affine(moving, fixed, moves @ away, 6, '100x50x10', folder, threads)
    landed = points @ moves[:3, :3].T + moves[:3, 3]
    within = fixed.holds(landed)
    parameters = {
        'Software': f'picsl-greedy {version("picsl-greedy")}',
        'Method': 'rigid, normalised mutual information of the brains',
        'RepeatDistance_mm': round(distance_mm(moves, other, points), 3),
        'ExplainedVariance': round(_explained(moving, fixed, moves), 3),
        'BrainWithin': round(float(within.mean()), 3),
        'Rotation_deg': round(_angle_deg(moves), 2),
        'Shift_mm': round(float(np.linalg.norm((landed - points).mean(axis=0))), 2),
    }
    parameters['Warnings'] = _doubts_of_rigid(parameters)
    return moves, parameters


def _doubts_of_rigid(parameters: dict) -> list[str]:
    doubts = []
    if parameters['RepeatDistance_mm'] > REPEAT_MM:
        doubts.append(
            f'from another start it ends {parameters["RepeatDistance_mm"]:.1f} mm away '
            f'(expected below {REPEAT_MM:g} mm)'
        )
    if parameters['BrainWithin'] < OVERLAP['T1w']:
        doubts.append(
            f'{100 * parameters["BrainWithin"]:.0f} % of the brain of the echoes lie in that of '
            f'the T1-weighted image (expected above {100 * OVERLAP["T1w"]:g} %)'
        )
    if not doubts:
        return []
    return [
        f'The registration to the T1-weighted image is doubtful: {" and ".join(doubts)}. Look at '
        'its panel; regions and maps in other spaces rest on it.'
    ]


def register_to_template(head: Brain, folder: Path, threads: int = 1) -> tuple:
    """
    Affine and deformable registration of a head to the template.

    Parameters
    ----------
    head
        A head, on voxels of about 2 mm.
    folder, threads
        See :func:`register_rigidly`.

    Returns
    -------
    to_template, from_template
        Transforms of ITK.
    parameters
        Software, measures, warnings.

    """
    import SimpleITK as sitk

    template = load_template()
    start = np.eye(4)
    start[:3, 3] = head.points().mean(axis=0) - template.points().mean(axis=0)
    rigid = greedy_affine(template, head, start, 6, '100x50x0', folder, threads)
    affine = greedy_affine(template, head, rigid, 12, '100x50x0', folder, threads)
    np.savetxt(folder / 'affine.mat', np.linalg.inv(affine))
    greedy(
        '-i fixed.nii moving.nii -it affine.mat -m NCC 2x2x2 -n 100x60x20 -s 2.5vox 1vox '
        '-o warp.nii -oinv inverse.nii',
        folder,
        threads,
        fixed=head,
        moving=template,
    )
    fields = [
        sitk.ReadImage(str(folder / f'{name}.nii'), sitk.sitkVectorFloat64)
        for name in ('warp', 'inverse')
    ]
    stretch = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(fields[0])).T
    warp, inverse = (sitk.DisplacementFieldTransform(field) for field in fields)
    # the warp acts on points of the head before the affine does
    from_template = _as_field(itk.chain([itk.affine_transform(affine), warp]), head)
    back = itk.chain([inverse, itk.affine_transform(np.linalg.inv(affine))])
    to_template = _as_field(back, template)
    grid = head.mask.shape, head.affine
    placed = itk.resample(template.data, template.affine, from_template, *grid)
    brain = itk.resample(template.mask, template.affine, from_template, *grid) > 0.5
    labels, place = load_atlas()
    core = binary_dilation(labels > 0, iterations=4)
    core = (itk.resample(core, place, from_template, *grid) > 0.5) & head.mask
    parameters = {
        'Software': f'picsl-greedy {version("picsl-greedy")}',
        'Method': 'affine by normalised mutual information, then greedy deformation by local '
        'cross-correlation, of the brains, to the CIT168 template',
        'BrainOverlap': round(overlap(brain, head.mask), 3),
        'CoreExplainedVariance': round(
            dependence(placed[core], head.data[core]) if core.sum() > 100 else 0.0, 3
        ),
        'SmallestJacobian': round(float(stretch[head.mask].min()), 3),
    }
    parameters['Warnings'] = _doubts_of_template(parameters)
    return to_template, from_template, parameters


def _as_field(transform, onto: Brain):
    """Displacements of a transform on a grid, a fifth wider on every side."""
    import SimpleITK as sitk

    shape = np.array(onto.mask.shape)
    pad = np.ceil(0.1 * shape).astype(int)
    affine = onto.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ pad
    grid = itk.to_itk(np.zeros((1, 1, 1)), affine)
    field = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        [int(n) for n in shape + 2 * pad],
        grid.GetOrigin(),
        grid.GetSpacing(),
        grid.GetDirection(),
    )
    return sitk.DisplacementFieldTransform(field)


def _doubts_of_template(parameters: dict) -> list[str]:
    doubts = []
    if parameters['BrainOverlap'] < OVERLAP['template']:
        doubts.append(
            f'the brains overlap by {parameters["BrainOverlap"]:.2f} (Dice coefficient, expected '
            f'above {OVERLAP["template"]:g})'
        )
    if parameters['CoreExplainedVariance'] < CORE:
        doubts.append(
            f'about the deep nuclei the template explains '
            f'{100 * parameters["CoreExplainedVariance"]:.0f} % of the image (expected above '
            f'{100 * CORE:.0f} %)'
        )
    if parameters['SmallestJacobian'] <= FOLDED:
        doubts.append('the deformation folds')
    if not doubts:
        return []
    return [
        f'The registration to the template is doubtful: {" and ".join(doubts)}. Regions of the '
        'atlas may lie elsewhere than their names say; look at their panel.'
    ]


def _explained(moving: Brain, fixed: Brain, moves: np.ndarray) -> float:
    """Correlation ratio of the moving image, given the fixed one, over its brain."""
    points = moving.points()
    landed = points @ moves[:3, :3].T + moves[:3, 3]
    return dependence(fixed.values(landed), moving.values(points))


def _about(centre: np.ndarray, angle_deg: float, shift_mm: float) -> np.ndarray:
    """Rigid matrix: a turn about an oblique axis through a point, and a shift."""
    from scipy.spatial.transform import Rotation

    axis = np.array([1.0, -1.0, 1.0]) / np.sqrt(3)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(angle_deg) * axis).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + shift_mm * axis
    return matrix


def _angle_deg(matrix: np.ndarray) -> float:
    cosine = (np.trace(matrix[:3, :3]) - 1) / 2
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))

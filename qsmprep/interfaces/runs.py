"""Runs of one session in one frame: registration, averages, COSMOS."""

from __future__ import annotations

from pathlib import Path

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
from scipy.ndimage import affine_transform

from qsmprep.interfaces import images
from qsmprep.interfaces.device import DeviceInputSpec
from qsmprep.qsm.grid import Grid, hz_to_ppm

INSIDE = 0.9
"""Share of a resampled voxel that must lie in a mask."""
LEAST_WITHIN = 0.9
"""Share of the first brain that must lie in that of another run."""


class _RegisterRunsInputSpec(BaseInterfaceInputSpec):
    magnitudes = InputMultiObject(
        File(exists=True), mandatory=True, desc='combined magnitude of each run'
    )
    masks = InputMultiObject(File(exists=True), mandatory=True, desc='brain of each run')
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads')


class _RegisterRunsOutputSpec(TraitedSpec):
    matrices = traits.List(desc='4 x 4 of each run: points of the first one to its own [mm]')
    parameters = traits.Dict(desc='software, measures of the check, warnings')


class RegisterRuns(SimpleInterface):
    """Bring the first run's head to where it lay in each other run."""

    input_spec = _RegisterRunsInputSpec
    output_spec = _RegisterRunsOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.interfaces.brains import Brain
        from qsmprep.interfaces.registration import register_rigidly

        inputs, folder = self.inputs, Path(runtime.cwd)
        brains = [Brain.load(*pair) for pair in zip(inputs.magnitudes, inputs.masks, strict=True)]
        first, matrices, measures, warnings = brains[0], [np.eye(4)], [], []
        for number, brain in enumerate(brains[1:], start=2):
            # the image may have been turned with the head: then voxels lie on voxels
            turned = brain.affine @ np.linalg.inv(first.affine)
            matrix, found = register_rigidly(
                first, brain, folder, inputs.num_threads, starts=(turned,)
            )
            matrices.append(matrix)
            measures.append({k: v for k, v in found.items() if k != 'Warnings'})
            warnings += _doubts(number, found)
        self._results['matrices'] = [matrix.tolist() for matrix in matrices]
        self._results['parameters'] = {
            'Method': 'rigid registration of the magnitudes to that of the first run',
            'Runs': len(brains),
            'Registrations': measures,
            'Warnings': warnings,
        }
        return runtime


def _doubts(number: int, found: dict) -> list[str]:
    """Warnings on the registration of a run, from the measures of its check."""
    doubts = []
    if found['RepeatDistance_mm'] > 1:
        doubts.append(f'from another start it ends {found["RepeatDistance_mm"]:.1f} mm away')
    if found['BrainWithin'] < LEAST_WITHIN:
        doubts.append(f'{100 * found["BrainWithin"]:.0f} % of the brains lie on one another')
    if not doubts:
        return []
    return [f'The registration of run {number} to the first is doubtful: {", ".join(doubts)}.']


def to_first(path: str | Path, matrix: np.ndarray, reference: str | Path, order: int) -> np.ndarray:
    """
    Image of a run on the grid of the first one.

    Parameters
    ----------
    path
        Image of the run.
    matrix
        4 x 4, points of the first run to those of this one [mm].
    reference
        Image of the first run.
    order
        Order of the splines; images of the first run are returned as they are.

    """
    data = images.read(path)
    if np.array_equal(matrix, np.eye(4)) and str(path) == str(reference):
        return data
    shape = images.read_grid(reference).shape
    change = np.linalg.inv(images.affine_of(path)) @ matrix @ images.affine_of(reference)
    if np.allclose(change, np.eye(4), atol=1e-6) and data.shape == shape:
        return data
    return affine_transform(
        data, change[:3, :3], change[:3, 3], output_shape=shape, order=order, mode='constant'
    )


class _RunsInputSpec(BaseInterfaceInputSpec):
    masks = InputMultiObject(File(exists=True), mandatory=True, desc='voxels of each map')
    matrices = traits.List(mandatory=True, desc='of RegisterRuns')


class _InvertOrientationsInputSpec(_RunsInputSpec, DeviceInputSpec):
    fields = InputMultiObject(File(exists=True), mandatory=True, desc='local fields [Hz]')
    noises = InputMultiObject(File(exists=True), desc='standard deviations of their noise [Hz]')
    field_strength_t = traits.Float(mandatory=True, desc='field strength [T]')


class _MapOutputSpec(TraitedSpec):
    chi = File(exists=True, desc='susceptibility [ppm] in the frame of the first run')
    mask = File(exists=True, desc='its voxels')
    parameters = traits.Dict(desc='how it was made')


class InvertOrientations(SimpleInterface):
    """COSMOS: one susceptibility map of the local fields of several orientations."""

    input_spec = _InvertOrientationsInputSpec
    output_spec = _MapOutputSpec

    def _run_interface(self, runtime):
        import torch

        from qsmprep.qsm.cosmos import invert_orientations

        inputs = self.inputs
        torch.set_num_threads(inputs.num_threads)
        first = inputs.fields[0]
        grid, affine = images.read_grid(first), images.affine_of(first)
        matrices = [np.asarray(matrix) for matrix in inputs.matrices]
        b0 = [Grid.from_affine(grid.shape, m @ affine).b0_direction for m in matrices]

        def in_frame(paths, order):
            pairs = zip(paths, matrices, strict=True)
            return [to_first(path, matrix, paths[0], order) for path, matrix in pairs]

        strength = inputs.field_strength_t
        masks = [mask > INSIDE for mask in in_frame(inputs.masks, 1)]
        noises = None
        if isdefined(inputs.noises) and len(inputs.noises) == len(inputs.fields):
            noises = [hz_to_ppm(noise, strength) for noise in in_frame(inputs.noises, 1)]
        found = invert_orientations(
            [hz_to_ppm(field, strength) for field in in_frame(inputs.fields, 3)],
            masks,
            b0,
            grid,
            noises_ppm=noises,
            device=inputs.device,
        )
        everywhere = np.logical_and.reduce(masks)
        if not everywhere.any():
            raise ValueError(
                'No voxel has a local field in all orientations; look at the registration of '
                'the runs.'
            )
        self._results['chi'] = images.write(
            found.chi_ppm * everywhere, first, runtime.cwd, 'cosmos'
        )
        self._results['mask'] = images.write(everywhere, first, runtime.cwd, 'mask')
        self._results['parameters'] = found.parameters
        return runtime


class _AverageRunsInputSpec(_RunsInputSpec):
    maps = InputMultiObject(File(exists=True), mandatory=True, desc='susceptibility [ppm]')


class AverageRuns(SimpleInterface):
    """Mean of the susceptibility maps of runs, where all of them have one."""

    input_spec = _AverageRunsInputSpec
    output_spec = _MapOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        first = inputs.maps[0]
        matrices = [np.asarray(matrix) for matrix in inputs.matrices]
        maps, masks = (
            [
                to_first(path, matrix, paths[0], order)
                for path, matrix in zip(paths, matrices, strict=True)
            ]
            for paths, order in ((inputs.maps, 3), (inputs.masks, 1))
        )
        everywhere = np.logical_and.reduce([mask > INSIDE for mask in masks])
        if not everywhere.any():
            raise ValueError('The maps of the runs share no voxel; look at their registration.')
        spread = np.std(maps, axis=0, ddof=1)[everywhere]
        self._results['chi'] = images.write(
            np.mean(maps, axis=0) * everywhere, first, runtime.cwd, 'mean'
        )
        self._results['mask'] = images.write(everywhere, first, runtime.cwd, 'mask')
        self._results['parameters'] = {
            'Method': 'mean of the susceptibility maps of the runs',
            'Runs': len(maps),
            'MedianSDBetweenRuns': float(np.median(spread)),
        }
        return runtime

"""Maps that were made elsewhere, in the units and on the grid of this pipeline."""

from __future__ import annotations

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from qsmprep.interfaces import images


class _TakeGivenInputSpec(BaseInterfaceInputSpec):
    in_files = InputMultiObject(
        File(exists=True), mandatory=True, desc='the map; several files are echoes'
    )
    reference = File(exists=True, mandatory=True, desc='image whose grid it has')
    scale = traits.Float(1.0, usedefault=True, desc='factor from its unit to the one in use')


class _TakeGivenOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='the map; several echoes lie along the fourth axis')


class TakeGiven(SimpleInterface):
    """Take a given map over: its unit is changed, and what is not finite becomes zero."""

    input_spec = _TakeGivenInputSpec
    output_spec = _TakeGivenOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        shape = images.read_grid(inputs.reference).shape
        volumes = [images.read(path).reshape(shape) for path in inputs.in_files]
        data = volumes[0] if len(volumes) == 1 else np.stack(volumes, axis=-1)
        data = np.nan_to_num(data, posinf=0, neginf=0) * np.float32(inputs.scale)
        self._results['out_file'] = images.write(data, inputs.reference, runtime.cwd, 'given')
        return runtime


class _MaskGivenInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='a given map, zero where it says nothing')
    brain = File(exists=True, mandatory=True, desc='brain mask')


class _MaskGivenOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='the map within the brain')
    mask = File(exists=True, desc='voxels of the brain where the map is not zero')
    none = File(exists=True, desc='an empty mask')
    parameters = traits.Dict(desc='volumes')


class MaskGiven(SimpleInterface):
    """Tell where a given map says something: where it is not zero, within the brain."""

    input_spec = _MaskGivenInputSpec
    output_spec = _MaskGivenOutputSpec

    def _run_interface(self, runtime):
        path = self.inputs.in_file
        data, brain = images.read(path), images.read(self.inputs.brain, bool)
        mask = brain & (data != 0)
        if not mask.any():
            raise ValueError(
                f'The given map {path} is zero in all of the brain mask {self.inputs.brain}; '
                'check that both belong to this acquisition.'
            )
        volume_ml = images.read_grid(path).voxel_volume_ml
        written = {'out_file': data * mask, 'mask': mask, 'none': np.zeros_like(mask)}
        for name, volume in written.items():
            self._results[name] = images.write(volume, path, runtime.cwd, name)
        self._results['parameters'] = {
            'Method': 'given',
            'VolumesInMl': {
                'brain': float(brain.sum() * volume_ml), 'map': float(mask.sum() * volume_ml),
            },
        }  # fmt: skip
        return runtime

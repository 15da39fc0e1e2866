"""Super-resolution: a node around :mod:`qsmprep.qsm.superres`."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
from nipype.interfaces.base import (
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from qsmprep.interfaces import images
from qsmprep.interfaces.device import DeviceInputSpec
from qsmprep.qsm.grid import hz_to_ppm


class _SuperResolveInputSpec(DeviceInputSpec):
    chi = File(exists=True, mandatory=True, desc='susceptibility [ppm]')
    mask = File(exists=True, mandatory=True, desc='voxels of the susceptibility map')
    field_mask = File(exists=True, desc='voxels of the field')
    field = File(exists=True, desc='local field [Hz], to start from instead of the map')
    noise = File(exists=True, desc='standard deviation of the noise of the field [Hz]')
    field_strength_t = traits.Float(desc='field strength [T], for a field')
    resolution = traits.Str(mandatory=True, desc="longest edge of a voxel [mm], or 'iso'")
    prior = File(exists=True, desc='weights of the prior')
    random_seed = traits.Int(0, usedefault=True, desc='seed of the sampler')


class _SuperResolveOutputSpec(TraitedSpec):
    chi = File(exists=True, desc='susceptibility [ppm] on the finer grid')
    parameters = traits.Dict(desc='resolution, source, noise levels, prior, seed and device')


class SuperResolve(SimpleInterface):
    """Susceptibility map on a finer grid; a map that is as fine already is handed on."""

    input_spec = _SuperResolveInputSpec
    output_spec = _SuperResolveOutputSpec

    def _run_interface(self, runtime):
        import torch

        from qsmprep.qsm.resolution import finer_affine

        inputs = self.inputs
        torch.set_num_threads(inputs.num_threads)
        grid = images.read_grid(inputs.chi)
        result = self._resolve(grid)
        record = {'Requested': inputs.resolution, 'MeasuredVoxelSize': list(grid.voxel_size)}
        if result is None:
            self._results['chi'] = inputs.chi
            self._results['parameters'] = record | {'Done': False}
            return runtime
        affine = finer_affine(nb.load(inputs.chi).affine, grid, result.grid)
        path = Path(runtime.cwd) / 'chi_fine.nii'
        images.save(result.chi_ppm, inputs.chi, path, affine)
        self._results['chi'] = str(path)
        self._results['parameters'] = {
            **record,
            'VoxelSize': list(result.grid.voxel_size),
            **result.parameters,
            'RandomSeed': inputs.random_seed,
            'Device': inputs.device,
        }
        return runtime

    def _resolve(self, grid):
        """Fine map of the chosen source, with the reference of the coarse map."""
        from qsmprep.qsm.superres import super_resolve, super_resolve_field

        inputs = self.inputs
        resolution = inputs.resolution if inputs.resolution == 'iso' else float(inputs.resolution)
        chi, mask = images.read(inputs.chi), images.read(inputs.mask, bool)
        options = {
            'prior': inputs.prior if isdefined(inputs.prior) else None,
            'seed': inputs.random_seed,
            'device': inputs.device,
        }
        if not isdefined(inputs.field):
            return super_resolve(chi, mask, grid, resolution, **options)
        if isdefined(inputs.noise):
            noise = images.read(inputs.noise)
            options['noise_ppm'] = hz_to_ppm(noise, inputs.field_strength_t)
        field = hz_to_ppm(images.read(inputs.field), inputs.field_strength_t)
        if isdefined(inputs.field_mask):
            mask = images.read(inputs.field_mask, bool)
        result = super_resolve_field(field, mask, grid, resolution, **options)
        if result is not None:
            shift = chi[mask].mean() - result.chi_ppm[result.mask].mean()
            result.chi_ppm[result.mask] += shift
        return result

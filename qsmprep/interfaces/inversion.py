"""Dipole inversion and referencing: nodes around :mod:`qsmprep.qsm.invert`."""

from __future__ import annotations

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from qsmprep.interfaces import images


class _InvertDipoleInputSpec(BaseInterfaceInputSpec):
    field = File(exists=True, mandatory=True, desc='local field [Hz]')
    mask = File(exists=True, mandatory=True, desc='voxels that have a local field')
    magnitude = File(exists=True, desc='combined magnitude, for voxel weights')
    noise = File(exists=True, desc='standard deviation of the noise of the field [Hz]')
    field_strength_t = traits.Float(mandatory=True, desc='field strength [T]')
    method = traits.Str('tv', usedefault=True, desc='key of METHODS')
    method_parameters = traits.Dict(desc='parameters that differ from their defaults')
    random_seed = traits.Int(0, usedefault=True, desc='seed of methods that draw numbers')
    device = traits.Str('cpu', usedefault=True, desc='torch device')
    use_gpu = traits.Bool(False, usedefault=True, desc='takes one of the GPU slots')
    num_threads = traits.Int(1, usedefault=True, desc='threads on the CPU')


class _InvertDipoleOutputSpec(TraitedSpec):
    chi = File(exists=True, desc='susceptibility [ppm], zero outside the mask')
    parameters = traits.Dict(desc='method, every parameter, seed and device')


class InvertDipole(SimpleInterface):
    """Susceptibility map from a local field."""

    input_spec = _InvertDipoleInputSpec
    output_spec = _InvertDipoleOutputSpec

    def _run_interface(self, runtime):
        import torch

        from qsmprep.qsm.grid import hz_to_ppm
        from qsmprep.qsm.invert import invert

        inputs = self.inputs
        torch.set_num_threads(inputs.num_threads)
        noise_ppm = None
        if isdefined(inputs.noise):
            noise_ppm = hz_to_ppm(images.read(inputs.noise), inputs.field_strength_t)
        inversion = invert(
            hz_to_ppm(images.read(inputs.field), inputs.field_strength_t),
            images.read(inputs.mask, bool),
            images.read_grid(inputs.field),
            inputs.method,
            magnitude=images.read(inputs.magnitude) if isdefined(inputs.magnitude) else None,
            noise_ppm=noise_ppm,
            seed=inputs.random_seed,
            device=inputs.device,
            **(inputs.method_parameters if isdefined(inputs.method_parameters) else {}),
        )
        self._results['chi'] = images.write(inversion.chi_ppm, inputs.field, runtime.cwd, 'chi')
        self._results['parameters'] = {
            'Method': inputs.method,
            **inversion.parameters,
            'RandomSeed': inputs.random_seed,
            'Device': inputs.device,
        }
        return runtime


class _ReferenceInputSpec(BaseInterfaceInputSpec):
    chi = File(exists=True, mandatory=True, desc='susceptibility [ppm]')
    mask = File(exists=True, mandatory=True, desc='voxels of the susceptibility map')
    region = File(exists=True, desc='mask of the reference region')
    kind = traits.Str('brain', usedefault=True, desc="'brain', 'none', or a region's label")


class _ReferenceOutputSpec(TraitedSpec):
    chi = File(exists=True, desc='referenced susceptibility [ppm]')
    parameters = traits.Dict(desc='region, the value taken off, mean and SD of the region')


class Reference(SimpleInterface):
    """Take the mean of a region off the susceptibility map."""

    input_spec = _ReferenceInputSpec
    output_spec = _ReferenceOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.qsm.reference import reference_chi

        inputs = self.inputs
        chi, mask = images.read(inputs.chi), images.read(inputs.mask, bool)
        parameters = {'ReferenceRegion': inputs.kind}
        if inputs.kind == 'none':
            value_ppm = 0.0
        else:
            region = images.read(inputs.region, bool) & mask if inputs.kind != 'brain' else mask
            if not region.any():
                raise ValueError(
                    f'The reference region {inputs.region} has no voxel inside the susceptibility '
                    "map; choose another region, or '--reference brain'."
                )
            if inputs.kind != 'brain':
                offset = float(chi[mask].mean())
                parameters['ReferenceMeanRelativeToBrain'] = float(chi[region].mean()) - offset
                parameters['ReferenceSD'] = float(np.std(chi[region]))
            chi, value_ppm = reference_chi(chi, mask, region)
        parameters['ReferenceValue'] = float(value_ppm)
        self._results['chi'] = images.write(chi, inputs.chi, runtime.cwd, 'chi')
        self._results['parameters'] = parameters
        return runtime

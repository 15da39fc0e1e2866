"""Contrasts made from maps: nodes around :mod:`qsmprep.qsm.swi` and ``separation``."""

from __future__ import annotations

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from qsmprep.interfaces import images
from qsmprep.interfaces.device import DeviceInputSpec
from qsmprep.qsm.grid import hz_to_ppm


class _WeightSusceptibilityInputSpec(BaseInterfaceInputSpec):
    magnitude = File(exists=True, mandatory=True, desc='root of the sum of squares over the echoes')
    field = File(exists=True, mandatory=True, desc='local field [Hz]')
    mask = File(exists=True, mandatory=True, desc='voxels of the images')
    echo_times_s = traits.List(traits.Float, mandatory=True, desc='echo times [s]')


class _WeightSusceptibilityOutputSpec(TraitedSpec):
    swi = File(exists=True, desc='susceptibility-weighted image')
    minimum = File(exists=True, desc='its minimum intensity projection over slabs')
    parameters = traits.Dict(desc='how they were made')


class WeightSusceptibility(SimpleInterface):
    """Susceptibility-weighted image and minimum intensity projection."""

    input_spec = _WeightSusceptibilityInputSpec
    output_spec = _WeightSusceptibilityOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.qsm.swi import susceptibility_weighted

        inputs = self.inputs
        found = susceptibility_weighted(
            images.read(inputs.magnitude),
            images.read(inputs.field),
            images.read(inputs.mask, bool),
            images.read_grid(inputs.field),
            tuple(inputs.echo_times_s),
        )
        outputs = {'swi': found.swi, 'minimum': found.minimum}
        self._results |= images.write_each(outputs, inputs.field, runtime.cwd)
        self._results['parameters'] = found.parameters
        return runtime


class _SubtractR2InputSpec(BaseInterfaceInputSpec):
    r2star = File(exists=True, mandatory=True, desc='R2* [1/s]')
    r2 = File(exists=True, mandatory=True, desc='R2 [1/s]')


class _SubtractR2OutputSpec(TraitedSpec):
    r2prime = File(exists=True, desc="R2' [1/s]")
    parameters = traits.Dict(desc='how it was made, and what contradicts itself')


class SubtractR2(SimpleInterface):
    """R2' = R2* - R2, at least zero, where both are known."""

    input_spec = _SubtractR2InputSpec
    output_spec = _SubtractR2OutputSpec

    def _run_interface(self, runtime):
        import numpy as np

        from qsmprep.qsm.separation.rates import r2prime

        r2star, r2 = images.read(self.inputs.r2star), images.read(self.inputs.r2)
        found = r2prime(r2star, r2)
        known = (r2star > 0) & (r2 > 0)
        self._results['r2prime'] = images.write(found, self.inputs.r2star, runtime.cwd, 'r2prime')
        below = float(100 * np.mean(r2star[known] < r2[known])) if known.any() else 100.0
        record = {'Method': 'R2* - R2', 'PercentOfVoxelsWithR2AboveR2star': below}
        text = (
            f"R2 lies above R2* in {below:.0f} % of the voxels, where R2' counts as zero: check "
            'the R2 map, its Units (a map of T2 is none), and that it lies on this scan.'
        )
        if below > 30:
            record['Warnings'] = [text]
        if below > 50:
            record['Doubts'] = [text]
        self._results['parameters'] = record
        return runtime


class _SeparateSourcesInputSpec(DeviceInputSpec):
    field = File(exists=True, mandatory=True, desc='local field [Hz]')
    noise = File(exists=True, desc='standard deviation of its noise [Hz]')
    mask = File(exists=True, mandatory=True, desc='voxels that have a local field')
    tissue = File(exists=True, desc='voxels of the maps, where they go beyond the mask')
    chi = File(exists=True, mandatory=True, desc='susceptibility [ppm]')
    rate = File(exists=True, mandatory=True, desc="R2' or R2* [1/s]")
    reversible = traits.Bool(False, usedefault=True, desc="the rate is R2'")
    r2star = File(exists=True, mandatory=True, desc='R2* [1/s], for the noise of the rate')
    s0 = File(exists=True, mandatory=True, desc='magnitude at an echo time of zero')
    noise_sd = traits.Float(0.0, usedefault=True, desc='noise of the real or imaginary part')
    echo_times_s = traits.List(traits.Float, mandatory=True, desc='echo times [s]')
    field_strength_t = traits.Float(mandatory=True, desc='field strength [T]')
    method = traits.Str('joint', usedefault=True, desc='key of qsmprep.methods.SEPARATIONS')


class _SeparateSourcesOutputSpec(TraitedSpec):
    paramagnetic = File(exists=True, desc='susceptibility of paramagnetic sources [ppm], >= 0')
    diamagnetic = File(exists=True, desc='that of diamagnetic sources [ppm], <= 0')
    parameters = traits.Dict(desc='method, constants and parameters')


class SeparateSources(SimpleInterface):
    """Paramagnetic and diamagnetic susceptibility."""

    input_spec = _SeparateSourcesInputSpec
    output_spec = _SeparateSourcesOutputSpec

    def _run_interface(self, runtime):
        import torch

        from qsmprep.qsm.separation import separate
        from qsmprep.qsm.separation.rates import r2star_sd

        inputs = self.inputs
        torch.set_num_threads(inputs.num_threads)
        sd = r2star_sd(
            images.read(inputs.r2star),
            images.read(inputs.s0),
            tuple(inputs.echo_times_s),
            inputs.noise_sd,
        )

        def in_ppm(path):
            return hz_to_ppm(images.read(path), inputs.field_strength_t)

        found = separate(
            in_ppm(inputs.field),
            images.read(inputs.chi),
            images.read(inputs.rate),
            images.read(inputs.mask, bool),
            images.read_grid(inputs.field),
            inputs.method,
            field_strength_t=inputs.field_strength_t,
            reversible=inputs.reversible,
            rate_sd_hz=sd,
            noise_ppm=in_ppm(inputs.noise) if isdefined(inputs.noise) else None,
            tissue=images.read_given(inputs.tissue, bool),
            remnant=True,
            device=inputs.device,
        )
        outputs = {'paramagnetic': found.paramagnetic, 'diamagnetic': found.diamagnetic}
        self._results |= images.write_each(outputs, inputs.field, runtime.cwd)
        constants = dict(found.parameters)
        self._results['parameters'] = {
            'Method': inputs.method,
            'Rate': "R2'" if inputs.reversible else 'R2*',
            'RatePerPpmInHz': constants.pop('rate_per_ppm'),
            **constants,
        }
        return runtime

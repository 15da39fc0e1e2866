"""R2*, T2* and S0: a node around :mod:`qsmprep.qsm.relaxometry`."""

from __future__ import annotations

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from qsmprep.interfaces import images


class _FitRelaxationInputSpec(BaseInterfaceInputSpec):
    magnitude = File(exists=True, mandatory=True, desc='magnitude, echoes along the fourth axis')
    mask = File(exists=True, mandatory=True, desc='where to fit')
    echo_times_s = traits.List(traits.Float, mandatory=True, desc='echo times [s]')
    noise_sd = traits.Float(0.0, usedefault=True, desc='noise of the real or imaginary part')
    coils = traits.Int(1, usedefault=True, desc='coils under the root of the sum of squares')


class _FitRelaxationOutputSpec(TraitedSpec):
    r2star = File(exists=True, desc='R2* [1/s]')
    t2star = File(exists=True, desc='T2* [s]')
    s0 = File(exists=True, desc='magnitude at an echo time of zero')
    parameters = traits.Dict(desc='how the decay was fitted')


class FitRelaxation(SimpleInterface):
    """Mono-exponential decay of the magnitude, above its noise floor."""

    input_spec = _FitRelaxationInputSpec
    output_spec = _FitRelaxationOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.qsm.relaxometry import fit_r2star

        inputs = self.inputs
        path = inputs.magnitude
        fit = fit_r2star(
            images.read_echoes(path),
            inputs.echo_times_s,
            images.read(inputs.mask, bool),
            inputs.noise_sd,
            inputs.coils,
        )
        for name, data in {'r2star': fit.r2star_hz, 't2star': fit.t2star_s, 's0': fit.s0}.items():
            self._results[name] = images.write(data, path, runtime.cwd, name)
        self._results['parameters'] = {
            'Method': 'nonlinear least squares, mean of a noncentral chi distribution',
            'EchoTimesInS': list(inputs.echo_times_s),
            'NoiseSD': inputs.noise_sd,
            'Coils': inputs.coils,
        }
        return runtime

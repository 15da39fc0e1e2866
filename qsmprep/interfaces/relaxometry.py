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


class _FitRelaxationOutputSpec(TraitedSpec):
    r2star = File(exists=True, desc='R2* [1/s]')
    t2star = File(exists=True, desc='T2* [s]')
    s0 = File(exists=True, desc='magnitude at an echo time of zero')


class FitRelaxation(SimpleInterface):
    """Mono-exponential decay of the magnitude."""

    input_spec = _FitRelaxationInputSpec
    output_spec = _FitRelaxationOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.qsm.relaxometry import fit_r2star

        path = self.inputs.magnitude
        fit = fit_r2star(
            images.read_echoes(path), self.inputs.echo_times_s, images.read(self.inputs.mask, bool)
        )
        for name, data in {'r2star': fit.r2star_hz, 't2star': fit.t2star_s, 's0': fit.s0}.items():
            self._results[name] = images.write(data, path, runtime.cwd, name)
        return runtime

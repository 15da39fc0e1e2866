"""What the sidecars of the outputs say."""

from __future__ import annotations

from nipype.interfaces.base import (
    DynamicTraitedSpec,
    SimpleInterface,
    isdefined,
    traits,
)
from nipype.interfaces.io import add_traits

STAGES = {
    'phase': 'PhaseProcessing',
    'mask': 'Masking',
    'background': 'BackgroundFieldRemoval',
    'relaxometry': 'Relaxometry',
    'inversion': 'DipoleInversion',
    'reference': 'Referencing',
    'quality': 'QualityMeasures',
}
"""Stage of the graph -> key of its record in a sidecar."""


class _DescribeOutputsInputSpec(DynamicTraitedSpec):
    acquisition = traits.Dict(desc='what all sidecars of an acquisition say')
    static = traits.Dict(desc='records of stages that are known before the run')


class DescribeOutputs(SimpleInterface):
    """Gather the stages' records into one sidecar for each derivative."""

    input_spec = _DescribeOutputsInputSpec
    output_spec = DynamicTraitedSpec

    def __init__(self, derivatives: dict[str, list[str]] | None = None, **inputs):
        """Take a table of derivatives and the stages that each of them builds on."""
        self._derivatives = derivatives or {}
        super().__init__(**inputs)
        add_traits(self.inputs, list(STAGES))

    def _outputs(self):
        return add_traits(super()._outputs(), list(self._derivatives))

    def _run_interface(self, runtime):
        records = dict(self.inputs.static) if isdefined(self.inputs.static) else {}
        for stage in STAGES:
            value = getattr(self.inputs, stage)
            if isdefined(value):
                records[stage] = records.get(stage, {}) | value
        for name, stages in self._derivatives.items():
            sidecar = dict(self.inputs.acquisition)
            sidecar |= {STAGES[stage]: records[stage] for stage in stages if stage in records}
            self._results[name] = sidecar
        return runtime

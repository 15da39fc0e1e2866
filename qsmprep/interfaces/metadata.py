"""What the sidecars of the outputs say."""

from __future__ import annotations

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

STAGES = {
    'phase': 'PhaseProcessing',
    'mask': 'Masking',
    'background': 'BackgroundFieldRemoval',
    'relaxometry': 'Relaxometry',
    'inversion': 'DipoleInversion',
    'reference': 'Referencing',
    'superres': 'SuperResolution',
    'weighting': 'SusceptibilityWeighting',
    'reversible': 'ReversibleRelaxation',
    'separation': 'SourceSeparation',
    'runs': 'RunRegistration',
    'orientations': 'MultipleOrientations',
    'average': 'RunAverage',
    'quality': 'QualityMeasures',
    'spots': 'DarkSpots',
    't1w_registration': 'RegistrationToT1w',
    'template_registration': 'RegistrationToTemplate',
    'regions': 'Regions',
}
"""Stage of the graph -> key of its record in a sidecar."""


class _DescribeOutputInputSpec(BaseInterfaceInputSpec):
    acquisition = traits.Dict(desc='what all sidecars of an acquisition say')
    phase = traits.Dict(desc='record of the field map')
    mask = traits.Dict(desc='record of the masks')
    background = traits.Dict(desc='record of background field removal')
    relaxometry = traits.Dict(desc='record of relaxometry')
    inversion = traits.Dict(desc='record of dipole inversion')
    reference = traits.Dict(desc='record of referencing')
    superres = traits.Dict(desc='record of super-resolution')
    weighting = traits.Dict(desc='record of susceptibility weighting')
    reversible = traits.Dict(desc="record of R2'")
    separation = traits.Dict(desc='record of the separation of sources')
    runs = traits.Dict(desc='record of the registration of runs')
    orientations = traits.Dict(desc='record of the inversion of several orientations')
    average = traits.Dict(desc='record of the average over runs')
    quality = traits.Dict(desc='quality measures')
    spots = traits.Dict(desc='dark spots of the last echo')
    t1w_registration = traits.Dict(desc='record of the registration to a T1-weighted image')
    template_registration = traits.Dict(desc='record of the registration to the template')
    regions = traits.Dict(desc='record of a table of regions')


class _DescribeOutputOutputSpec(TraitedSpec):
    metadata = traits.Dict(desc='the sidecar')


class DescribeOutput(SimpleInterface):
    """Gather the records of the stages that an output builds on into its sidecar."""

    input_spec = _DescribeOutputInputSpec
    output_spec = _DescribeOutputOutputSpec

    def _run_interface(self, runtime):
        metadata = dict(self.inputs.acquisition)
        for stage, key in STAGES.items():
            record = getattr(self.inputs, stage)
            if isdefined(record):
                metadata[key] = record
        self._results['metadata'] = metadata
        return runtime

"""Background field removal: a node around :mod:`qsmprep.qsm.background`."""

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


class _RemoveBackgroundInputSpec(BaseInterfaceInputSpec):
    field = File(exists=True, mandatory=True, desc='total field [Hz]')
    mask = File(exists=True, mandatory=True, desc='voxels with reliable phase')
    brain = File(exists=True, desc='brain mask: tissue, though its phase be unreliable')
    noise = File(exists=True, desc='standard deviation of the noise of the field [Hz]')
    method = traits.Str('pdf', usedefault=True, desc='key of qsmprep.methods.BACKGROUNDS')
    method_parameters = traits.Dict(desc='parameters that differ from their defaults')


class _RemoveBackgroundOutputSpec(TraitedSpec):
    field = File(exists=True, desc='local field [Hz], zero outside its mask')
    mask = File(exists=True, desc='voxels that have a local field')
    tissue = File(exists=True, desc='those, and tissue whose local field is unknown')
    noise = File(desc='standard deviation of the local field [Hz], if the noise was given')
    parameters = traits.Dict(desc='method and every parameter')


class RemoveBackground(SimpleInterface):
    """Split off the field of sources outside the mask."""

    input_spec = _RemoveBackgroundInputSpec
    output_spec = _RemoveBackgroundOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.qsm.background import remove_background
        from qsmprep.qsm.background.error import error_by_depth

        inputs = self.inputs
        grid = images.read_grid(inputs.field)
        removal = remove_background(
            images.read(inputs.field),
            images.read(inputs.mask, bool),
            grid,
            inputs.method,
            noise=images.read_given(inputs.noise),
            tissue=images.read_given(inputs.brain, bool),
            **(inputs.method_parameters if isdefined(inputs.method_parameters) else {}),
        )
        if not removal.mask.any():
            raise ValueError(
                f'Background field removal ({inputs.method}) left no voxel of the mask '
                f'{inputs.mask}; the mask is too thin for its radius.'
            )
        outputs = {
            'field': removal.local_field,
            'mask': removal.mask,
            'tissue': removal.tissue,
        }
        if removal.noise is not None:
            outputs['noise'] = removal.noise
        self._results |= images.write_each(outputs, inputs.field, runtime.cwd)
        parameters = dict(removal.parameters)
        error = error_by_depth(removal.local_field, removal.mask, removal.tissue, grid)
        self._results['parameters'] = {
            'Method': parameters.pop('method'),
            **parameters,
            'ErrorInHzByDepth': error,
        }
        return runtime

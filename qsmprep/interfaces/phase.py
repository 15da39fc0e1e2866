"""From raw echoes to a field map: nodes around ROMEO and the numerics of phase and field map."""

from __future__ import annotations

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    CommandLine,
    CommandLineInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from qsmprep.interfaces import images
from qsmprep.methods import choose


class PrepareEchoesInputSpec(BaseInterfaceInputSpec):
    magnitude_files = InputMultiObject(File(exists=True), desc='magnitude of each echo')
    phase_files = InputMultiObject(File(exists=True), desc='phase of each echo, as stored')
    real_files = InputMultiObject(File(exists=True), desc='real part of each echo')
    imaginary_files = InputMultiObject(File(exists=True), desc='imaginary part of each echo')
    phase_range = traits.Tuple(
        traits.Float, traits.Float, desc='stored values that stand for -pi and pi'
    )
    phase_sign = traits.Enum(1, -1, usedefault=True, desc='-1 inverts the phase')
    echo_times_s = traits.List(traits.Float, mandatory=True, desc='echo times [s]')
    alternate_slices = traits.Bool(
        False, usedefault=True, desc='pi must be added to every second slice, along some axis'
    )


class PrepareEchoesOutputSpec(TraitedSpec):
    magnitude = File(exists=True, desc='magnitude, echoes along the fourth axis')
    phase = File(exists=True, desc='wrapped phase [rad], echoes along the fourth axis')
    combined_magnitude = File(exists=True, desc='root of the sum of squares over the echoes')
    parameters = traits.Dict(desc='what the readout did to the phase, and what was undone')


class PrepareEchoes(SimpleInterface):
    """Stack the echoes, scale their phase to radians, and undo what the readout did to it."""

    input_spec = PrepareEchoesInputSpec
    output_spec = PrepareEchoesOutputSpec

    def _run_interface(self, runtime):
        reference, magnitude, phase = read_echoes(self.inputs)
        self._results |= write_echoes(self.inputs, magnitude, phase, reference, runtime.cwd)
        return runtime


def read_echoes(inputs, which: slice = slice(None)) -> tuple[str, np.ndarray, np.ndarray]:
    """First file, magnitude and wrapped phase [rad] of some of the echoes of a node's input."""
    from qsmprep.qsm.phase import scale_phase

    if isdefined(inputs.phase_files):
        if not isdefined(inputs.phase_range):
            raise ValueError(
                'phase_files need phase_range, the stored values that stand for -pi and pi: '
                '(-pi, pi) for radians.'
            )
        files = inputs.phase_files[which]
        magnitude = _stack(images.read(f) for f in inputs.magnitude_files[which])
        limits = (*inputs.phase_range, inputs.phase_sign)
        return files[0], magnitude, _stack(scale_phase(images.read(f), *limits) for f in files)
    files = inputs.real_files[which]
    real = _stack(images.read(f) for f in files)
    imaginary = _stack(images.read(f) for f in inputs.imaginary_files[which])
    return files[0], np.hypot(real, imaginary), inputs.phase_sign * np.arctan2(imaginary, real)


def write_echoes(
    inputs, magnitude: np.ndarray, phase: np.ndarray, reference: str, folder: str
) -> dict:
    """Undo what the readout did to the phase; outputs of :class:`PrepareEchoes`."""
    from qsmprep.qsm.phase import masked_voxels
    from qsmprep.qsm.readout import correct_readout, fades_out

    masked = masked_voxels(phase)
    magnitude[masked] = 0
    phase, readout = correct_readout(phase, magnitude, inputs.echo_times_s, inputs.alternate_slices)
    combined = np.sqrt(np.einsum('...e,...e->...', magnitude, magnitude))
    results: dict = {'parameters': _readout_record(readout)}
    if masked.any():
        note = (
            f'The phase was masked before: {100 * masked.mean():.0f} % of the voxels hold one '
            'value in each echo, and count as voxels without signal.'
        )
        results['parameters'].setdefault('Notes', []).append(note)
        if fades_out(phase, masked):
            doubt = (
                'The phase goes to zero at the rim of its mask, as times a soft mask: the field is '
                'wrong there. Give the phase as the scanner stored it, or times a mask of 0 and 1.'
            )
            for kind in ('Warnings', 'Doubts'):
                results['parameters'].setdefault(kind, []).append(doubt)
    volumes = {'magnitude': magnitude, 'phase': phase, 'combined_magnitude': combined}
    for name, data in volumes.items():
        results[name] = images.write(data, reference, folder, name)
    return results


def _stack(echoes) -> np.ndarray:
    """Stack echoes along the fourth axis, each contiguous, as NIfTI stores them."""
    volumes = list(echoes)
    stacked = np.empty((*volumes[0].shape, len(volumes)), dtype=np.float32, order='F')
    for echo, volume in enumerate(volumes):
        stacked[..., echo] = volume
    return stacked


def _readout_record(readout) -> dict:
    """What a sidecar says of the readout; axes as letters of the array."""
    record: dict = {'AlternatingSlices': 'none', 'BipolarReadout': 'none found'}
    if readout.alternating is not None:
        record['AlternatingSlices'] = f'pi, axis {"ijk"[readout.alternating]}, corrected'
    if readout.stepping is not None:
        axis, step = readout.stepping
        record['SliceSteps'] = {
            'Axis': 'ijk'[axis],
            'StepInRad': round(step, 4),
            'SharedByEchoes': readout.shared,
        }
    ramp = readout.alternation.ramp
    if ramp is not None:
        record['BipolarReadout'] = {
            'Axis': 'ijk'[ramp.axis],
            'SlopesInRadPerVoxel': [round(slope, 6) for slope in ramp.slopes_rad],
            'ConstantInRad': round(ramp.constant_rad, 4),
            'AcrossObjectInRad': round(ramp.span_rad, 3),
            'Confidence': round(ramp.confidence, 1),
        }
    elif readout.echoes < 3:
        record['BipolarReadout'] = 'unknown: three echoes or more tell'
    remarks = {
        'Warnings': readout.warnings,
        'Notes': readout.notes,
        'Doubts': readout.doubts,
    }
    return record | {key: texts for key, texts in remarks.items() if texts}


class _EchoesInputSpec(BaseInterfaceInputSpec):
    magnitude = File(exists=True, mandatory=True, desc='magnitude, echoes along the fourth axis')
    phase = File(exists=True, mandatory=True, desc='wrapped phase [rad], echoes along axis four')


class _PhaseDifferenceInputSpec(_EchoesInputSpec):
    mask = File(exists=True, desc='voxels whose difference is needed: around them nothing weighs')


class PhaseDifferenceOutputSpec(TraitedSpec):
    difference = File(exists=True, desc='wrapped phase difference of echoes 2 and 1 [rad]')
    weight = File(exists=True, desc='magnitude of the Hermitian inner product')


class PhaseDifference(SimpleInterface):
    """Hermitian inner product of the first two echoes.

    What weighs nothing costs no time to unwrap; the box around a mask keeps its parts connected.
    """

    input_spec = _PhaseDifferenceInputSpec
    output_spec = PhaseDifferenceOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.qsm.background.box import paste
        from qsmprep.qsm.grid import bounding_box
        from qsmprep.qsm.offset import phase_difference

        path = self.inputs.phase
        difference, weight = phase_difference(
            images.read_echoes(path), images.read_echoes(self.inputs.magnitude)
        )
        mask = images.read_given(self.inputs.mask, bool)
        if mask is not None and mask.any():
            box = bounding_box(mask)
            weight = paste(weight[box], box, weight.shape)
        outputs = {'difference': difference, 'weight': weight}
        self._results |= images.write_each(outputs, path, runtime.cwd)
        return runtime


class _RemovePhaseOffsetInputSpec(_EchoesInputSpec):
    unwrapped_difference = File(exists=True, mandatory=True, desc='unwrapped difference [rad]')
    echo_times_s = traits.List(traits.Float, mandatory=True, desc='echo times [s]')
    mask = File(exists=True, desc='voxels that the offset is estimated from')


class _RemovePhaseOffsetOutputSpec(TraitedSpec):
    phase = File(exists=True, desc='wrapped phase without its offset [rad]')


class RemovePhaseOffset(SimpleInterface):
    """MCPC-3D-S: estimate the phase at an echo time of zero and remove it."""

    input_spec = _RemovePhaseOffsetInputSpec
    output_spec = _RemovePhaseOffsetOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.qsm.mask import separate_parts
        from qsmprep.qsm.offset import phase_offset, remove_offset

        inputs = self.inputs
        phase = images.read_echoes(inputs.phase)
        mask = images.read_given(inputs.mask, bool)
        offset = phase_offset(
            images.read(inputs.unwrapped_difference),
            phase,
            images.read_echoes(inputs.magnitude, 2),
            inputs.echo_times_s,
            images.read_grid(inputs.phase),
            mask=mask,
            parts=[] if mask is None else separate_parts(mask),
        )
        self._results['phase'] = images.write(
            remove_offset(phase, offset), inputs.phase, runtime.cwd, 'phase'
        )
        return runtime


class _RomeoInputSpec(CommandLineInputSpec):
    phase = File(exists=True, mandatory=True, argstr='%s', position=0, desc='wrapped phase [rad]')
    magnitude = File(
        exists=True, mandatory=True, argstr='-romeo %s', position=1, desc='magnitude of each echo'
    )
    echo_times_s = traits.List(
        traits.Float, argstr='-t %s', position=2, desc='echo times [s], for more than one echo'
    )
    mask = traits.Str('nomask', argstr='-k %s', position=3, usedefault=True, desc='where to unwrap')
    quality_map = traits.Bool(True, argstr='-q', position=4, usedefault=True, desc='write it')
    keep_scale = traits.Bool(
        True, argstr='-no-phase-rescale', position=5, usedefault=True, desc='input is in radians'
    )
    out_file = File(
        'unwrapped.nii', argstr='%s', position=-1, usedefault=True, desc='name of the result'
    )


class _RomeoOutputSpec(TraitedSpec):
    unwrapped = File(exists=True, desc='unwrapped phase [rad]')
    quality = File(exists=True, desc='quality of the phase, 0 to 1')


class Romeo(CommandLine):
    """ROMEO (Dymerska et al. 2020, 10.1002/mrm.28563) as ported in niimath."""

    input_spec = _RomeoInputSpec
    output_spec = _RomeoOutputSpec
    _cmd = 'niimath'

    def __init__(self, **inputs):
        import niimath

        # niimath compresses by default, which takes longer than the unwrapping
        super().__init__(command=niimath.bin, environ={'FSLOUTPUTTYPE': 'NIFTI'}, **inputs)

    def _run_interface(self, runtime, correct_return_codes=(0,)):
        path, times = self.inputs.phase, self.inputs.echo_times_s
        echoes = images.count_echoes(path)
        given = len(times) if isdefined(times) else 0
        if echoes != max(given, 1):
            raise ValueError(
                f'{path} holds {echoes} echoes, but there are {given} echo_times_s; give one each.'
            )
        return super()._run_interface(runtime, correct_return_codes)

    def _format_arg(self, name, trait_spec, value):
        if name == 'echo_times_s':
            value = ','.join(f'{1000 * echo_time:g}' for echo_time in value)
            return trait_spec.argstr % value
        return super()._format_arg(name, trait_spec, value)

    def _list_outputs(self):
        from pathlib import Path

        out_file = Path(self.inputs.out_file).absolute()
        outputs = {'unwrapped': str(out_file)}
        if self.inputs.quality_map:
            outputs['quality'] = str(out_file.with_name(f'{out_file.stem}_quality.nii'))
        return outputs


class _UnwrapEchoesInputSpec(BaseInterfaceInputSpec):
    phase = File(exists=True, mandatory=True, desc='wrapped phase [rad]')
    method = traits.Str(mandatory=True, desc='key of qsmprep.methods.UNWRAPPINGS, but ROMEO')


class _UnwrapEchoesOutputSpec(TraitedSpec):
    unwrapped = File(exists=True, desc='unwrapped phase [rad]')


class UnwrapEchoes(SimpleInterface):
    """Unwrapping of every echo by itself, by a method other than ROMEO."""

    input_spec = _UnwrapEchoesInputSpec
    output_spec = _UnwrapEchoesOutputSpec

    def _run_interface(self, runtime):
        path, method = self.inputs.phase, choose('unwrapping', self.inputs.method)
        if method.name == 'romeo':
            raise ValueError('romeo is a program: the node Romeo runs it, and not UnwrapEchoes.')
        grid = images.read_grid(path)
        echoes = np.moveaxis(images.read_echoes(path), -1, 0)
        unwrapped = np.stack([method.run(echo, grid, scan={}) for echo in echoes], axis=-1)
        self._results['unwrapped'] = images.write(unwrapped, path, runtime.cwd, 'unwrapped')
        return runtime


class _CombineEchoesInputSpec(BaseInterfaceInputSpec):
    unwrapped = File(exists=True, mandatory=True, desc='unwrapped phase [rad]')
    magnitude = File(exists=True, mandatory=True, desc='magnitude of each echo')
    echo_times_s = traits.List(traits.Float, mandatory=True, desc='echo times [s]')
    align = traits.Bool(True, usedefault=True, desc='remove multiples of 2 pi between echoes')
    mask = File(exists=True, desc='brain mask: its parts that do not touch are aligned one by one')


class _CombineEchoesOutputSpec(TraitedSpec):
    unwrapped = File(exists=True, desc='unwrapped phase, echoes aligned [rad]')
    field = File(exists=True, desc='total field [Hz]')
    noise = File(exists=True, desc='standard deviation of the noise of the total field [Hz]')
    misfit = File(exists=True, desc='misfit of the echoes over their noise')
    noise_sd = traits.Float(desc='noise of the real or imaginary part of the signal')
    parameters = traits.Dict(desc='echoes that are noisier than the others')


class CombineEchoes(SimpleInterface):
    """Weighted mean of the echoes' off-resonance frequencies."""

    input_spec = _CombineEchoesInputSpec
    output_spec = _CombineEchoesOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.qsm.fieldmap import align_echoes, combine_echoes
        from qsmprep.qsm.mask import separate_parts

        inputs = self.inputs
        unwrapped = aligned = images.read_echoes(inputs.unwrapped)
        magnitude = images.read_echoes(inputs.magnitude)
        if inputs.align:
            mask = images.read_given(inputs.mask, bool)
            parts = [] if mask is None else separate_parts(mask)
            aligned = align_echoes(unwrapped, magnitude, inputs.echo_times_s, parts=parts)
        fieldmap = combine_echoes(aligned, magnitude, inputs.echo_times_s)
        outputs = {
            'field': fieldmap.field_hz,
            'noise': fieldmap.noise_hz,
            'misfit': fieldmap.misfit,
        }
        self._results['unwrapped'] = inputs.unwrapped
        if aligned is not unwrapped:
            outputs['unwrapped'] = aligned
        self._results |= images.write_each(outputs, inputs.unwrapped, runtime.cwd)
        self._results['noise_sd'] = fieldmap.noise_sd
        self._results['parameters'] = _noise_record(fieldmap.excess)
        return runtime


def _noise_record(excess: tuple[float, ...]) -> dict:
    """What a sidecar says of echoes that are far noisier than the others."""
    noisy = [f'{n} ({x:.1f} times)' for n, x in enumerate(excess, start=1) if x > 1]
    if not noisy:
        return {}
    warning = (
        f'Far noisier than the other echoes, and weighted the less: echo {", ".join(noisy)}. Look '
        'for motion, spikes or ghosts in them.'
    )
    return {'NoiseOfEchoes': [round(float(x), 2) for x in excess], 'Warnings': [warning]}


class _SplitEchoesInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='echoes along the fourth axis')


class _SplitEchoesOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc='one image an echo')


class SplitEchoes(SimpleInterface):
    """One image for each echo."""

    input_spec = _SplitEchoesInputSpec
    output_spec = _SplitEchoesOutputSpec

    def _run_interface(self, runtime):
        path = self.inputs.in_file
        echoes = np.moveaxis(images.read_echoes(path), -1, 0)
        self._results['out_files'] = [
            images.write(echo, path, runtime.cwd, f'echo-{number}')
            for number, echo in enumerate(echoes, start=1)
        ]
        return runtime

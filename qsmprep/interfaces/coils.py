"""Uncombined coils: nodes around :mod:`qsmprep.qsm.coils`."""

from __future__ import annotations

from collections.abc import Iterator

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
from qsmprep.interfaces.phase import (
    PhaseDifferenceOutputSpec,
    PrepareEchoesInputSpec,
    PrepareEchoesOutputSpec,
    read_echoes,
    write_echoes,
)


class _CoilsInputSpec(PrepareEchoesInputSpec):
    coils = traits.Int(
        mandatory=True, desc='coils; files hold the echoes of the first, then of the second, ...'
    )


class _SplitCoilsInputSpec(BaseInterfaceInputSpec):
    in_files = InputMultiObject(
        File(exists=True), mandatory=True, desc='each echo, coils along the fourth axis'
    )


class _SplitCoilsOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc='echoes of the first coil, the second, ...')


class SplitCoils(SimpleInterface):
    """One image for each coil and echo: compressed 4-D images cannot be read coil by coil."""

    input_spec = _SplitCoilsInputSpec
    output_spec = _SplitCoilsOutputSpec

    def _run_interface(self, runtime):
        by_echo = []
        for echo, path in enumerate(self.inputs.in_files, start=1):
            coils = np.moveaxis(images.read_echoes(path), -1, 0)
            by_echo.append([
                images.write(data, path, runtime.cwd, f'coil-{coil}_echo-{echo}')
                for coil, data in enumerate(coils, start=1)
            ])  # fmt:skip
        self._results['out_files'] = [path for coil in zip(*by_echo, strict=True) for path in coil]
        return runtime


class CoilDifference(SimpleInterface):
    """Hermitian inner product of the first two echoes, over all coils."""

    input_spec = _CoilsInputSpec
    output_spec = PhaseDifferenceOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.qsm.coils import coil_difference

        reference, *_ = read_echoes(self.inputs, slice(1))
        difference, weight = coil_difference(_each_coil(self.inputs, echoes=2))
        outputs = {'difference': difference, 'weight': weight}
        self._results |= images.write_each(outputs, reference, runtime.cwd)
        return runtime


class _CombineCoilsInputSpec(_CoilsInputSpec):
    unwrapped_difference = File(exists=True, mandatory=True, desc='unwrapped difference [rad]')
    weight = File(exists=True, mandatory=True, desc='magnitude of the Hermitian inner product')


class CombineCoils(SimpleInterface):
    """MCPC-3D-S: combine the coils, and undo what the readout did to the phase."""

    input_spec = _CombineCoilsInputSpec
    output_spec = PrepareEchoesOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.qsm.coils import combine_coils

        inputs = self.inputs
        reference, *_ = read_echoes(inputs, slice(1))
        magnitude, phase = combine_coils(
            _each_coil(inputs),
            images.read(inputs.unwrapped_difference),
            images.read(inputs.weight),
            inputs.echo_times_s,
            images.read_grid(reference),
        )
        self._results |= write_echoes(inputs, magnitude, phase, reference, runtime.cwd)
        self._results['parameters']['CoilCombination'] = f'MCPC-3D-S of {inputs.coils} coils'
        return runtime


def _each_coil(inputs, echoes: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Magnitude and phase of each coil, of the first ``echoes`` echoes or of all."""
    count = len(inputs.echo_times_s)
    for coil in range(inputs.coils):
        first = coil * count
        yield read_echoes(inputs, slice(first, first + (echoes or count)))[1:]

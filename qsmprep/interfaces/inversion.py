"""Dipole inversion and referencing: nodes around :mod:`qsmprep.qsm.inversion`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

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
from qsmprep.interfaces.device import DeviceInputSpec
from qsmprep.qsm.grid import hz_to_ppm

if TYPE_CHECKING:
    from qsmprep.qsm.inversion import Inversion


class _InvertDipoleInputSpec(DeviceInputSpec):
    field = File(exists=True, mandatory=True, desc='local field [Hz]')
    mask = File(exists=True, mandatory=True, desc='voxels that have a local field')
    tissue = File(exists=True, desc='voxels of the map, where it goes beyond the mask')
    magnitude = File(exists=True, desc='combined magnitude, for voxel weights')
    noise = File(exists=True, desc='standard deviation of the noise of the field [Hz]')
    total_noise = File(exists=True, desc='that of the total field, before background removal')
    field_strength_t = traits.Float(mandatory=True, desc='field strength [T]')
    method = traits.Str('tv', usedefault=True, desc='key of qsmprep.methods.INVERSIONS')
    method_parameters = traits.Dict(desc='parameters that differ from their defaults')
    after_background = traits.Bool(
        False, usedefault=True, desc='background removal took part of the local field along'
    )
    random_seed = traits.Int(0, usedefault=True, desc='seed of methods that draw numbers')


class _InvertDipoleOutputSpec(TraitedSpec):
    chi = File(exists=True, desc='susceptibility [ppm], zero outside its mask')
    mask = File(exists=True, desc='voxels of the map')
    estimated = File(exists=True, desc='those of them that have no field of their own')
    uncertainty = File(exists=True, desc='its standard deviation [ppm], where the method knows it')
    parameters = traits.Dict(desc='method, every parameter, seed and device')


class InvertDipole(SimpleInterface):
    """Susceptibility map from a local field."""

    input_spec = _InvertDipoleInputSpec
    output_spec = _InvertDipoleOutputSpec

    def _run_interface(self, runtime):
        import torch

        inputs = self.inputs
        torch.set_num_threads(inputs.num_threads)
        named = ('tissue', 'magnitude', 'noise', 'total_noise')
        given = {key: getattr(inputs, key) for key in named}
        parameters = dict(inputs.method_parameters if isdefined(inputs.method_parameters) else {})
        inversion = invert_image(
            inputs.field,
            inputs.mask,
            inputs.method,
            field_strength_t=inputs.field_strength_t,
            **{key: path for key, path in given.items() if isdefined(path)},
            after_background=inputs.after_background,
            seed=inputs.random_seed,
            device=inputs.device,
            parameters=parameters,
        )
        outputs = {
            'chi': inversion.chi_ppm,
            'mask': images.read(inputs.mask, bool) | inversion.estimated,
            'estimated': inversion.estimated,
        }
        if inversion.sd_ppm is not None:
            outputs['uncertainty'] = inversion.sd_ppm
        self._results |= images.write_each(outputs, inputs.field, runtime.cwd)
        self._results['parameters'] = describe_inversion(
            inputs.method, inversion, inputs.random_seed, inputs.device
        )
        return runtime


def invert_image(
    field: str | Path,
    mask: str | Path,
    method: str,
    *,
    field_strength_t: float | None = None,
    b0_direction: tuple[float, float, float] | None = None,
    tissue: str | Path | None = None,
    magnitude: str | Path | None = None,
    noise: str | Path | None = None,
    total_noise: str | Path | None = None,
    after_background: bool = False,
    seed: int = 0,
    device: str = 'cpu',
    parameters: dict[str, float | str] | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> Inversion:
    """
    Susceptibility of a local field that lies on disk.

    Parameters
    ----------
    field
        Local field: [Hz] with a field strength, else [ppm].
    mask
        Voxels that have a local field.
    method
        Key of :data:`qsmprep.methods.INVERSIONS`.
    field_strength_t
        Field strength [T] of a field in Hz; None for a field in ppm.
    b0_direction
        Direction of B0 in the voxel frame; that of the affine by default.
    tissue
        Voxels of the map, where it goes beyond the mask and its holes.
    magnitude, noise, total_noise
        Images for voxel weights; noise has the unit of the field.
    after_background, seed, device, parameters, progress
        See :func:`qsmprep.qsm.inversion.invert`.

    Raises
    ------
    ValueError
        If the images do not share one grid, or hold complex numbers, or the method refuses its
        input.

    """
    from qsmprep.qsm.inversion import invert

    def in_ppm(path):
        data = images.read(path)
        return data if field_strength_t is None else hz_to_ppm(data, field_strength_t)

    grid = images.read_grid(field)
    if b0_direction is not None:
        grid = replace(grid, b0_direction=b0_direction)
    for path in (mask, tissue, magnitude, noise, total_noise):
        if path is not None:
            images.check_same_place(path, field)
    return invert(
        in_ppm(field),
        images.read(mask, bool),
        grid,
        method,
        tissue=None if tissue is None else images.read(tissue, bool),
        magnitude=None if magnitude is None else images.read(magnitude),
        noise_ppm=None if noise is None else in_ppm(noise),
        total_noise_ppm=None if total_noise is None else in_ppm(total_noise),
        after_background=after_background,
        seed=seed,
        device=device,
        progress=progress,
        **(parameters or {}),
    )


def describe_inversion(method: str, inversion: Inversion, seed: int, device: str) -> dict:
    """Record of an inversion for a sidecar; of a path it holds the file's name only."""
    parameters = dict(inversion.parameters)
    if parameters.get('prior') is not None:
        parameters['prior'] = Path(parameters['prior']).name
    record = {'Method': method, **parameters, 'RandomSeed': seed, 'Device': device}
    record['ExplainedFieldPower'] = inversion.explained
    record['VoxelsEstimatedWithoutField'] = int(np.count_nonzero(inversion.estimated))
    if inversion.sd_ppm is not None:
        record['Uncertainty'] = (
            f'standard deviation over {parameters["samples"]} posterior samples'
            if 'samples' in parameters
            else 'standard deviation of the posterior in closed form'
        )
    return record


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
        if inputs.kind not in ('none', 'brain') and not isdefined(inputs.region):
            raise ValueError(f'The reference region {inputs.kind!r} needs its mask as region.')
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

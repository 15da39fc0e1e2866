"""Panels and quality measures of the report: nodes around :mod:`qsmprep.reports`."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    DynamicTraitedSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.interfaces.io import add_traits

from qsmprep.interfaces import images
from qsmprep.reports.panels import PANELS

if TYPE_CHECKING:
    import numpy as np

    from qsmprep.qsm.spots import Spot


class _DrawPanelInputSpec(DynamicTraitedSpec, BaseInterfaceInputSpec):
    panel = traits.Str(mandatory=True, desc='key of qsmprep.reports.panels.PANELS')
    echo_times_s = traits.List(traits.Float, desc='echo times [s]')
    field_strength_t = traits.Float(3.0, usedefault=True, desc='field strength [T]')


class _DrawPanelOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='the panel, a PNG')


class DrawPanel(SimpleInterface):
    """Draw one panel of the report; its inputs are the images that the panel names."""

    input_spec = _DrawPanelInputSpec
    output_spec = _DrawPanelOutputSpec

    def __init__(self, *, panel: str, **inputs):
        super().__init__(panel=panel)
        add_traits(self.inputs, PANELS[panel].inputs, File(exists=True, mandatory=True))
        self.inputs.trait_set(**inputs)

    def _run_interface(self, runtime):
        inputs, panel = self.inputs, PANELS[self.inputs.panel]
        module, _, function = panel.draw.partition(':')
        draw = getattr(import_module(f'qsmprep.reports.{module}'), function)
        scan = {name: getattr(inputs, name) for name in ('echo_times_s', 'field_strength_t')}
        path = draw(
            out_path=Path(runtime.cwd) / f'{inputs.panel}.png',
            **{argument: getattr(inputs, image) for image, argument in panel.inputs.items()},
            **{name: scan[name] for name in scan.keys() & inspect.signature(draw).parameters},
        )
        self._results['out_file'] = str(path)
        return runtime


class _MeasureQualityInputSpec(BaseInterfaceInputSpec):
    chi = File(exists=True, mandatory=True, desc='susceptibility [ppm]')
    local_field = File(exists=True, desc='local field [Hz]')
    total_field = File(exists=True, desc='total field [Hz]')
    noise = File(exists=True, desc='noise of the field [Hz]')
    misfit = File(exists=True, desc='misfit of the echoes over their noise')
    brain_mask = File(exists=True, mandatory=True, desc='brain')
    reliable_mask = File(exists=True, mandatory=True, desc='brain voxels with reliable phase')
    mask = File(exists=True, mandatory=True, desc='voxels of the susceptibility map')
    estimated = File(exists=True, mandatory=True, desc='those without a field of their own')
    r2star = File(exists=True, desc='R2* [1/s]')
    magnitude = File(exists=True, desc='magnitude, echoes along the fourth axis')
    unwrapped = File(exists=True, desc='unwrapped phase of the echoes [rad]')
    echo_times_s = traits.List(traits.Float, desc='echo times [s]')
    inversion = traits.Dict(desc='record of the dipole inversion')
    field_strength_t = traits.Float(mandatory=True, desc='field strength [T]')


class _MeasureQualityOutputSpec(TraitedSpec):
    quality = traits.Dict(desc='name -> value of each quality measure')
    residual = File(exists=True, desc='field of the map minus the local field [Hz]')
    spots = traits.Dict(desc='dark spots of the last echo, and their susceptibility')


class MeasureQuality(SimpleInterface):
    """Take the quality measures of an acquisition."""

    input_spec = _MeasureQualityInputSpec
    output_spec = _MeasureQualityOutputSpec

    def _run_interface(self, runtime):
        import numpy as np
        import torch

        from qsmprep.qsm.grid import ppm_to_hz
        from qsmprep.qsm.operators import Dipole
        from qsmprep.qsm.spots import dark_spots
        from qsmprep.reports.quality import measure_quality

        inputs = self.inputs
        grid = images.read_grid(inputs.chi)
        chi_ppm = images.read(inputs.chi)
        mask = images.read(inputs.mask, bool)
        centred = torch.from_numpy((chi_ppm - chi_ppm[mask].mean()) * mask)
        model_ppm = Dipole(grid).forward(centred).numpy()
        model_hz = ppm_to_hz(model_ppm, inputs.field_strength_t)
        local_hz = images.read_given(inputs.local_field)
        estimated = images.read(inputs.estimated, bool)
        measured = mask & ~estimated
        if local_hz is not None and measured.any():
            left_hz = np.where(measured, model_hz - local_hz, 0)
            left_hz[measured] -= left_hz[measured].mean()
            self._results['residual'] = images.write(left_hz, inputs.chi, runtime.cwd, 'residual')
        magnitude = images.read_given(inputs.magnitude)
        if magnitude is not None:
            last = magnitude[..., -1] if magnitude.ndim == 4 else magnitude
            spots = dark_spots(last, chi_ppm, mask, grid, estimated)
            self._results['spots'] = describe_spots(spots, images.affine_of(inputs.chi))
        self._results['quality'] = measure_quality(
            grid,
            inputs.field_strength_t,
            chi_ppm,
            mask,
            estimated=estimated,
            brain_mask=images.read(inputs.brain_mask, bool),
            reliable_mask=images.read(inputs.reliable_mask, bool),
            total_field_hz=images.read_given(inputs.total_field),
            field_noise_hz=images.read_given(inputs.noise),
            echo_misfit=images.read_given(inputs.misfit),
            local_field_hz=local_hz,
            model_field_hz=model_hz,
            r2star_hz=images.read_given(inputs.r2star),
            magnitude=magnitude,
            unwrapped=images.read_given(inputs.unwrapped),
            echo_times_s=inputs.echo_times_s,
            spectrum_misfit=inputs.inversion.get('misfit') if isdefined(inputs.inversion) else None,
        )
        return runtime


def describe_spots(spots: list[Spot], affine: np.ndarray) -> dict:
    """Dark spots as a sidecar has them, their place in mm in the frame of the scan."""
    signs = {1: 'paramagnetic', -1: 'diamagnetic', 0: 'not told'}
    return {
        'Spots': [
            {
                'Position_mm': [round(float(x), 1) for x in (affine @ [*spot.centre, 1])[:3]],
                'Volume_mm3': round(spot.volume_mm3, 1),
                'Sign': signs[spot.sign],
                'Lowest_ppm': round(spot.lowest_ppm, 3),
                'Highest_ppm': round(spot.highest_ppm, 3),
                'Estimated_percent': round(spot.estimated_percent, 1),
            }
            for spot in spots
        ]
    }

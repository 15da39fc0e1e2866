"""Panels and quality measures of the report: nodes around :mod:`qsmprep.reports`."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from qsmprep.interfaces import images

PANELS = (
    'echoes',
    'unwrapped',
    'totalfield',
    'mask',
    'localfield',
    'chi',
    'uncertainty',
    'superres',
    'r2star',
    'truth',
)


class _DrawPanelInputSpec(BaseInterfaceInputSpec):
    panel = traits.Enum(*PANELS, mandatory=True, desc='what to draw')
    magnitude = File(exists=True, desc='magnitude, echoes along the fourth axis')
    phase = File(exists=True, desc='wrapped phase [rad]')
    unwrapped = File(exists=True, desc='unwrapped phase [rad]')
    field = File(exists=True, desc='total or local field [Hz]')
    noise = File(exists=True, desc='standard deviation of the noise of the field [Hz]')
    brain_mask = File(exists=True, desc='brain')
    reliable_mask = File(exists=True, desc='brain voxels with reliable phase')
    mask = File(exists=True, desc='voxels of the susceptibility map')
    chi = File(exists=True, desc='susceptibility [ppm]')
    chi_fine = File(exists=True, desc='susceptibility [ppm] on a finer grid')
    uncertainty = File(exists=True, desc='standard deviation of the susceptibility [ppm]')
    truth = File(exists=True, desc='true susceptibility [ppm]')
    r2star = File(exists=True, desc='R2* [1/s]')
    echo_times_s = traits.List(traits.Float, desc='echo times [s]')
    field_strength_t = traits.Float(3.0, usedefault=True, desc='field strength [T]')


class _DrawPanelOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='the panel, a PNG')


class DrawPanel(SimpleInterface):
    """Draw one panel of the report."""

    input_spec = _DrawPanelInputSpec
    output_spec = _DrawPanelOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        path = Path(runtime.cwd) / f'{inputs.panel}.png'
        self._results['out_file'] = str(getattr(self, f'_draw_{inputs.panel}')(inputs, path))
        return runtime

    def _draw_echoes(self, inputs, path):
        from qsmprep.reports.reportlets import plot_echoes

        return plot_echoes(
            inputs.magnitude,
            inputs.phase,
            path,
            mask=inputs.brain_mask,
            echo_times_s=inputs.echo_times_s,
        )

    def _draw_unwrapped(self, inputs, path):
        from qsmprep.reports.reportlets import plot_unwrapped

        return plot_unwrapped(
            inputs.unwrapped, path, mask=inputs.brain_mask, echo_times_s=inputs.echo_times_s
        )

    def _draw_totalfield(self, inputs, path):
        from qsmprep.reports.reportlets import plot_total_field

        return plot_total_field(inputs.field, path, noise=inputs.noise, mask=inputs.brain_mask)

    def _draw_mask(self, inputs, path):
        from qsmprep.reports.reportlets import plot_masks

        masks = {
            'Brain': inputs.brain_mask,
            'Reliable phase': inputs.reliable_mask,
            'Susceptibility map': inputs.mask,
        }
        return plot_masks(inputs.magnitude, masks, path)

    def _draw_localfield(self, inputs, path):
        from qsmprep.reports.reportlets import plot_local_field

        return plot_local_field(inputs.field, path, mask=inputs.mask, unit='Hz')

    def _draw_chi(self, inputs, path):
        from qsmprep.reports.reportlets import plot_chi

        return plot_chi(inputs.chi, path, mask=inputs.mask)

    def _draw_uncertainty(self, inputs, path):
        from qsmprep.reports.reportlets import plot_uncertainty

        return plot_uncertainty(inputs.uncertainty, path, mask=inputs.mask)

    def _draw_superres(self, inputs, path):
        from qsmprep.reports.reportlets import plot_superres

        return plot_superres(inputs.chi, inputs.chi_fine, path)

    def _draw_r2star(self, inputs, path):
        from qsmprep.reports.reportlets import plot_r2star

        return plot_r2star(
            inputs.r2star, path, mask=inputs.brain_mask, field_strength_t=inputs.field_strength_t
        )

    def _draw_truth(self, inputs, path):
        from qsmprep.reports.reportlets import plot_truth

        return plot_truth(inputs.truth, inputs.chi, inputs.mask, path)


class _MeasureQualityInputSpec(BaseInterfaceInputSpec):
    chi = File(exists=True, mandatory=True, desc='susceptibility [ppm]')
    local_field = File(exists=True, mandatory=True, desc='local field [Hz]')
    total_field = File(exists=True, mandatory=True, desc='total field [Hz]')
    noise = File(exists=True, mandatory=True, desc='noise of the field [Hz]')
    residual = File(exists=True, mandatory=True, desc='residual of the echoes [rad]')
    brain_mask = File(exists=True, mandatory=True, desc='brain')
    reliable_mask = File(exists=True, mandatory=True, desc='brain voxels with reliable phase')
    mask = File(exists=True, mandatory=True, desc='voxels of the susceptibility map')
    r2star = File(exists=True, desc='R2* [1/s]')
    field_strength_t = traits.Float(mandatory=True, desc='field strength [T]')


class _MeasureQualityOutputSpec(TraitedSpec):
    quality = traits.Dict(desc='name -> value of each quality measure')


class MeasureQuality(SimpleInterface):
    """Take the quality measures of an acquisition."""

    input_spec = _MeasureQualityInputSpec
    output_spec = _MeasureQualityOutputSpec

    def _run_interface(self, runtime):
        import torch

        from qsmprep.qsm.dipole import Dipole
        from qsmprep.qsm.grid import ppm_to_hz
        from qsmprep.reports.quality import measure_quality

        inputs = self.inputs
        grid = images.read_grid(inputs.chi)
        chi_ppm = images.read(inputs.chi)
        mask = images.read(inputs.mask, bool)
        centred = torch.from_numpy((chi_ppm - chi_ppm[mask].mean()) * mask)
        model_ppm = Dipole(grid).forward(centred).numpy()
        self._results['quality'] = measure_quality(
            grid,
            inputs.field_strength_t,
            chi_ppm,
            mask,
            brain_mask=images.read(inputs.brain_mask, bool),
            reliable_mask=images.read(inputs.reliable_mask, bool),
            total_field_hz=images.read(inputs.total_field),
            field_noise_hz=images.read(inputs.noise),
            echo_residual_rad=images.read(inputs.residual),
            local_field_hz=images.read(inputs.local_field),
            model_field_hz=ppm_to_hz(model_ppm, inputs.field_strength_t),
            r2star_hz=images.read(inputs.r2star) if isdefined(inputs.r2star) else None,
        )
        return runtime

"""Panels and quality measures of the report on one acquisition."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.reports import DrawPanel, MeasureQuality
from qsmprep.reports.panels import PANELS
from qsmprep.workflows.nodes import LIBRARIES_GB, ends, same

QUALITY_INPUTS = {
    'chi': 'chi',
    'local_field': 'local_field',
    'total_field': 'total_field',
    'field_noise': 'noise',
    'field_misfit': 'misfit',
    'brain_mask': 'brain_mask',
    'reliable_mask': 'reliable_mask',
    'chi_mask': 'mask',
    'estimated_mask': 'estimated',
    'magnitude': 'magnitude',
    'unwrapped': 'unwrapped',
    'inversion_parameters': 'inversion',
}


def init_reports_wf(
    *,
    panels: tuple[str, ...],
    echo_times_s: tuple[float, ...],
    field_strength_t: float,
    relaxometry: bool = False,
    volume_gb: float = 0.05,
    name: str = 'reports_wf',
) -> Workflow:
    """
    Build a graph that draws the panels and takes the quality measures of an acquisition.

    Parameters
    ----------
    panels
        Keys of :data:`qsmprep.reports.panels.PANELS`.
    echo_times_s
        Echo times [s].
    field_strength_t
        Field strength [T].
    relaxometry
        Whether there is an R2* map.
    volume_gb, name
        Memory of one volume as floats [GB], name of the workflow.

    Inputs
    ------
    images
        Fields of the output node of :func:`init_qsm_wf`, and ``truth`` for simulated data.

    Outputs
    -------
    panels
        One PNG for each panel, under its name.
    quality
        Name -> value of each quality measure.
    spots
        Dark spots of the last echo, and their susceptibility.

    """
    workflow = Workflow(name=name)
    images = {image for panel in panels for image in PANELS[panel].inputs} - {'residual'}
    fields = sorted(images | {*QUALITY_INPUTS, 'r2star'})
    inputnode, outputnode = ends(inputs=fields, outputs=(*panels, 'quality', 'spots'))
    echoes_gb = len(echo_times_s) * volume_gb

    quality = pe.Node(
        MeasureQuality(field_strength_t=field_strength_t, echo_times_s=list(echo_times_s)),
        name='quality',
        mem_gb=LIBRARIES_GB + 30 * volume_gb,
    )
    for panel in panels:
        draw = pe.Node(
            DrawPanel(
                panel=panel, echo_times_s=list(echo_times_s), field_strength_t=field_strength_t
            ),
            name=f'draw_{panel}',
            mem_gb=LIBRARIES_GB + 4 * echoes_gb,
        )
        given = [image for image in PANELS[panel].inputs if image != 'residual']
        workflow.connect([
            (inputnode, draw, same(*given)),
            (draw, outputnode, [('out_file', panel)]),
        ])  # fmt:skip
        if 'residual' in PANELS[panel].inputs:
            workflow.connect(quality, 'residual', draw, 'residual')

    measured = dict(QUALITY_INPUTS)
    if relaxometry:
        measured['r2star'] = 'r2star'
    workflow.connect([
        (inputnode, quality, list(measured.items())),
        (quality, outputnode, same('quality', 'spots')),
    ])  # fmt:skip
    return workflow

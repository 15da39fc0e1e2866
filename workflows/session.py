"""What a session gives beyond its runs: maps of all of them, their panels and sinks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.bids.acquisitions import Acquisition
from qsmprep.interfaces.reports import DrawPanel
from qsmprep.settings import Settings
from qsmprep.workflows.nodes import between
from qsmprep.workflows.outputs import init_outputs_wf
from qsmprep.workflows.runs import LEAST_RUNS, MADE, PER_RUN, init_runs_wf


def add_session_maps(
    workflow: Workflow,
    runs: Sequence[Acquisition],
    graphs: Sequence[Workflow],
    metadata: Sequence[Mapping],
    *,
    settings: Settings,
    noise_known: bool,
    device: str,
) -> None:
    """
    Add the maps that all runs of a session make together to the graph of a participant.

    Parameters
    ----------
    workflow
        The graph of the participant, which holds those of its runs.
    runs, graphs, metadata
        The runs, their graphs (:func:`~qsmprep.workflows.acquisition.init_acquisition_wf`), and
        what their sidecars say.
    settings
        Settings of the run.
    noise_known
        Whether the noise of the local fields is known.
    device
        Torch device.

    """
    processing = settings.processing
    asked = {'cosmos': processing.cosmos, 'average': processing.average_runs}
    kinds = tuple(kind for kind, yes in asked.items() if yes and len(runs) >= LEAST_RUNS[kind])
    if not kinds:
        return
    first = runs[0]
    branch = graphs[0].name.removesuffix('_wf')
    runs_wf = init_runs_wf(
        kinds=kinds,
        runs=len(runs),
        field_strength_t=first.field_strength_t,
        noise_known=noise_known,
        reference=processing.reference,
        device=device,
        omp_nthreads=settings.execution.omp_nthreads,
        mem_gb=4e-9 * math.prod(first.shape),
        name=f'runs_of_{branch}_wf',
    )
    needed = [name for name in PER_RUN if noise_known or name != 'local_noise']
    if 'cosmos' not in kinds:
        needed = [n for n in needed if n not in ('local_field', 'local_noise', 'field_mask')]
    for name in needed:
        gather = pe.Node(
            niu.Merge(len(runs)), name=f'{branch}_{name}s', run_without_submitting=True
        )
        for number, graph in enumerate(graphs, start=1):
            workflow.connect(graph, f'qsm_wf.outputnode.{name}', gather, f'in{number}')
        workflow.connect(gather, 'out', runs_wf, f'inputnode.{name}')
    panels = tuple(MADE[kind][0] for kind in kinds)
    outputs_wf = init_outputs_wf(
        output_dir=settings.outputs.output_dir,
        entities={k: v for k, v in first.entities.items() if k != 'run'},
        acquisition_metadata={
            **metadata[0],
            'Sources': [source for content in metadata for source in content['Sources']],
        },
        images=tuple(image for kind in kinds for image in MADE[kind]),
        panels=panels,
        figures=first.entities,
        name=f'outputs_of_{branch}_runs_wf',
    )
    records = {'runs_parameters': 'runs'}
    if 'cosmos' in kinds:
        records |= {'cosmos_parameters': 'orientations', 'cosmos_reference': 'reference'}
    if 'average' in kinds:
        records['average_parameters'] = 'average'
    workflow.connect([(runs_wf, outputs_wf, between(records))])
    for kind in kinds:
        image, mask = MADE[kind]
        draw = pe.Node(DrawPanel(panel=image), name=f'draw_{image}_of_{branch}')
        workflow.connect([
            (runs_wf, outputs_wf, between(MADE[kind])),
            (runs_wf, draw, [(f'outputnode.{image}', image), (f'outputnode.{mask}', mask)]),
            (draw, outputs_wf, [('out_file', f'inputnode.figure_{image}')]),
        ])  # fmt:skip

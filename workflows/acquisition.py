"""The graph of an acquisition: processing, panels of the report, outputs."""

from __future__ import annotations

import math
from typing import NamedTuple

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.bids.derivatives import node_name
from qsmprep.bids.maps import GivenMap
from qsmprep.interfaces.given import TakeGiven
from qsmprep.interfaces.phase import SplitEchoes
from qsmprep.settings import Settings
from qsmprep.workflows.anatomy import AnatomyPlan, init_anatomy_wf, products
from qsmprep.workflows.contrasts import MADE, init_contrasts_wf
from qsmprep.workflows.nodes import between
from qsmprep.workflows.outputs import init_anatomy_outputs_wf, init_outputs_wf
from qsmprep.workflows.plan import Job, Plan, plan_acquisition, plan_anatomy
from qsmprep.workflows.processing import init_processing_wf, phase_record
from qsmprep.workflows.qsm import OUTPUTS
from qsmprep.workflows.reports import init_reports_wf
from qsmprep.workflows.superres import init_superres_wf


class Branch(NamedTuple):
    """The graph of an acquisition, and the graphs in it that most others are connected to."""

    workflow: Workflow
    qsm_wf: Workflow
    reports_wf: Workflow
    outputs_wf: Workflow


def init_acquisition_wf(*, job: Job, settings: Settings, device: str) -> Workflow:
    """
    Build the graph of an acquisition: processing, panels of the report, outputs.

    Parameters
    ----------
    job
        The acquisition.
    settings, device
        See :func:`~qsmprep.workflows.base.init_qsmprep_wf`.

    """
    plan = plan_acquisition(job, settings)
    stem = job.acquisition.stem.removeprefix(f'sub-{job.acquisition.subject}_')
    branch = Branch(
        workflow=Workflow(name=f'{node_name(stem)}_wf'),
        qsm_wf=init_processing_wf(job=job, settings=settings, plan=plan, device=device),
        reports_wf=_init_reports_wf(job, plan),
        outputs_wf=_init_outputs_wf(job, settings, plan),
    )
    for name, given in job.given.items():
        target = 'given_chi' if name == 'chi' else name
        _connect_given(branch.workflow, job, target, given, branch.qsm_wf)
    _connect_results(branch, plan)
    _connect_records(branch, plan, phase_record(job, settings))
    if plan.finer is not None:
        _add_superres(branch, job, settings, plan, device)
    if plan.contrasts:
        _add_contrasts(branch, job, settings, plan, device)
    anatomy = plan_anatomy(job, settings, plan)
    if anatomy.needed:
        _add_anatomy(branch, job, settings, plan, anatomy, device)
    if settings.outputs.output_echos:
        _add_echoes(branch)
    return branch.workflow


def _init_reports_wf(job: Job, plan: Plan) -> Workflow:
    """Panels and quality measures."""
    reports_wf = init_reports_wf(
        echo_times_s=job.acquisition.echo_times_s,
        field_strength_t=job.acquisition.field_strength_t,
        panels=plan.panels,
        relaxometry=plan.relaxometry,
        volume_gb=plan.volume_gb,
    )
    if job.truth is not None:
        reports_wf.inputs.inputnode.truth = str(job.truth)
    return reports_wf


def _init_outputs_wf(job: Job, settings: Settings, plan: Plan) -> Workflow:
    """Sinks of images, sidecars and panels."""
    by_r2 = set(plan.contrasts) - set(MADE['swi'])
    finer = plan.finer
    return init_outputs_wf(
        output_dir=settings.outputs.output_dir,
        entities=job.acquisition.entities,
        acquisition_metadata=plan.metadata,
        images=(*plan.images, 'fieldmap_magnitude', *plan.contrasts),
        sources=dict.fromkeys(by_r2, job.r2.uris) if job.r2 else None,
        resolution=finer and (finer.label, finer.description),
        echo_times_s=job.acquisition.echo_times_s if settings.outputs.output_echos else (),
        panels=plan.panels,
    )


def _connect_results(branch: Branch, plan: Plan) -> None:
    """Hand images to the sinks and to the panels of the report, and the panels to the sinks."""
    workflow, qsm_wf, reports_wf, outputs_wf = branch
    drawn = reports_wf.get_node('inputnode').inputs.copyable_trait_names()
    workflow.connect([
        (qsm_wf, outputs_wf, between(plan.images)),
        (qsm_wf, outputs_wf, between({'combined_magnitude': 'fieldmap_magnitude'})),
        (qsm_wf, reports_wf, between(x for x in plan.shown if x in drawn)),
        (reports_wf, outputs_wf, between(['quality', 'spots'])),
        (reports_wf, outputs_wf, between({panel: f'figure_{panel}' for panel in plan.panels})),
    ])  # fmt:skip


def _connect_records(branch: Branch, plan: Plan, phase: dict) -> None:
    """Hand what each stage says of itself to the sidecars."""
    workflow, qsm_wf, _, outputs_wf = branch
    mask_record = pe.Node(
        niu.Function(function=_merge_records, output_names=['record']),
        name='mask_record',
        run_without_submitting=True,
    )
    add_readout = pe.Node(
        niu.Function(function=_add_readout, output_names=['record']),
        name='add_readout',
        run_without_submitting=True,
    )
    add_readout.inputs.phase, add_readout.inputs.fieldmap = phase, {}
    steps = {
        f'{step}_parameters': step
        for step in ('background', 'inversion', 'reference') if f'{step}_parameters' in plan.known
    }  # fmt: skip
    if plan.relaxometry:
        steps['relaxation_parameters'] = 'relaxometry'
    workflow.connect([
        (qsm_wf, mask_record, [
            ('outputnode.brain_parameters', 'brain'),
            ('outputnode.mask_parameters', 'reliable'),
        ]),
        (mask_record, outputs_wf, [('record', 'inputnode.mask')]),
        (qsm_wf, outputs_wf, between(steps)),
        (qsm_wf, add_readout, [
            (f'outputnode.{step}_parameters', step)
            for step in ('readout', 'fieldmap') if f'{step}_parameters' in plan.known
        ]),
        (add_readout, outputs_wf, [('record', 'inputnode.phase')]),
    ])  # fmt:skip


def _add_superres(branch: Branch, job: Job, settings: Settings, plan: Plan, device: str) -> None:
    """Make a finer map from the map or its field, and hand it on."""
    workflow, qsm_wf, reports_wf, outputs_wf = branch
    processing = settings.processing
    superres_wf = init_superres_wf(
        resolution=processing.sr_resolution,
        source=processing.sr_source,
        field_strength_t=job.acquisition.field_strength_t,
        prior=processing.prior,
        device=device,
        random_seed=processing.random_seed,
        omp_nthreads=settings.execution.omp_nthreads,
        fine_gb=4e-9 * math.prod(plan.finer.grid.shape),
    )
    sources = {
        'chi': 'chi', 'chi_mask': 'mask', 'field_mask': 'field_mask', 'local_field': 'field',
        'local_noise': 'noise',
    }  # fmt: skip
    workflow.connect([
        (qsm_wf, superres_wf, between({x: y for x, y in sources.items() if x in plan.known})),
        (superres_wf, reports_wf, between({'chi': 'chi_fine'})),
        (superres_wf, outputs_wf, between({'chi': 'chi_fine', 'parameters': 'superres'})),
    ])  # fmt:skip


def _add_contrasts(branch: Branch, job: Job, settings: Settings, plan: Plan, device: str) -> None:
    """Make further contrasts, and hand them on."""
    workflow, qsm_wf, reports_wf, outputs_wf = branch
    made = plan.contrasts
    contrasts_wf = init_contrasts_wf(
        contrasts=settings.processing.contrasts,
        echo_times_s=job.acquisition.echo_times_s,
        field_strength_t=job.acquisition.field_strength_t,
        separation=settings.processing.separation,
        r2_given=job.r2 is not None,
        noise_known='local_noise' in plan.known,
        device=device,
        omp_nthreads=settings.execution.omp_nthreads,
        mem_gb=plan.volume_gb,
    )
    wanted = contrasts_wf.get_node('inputnode').inputs.copyable_trait_names()
    drawn = reports_wf.get_node('inputnode').inputs.copyable_trait_names()
    steps = ['weighting'] if 'swi' in made else []
    steps += ['reversible'] if contrasts_wf.get_node('subtract_r2') else []
    steps += ['separation'] if 'paramagnetic' in made else []
    workflow.connect([
        (qsm_wf, contrasts_wf, between(x for x in wanted if x in plan.known)),
        (contrasts_wf, outputs_wf, between(made)),
        (contrasts_wf, outputs_wf, between({f'{step}_parameters': step for step in steps})),
        (contrasts_wf, reports_wf, between(x for x in made if x in drawn)),
    ])  # fmt:skip
    if job.r2 is not None:
        _connect_given(workflow, job, 'r2', job.r2, contrasts_wf)


def _add_anatomy(
    branch: Branch, job: Job, settings: Settings, plan: Plan, anatomy: AnatomyPlan, device: str
) -> None:
    """Registrations, maps in other spaces and tables of regions, and their sinks."""
    workflow, qsm_wf, _, _ = branch
    anatomy_wf = init_anatomy_wf(
        plan=anatomy,
        use_gpu=device.startswith('cuda'),
        omp_nthreads=settings.execution.omp_nthreads,
        mem_gb=plan.volume_gb,
    )
    anatomy_outputs_wf = init_anatomy_outputs_wf(
        output_dir=settings.outputs.output_dir,
        entities=job.acquisition.entities,
        acquisition_metadata=job.metadata,
        plan=anatomy,
    )
    fields = anatomy_wf.get_node('inputnode').inputs.copyable_trait_names()
    made = [field for field in fields if field not in OUTPUTS]
    workflow.connect([
        (qsm_wf, anatomy_wf, between(x for x in fields if x in plan.known)),
        (anatomy_wf, anatomy_outputs_wf, between(products(anatomy))),
    ])  # fmt:skip
    if made:
        workflow.connect([(workflow.get_node('contrasts_wf'), anatomy_wf, between(made))])


def _add_echoes(branch: Branch) -> None:
    """Write the unwrapped phase of each echo."""
    split_echoes = pe.Node(SplitEchoes(), name='split_echoes')
    branch.workflow.connect([
        (branch.qsm_wf, split_echoes, [('outputnode.unwrapped', 'in_file')]),
        (split_echoes, branch.outputs_wf, [('out_files', 'inputnode.unwrapped_echoes')]),
    ])  # fmt:skip


def _connect_given(workflow: Workflow, job: Job, name: str, given: GivenMap, to: Workflow) -> None:
    """Take a given map over for the input of that name of a graph."""
    reference = job.acquisition.first_image
    take = pe.Node(
        TakeGiven(
            in_files=[str(path) for path in given.paths],
            scale=given.scale,
            reference=str(reference),
        ),
        name=f'take_{name}',
    )
    workflow.connect(take, 'out_file', to, f'inputnode.{name}')


def _merge_records(brain, reliable):
    record = {'BrainExtraction': brain, 'PhaseQuality': reliable}
    warnings = [text for part in (brain, reliable) for text in part.pop('Warnings', [])]
    return {**record, 'Warnings': warnings} if warnings else record


def _add_readout(phase, readout, fieldmap):
    record = {**phase, **readout, **fieldmap}
    warnings = [*readout.get('Warnings', []), *fieldmap.get('Warnings', [])]
    return {**record, 'Warnings': warnings} if warnings else record

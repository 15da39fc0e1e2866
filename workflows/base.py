"""Graphs of a cohort, a participant and an acquisition."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

import qsmprep
from qsmprep.bids.acquisitions import Acquisition
from qsmprep.bids.anatomy import Anatomy
from qsmprep.bids.derivatives import node_name, resolution_label
from qsmprep.bids.maps import GivenMap
from qsmprep.bids.masks import GivenMask
from qsmprep.bids.runs import group_runs
from qsmprep.interfaces.given import TakeGiven
from qsmprep.interfaces.phase import SplitEchoes
from qsmprep.methods import INVERSIONS, sampling_parameters
from qsmprep.qsm.grid import Grid
from qsmprep.reports.panels import drawable
from qsmprep.settings import Settings
from qsmprep.workflows.anatomy import AnatomyPlan, init_anatomy_wf, products
from qsmprep.workflows.contrasts import MADE, init_contrasts_wf
from qsmprep.workflows.outputs import init_anatomy_outputs_wf, init_outputs_wf
from qsmprep.workflows.qsm import OUTPUTS, init_qsm_wf
from qsmprep.workflows.regions import TITLES
from qsmprep.workflows.reports import init_reports_wf
from qsmprep.workflows.session import add_session_maps
from qsmprep.workflows.start import outputs_from
from qsmprep.workflows.superres import init_superres_wf


@dataclass(frozen=True)
class Job:
    """An acquisition and what was given for it: masks, maps, anatomy, truth of simulated data."""

    acquisition: Acquisition
    metadata: dict
    brain_mask: GivenMask | None = None
    reference_mask: GivenMask | None = None
    r2: GivenMap | None = None
    given: dict[str, GivenMap] = field(default_factory=dict)
    truth: Path | None = None
    anatomy: Anatomy | None = None


IMAGES = (
    'chi', 'chi_mask', 'estimated_mask', 'local_field', 'total_field', 'field_noise',
    'brain_mask', 'reliable_mask', 'r2star', 't2star', 's0',
)  # fmt: skip
"""Outputs of a graph that are written where it makes them."""
SHOWN = (
    'magnitude', 'phase', 'combined_magnitude', 'unwrapped', 'field_misfit', 'field_mask',
    'inversion_parameters',
)  # fmt: skip
"""Outputs that the report makes use of besides."""


def init_qsmprep_wf(*, jobs: list[Job], settings: Settings, device: str) -> Workflow:
    """
    Build the graph of a cohort.

    Parameters
    ----------
    jobs
        Acquisitions to process.
    settings
        Settings of the run.
    device
        Torch device, ``'cpu'`` or ``'cuda[:i]'``.

    """
    workflow = Workflow(name='qsmprep_wf', base_dir=str(settings.execution.work_dir))
    by_subject: dict[str, list[Job]] = {}
    for job in jobs:
        by_subject.setdefault(job.acquisition.subject, []).append(job)
    for subject, subject_jobs in by_subject.items():
        workflow.add_nodes([
            init_subject_wf(subject=subject, jobs=subject_jobs, settings=settings, device=device)
        ])  # fmt:skip
    return workflow


def init_subject_wf(*, subject: str, jobs: list[Job], settings: Settings, device: str) -> Workflow:
    """
    Build the graph of a participant: one branch for each acquisition.

    Parameters
    ----------
    subject
        Label of the participant.
    jobs
        Acquisitions of the participant.
    settings, device
        See :func:`init_qsmprep_wf`.

    """
    workflow = Workflow(name=f'sub_{node_name(subject)}_wf')
    workflow.__desc__ = (
        f'Results were made with qsmprep {qsmprep.__version__}, which builds on Nipype [@nipype]. '
    )
    graphs = {
        job.acquisition.stem: init_acquisition_wf(job=job, settings=settings, device=device)
        for job in jobs
    }
    workflow.add_nodes(list(graphs.values()))
    by_stem = {job.acquisition.stem: job for job in jobs}
    for runs in group_runs(job.acquisition for job in jobs):
        members = [by_stem[run.stem] for run in runs]
        add_session_maps(
            workflow,
            runs,
            [graphs[run.stem] for run in runs],
            [job.metadata for job in members],
            settings=settings,
            noise_known=settings.processing.start_from in ('echoes', 'unwrapped')
            or all('field_noise' in job.given for job in members),
            device=device,
        )
    return workflow


def init_acquisition_wf(*, job: Job, settings: Settings, device: str) -> Workflow:
    """
    Build the graph of an acquisition: processing, panels of the report, outputs.

    Parameters
    ----------
    job
        The acquisition.
    settings, device
        See :func:`init_qsmprep_wf`.

    """
    acquisition, processing = job.acquisition, settings.processing
    relaxometry = 'relaxometry' not in processing.ignore and len(acquisition.echo_times_s) > 1
    inversion, parameters = _inversion(settings)
    uncertainty = INVERSIONS[inversion].tells_uncertainty(parameters)
    fine, resolution, note = _finer(acquisition, processing.sr_resolution)
    volume_gb = 4e-9 * math.prod(acquisition.shape)
    stem = acquisition.stem.removeprefix(f'sub-{acquisition.subject}_')
    workflow = Workflow(name=f'{node_name(stem)}_wf')
    qsm_wf = init_qsm_wf(
        echo_times_s=acquisition.echo_times_s,
        field_strength_t=acquisition.field_strength_t,
        **_phase_keywords(acquisition),
        remove_offset='phase-offset' not in processing.ignore,
        unwrapping=processing.unwrapping,
        brain_extraction=_brain_extraction(job, settings),
        phase_quality='phase-quality' not in processing.ignore,
        background=processing.background,
        background_parameters=processing.background_parameters,
        relaxometry=relaxometry,
        inversion=inversion,
        inversion_parameters=parameters,
        reference=processing.reference,
        start=processing.start_from,
        noise_given='field_noise' in job.given,
        device=device,
        random_seed=processing.random_seed,
        omp_nthreads=settings.execution.omp_nthreads,
        volume_gb=volume_gb,
    )
    qsm_wf.inputs.inputnode.trait_set(**_input_files(job))
    start = processing.start_from
    known = outputs_from(OUTPUTS, start, 'field_noise' in job.given, relaxometry)
    written = (*IMAGES, 'uncertainty') if uncertainty else IMAGES
    images = tuple(image for image in written if image in known)
    shown = tuple(image for image in (*images, *SHOWN) if image in known)
    made = _contrasts(job, processing.contrasts)
    elsewhere = {'truth': job.truth is not None, 'chi_fine': resolution is not None}
    elsewhere['residual'] = 'local_field' in known
    elsewhere |= dict.fromkeys(made, True)
    panels = drawable({*shown, *(image for image, there in elsewhere.items() if there)})
    reports_wf = init_reports_wf(
        echo_times_s=acquisition.echo_times_s,
        field_strength_t=acquisition.field_strength_t,
        panels=panels,
        relaxometry=relaxometry,
        volume_gb=volume_gb,
    )
    if job.truth is not None:
        reports_wf.inputs.inputnode.truth = str(job.truth)
    outputs_wf = init_outputs_wf(
        output_dir=settings.outputs.output_dir,
        entities=acquisition.entities,
        acquisition_metadata=job.metadata | note,
        images=(*images, 'fieldmap_magnitude', *made),
        sources={x: job.r2.uris for x in made if x not in MADE['swi']} if job.r2 else {},
        resolution=resolution,
        echo_times_s=acquisition.echo_times_s if settings.outputs.output_echos else (),
        panels=panels,
    )
    for name, given in job.given.items():
        _connect_given(workflow, job, 'given_chi' if name == 'chi' else name, given, qsm_wf)
    _connect_results(workflow, qsm_wf, reports_wf, outputs_wf, images, shown, panels)
    steps = {
        f'outputnode.{step}_parameters': f'inputnode.{step}'
        for step in ('background', 'inversion', 'reference') if f'{step}_parameters' in known
    }  # fmt: skip
    workflow.connect([(qsm_wf, outputs_wf, list(steps.items()))])
    phase_record = pe.Node(
        niu.Function(function=_add_readout, output_names=['record']),
        name='phase_record',
        run_without_submitting=True,
    )
    phase_record.inputs.fieldmap = _phase_record(job, settings)
    workflow.connect([
        (qsm_wf, phase_record, [('outputnode.readout_parameters', 'readout')]),
        (phase_record, outputs_wf, [('record', 'inputnode.phase')]),
    ])  # fmt:skip
    if relaxometry:
        workflow.connect([
            (qsm_wf, outputs_wf, [('outputnode.relaxation_parameters', 'inputnode.relaxometry')]),
        ])  # fmt:skip
    if resolution is not None:
        superres_wf = init_superres_wf(
            resolution=processing.sr_resolution,
            source=processing.sr_source,
            field_strength_t=acquisition.field_strength_t,
            prior=processing.prior,
            device=device,
            random_seed=processing.random_seed,
            omp_nthreads=settings.execution.omp_nthreads,
            fine_gb=4e-9 * math.prod(fine.shape),
        )
        _connect_superres(workflow, qsm_wf, superres_wf, reports_wf, outputs_wf, known)
    if made:
        contrasts_wf = init_contrasts_wf(
            contrasts=processing.contrasts,
            echo_times_s=acquisition.echo_times_s,
            field_strength_t=acquisition.field_strength_t,
            separation=processing.separation,
            r2_given=job.r2 is not None,
            noise_known='local_noise' in known,
            device=device,
            omp_nthreads=settings.execution.omp_nthreads,
            mem_gb=volume_gb,
        )
        _connect_contrasts(workflow, qsm_wf, contrasts_wf, reports_wf, outputs_wf, made, known)
        if job.r2 is not None:
            _connect_given(workflow, job, 'r2', job.r2, contrasts_wf)
    plan = _anatomy_plan(job, settings, images, made)
    if plan.needed:
        _add_anatomy(workflow, job, settings, plan, qsm_wf, known, device, volume_gb)
    if settings.outputs.output_echos:
        split_echoes = pe.Node(SplitEchoes(), name='split_echoes')
        workflow.connect([
            (qsm_wf, split_echoes, [('outputnode.unwrapped', 'in_file')]),
            (split_echoes, outputs_wf, [('out_files', 'inputnode.unwrapped_echoes')]),
        ])  # fmt:skip
    return workflow


def _connect_results(
    workflow: Workflow,
    qsm_wf: Workflow,
    reports_wf: Workflow,
    outputs_wf: Workflow,
    images: tuple[str, ...],
    shown: tuple[str, ...],
    panels: tuple[str, ...],
) -> None:
    """Hand images and records to the sinks, and images to the panels of the report."""
    mask_record = pe.Node(
        niu.Function(function=_merge_records, output_names=['record']),
        name='mask_record',
        run_without_submitting=True,
    )
    workflow.connect([
        (qsm_wf, outputs_wf, [(f'outputnode.{x}', f'inputnode.{x}') for x in images]),
        (qsm_wf, outputs_wf, [
            ('outputnode.combined_magnitude', 'inputnode.fieldmap_magnitude'),
        ]),
        (qsm_wf, reports_wf, [
            (f'outputnode.{x}', f'inputnode.{x}')
            for x in shown if x in reports_wf.get_node('inputnode').inputs.copyable_trait_names()
        ]),
        (reports_wf, outputs_wf, [('outputnode.quality', 'inputnode.quality')]),
        (reports_wf, outputs_wf, [
            (f'outputnode.{panel}', f'inputnode.figure_{panel}') for panel in panels
        ]),
        (qsm_wf, mask_record, [
            ('outputnode.brain_parameters', 'brain'),
            ('outputnode.mask_parameters', 'reliable'),
        ]),
        (mask_record, outputs_wf, [('record', 'inputnode.mask')]),
    ])  # fmt:skip


def _connect_superres(
    workflow: Workflow,
    qsm_wf: Workflow,
    superres_wf: Workflow,
    reports_wf: Workflow,
    outputs_wf: Workflow,
    known: Collection[str],
) -> None:
    """Make a finer map from the map or its field, and hand it on."""
    sources = {
        'chi': 'chi', 'chi_mask': 'mask', 'field_mask': 'field_mask', 'local_field': 'field',
        'local_noise': 'noise',
    }  # fmt: skip
    workflow.connect([
        (qsm_wf, superres_wf, [
            (f'outputnode.{x}', f'inputnode.{y}') for x, y in sources.items() if x in known
        ]),
        (superres_wf, reports_wf, [('outputnode.chi', 'inputnode.chi_fine')]),
        (superres_wf, outputs_wf, [
            ('outputnode.chi', 'inputnode.chi_fine'),
            ('outputnode.parameters', 'inputnode.superres'),
        ]),
    ])  # fmt:skip


def _connect_contrasts(
    workflow: Workflow,
    qsm_wf: Workflow,
    contrasts_wf: Workflow,
    reports_wf: Workflow,
    outputs_wf: Workflow,
    made: tuple[str, ...],
    known: Collection[str],
) -> None:
    """Make further contrasts, and hand them on."""
    wanted = contrasts_wf.get_node('inputnode').inputs.copyable_trait_names()
    drawn = reports_wf.get_node('inputnode').inputs.copyable_trait_names()
    steps = ['weighting'] if 'swi' in made else []
    steps += ['reversible'] if contrasts_wf.get_node('subtract_r2') else []
    steps += ['separation'] if 'paramagnetic' in made else []
    workflow.connect([
        (qsm_wf, contrasts_wf, [
            (f'outputnode.{x}', f'inputnode.{x}')
            for x in wanted if x in known
        ]),
        (contrasts_wf, outputs_wf, [
            *((f'outputnode.{x}', f'inputnode.{x}') for x in made),
            *((f'outputnode.{x}_parameters', f'inputnode.{x}') for x in steps),
        ]),
        (contrasts_wf, reports_wf, [
            (f'outputnode.{x}', f'inputnode.{x}') for x in made if x in drawn
        ]),
    ])  # fmt:skip


def _add_anatomy(
    workflow: Workflow,
    job: Job,
    settings: Settings,
    plan: AnatomyPlan,
    qsm_wf: Workflow,
    known: Collection[str],
    device: str,
    volume_gb: float,
) -> None:
    """Registrations, maps in other spaces and tables of regions, and their sinks."""
    anatomy_wf = init_anatomy_wf(
        plan=plan,
        use_gpu=device.startswith('cuda'),
        omp_nthreads=settings.execution.omp_nthreads,
        mem_gb=volume_gb,
    )
    anatomy_outputs_wf = init_anatomy_outputs_wf(
        output_dir=settings.outputs.output_dir,
        entities=job.acquisition.entities,
        acquisition_metadata=job.metadata,
        plan=plan,
    )
    fields = anatomy_wf.get_node('inputnode').inputs.copyable_trait_names()
    made = [field for field in fields if field not in OUTPUTS]
    workflow.connect([
        (qsm_wf, anatomy_wf, [
            (f'outputnode.{x}', f'inputnode.{x}') for x in fields if x in known
        ]),
        (anatomy_wf, anatomy_outputs_wf, [
            (f'outputnode.{x}', f'inputnode.{x}') for x in products(plan)
        ]),
    ])  # fmt:skip
    if made:
        workflow.connect([
            (workflow.get_node('contrasts_wf'), anatomy_wf, [
                (f'outputnode.{x}', f'inputnode.{x}') for x in made
            ]),
        ])  # fmt:skip


def _anatomy_plan(
    job: Job, settings: Settings, images: tuple[str, ...], made: tuple[str, ...]
) -> AnatomyPlan:
    """What is made of anatomy: tables of regions by default where there is a T1w image."""
    ignored = 'regions' in settings.processing.ignore
    atlas = job.anatomy is not None or 'regions' in settings.processing.force
    maps: dict[str, str | None] = {
        key: 'brain_mask' if key == 'r2star' else 'chi_mask'
        for key in (*TITLES, 'brain_mask', 'chi_mask')
        if key in images or key in made
    }
    maps |= dict.fromkeys(('brain_mask', 'chi_mask'))
    return AnatomyPlan(
        anatomy=job.anatomy,
        spaces=settings.outputs.output_spaces,
        atlas=atlas and not ignored,
        maps=maps,
        tabulates_given=not ignored,
    )


def _connect_given(workflow: Workflow, job: Job, name: str, given: GivenMap, to: Workflow) -> None:
    """Take a given map over for the input of that name of a graph."""
    reference = (job.acquisition.magnitude or job.acquisition.real)[0]
    take = pe.Node(
        TakeGiven(
            in_files=[str(path) for path in given.paths],
            scale=given.scale,
            reference=str(reference),
        ),
        name=f'take_{name}',
    )
    workflow.connect(take, 'out_file', to, f'inputnode.{name}')


def _contrasts(job: Job, contrasts: tuple[str, ...]) -> tuple[str, ...]:
    """Images that the contrasts of a run give for an acquisition."""
    single = len(job.acquisition.echo_times_s) < 2
    return tuple(
        image
        for contrast in contrasts
        for image in MADE[contrast]
        if contrast == 'swi' or not (single or (contrast == 'r2prime' and job.r2 is None))
    )


def _merge_records(brain, reliable):
    record = {'BrainExtraction': brain, 'PhaseQuality': reliable}
    if 'Warnings' in brain:
        record['Warnings'] = brain.pop('Warnings')
    return record


def _add_readout(fieldmap, readout):
    return {**fieldmap, **readout}


def _inversion(settings: Settings) -> tuple[str, dict]:
    """Inversion of a run and its parameters."""
    processing = settings.processing
    if processing.sloppy:
        return 'tkd', {}
    prior = processing.prior and str(processing.prior)
    if processing.sr_resolution and 'prior' not in INVERSIONS[processing.inversion].needs:
        prior = None
    sampling = sampling_parameters(processing.inversion, processing.posterior_samples, prior)
    return processing.inversion, {**processing.inversion_parameters, **sampling}


def _finer(
    acquisition: Acquisition, requested: str | None
) -> tuple[Grid | None, tuple[str, str] | None, dict]:
    """Grid of a finer map, its label and resolution, and what all sidecars say without one."""
    if requested is None:
        return None, None, {}
    from qsmprep.qsm.resolution import finer_grid

    grid = Grid.from_affine(acquisition.shape, acquisition.affine)
    fine = finer_grid(grid, requested if requested == 'iso' else float(requested))
    if fine is None:
        note = f'none: {requested} was asked for, {_edges(grid)} measured'
        return None, None, {'SuperResolution': note}
    text = f'{_edges(fine)}, super-resolved from {_edges(grid)}'
    return fine, (resolution_label(requested), text), {}


def _edges(grid: Grid) -> str:
    return ' x '.join(f'{v:.4g}' for v in grid.voxel_size) + ' mm'


def _brain_extraction(job: Job, settings: Settings) -> str:
    processing = settings.processing
    if 'brain-extraction' in processing.force:
        automatic = processing.brain_extraction == 'auto'
        return 'deepbet' if automatic else processing.brain_extraction
    if job.brain_mask is not None:
        return 'given'
    ignored = 'brain-extraction' in processing.ignore
    return 'signal' if ignored else processing.brain_extraction


def _input_files(job: Job) -> dict:
    acquisition = job.acquisition
    files = {
        'magnitude_files': acquisition.magnitude,
        'phase_files': acquisition.phase,
        'real_files': acquisition.real,
        'imaginary_files': acquisition.imaginary,
    }
    inputs = {key: [str(file) for file in value] for key, value in files.items() if value}
    for kind, mask in (('brain', job.brain_mask), ('reference', job.reference_mask)):
        if mask is not None:
            inputs[f'{kind}_mask'] = str(mask.path)
            inputs[f'{kind}_placement'] = {
                'threshold': mask.threshold,
                'by_voxels': mask.by_voxels,
                'uri': mask.uri,
            }
    return inputs


def _phase_keywords(acquisition: Acquisition) -> dict:
    scale = acquisition.phase_scale
    return {
        'phase_range': None if acquisition.real else (scale.low, scale.high),
        'phase_sign': scale.sign,
        'alternate_slices': scale.alternate_slices,
        'coils': acquisition.coils,
        'coils_together': acquisition.coils > 1
        and len(acquisition.phase or acquisition.real) == len(acquisition.echo_times_s),
    }


def _phase_record(job: Job, settings: Settings) -> dict:
    import niimath

    acquisition, start = job.acquisition, settings.processing.start_from
    if start not in ('echoes', 'unwrapped'):
        return {'Method': f'none: {start} is given'}
    ignored = settings.processing.ignore
    offset = len(acquisition.echo_times_s) > 1 and 'phase-offset' not in ignored
    offset = offset and start == 'echoes'
    scale = acquisition.phase_scale
    return {
        'PhaseScaling': scale.rule,
        'PhaseSign': scale.sign,
        'OffsetRemoval': 'MCPC-3D-S' if offset else 'none',
        'Unwrapping': settings.processing.unwrapping if start == 'echoes' else 'given',
        'UnwrappingSoftware': f'niimath {niimath.__version__}',
        'EchoCombination': 'mean weighted with (echo time x magnitude)^2',
        'FieldStrengthSource': acquisition.field_strength_rule,
    }

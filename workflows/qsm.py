"""The graph that other pipelines embed: echoes in, susceptibility map out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.phase import PrepareEchoes
from qsmprep.interfaces.relaxometry import FitRelaxation
from qsmprep.workflows.background import init_background_wf
from qsmprep.workflows.coils import add_coil_combination
from qsmprep.workflows.fieldmap import init_fieldmap_wf
from qsmprep.workflows.fields import INPUT_FIELDS
from qsmprep.workflows.inversion import init_inversion_wf
from qsmprep.workflows.mask import init_mask_wf, init_reliable_wf
from qsmprep.workflows.nodes import FIRST_GB, LIBRARIES_GB, ends
from qsmprep.workflows.start import DESCRIPTIONS, add_given_map, outputs_from

OUTPUTS = {
    'magnitude': ('prepare_echoes', 'magnitude'),
    'phase': ('prepare_echoes', 'phase'),
    'combined_magnitude': ('prepare_echoes', 'combined_magnitude'),
    'readout_parameters': ('prepare_echoes', 'parameters'),
    'total_field': ('fieldmap_wf', 'outputnode.field'),
    'field_noise': ('fieldmap_wf', 'outputnode.noise'),
    'noise_sd': ('fieldmap_wf', 'outputnode.noise_sd'),
    'field_misfit': ('fieldmap_wf', 'outputnode.misfit'),
    'fieldmap_parameters': ('fieldmap_wf', 'outputnode.parameters'),
    'unwrapped': ('fieldmap_wf', 'outputnode.unwrapped'),
    'quality': ('fieldmap_wf', 'outputnode.quality'),
    'brain_mask': ('mask_wf', 'outputnode.brain_mask'),
    'reliable_mask': ('reliable_wf', 'outputnode.mask'),
    'brain_parameters': ('mask_wf', 'outputnode.brain_parameters'),
    'brain_tissue': ('reliable_wf', 'outputnode.tissue'),
    'mask_parameters': ('reliable_wf', 'outputnode.parameters'),
    'local_field': ('background_wf', 'outputnode.field'),
    'local_noise': ('background_wf', 'outputnode.noise'),
    'field_mask': ('background_wf', 'outputnode.mask'),
    'tissue': ('background_wf', 'outputnode.tissue'),
    'background_parameters': ('background_wf', 'outputnode.parameters'),
    'chi': ('inversion_wf', 'outputnode.chi'),
    'chi_mask': ('inversion_wf', 'outputnode.mask'),
    'estimated_mask': ('inversion_wf', 'outputnode.estimated'),
    'uncertainty': ('inversion_wf', 'outputnode.uncertainty'),
    'inversion_parameters': ('inversion_wf', 'outputnode.inversion_parameters'),
    'reference_parameters': ('inversion_wf', 'outputnode.reference_parameters'),
    'r2star': ('fit_relaxation', 'r2star'),
    't2star': ('fit_relaxation', 't2star'),
    's0': ('fit_relaxation', 's0'),
    'relaxation_parameters': ('fit_relaxation', 'parameters'),
}
"""Field of the output node -> node and field that it comes from."""
FEEDS = {
    'mask_wf': {'magnitude': 'magnitude'},
    'fieldmap_wf': {'magnitude': 'magnitude', 'phase': 'phase', 'brain_mask': 'brain_mask'},
    'reliable_wf': {
        'brain_mask': 'brain_mask', 'magnitude': 'magnitude', 'quality': 'quality',
        'unwrapped': 'unwrapped',
    },
    'background_wf': {
        'total_field': 'field', 'field_noise': 'noise', 'reliable_mask': 'mask',
        'brain_tissue': 'brain_mask',
    },
    'inversion_wf': {
        'combined_magnitude': 'magnitude', 'local_field': 'field', 'local_noise': 'noise',
        'field_noise': 'total_noise', 'field_mask': 'mask', 'tissue': 'tissue',
    },
    'fit_relaxation': {'magnitude': 'magnitude', 'brain_mask': 'mask', 'noise_sd': 'noise_sd'},
}  # fmt: skip
"""Stage -> outputs of other stages that it takes, where there are such, and its inputs."""
GIVEN = {
    'mask_wf': ('brain_mask', 'brain_placement'),
    'fieldmap_wf': ('unwrapped',),
    'inversion_wf': ('reference_mask', 'reference_placement'),
}
"""Stage -> fields of the input node that it takes."""


def init_qsm_wf(
    *,
    echo_times_s: tuple[float, ...],
    field_strength_t: float,
    phase_range: tuple[float, float] | None = None,
    phase_sign: int = 1,
    alternate_slices: bool = False,
    coils: int = 1,
    coils_together: bool = False,
    remove_offset: bool = True,
    unwrapping: str = 'romeo',
    brain_extraction: str = 'auto',
    phase_quality: bool = True,
    background: str = 'pdf',
    background_parameters: dict[str, float] | None = None,
    relaxometry: bool = True,
    inversion: str = 'tv',
    inversion_parameters: dict[str, float | str] | None = None,
    reference: str = 'brain',
    start: str = 'echoes',
    noise_given: bool = False,
    device: str = 'cpu',
    random_seed: int = 0,
    omp_nthreads: int = 1,
    volume_gb: float = 0.05,
    name: str = 'qsm_wf',
) -> Workflow:
    """
    Build a graph from gradient-echo images to a susceptibility map.

    .. workflow::
        :graph2use: orig
        :simple_form: yes

        from qsmprep.workflows.qsm import init_qsm_wf
        wf = init_qsm_wf(echo_times_s=(0.004, 0.008, 0.012), field_strength_t=3.0)

    Parameters
    ----------
    echo_times_s
        Echo times [s], ascending.
    field_strength_t
        Field strength [T].
    phase_range
        Stored values that stand for -pi and pi; None where real and imaginary parts come in.
    phase_sign
        -1 for scanners whose phase falls where the field is higher.
    alternate_slices
        Slices are known to alternate by pi (some GE scans); else that is found where the phase
        shows it.
    coils, coils_together
        Coils that were not combined; files then hold all echoes of the first, of the second, ...,
        or one file an echo holds all coils along its fourth axis.
    remove_offset
        Remove the phase at an echo time of zero (MCPC-3D-S).
    unwrapping
        Key of :data:`qsmprep.methods.UNWRAPPINGS`.
    brain_extraction
        Key of :data:`qsmprep.methods.MASKS`, or ``'given'``.
    phase_quality
        Drop brain voxels whose phase is unreliable.
    background, background_parameters
        Key of :data:`qsmprep.methods.BACKGROUNDS`, and parameters that differ from its defaults.
    relaxometry
        Map R2*, T2* and S0 (from two echoes on).
    inversion, inversion_parameters
        Key of :data:`qsmprep.methods.INVERSIONS`, and parameters that differ from its defaults.
    reference
        ``'brain'``, ``'none'``, or the label of the region in ``inputnode.reference_mask``.
    start
        Key of :data:`qsmprep.workflows.start.STARTS`: what comes in besides the echoes, so that the
        stages before it are left out.
    noise_given
        Whether the noise of a given field comes in too.
    device
        Torch device of brain extraction and inversion.
    random_seed
        Seed of methods that draw random numbers.
    omp_nthreads, volume_gb, name
        Threads of a node, memory of one volume as floats [GB], name of the workflow.

    Inputs
    ------
    magnitude_files, phase_files, ...
        The fields of :data:`qsmprep.workflows.fields.INPUT_FIELDS`.

    Outputs
    -------
    chi, ...
        The fields of :data:`qsmprep.workflows.fields.OUTPUT_FIELDS`, where the graph makes them.

    """
    workflow = Workflow(name=name)
    workflow.__desc__ = _describe(start, len(echo_times_s))
    relaxometry = relaxometry and len(echo_times_s) > 1
    echoes_gb = len(echo_times_s) * volume_gb
    inputnode, outputnode = ends(inputs=INPUT_FIELDS, outputs=OUTPUTS)
    outputs = outputs_from(OUTPUTS, start, noise_given, relaxometry)
    needed = {node for node, _ in outputs.values()}
    _add_echoes(
        workflow,
        inputnode,
        stored_phase=phase_range is not None,
        coils=coils,
        coils_together=coils_together,
        echoes_gb=echoes_gb,
        echo_times_s=list(echo_times_s),
        phase_sign=phase_sign,
        alternate_slices=alternate_slices,
        **({} if phase_range is None else {'phase_range': phase_range}),
    )
    mask_wf = init_mask_wf(
        brain_extraction=brain_extraction,
        use_gpu=device.startswith('cuda'),
        mem_gb=echoes_gb,
    )
    further = {
        'fieldmap_wf': partial(
            init_fieldmap_wf,
            echo_times_s=echo_times_s,
            remove_offset=remove_offset,
            unwrapping='given' if start == 'unwrapped' else unwrapping,
            mem_gb=echoes_gb,
        ),
        'reliable_wf': partial(
            init_reliable_wf,
            echo_times_s=echo_times_s,
            phase_quality=phase_quality and 'fieldmap_wf' in needed,
            mem_gb=echoes_gb,
        ),
        'background_wf': partial(
            init_background_wf,
            method=background,
            parameters=background_parameters,
            mem_gb=volume_gb,
        ),
        'inversion_wf': partial(
            init_inversion_wf,
            field_strength_t=field_strength_t,
            method=inversion,
            parameters=inversion_parameters,
            reference=reference,
            device=device,
            random_seed=random_seed,
            omp_nthreads=omp_nthreads,
            mem_gb=volume_gb,
        ),
    }
    stages = [mask_wf, *(init() for stage, init in further.items() if stage in needed)]
    if relaxometry:
        stages.append(_fit_relaxation(workflow, echo_times_s, coils, echoes_gb))
    workflow.add_nodes(stages)
    if start in ('local-field', 'chi'):
        add_given_map(workflow, inputnode, mask_wf, start, reference)
    for stage in stages:
        _feed(workflow, inputnode, outputs, stage)
    for field, (source, output) in outputs.items():
        workflow.connect(workflow.get_node(source), output, outputnode, field)
    return workflow


def _describe(start: str, echoes: int) -> str:
    """Methods text of what comes before the stages."""
    if start != 'echoes':
        return DESCRIPTIONS.get(start, '')
    text = 'Slices whose phase alternates by pi were looked for and corrected. '
    if echoes > 2:
        text += (
            'The phase ramp of a bipolar readout was looked for [@bipolar] and removed if found. '
        )
    return text


def _add_echoes(
    workflow: Workflow,
    inputnode: pe.Node,
    *,
    stored_phase: bool,
    coils: int,
    coils_together: bool,
    echoes_gb: float,
    **scan: Any,
) -> None:
    """Read the echoes, combine their coils where that was not done."""
    kinds = ('magnitude', 'phase') if stored_phase else ('real', 'imaginary')
    parts = [(f'{kind}_files', f'{kind}_files') for kind in kinds]
    if coils > 1:
        add_coil_combination(
            workflow, inputnode, parts, coils_together, echoes_gb, coils=coils, **scan
        )
        return
    prepare_echoes = pe.Node(
        PrepareEchoes(**scan), name='prepare_echoes', mem_gb=FIRST_GB + 4 * echoes_gb
    )
    workflow.connect([(inputnode, prepare_echoes, parts)])


def _feed(
    workflow: Workflow,
    inputnode: pe.Node,
    outputs: Mapping[str, tuple[str, str]],
    stage: Workflow | pe.Node,
) -> None:
    """Connect what is given, and those outputs of other stages that there are, to a stage."""
    prefix = 'inputnode.' if isinstance(stage, Workflow) else ''
    for field in GIVEN.get(stage.name, ()):
        workflow.connect(inputnode, field, stage, f'{prefix}{field}')
    for field, target in FEEDS[stage.name].items():
        if field in outputs:
            source, output = outputs[field]
            workflow.connect(workflow.get_node(source), output, stage, f'{prefix}{target}')


def _fit_relaxation(
    workflow: Workflow, echo_times_s: tuple[float, ...], coils: int, echoes_gb: float
) -> pe.Node:
    """Map R2*, T2* and S0; its sentence ends the methods text."""
    workflow.__postdesc__ = (
        r'R2\*, T2\* and S0 were fitted to the magnitude and its noise floor by nonlinear '
        'least squares [@r2starnoise]. '
    )
    return pe.Node(
        FitRelaxation(echo_times_s=list(echo_times_s), coils=coils),
        name='fit_relaxation',
        mem_gb=LIBRARIES_GB + 3 * echoes_gb,
    )

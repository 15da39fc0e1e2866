"""Brain mask, and where in it the phase is reliable."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.mask import ExtractBrain, MatchMask, TrustPhase
from qsmprep.methods import MASKS
from qsmprep.workflows.nodes import LIBRARIES_GB, ends, same


def init_mask_wf(
    *,
    brain_extraction: str = 'auto',
    use_gpu: bool = False,
    mem_gb: float = 1.0,
    name: str = 'mask_wf',
) -> Workflow:
    """
    Build a graph that finds the brain.

    .. workflow::
        :graph2use: orig
        :simple_form: yes

        from qsmprep.workflows.mask import init_mask_wf
        wf = init_mask_wf()

    Parameters
    ----------
    brain_extraction
        Key of :data:`qsmprep.methods.MASKS`, or ``'given'`` (a mask comes in by
        ``inputnode.brain_mask``).
    use_gpu
        Run the network on a GPU.
    mem_gb, name
        Memory of the echoes as floats [GB], name of the workflow.

    Inputs
    ------
    magnitude
        Magnitude, echoes along the fourth axis.
    brain_mask, brain_placement
        A mask made elsewhere, and how it is read (see ``MatchMask``).

    Outputs
    -------
    brain_mask
        The brain.
    brain_parameters
        Record of the step.

    """
    workflow = Workflow(name=name)
    given = brain_extraction == 'given'
    sentence = 'A brain mask was given' if given else MASKS[brain_extraction].sentence
    workflow.__desc__ = f'{sentence}. '
    inputnode, outputnode = ends(
        inputs=('magnitude', 'brain_mask', 'brain_placement'),
        outputs=('brain_mask', 'brain_parameters'),
    )
    if given:
        brain = pe.Node(MatchMask(), name='brain')
        workflow.connect([
            (inputnode, brain, [
                ('brain_mask', 'mask'),
                ('brain_placement', 'placement'),
                ('magnitude', 'reference'),
            ]),
        ])  # fmt:skip
    else:
        brain = pe.Node(
            ExtractBrain(method=brain_extraction, use_gpu=use_gpu),
            name='brain',
            mem_gb=1.1 + 4 * mem_gb,
        )
        workflow.connect(inputnode, 'magnitude', brain, 'magnitude')

    workflow.connect(
        [(brain, outputnode, [('mask', 'brain_mask'), ('parameters', 'brain_parameters')])]
    )
    return workflow


def init_reliable_wf(
    *,
    echo_times_s: tuple[float, ...] = (),
    phase_quality: bool = True,
    mem_gb: float = 1.0,
    name: str = 'reliable_wf',
) -> Workflow:
    """
    Build a graph that finds reliable phase within the brain.

    .. workflow::
        :graph2use: orig
        :simple_form: yes

        from qsmprep.workflows.mask import init_reliable_wf
        wf = init_reliable_wf()

    Parameters
    ----------
    echo_times_s
        Echo times [s]; needed for ``phase_quality``.
    phase_quality
        Drop brain voxels whose phase is unreliable, and bone and air of a mask that is too wide.
    mem_gb, name
        Memory of the echoes as floats [GB], name of the workflow.

    Inputs
    ------
    brain_mask
        The brain.
    magnitude
        Magnitude, echoes along the fourth axis.
    quality, unwrapped
        Quality of the phase, 0 to 1; unwrapped phase [rad].

    Outputs
    -------
    mask
        Brain voxels with reliable phase.
    tissue
        The brain, where no background source lies; of a mask that is too wide, without bone and
        air at its rim.
    parameters
        Record of the step.

    """
    workflow = Workflow(name=name)
    inputnode, outputnode = ends(
        inputs=('brain_mask', 'magnitude', 'quality', 'unwrapped'),
        outputs=('mask', 'tissue', 'parameters'),
    )
    trust_phase = pe.Node(TrustPhase(), name='trust_phase', mem_gb=LIBRARIES_GB + 2 * mem_gb)
    if phase_quality:
        workflow.__desc__ = (
            'Bone and air at the rim were taken off a mask that was too wide. Voxels with '
            'unreliable phase (quality map of ROMEO, or too steep to be unwrapped) were taken '
            'off the mask, and its holes filled. '
        )
        trust_phase.inputs.echo_times_s = list(echo_times_s)
        workflow.connect([(inputnode, trust_phase, same('magnitude', 'quality', 'unwrapped'))])
    workflow.connect([
        (inputnode, trust_phase, [('brain_mask', 'brain')]),
        (trust_phase, outputnode, same('mask', 'tissue', 'parameters')),
    ])  # fmt:skip
    return workflow

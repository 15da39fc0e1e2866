"""From the wrapped phase of the echoes to a field map."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.phase import (
    CombineEchoes,
    PhaseDifference,
    RemovePhaseOffset,
    Romeo,
    UnwrapEchoes,
)
from qsmprep.methods import UNWRAPPINGS
from qsmprep.workflows.nodes import LIBRARIES_GB, ends, same

COMBINED = ('field', 'noise', 'unwrapped', 'misfit', 'noise_sd', 'parameters')
"""Outputs of the combination of echoes that the graph gives."""


def init_fieldmap_wf(
    *,
    echo_times_s: tuple[float, ...],
    remove_offset: bool = True,
    unwrapping: str = 'romeo',
    mem_gb: float = 1.0,
    name: str = 'fieldmap_wf',
) -> Workflow:
    """
    Build a graph that maps the total field.

    Phase offsets are removed (MCPC-3D-S, from two echoes on), the echoes are unwrapped, freed of
    multiples of 2 pi between them, and averaged.

    .. workflow::
        :graph2use: orig
        :simple_form: yes

        from qsmprep.workflows.fieldmap import init_fieldmap_wf
        wf = init_fieldmap_wf(echo_times_s=(0.004, 0.008, 0.012))

    Parameters
    ----------
    echo_times_s
        Echo times [s].
    remove_offset
        Remove the phase at an echo time of zero; one echo alone has none that could be known.
    unwrapping
        Key of :data:`qsmprep.methods.UNWRAPPINGS`, or ``'given'`` for phase that was unwrapped
        elsewhere and freed of its offset; ROMEO runs in any case, for its quality map.
    mem_gb, name
        Memory of the echoes as floats [GB], name of the workflow.

    Inputs
    ------
    magnitude
        Magnitude, echoes along the fourth axis.
    phase
        Wrapped phase [rad], echoes along the fourth axis.
    unwrapped
        Unwrapped phase [rad], where it is given.
    brain_mask
        The brain: the fat of the scalp turns by itself, and has no part in the phase offset.

    Outputs
    -------
    field
        Total field [Hz].
    noise
        Standard deviation of its noise [Hz].
    unwrapped
        Unwrapped phase [rad].
    quality
        Quality of the phase, 0 to 1 (ROMEO).
    misfit
        Misfit of the echoes against the field, over their noise.
    noise_sd
        Noise of the real or imaginary part, in units of the magnitude.
    parameters
        Record of echoes that are far noisier than the others.

    """
    import niimath

    workflow = Workflow(name=name)
    echoes = len(echo_times_s)
    given = unwrapping == 'given'
    remove_offset = remove_offset and echoes > 1 and not given
    workflow.__desc__ = _describe(echoes, remove_offset, unwrapping, niimath.__version__)

    inputnode, outputnode = ends(
        inputs=('magnitude', 'phase', 'unwrapped', 'brain_mask'),
        outputs=('quality', *COMBINED),
    )
    times = {'echo_times_s': list(echo_times_s)} if echoes > 1 else {}
    romeo = pe.Node(Romeo(**times), name='romeo', mem_gb=LIBRARIES_GB + 3 * mem_gb)
    exact = given or '2 pi' in UNWRAPPINGS[unwrapping].gives
    combine_echoes = pe.Node(
        CombineEchoes(echo_times_s=list(echo_times_s), align=exact),
        name='combine_echoes',
        mem_gb=LIBRARIES_GB + 4 * mem_gb,
    )
    workflow.connect([
        (inputnode, romeo, same('magnitude')),
        (inputnode, combine_echoes, [*same('magnitude'), ('brain_mask', 'mask')]),
        (romeo, outputnode, same('quality')),
        (combine_echoes, outputnode, same(*COMBINED)),
    ])  # fmt:skip

    corrected = inputnode
    if remove_offset:
        corrected = _add_offset_removal(workflow, inputnode, echo_times_s, mem_gb)
    workflow.connect(corrected, 'phase', romeo, 'phase')
    unwrap_echoes = {'given': inputnode, 'romeo': romeo}.get(unwrapping)
    if unwrap_echoes is None:
        unwrap_echoes = pe.Node(
            UnwrapEchoes(method=unwrapping), name='unwrap_echoes', mem_gb=LIBRARIES_GB + 4 * mem_gb
        )
        workflow.connect(corrected, 'phase', unwrap_echoes, 'phase')
    workflow.connect(unwrap_echoes, 'unwrapped', combine_echoes, 'unwrapped')
    return workflow


def _add_offset_removal(
    workflow: Workflow, inputnode: pe.Node, echo_times_s: tuple[float, ...], mem_gb: float
) -> pe.Node:
    """Remove the phase at an echo time of zero; return the node that gives the phase without."""
    phase_difference = pe.Node(
        PhaseDifference(), name='phase_difference', mem_gb=LIBRARIES_GB + 3 * mem_gb
    )
    unwrap_difference = pe.Node(
        Romeo(quality_map=False), name='unwrap_difference', mem_gb=LIBRARIES_GB + mem_gb
    )
    phase_offset = pe.Node(
        RemovePhaseOffset(echo_times_s=list(echo_times_s)),
        name='phase_offset',
        mem_gb=LIBRARIES_GB + 5 * mem_gb,
    )
    workflow.connect([
        (inputnode, phase_difference, [*same('magnitude', 'phase'), ('brain_mask', 'mask')]),
        (phase_difference, unwrap_difference, [
            ('difference', 'phase'),
            ('weight', 'magnitude'),
        ]),
        (unwrap_difference, phase_offset, [('unwrapped', 'unwrapped_difference')]),
        (inputnode, phase_offset, [*same('magnitude', 'phase'), ('brain_mask', 'mask')]),
    ])  # fmt:skip
    return phase_offset


def _describe(echoes: int, remove_offset: bool, unwrapping: str, niimath_version: str) -> str:
    """Methods text of the field map."""
    text = ''
    if remove_offset:
        text += 'The phase at an echo time of zero was removed with MCPC-3D-S [@mcpc3ds]. '
    if unwrapping == 'given':
        text += 'Unwrapped phase was given. '
    else:
        sentence = UNWRAPPINGS[unwrapping].sentence.format(niimath=f'niimath {niimath_version}')
        text += f'Phase was unwrapped with {sentence}. '
    if echoes > 1:
        text += (
            f'The off-resonance frequency was averaged over the {echoes} echoes with weights '
            '(echo time x magnitude / noise)^2, which are those of the least noise. '
        )
    else:
        text += 'The off-resonance frequency is the phase of the one echo over its echo time. '
    return text

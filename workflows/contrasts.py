"""Contrasts from what is there: susceptibility-weighted images, R2', separated sources."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.contrasts import SeparateSources, SubtractR2, WeightSusceptibility
from qsmprep.methods import SEPARATIONS
from qsmprep.workflows.nodes import LIBRARIES_GB, device_node, ends, same

MADE = {
    'swi': ('swi', 'minimum'),
    'r2prime': ('r2prime',),
    'chisep': ('paramagnetic', 'diamagnetic'),
}
"""Contrast -> its images, as ``io_spec.json`` names them."""


def init_contrasts_wf(
    *,
    contrasts: tuple[str, ...],
    echo_times_s: tuple[float, ...],
    field_strength_t: float,
    separation: str = 'joint',
    r2_given: bool = False,
    noise_known: bool = True,
    device: str = 'cpu',
    omp_nthreads: int = 1,
    mem_gb: float = 0.05,
    name: str = 'contrasts_wf',
) -> Workflow:
    """
    Build a graph of further contrasts.

    Parameters
    ----------
    contrasts
        Keys of :data:`MADE`.
    echo_times_s
        Echo times [s].
    field_strength_t
        Field strength [T].
    separation
        Key of :data:`qsmprep.methods.SEPARATIONS`.
    r2_given
        Whether R2 comes in; sources are then separated by R2', else by R2*.
    noise_known
        Whether the noise of the local field comes in.
    device
        Torch device.
    omp_nthreads, mem_gb, name
        Threads of a node, memory of one volume as floats [GB], name of the workflow.

    Inputs
    ------
    combined_magnitude
        Root of the sum of squares over the echoes.
    local_field, local_noise, field_mask
        Local field [Hz], its standard deviation, and where it is known.
    chi, chi_mask
        Susceptibility [ppm] and its voxels.
    r2star, s0, noise_sd
        R2* [1/s], magnitude at an echo time of zero, noise of the real or imaginary part.
    r2
        R2 [1/s].

    Outputs
    -------
    swi, minimum
        Susceptibility-weighted image and minimum intensity projection.
    r2prime
        R2' [1/s].
    paramagnetic, diamagnetic
        Susceptibility of either sign [ppm].
    weighting_parameters, reversible_parameters, separation_parameters
        Records of the steps.

    """
    workflow = Workflow(name=name)
    images = [image for made in MADE.values() for image in made]
    records = [f'{step}_parameters' for step in ('weighting', 'reversible', 'separation')]
    inputnode, outputnode = ends(
        inputs=(
            'combined_magnitude', 'local_field', 'local_noise', 'field_mask', 'chi', 'chi_mask',
            'r2star', 's0', 'noise_sd', 'r2',
        ),
        outputs=(*images, *records),
    )  # fmt: skip
    workflow.add_nodes([inputnode, outputnode])
    text = ''
    if 'swi' in contrasts:
        text += _add_weighting(workflow, echo_times_s, mem_gb)
    rate = (inputnode, 'r2star')
    if r2_given and {'r2prime', 'chisep'} & set(contrasts):
        text += "R2' was taken as the difference of R2* and a given map of R2. "
        rate = (_add_subtraction(workflow, mem_gb), 'r2prime')
    if 'chisep' in contrasts:
        text += (
            'Paramagnetic and diamagnetic sources were separated by '
            f'{SEPARATIONS[separation].sentence}. '
        )
        separate = device_node(
            SeparateSources,
            name='separate',
            device=device,
            omp_nthreads=omp_nthreads,
            mem_gb=LIBRARIES_GB + 50 * mem_gb,
            echo_times_s=list(echo_times_s),
            field_strength_t=field_strength_t,
            method=separation,
            reversible=r2_given,
        )
        _connect_separation(workflow, rate, separate, noise_known)
    workflow.__desc__ = text
    return workflow


def _add_subtraction(workflow: Workflow, mem_gb: float) -> pe.Node:
    """Take R2 off R2*; return the node that gives R2'."""
    subtract_r2 = pe.Node(SubtractR2(), name='subtract_r2', mem_gb=LIBRARIES_GB + 6 * mem_gb)
    workflow.connect([
        (workflow.get_node('inputnode'), subtract_r2, same('r2star', 'r2')),
        (subtract_r2, workflow.get_node('outputnode'), [
            *same('r2prime'),
            ('parameters', 'reversible_parameters'),
        ]),
    ])  # fmt:skip
    return subtract_r2


def _connect_separation(
    workflow: Workflow, rate: tuple[pe.Node, str], separate: pe.Node, noise_known: bool
) -> None:
    """Give the separation its rate and maps, and pass on what it makes."""
    inputnode, outputnode = (workflow.get_node(name) for name in ('inputnode', 'outputnode'))
    workflow.connect([
        (rate[0], separate, [(rate[1], 'rate')]),
        (inputnode, separate, [
            ('local_field', 'field'),
            ('field_mask', 'mask'),
            ('chi_mask', 'tissue'),
            *same('chi', 'r2star', 's0', 'noise_sd'),
        ]),
        (separate, outputnode, [
            *same('paramagnetic', 'diamagnetic'),
            ('parameters', 'separation_parameters'),
        ]),
    ])  # fmt:skip
    if noise_known:
        workflow.connect(inputnode, 'local_noise', separate, 'noise')


def _add_weighting(workflow: Workflow, echo_times_s: tuple[float, ...], mem_gb: float) -> str:
    """Make susceptibility-weighted images; return the methods text."""
    weight = pe.Node(
        WeightSusceptibility(echo_times_s=list(echo_times_s)),
        name='weight',
        mem_gb=LIBRARIES_GB + 12 * mem_gb,
    )
    workflow.connect([
        (workflow.get_node('inputnode'), weight, [
            ('combined_magnitude', 'magnitude'),
            ('local_field', 'field'),
            ('chi_mask', 'mask'),
        ]),
        (weight, workflow.get_node('outputnode'), [
            *same('swi', 'minimum'),
            ('parameters', 'weighting_parameters'),
        ]),
    ])  # fmt:skip
    return (
        'Susceptibility-weighted images and minimum intensity projections were made of the '
        'magnitude of all echoes and the phase of the local field, as in CLEAR-SWI '
        '[@clearswi]. '
    )

"""Dipole inversion and referencing."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.inversion import InvertDipole, Reference
from qsmprep.interfaces.mask import MatchMask
from qsmprep.methods import INVERSIONS
from qsmprep.workflows.nodes import LIBRARIES_GB, device_node, ends, same


def init_inversion_wf(
    *,
    field_strength_t: float,
    method: str = 'tv',
    parameters: dict[str, float | str] | None = None,
    reference: str = 'brain',
    device: str = 'cpu',
    random_seed: int = 0,
    omp_nthreads: int = 1,
    mem_gb: float = 1.0,
    name: str = 'inversion_wf',
) -> Workflow:
    """
    Build a graph from a local field to a referenced susceptibility map.

    .. workflow::
        :graph2use: orig
        :simple_form: yes

        from qsmprep.workflows.inversion import init_inversion_wf
        wf = init_inversion_wf(field_strength_t=3.0)

    Parameters
    ----------
    field_strength_t
        Field strength [T].
    method
        Name of the inversion, a key of :data:`qsmprep.methods.INVERSIONS`.
    parameters
        Parameters of the method that differ from their defaults.
    reference
        ``'brain'``, ``'none'``, or the label of a region whose mask comes in by
        ``inputnode.reference_mask``.
    device
        Torch device, ``'cpu'`` or ``'cuda[:i]'``.
    random_seed
        Seed of methods that draw random numbers.
    omp_nthreads, mem_gb, name
        Threads of a node, memory of one volume as floats [GB], name of the workflow.

    Inputs
    ------
    field
        Local field [Hz].
    noise
        Standard deviation of the noise of the field [Hz].
    total_noise
        That of the total field, without what background removal added to it [Hz].
    magnitude
        Combined magnitude.
    mask
        Voxels that have a local field.
    tissue
        Voxels of the map, where it goes beyond the mask.
    reference_mask, reference_placement
        Mask of the reference region.

    Outputs
    -------
    chi
        Susceptibility [ppm], zero outside its mask.
    mask
        Voxels of the map.
    estimated
        Those of them that have no local field of their own.
    uncertainty
        Its standard deviation [ppm], from methods that know it.
    inversion_parameters, reference_parameters
        Records of both steps.

    """
    workflow = Workflow(name=name)
    workflow.__desc__ = _describe(method, reference)
    images = ('field', 'noise', 'total_noise', 'magnitude', 'mask', 'tissue')
    made = ('mask', 'estimated', 'uncertainty')
    inputnode, outputnode = ends(
        inputs=(*images, 'reference_mask', 'reference_placement'),
        outputs=('chi', *made, 'inversion_parameters', 'reference_parameters'),
    )
    invert_dipole = device_node(
        InvertDipole,
        name='invert_dipole',
        device=device,
        omp_nthreads=omp_nthreads,
        mem_gb=LIBRARIES_GB + 50 * mem_gb,
        field_strength_t=field_strength_t,
        method=method,
        after_background=True,
        method_parameters=dict(parameters or {}),
        random_seed=random_seed,
    )
    reference_chi = pe.Node(
        Reference(kind=reference), name='reference_chi', mem_gb=LIBRARIES_GB + 4 * mem_gb
    )
    workflow.connect([
        (inputnode, invert_dipole, same(*images)),
        (invert_dipole, reference_chi, same('chi', 'mask')),
        (invert_dipole, outputnode, [*same(*made), ('parameters', 'inversion_parameters')]),
        (reference_chi, outputnode, [('chi', 'chi'), ('parameters', 'reference_parameters')]),
    ])  # fmt:skip
    connect_region(workflow, reference, inputnode, inputnode, reference_chi)
    return workflow


def _describe(method: str, reference: str) -> str:
    """Methods text of inversion and referencing."""
    text = (
        f'Susceptibility was computed with {INVERSIONS[method].sentence}. In tissue without a '
        'reliable field of its own it was estimated from the field around. '
    )
    return text + {
        'brain': 'Its mean over the brain is the reference (zero). ',
        'none': 'It is not referenced to any region. ',
    }.get(reference, f'Its mean over the region {reference!r} is the reference (zero). ')


def connect_region(
    workflow: Workflow, reference: str, inputnode: pe.Node, masked: pe.Node, reference_chi: pe.Node
) -> None:
    """
    Bring the mask of the reference region, if there is one, to the grid of the map.

    Parameters
    ----------
    workflow
        The graph.
    reference
        See :func:`init_inversion_wf`.
    inputnode
        Gives the mask of the region.
    masked
        Gives the mask of the map, whose grid it is.
    reference_chi
        Takes the mask of the region.

    """
    if reference in ('brain', 'none'):
        return
    match_region = pe.Node(MatchMask(), name='match_region')
    workflow.connect([
        (inputnode, match_region, [
            ('reference_mask', 'mask'),
            ('reference_placement', 'placement'),
        ]),
        (masked, match_region, [('mask', 'reference')]),
        (match_region, reference_chi, [('mask', 'region')]),
    ])  # fmt:skip

"""Dipole inversion and referencing."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.inversion import InvertDipole, Reference
from qsmprep.interfaces.mask import MatchMask
from qsmprep.methods import INVERSIONS
from qsmprep.workflows.memory import LIBRARIES_GB


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
    omp_nthreads
        Threads of the inversion on the CPU.
    mem_gb
        Memory that one volume takes as floats [GB].
    name
        Name of the workflow.

    Inputs
    ------
    field
        Local field [Hz].
    noise
        Standard deviation of the noise of the field [Hz].
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
    parameters = dict(parameters or {})
    workflow = Workflow(name=name)
    workflow.__desc__ = (
        f'Susceptibility was computed with {INVERSIONS[method].sentence}. In tissue without a '
        'reliable field of its own it was estimated from the field around. '
    )
    workflow.__desc__ += {
        'brain': 'Its mean over the brain is the reference (zero). ',
        'none': 'It is not referenced to any region. ',
    }.get(reference, f'Its mean over the region {reference!r} is the reference (zero). ')

    inputnode = pe.Node(
        niu.IdentityInterface(
            fields=[
                'field',
                'noise',
                'magnitude',
                'mask',
                'tissue',
                'reference_mask',
                'reference_placement',
            ]
        ),
        name='inputnode',
    )
    outputnode = pe.Node(
        niu.IdentityInterface(
            fields=[
                'chi',
                'mask',
                'estimated',
                'uncertainty',
                'inversion_parameters',
                'reference_parameters',
            ]
        ),
        name='outputnode',
    )
    invert_dipole = pe.Node(
        InvertDipole(
            field_strength_t=field_strength_t,
            method=method,
            after_background=True,
            method_parameters=parameters,
            random_seed=random_seed,
            device=device,
            use_gpu=device.startswith('cuda'),
            num_threads=omp_nthreads,
        ),
        name='invert_dipole',
        n_procs=omp_nthreads,
        mem_gb=LIBRARIES_GB + 50 * mem_gb,
    )
    reference_chi = pe.Node(
        Reference(kind=reference), name='reference_chi', mem_gb=LIBRARIES_GB + 4 * mem_gb
    )
    workflow.connect([
        (inputnode, invert_dipole, [
            ('field', 'field'),
            ('noise', 'noise'),
            ('magnitude', 'magnitude'),
            ('mask', 'mask'),
            ('tissue', 'tissue'),
        ]),
        (invert_dipole, reference_chi, [('chi', 'chi'), ('mask', 'mask')]),
        (invert_dipole, outputnode, [
            ('parameters', 'inversion_parameters'),
            ('uncertainty', 'uncertainty'),
            ('mask', 'mask'),
            ('estimated', 'estimated'),
        ]),
        (reference_chi, outputnode, [('chi', 'chi'), ('parameters', 'reference_parameters')]),
    ])  # fmt:skip
    if reference not in ('brain', 'none'):
        match_region = pe.Node(MatchMask(), name='match_region')
        workflow.connect([
            (inputnode, match_region, [
                ('reference_mask', 'mask'),
                ('reference_placement', 'placement'),
                ('mask', 'reference'),
            ]),
            (match_region, reference_chi, [('mask', 'region')]),
        ])  # fmt:skip
    return workflow

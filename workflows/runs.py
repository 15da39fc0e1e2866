"""Runs of one session together: one map of several orientations (COSMOS), or their average."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.inversion import Reference
from qsmprep.interfaces.runs import AverageRuns, InvertOrientations, RegisterRuns
from qsmprep.workflows.nodes import device_node, ends, same

PER_RUN = (
    'combined_magnitude', 'brain_mask', 'local_field', 'local_noise', 'field_mask', 'chi',
    'chi_mask',
)  # fmt: skip
"""Outputs of a graph of :func:`~qsmprep.workflows.qsm.init_qsm_wf` that come in, run by run."""
MADE = {'cosmos': ('cosmos', 'cosmos_mask'), 'average': ('mean', 'mean_mask')}
"""What is made of the runs -> its images, as ``io_spec.json`` names them."""
LEAST_RUNS = {'cosmos': 3, 'average': 2}


def init_runs_wf(
    *,
    kinds: tuple[str, ...],
    runs: int,
    field_strength_t: float,
    noise_known: bool = True,
    reference: str = 'brain',
    device: str = 'cpu',
    omp_nthreads: int = 1,
    mem_gb: float = 0.05,
    name: str = 'runs_wf',
) -> Workflow:
    """
    Build a graph from the fields or maps of several runs to one map in the frame of the first.

    Parameters
    ----------
    kinds
        Keys of :data:`MADE`.
    runs
        Number of runs.
    field_strength_t
        Field strength [T].
    noise_known
        Whether the noise of the local fields comes in.
    reference
        ``'none'``, or the mean over the map is zero.
    device
        Torch device.
    omp_nthreads, mem_gb, name
        Threads of a node, memory of one volume as floats [GB], name of the workflow.

    Inputs
    ------
    images
        A list for each of :data:`PER_RUN`: its files, run by run.

    Outputs
    -------
    cosmos, cosmos_mask
        Susceptibility [ppm] of all orientations, and its voxels.
    mean, mean_mask
        Mean of the susceptibility maps [ppm], and its voxels.
    runs_parameters, cosmos_parameters, average_parameters, cosmos_reference
        Records of the steps.

    """
    workflow = Workflow(name=name)
    images = [image for made in MADE.values() for image in made]
    records = ['runs_parameters', 'cosmos_parameters', 'average_parameters', 'cosmos_reference']
    inputnode, outputnode = ends(inputs=PER_RUN, outputs=(*images, *records))
    text = 'The runs of a session were registered rigidly to the first by their magnitudes. '
    register = pe.Node(
        RegisterRuns(num_threads=omp_nthreads),
        name='register',
        n_procs=omp_nthreads,
        mem_gb=0.3 + 4 * runs * mem_gb,
    )
    workflow.connect([
        (inputnode, register, [('combined_magnitude', 'magnitudes'), ('brain_mask', 'masks')]),
        (register, outputnode, [('parameters', 'runs_parameters')]),
    ])  # fmt:skip
    if 'cosmos' in kinds:
        text += (
            f'Susceptibility was computed from the {runs} orientations by COSMOS [@cosmos], least '
            'squares weighted by the noise. '
        )
        invert = device_node(
            InvertOrientations,
            name='invert',
            device=device,
            omp_nthreads=omp_nthreads,
            mem_gb=0.8 + 15 * runs * mem_gb,
            field_strength_t=field_strength_t,
        )
        kind = 'none' if reference == 'none' else 'brain'
        reference_chi = pe.Node(Reference(kind=kind), name='reference_chi')
        workflow.connect([
            (inputnode, invert, [('local_field', 'fields'), ('field_mask', 'masks')]),
            (register, invert, same('matrices')),
            (invert, reference_chi, same('chi', 'mask')),
            (invert, outputnode, [('mask', 'cosmos_mask'), ('parameters', 'cosmos_parameters')]),
            (reference_chi, outputnode, [('chi', 'cosmos'), ('parameters', 'cosmos_reference')]),
        ])  # fmt:skip
        if noise_known:
            workflow.connect(inputnode, 'local_noise', invert, 'noises')
    if 'average' in kinds:
        text += 'Their susceptibility maps were averaged. '
        average = pe.Node(AverageRuns(), name='average', mem_gb=0.3 + 6 * runs * mem_gb)
        workflow.connect([
            (inputnode, average, [('chi', 'maps'), ('chi_mask', 'masks')]),
            (register, average, same('matrices')),
            (average, outputnode, [
                ('chi', 'mean'),
                ('mask', 'mean_mask'),
                ('parameters', 'average_parameters'),
            ]),
        ])  # fmt:skip
    workflow.__desc__ = text
    return workflow

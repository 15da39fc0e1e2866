"""From the echoes to a T1-weighted image, to the template, and maps in those spaces."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.mask import ExtractBrain
from qsmprep.interfaces.registration import RigidRegistration, TemplateRegistration
from qsmprep.interfaces.spaces import ResampleToSpace
from qsmprep.workflows.nodes import LIBRARIES_GB, ends, same


def init_registration_wf(
    *,
    t1w: bool = True,
    t1w_mask: bool = False,
    template: bool = True,
    template_transforms: bool = False,
    use_gpu: bool = False,
    omp_nthreads: int = 1,
    mem_gb: float = 0.05,
    name: str = 'registration_wf',
) -> Workflow:
    """
    Build a graph that finds where the echoes lie on a T1-weighted image and in the template space.

    Parameters
    ----------
    t1w
        There is a T1-weighted image; else the magnitude is deformed to the template.
    t1w_mask
        The mask of its brain comes in; else the brain is extracted.
    template
        The template space is needed.
    template_transforms
        Transforms between the T1-weighted image and the template space come in.
    use_gpu
        Brain extraction takes one of the GPU slots.
    omp_nthreads, mem_gb, name
        Threads of a node, memory of one volume as floats [GB], name of the workflow.

    Inputs
    ------
    magnitude, brain_mask
        Combined magnitude of the echoes, and the brain on it.
    t1w, t1w_mask
        T1-weighted image, and the brain on it.
    to_template, from_template
        Transforms of ITK that were made elsewhere.

    Outputs
    -------
    to_t1w, from_t1w
        Rigid transforms of ITK between the echoes and the T1-weighted image.
    t1w_parameters, template_parameters
        Records of the registrations.
    template_xfm, template_inverse_xfm
        What was estimated here between image and template.
    to_template, from_template
        Transforms between echoes and template, in the order of passage.

    """
    workflow = Workflow(name=name)
    inputnode, outputnode = ends(
        inputs=('magnitude', 'brain_mask', 't1w', 't1w_mask', 'to_template', 'from_template'),
        outputs=(
            'to_t1w', 'from_t1w', 't1w_parameters', 'template_parameters', 'template_xfm',
            'template_inverse_xfm', 'to_template', 'from_template',
        ),
    )  # fmt: skip
    workflow.add_nodes([inputnode, outputnode])
    image, mask, text = (inputnode, 'magnitude'), (inputnode, 'brain_mask'), ''
    if t1w:
        image, mask = (inputnode, 't1w'), (inputnode, 't1w_mask')
        if not t1w_mask:
            t1w_brain = pe.Node(ExtractBrain(use_gpu=use_gpu), name='t1w_brain', mem_gb=3)
            t1w_brain.interface.num_threads = omp_nthreads
            workflow.connect([(inputnode, t1w_brain, [('t1w', 'magnitude')])])
            mask = (t1w_brain, 'mask')
        text += _add_rigid(workflow, mask, omp_nthreads, mem_gb)
    if template:
        _join_transforms(workflow, t1w, template_transforms)
        if not template_transforms:
            text += _add_deformation(workflow, image, mask, omp_nthreads, mem_gb)
    workflow.__desc__ = text or None
    return workflow


def _add_rigid(
    workflow: Workflow, mask: tuple[pe.Node, str], omp_nthreads: int, mem_gb: float
) -> str:
    """Register the echoes to the T1-weighted image; return the methods text."""
    inputnode, outputnode = (workflow.get_node(name) for name in ('inputnode', 'outputnode'))
    register_t1w = pe.Node(
        RigidRegistration(num_threads=omp_nthreads),
        name='register_t1w',
        n_procs=omp_nthreads,
        mem_gb=LIBRARIES_GB + 8 * mem_gb,
    )
    workflow.connect([
        (inputnode, register_t1w, [
            ('magnitude', 'magnitude'),
            ('brain_mask', 'magnitude_mask'),
            ('t1w', 't1w'),
        ]),
        (mask[0], register_t1w, [(mask[1], 't1w_mask')]),
        (register_t1w, outputnode, [
            *same('to_t1w', 'from_t1w'),
            ('parameters', 't1w_parameters'),
        ]),
    ])  # fmt:skip
    return (
        'The magnitude of the echoes was registered rigidly to the T1-weighted image by '
        'normalised mutual information [@greedy]. '
    )


def _join_transforms(workflow: Workflow, t1w: bool, given: bool) -> None:
    """Transforms between echoes and template, in the order of passage."""
    inputnode, outputnode = (workflow.get_node(name) for name in ('inputnode', 'outputnode'))
    there = pe.Node(niu.Merge(2), name='there', run_without_submitting=True)
    back = pe.Node(niu.Merge(2), name='back', run_without_submitting=True)
    workflow.connect([
        (there, outputnode, [('out', 'to_template')]),
        (back, outputnode, [('out', 'from_template')]),
    ])  # fmt:skip
    if t1w:
        register_t1w = workflow.get_node('register_t1w')
        workflow.connect([
            (register_t1w, there, [('to_t1w', 'in1')]),
            (register_t1w, back, [('from_t1w', 'in2')]),
        ])  # fmt:skip
    if given:
        workflow.connect([
            (inputnode, there, [('to_template', 'in2')]),
            (inputnode, back, [('from_template', 'in1')]),
        ])  # fmt:skip


def _add_deformation(
    workflow: Workflow,
    image: tuple[pe.Node, str],
    mask: tuple[pe.Node, str],
    omp_nthreads: int,
    mem_gb: float,
) -> str:
    """Deform an image to the template; return the methods text."""
    there, back, outputnode = (workflow.get_node(x) for x in ('there', 'back', 'outputnode'))
    register_template = pe.Node(
        TemplateRegistration(num_threads=omp_nthreads),
        name='register_template',
        n_procs=omp_nthreads,
        mem_gb=1.5 + 4 * mem_gb,
    )
    workflow.connect([
        (image[0], register_template, [(image[1], 'image')]),
        (mask[0], register_template, [(mask[1], 'mask')]),
        (register_template, there, [('to_template', 'in2')]),
        (register_template, back, [('from_template', 'in1')]),
        (register_template, outputnode, [
            ('to_template', 'template_xfm'),
            ('from_template', 'template_inverse_xfm'),
            ('parameters', 'template_parameters'),
        ]),
    ])  # fmt:skip
    return (
        'The brain was deformed to the CIT168 template [@cit168] in the space '
        'MNI152NLin2009cAsym, affinely and then by local cross-correlation [@greedy]. '
    )


def init_spaces_wf(
    *,
    spaces: dict[str, int | None],
    maps: dict[str, str | None],
    omp_nthreads: int = 1,
    mem_gb: float = 0.05,
    name: str = 'spaces_wf',
) -> Workflow:
    """
    Build a graph that brings maps and masks to other spaces, each in one interpolation.

    Parameters
    ----------
    spaces
        Name of a space -> voxel size of the template's grid [mm]; None for ``T1w``.
    maps
        Field of the input node -> that of the mask where it holds values; None for a mask.
    omp_nthreads, mem_gb, name
        Threads of a node, memory of one volume as floats [GB], name of the workflow.

    Inputs
    ------
    maps
        One field for each map and mask.
    t1w
        Image whose grid the space ``T1w`` has.
    to_t1w, to_template
        Transforms from the maps' own space.

    Outputs
    -------
    maps
        One field ``<space>_<map>`` for each space and map.

    """
    workflow = Workflow(name=name)
    workflow.__desc__ = (
        'Maps were resampled to other spaces in a single interpolation with cubic splines. '
    )
    inputnode, outputnode = ends(
        inputs=(*maps, 't1w', 'to_t1w', 'to_template'),
        outputs=[f'{space}_{key}' for space in spaces for key in maps],
    )
    for space, resolution in spaces.items():
        for key, mask in maps.items():
            resample = pe.Node(
                ResampleToSpace(num_threads=omp_nthreads),
                name=f'{space}_{key}',
                n_procs=omp_nthreads,
                mem_gb=LIBRARIES_GB + 8 * mem_gb,
            )
            if resolution is None:
                transform = 'to_t1w'
                workflow.connect([(inputnode, resample, [('t1w', 'reference')])])
            else:
                transform = 'to_template'
                resample.inputs.resolution = resolution
            if mask is not None:
                workflow.connect([(inputnode, resample, [(mask, 'mask')])])
            workflow.connect([
                (inputnode, resample, [(key, 'in_file'), (transform, 'transforms')]),
                (resample, outputnode, [('out_file', f'{space}_{key}')]),
            ])  # fmt:skip
    return workflow

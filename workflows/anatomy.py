"""What anatomy adds to the maps of an acquisition: transforms, other spaces, tables of regions."""

from __future__ import annotations

from dataclasses import dataclass

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.bids.anatomy import TEMPLATE, Anatomy
from qsmprep.interfaces.regions import ATLAS
from qsmprep.interfaces.reports import DrawPanel
from qsmprep.workflows.nodes import ends
from qsmprep.workflows.regions import TITLES, init_regions_wf
from qsmprep.workflows.registration import init_registration_wf, init_spaces_wf

T1W = 'T1w'


@dataclass(frozen=True)
class AnatomyPlan:
    """
    What is made of anatomy.

    Parameters
    ----------
    anatomy
        T1-weighted image of the participant, or None.
    spaces
        Other spaces of the maps, as on the command line.
    atlas
        Tabulate the regions of the CIT168 atlas.
    maps
        Maps that are there -> masks where they hold values; None for a mask.

    """

    anatomy: Anatomy | None
    spaces: tuple[str, ...]
    atlas: bool
    maps: dict[str, str | None]

    @property
    def template(self) -> bool:
        """Whether the template space is needed."""
        return self.atlas or any(space.startswith(TEMPLATE) for space in self.spaces)

    @property
    def transforms_given(self) -> bool:
        """Whether transforms between T1-weighted image and template are there already."""
        anatomy = self.anatomy
        return anatomy is not None and None not in (anatomy.to_template, anatomy.from_template)

    @property
    def estimates(self) -> bool:
        """Whether the deformation to the template is estimated here."""
        return self.template and not self.transforms_given

    @property
    def source(self) -> str:
        """Name of the space that is deformed to the template."""
        return 'MEGRE' if self.anatomy is None else T1W

    @property
    def segmentations(self) -> dict[str, dict[int, str] | None]:
        """Name of each segmentation -> its regions; None for the atlas."""
        found: dict[str, dict[int, str] | None] = {ATLAS: None} if self.atlas else {}
        if self.anatomy is not None and self.tabulates_given:
            found |= {item.name: dict(item.names) for item in self.anatomy.segmentations}
        return found

    tabulates_given: bool = True

    @property
    def grids(self) -> dict[str, int | None]:
        """Name of a space in the graph -> voxel size of the template's grid [mm]."""
        grids: dict[str, int | None] = {}
        for space in self.spaces:
            _, _, resolution = space.partition(':res-')
            key = space.replace(':res-', '_res_')
            grids[key] = None if space == T1W else int(resolution or 1)
        return grids

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self.anatomy is not None or self.template


def init_anatomy_wf(
    *,
    plan: AnatomyPlan,
    use_gpu: bool = False,
    omp_nthreads: int = 1,
    mem_gb: float = 0.05,
    name: str = 'anatomy_wf',
) -> Workflow:
    """
    Build a graph of registrations, maps in other spaces, tables of regions, and their panels.

    Parameters
    ----------
    plan
        What is made.
    use_gpu
        Brain extraction takes one of the GPU slots.
    omp_nthreads, mem_gb, name
        Threads of a node, memory of one volume as floats [GB], name of the workflow.

    Inputs
    ------
    combined_magnitude, brain_mask, chi_mask, estimated_mask
        As the output node of :func:`init_qsm_wf` has them.
    maps
        The maps of the plan.
    reference_parameters
        Record of referencing.

    Outputs
    -------
    files
        See :func:`products`.

    """
    workflow = Workflow(name=name)
    masks = {mask for mask in plan.maps.values() if mask}
    fields = {'combined_magnitude', 'brain_mask', 'estimated_mask', 'reference_parameters'}
    inputnode, outputnode = ends(
        inputs=sorted(fields | masks | set(plan.maps)), outputs=products(plan)
    )
    registration_wf = init_registration_wf(
        t1w=plan.anatomy is not None,
        t1w_mask=plan.anatomy is not None and plan.anatomy.brain_mask is not None,
        template=plan.template,
        template_transforms=plan.transforms_given,
        use_gpu=use_gpu,
        omp_nthreads=omp_nthreads,
        mem_gb=mem_gb,
    )
    if plan.anatomy is not None:
        given = {
            't1w': plan.anatomy.t1w,
            't1w_mask': plan.anatomy.brain_mask,
            'to_template': plan.anatomy.to_template,
            'from_template': plan.anatomy.from_template,
        }
        registration_wf.inputs.inputnode.trait_set(
            **{key: str(path) for key, path in given.items() if path is not None}
        )
    handed = [
        name
        for name in ('to_t1w', 'from_t1w', 't1w_parameters', 'template_parameters', 'template_xfm',
                     'template_inverse_xfm')
        if name in products(plan)
    ]  # fmt:skip
    workflow.connect([
        (inputnode, registration_wf, [
            ('combined_magnitude', 'inputnode.magnitude'),
            ('brain_mask', 'inputnode.brain_mask'),
        ]),
        (registration_wf, outputnode, [(f'outputnode.{key}', key) for key in handed]),
    ])  # fmt:skip
    if plan.anatomy is not None:
        _draw_registration(workflow, plan, inputnode, registration_wf, outputnode, mem_gb)
    if plan.grids:
        _add_spaces(workflow, plan, inputnode, registration_wf, outputnode, omp_nthreads, mem_gb)
    for segmentation, names in plan.segmentations.items():
        _add_regions(
            workflow, plan, segmentation, names, inputnode, registration_wf, outputnode, mem_gb
        )
    return workflow


def products(plan: AnatomyPlan) -> list[str]:
    """Fields of the output node, by which :func:`init_anatomy_outputs_wf` writes them."""
    fields = []
    if plan.anatomy is not None:
        fields += ['to_t1w', 'from_t1w', 't1w_parameters', 'figure_registration']
    if plan.estimates:
        fields += ['template_xfm', 'template_inverse_xfm', 'template_parameters']
    fields += [f'{space}_{key}' for space in plan.grids for key in plan.maps]
    for segmentation in plan.segmentations:
        fields += [f'{segmentation}_{part}' for part in ('labels', 'table', 'names', 'parameters')]
    if plan.atlas:
        fields += ['figure_regions', 'figure_regionvalues']
    return fields


def _draw_registration(workflow, plan, inputnode, registration_wf, outputnode, mem_gb) -> None:
    """Panel with the magnitude on the T1-weighted image."""
    from qsmprep.interfaces.spaces import ResampleToSpace

    placed_magnitude = pe.Node(
        ResampleToSpace(reference=str(plan.anatomy.t1w)),
        name='placed_magnitude',
        mem_gb=0.5 + 8 * mem_gb,
    )
    draw = pe.Node(
        DrawPanel(panel='registration', t1w=str(plan.anatomy.t1w)),
        name='draw_registration',
        mem_gb=0.5 + 4 * mem_gb,
    )
    workflow.connect([
        (inputnode, placed_magnitude, [('combined_magnitude', 'in_file')]),
        (registration_wf, placed_magnitude, [('outputnode.to_t1w', 'transforms')]),
        (placed_magnitude, draw, [('out_file', 'placed_magnitude')]),
        (draw, outputnode, [('out_file', 'figure_registration')]),
    ])  # fmt:skip


def _add_spaces(
    workflow, plan, inputnode, registration_wf, outputnode, omp_nthreads, mem_gb
) -> None:
    """Maps in other spaces."""
    spaces_wf = init_spaces_wf(
        spaces=plan.grids, maps=plan.maps, omp_nthreads=omp_nthreads, mem_gb=mem_gb
    )
    fields = {*plan.maps, *(mask for mask in plan.maps.values() if mask)}
    transforms = []
    if None in plan.grids.values():
        spaces_wf.inputs.inputnode.t1w = str(plan.anatomy.t1w)
        transforms.append(('outputnode.to_t1w', 'inputnode.to_t1w'))
    if set(plan.grids.values()) - {None}:
        transforms.append(('outputnode.to_template', 'inputnode.to_template'))
    workflow.connect([
        (inputnode, spaces_wf, [(key, f'inputnode.{key}') for key in sorted(fields)]),
        (registration_wf, spaces_wf, transforms),
        (spaces_wf, outputnode, [
            (f'outputnode.{space}_{key}', f'{space}_{key}')
            for space in plan.grids for key in plan.maps
        ]),
    ])  # fmt:skip


def _add_regions(
    workflow, plan, segmentation, names, inputnode, registration_wf, outputnode, mem_gb
) -> None:
    """Table of the regions of a segmentation and, for the atlas, its panels."""
    records = ['t1w_parameters'] if plan.anatomy is not None else []
    if names is None and plan.estimates:
        records.append('template_parameters')
    maps = {key: mask for key, mask in plan.maps.items() if key in TITLES and mask}
    regions_wf = init_regions_wf(
        maps=maps,
        names=names,
        registrations=len(records),
        mem_gb=mem_gb,
        name=f'regions_{segmentation}_wf',
    )
    if names is not None:
        (path,) = (x.path for x in plan.anatomy.segmentations if x.name == segmentation)
        regions_wf.inputs.inputnode.segmentation = str(path)
    transforms = 'from_t1w' if names is not None else 'from_template'
    workflow.connect([
        (inputnode, regions_wf, [
            *((key, f'inputnode.{key}') for key in sorted({*maps, *maps.values()})),
            ('estimated_mask', 'inputnode.estimated_mask'),
            ('reference_parameters', 'inputnode.reference'),
        ]),
        (registration_wf, regions_wf, [
            (f'outputnode.{transforms}', 'inputnode.transforms'),
            *((f'outputnode.{record}', f'inputnode.registration{index}')
              for index, record in enumerate(records, start=1)),
        ]),
        (regions_wf, outputnode, [
            ('outputnode.labels', f'{segmentation}_labels'),
            ('outputnode.table', f'{segmentation}_table'),
            ('outputnode.label_table', f'{segmentation}_names'),
            ('outputnode.parameters', f'{segmentation}_parameters'),
        ]),
    ])  # fmt:skip
    if names is not None:
        return
    draw_regions = pe.Node(DrawPanel(panel='regions'), name='draw_regions', mem_gb=0.5 + 4 * mem_gb)
    draw_values = pe.Node(DrawPanel(panel='regionvalues'), name='draw_values', mem_gb=0.5)
    workflow.connect([
        (inputnode, draw_regions, [('chi', 'chi')]),
        (regions_wf, draw_regions, [('outputnode.labels', 'atlas_labels')]),
        (regions_wf, draw_values, [('outputnode.table', 'atlas_table')]),
        (draw_regions, outputnode, [('out_file', 'figure_regions')]),
        (draw_values, outputnode, [('out_file', 'figure_regionvalues')]),
    ])  # fmt:skip

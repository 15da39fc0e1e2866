"""Tables of what the maps hold in the regions of a segmentation."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.regions import PlaceLabels, TabulateRegions
from qsmprep.workflows.nodes import LIBRARIES_GB, ends, same

TITLES = {
    'chi': ('Chimap', 'ppm'),
    'uncertainty': ('desc-uncertainty_Chimap', 'ppm'),
    'paramagnetic': ('desc-paramagnetic_Chimap', 'ppm'),
    'diamagnetic': ('desc-diamagnetic_Chimap', 'ppm'),
    'r2star': ('R2starmap', '1/s'),
    'r2prime': ('R2primemap', '1/s'),
}
"""Map -> its name and unit in the tables."""


def init_regions_wf(
    *,
    maps: dict[str, str],
    names: dict[int, str] | None = None,
    registrations: int = 1,
    mem_gb: float = 0.05,
    name: str = 'regions_wf',
) -> Workflow:
    """
    Build a graph that brings a segmentation to the maps and describes them in its regions.

    Parameters
    ----------
    maps
        Field of the input node, a key of ``TITLES`` -> that of the mask where it holds values.
    names
        Number -> name of the regions; None for the CIT168 atlas.
    registrations
        Records of registrations that come in.
    mem_gb, name
        Memory of one volume as floats [GB], name of the workflow.

    Inputs
    ------
    maps, masks
        The maps, and where they hold values.
    estimated_mask
        Voxels whose value was estimated without data.
    segmentation
        Image of labels, where it is not the atlas.
    transforms
        From the segmentation to the maps, in the order of passage.
    reference
        Record of referencing.
    registration1, ...
        Records of the registrations that the labels pass.

    Outputs
    -------
    labels
        Segmentation on the grid of the maps.
    table, label_table
        One row for each region, erosion and map; numbers and names.
    parameters
        What the sidecar of the table says.

    """
    workflow = Workflow(name=name)
    records = [f'registration{n + 1}' for n in range(registrations)]
    masks = list(dict.fromkeys(maps.values()))
    single = ('estimated_mask', 'segmentation', 'transforms', 'reference')
    inputnode, outputnode = ends(
        inputs=(*maps, *masks, *single, *records),
        outputs=('labels', 'table', 'label_table', 'parameters'),
    )
    place_labels = pe.Node(PlaceLabels(), name='place_labels', mem_gb=LIBRARIES_GB + 6 * mem_gb)
    all_maps = pe.Node(niu.Merge(len(maps)), name='all_maps', run_without_submitting=True)
    all_masks = pe.Node(niu.Merge(len(maps)), name='all_masks', run_without_submitting=True)
    all_records = pe.Node(
        niu.Merge(max(registrations, 1)), name='all_records', run_without_submitting=True
    )
    tabulate = pe.Node(
        TabulateRegions(titles=[TITLES[key] for key in maps]),
        name='tabulate',
        mem_gb=LIBRARIES_GB + (4 + 2 * len(maps)) * mem_gb,
    )
    if names is None:
        workflow.__desc__ = (
            'Susceptibility was tabulated in the deep nuclei of the CIT168 atlas [@cit168]. '
        )
    else:
        tabulate.inputs.names = {str(number): title for number, title in names.items()}
        workflow.connect([(inputnode, place_labels, same('segmentation'))])
    first = next(iter(maps))
    for index, (key, mask) in enumerate(maps.items(), start=1):
        workflow.connect([
            (inputnode, all_maps, [(key, f'in{index}')]),
            (inputnode, all_masks, [(mask, f'in{index}')]),
        ])  # fmt:skip
    for index, record in enumerate(records, start=1):
        workflow.connect([(inputnode, all_records, [(record, f'in{index}')])])
    workflow.connect([
        (inputnode, place_labels, [(first, 'reference'), ('transforms', 'transforms')]),
        (place_labels, tabulate, same('labels')),
        (all_maps, tabulate, [('out', 'maps')]),
        (all_masks, tabulate, [('out', 'masks')]),
        (all_records, tabulate, [('out', 'registrations')]),
        (inputnode, tabulate, [('estimated_mask', 'estimated'), ('reference', 'reference')]),
        (place_labels, outputnode, same('labels')),
        (tabulate, outputnode, same('table', 'label_table', 'parameters')),
    ])  # fmt:skip
    return workflow

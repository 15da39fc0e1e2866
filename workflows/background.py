"""Background field removal."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.background import RemoveBackground
from qsmprep.methods import BACKGROUNDS
from qsmprep.workflows.nodes import LIBRARIES_GB, ends, same


def init_background_wf(
    *,
    method: str = 'pdf',
    parameters: dict[str, float] | None = None,
    mem_gb: float = 1.0,
    name: str = 'background_wf',
) -> Workflow:
    """
    Build a graph that removes the field of sources outside the mask.

    Parameters
    ----------
    method
        Name of the method, a key of :data:`qsmprep.methods.BACKGROUNDS`.
    parameters
        Parameters of the method that differ from their defaults.
    mem_gb, name
        Memory of one volume as floats [GB], name of the workflow.

    Inputs
    ------
    field
        Total field [Hz].
    noise
        Standard deviation of its noise [Hz].
    mask
        Voxels with reliable phase.
    brain_mask
        The brain: tissue, though its phase be unreliable.

    Outputs
    -------
    field
        Local field [Hz].
    mask
        Voxels that have a local field.
    tissue
        Those, and tissue whose local field is unknown.
    noise
        Standard deviation of the local field [Hz].
    parameters
        Record of the step.

    """
    workflow = Workflow(name=name)
    workflow.__desc__ = (
        f'Background fields were removed with {BACKGROUNDS[method].sentence}. The brain mask was '
        'taken to hold no background source, even where its phase was unreliable. '
    )
    inputnode, outputnode = ends(
        inputs=('field', 'noise', 'mask', 'brain_mask'),
        outputs=('field', 'mask', 'tissue', 'noise', 'parameters'),
    )
    remove_background = pe.Node(
        RemoveBackground(method=method, method_parameters=parameters or {}),
        name='remove_background',
        mem_gb=LIBRARIES_GB + 25 * mem_gb,
    )
    workflow.connect([
        (inputnode, remove_background, [
            *same('field', 'noise', 'mask'),
            ('brain_mask', 'brain'),
        ]),
        (remove_background, outputnode, same('field', 'mask', 'tissue', 'noise', 'parameters')),
    ])  # fmt:skip
    return workflow

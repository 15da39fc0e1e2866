"""Super-resolution of the susceptibility map."""

from __future__ import annotations

from pathlib import Path

from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.superres import SuperResolve
from qsmprep.workflows.nodes import device_node, ends, same

SOURCES = {
    'map': 'the susceptibility map, to which the finer map is true within the measured band',
    'field': 'the local field, by dipole inversion and super-resolution in one',
}


def init_superres_wf(
    *,
    resolution: str,
    source: str = 'map',
    field_strength_t: float,
    prior: Path | None = None,
    device: str = 'cpu',
    random_seed: int = 0,
    omp_nthreads: int = 1,
    fine_gb: float = 0.1,
    name: str = 'superres_wf',
) -> Workflow:
    """
    Build a graph from a susceptibility map, or its local field, to a finer map.

    A map that is as fine as asked for already is handed on as it is.

    Parameters
    ----------
    resolution
        Longest edge of a voxel [mm], or ``'iso'`` for the shortest edge that there is.
    source
        Key of ``SOURCES``.
    field_strength_t
        Field strength [T].
    prior
        Weights of the prior; those that come with the package by default.
    device
        Torch device, ``'cpu'`` or ``'cuda[:i]'``.
    random_seed
        Seed of the sampler.
    omp_nthreads
        Threads on the CPU.
    fine_gb
        Memory that one volume of the finer grid takes as floats [GB].
    name
        Name of the workflow.

    Inputs
    ------
    chi
        Susceptibility [ppm].
    mask
        Its voxels.
    field, field_mask, noise
        Local field [Hz], its voxels, and the standard deviation of its noise [Hz]; used with the
        source ``'field'``.

    Outputs
    -------
    chi
        Susceptibility on the finer grid [ppm], zero outside the mask.
    parameters
        Record of the step.

    """
    workflow = Workflow(name=name)
    size = 'the shortest edge of a voxel' if resolution == 'iso' else f'{resolution} mm'
    workflow.__desc__ = (
        f'A finer map of {size} was made from {SOURCES[source]}: samples of a diffusion prior '
        '[@edm] were drawn under the model of a scanner that measures the central part of k-space. '
    )
    inputnode, outputnode = ends(
        inputs=('chi', 'mask', 'field', 'field_mask', 'noise'), outputs=('chi', 'parameters')
    )
    super_resolve = device_node(
        SuperResolve,
        name='super_resolve',
        device=device,
        omp_nthreads=omp_nthreads,
        mem_gb=1.0 + 70 * fine_gb,
        resolution=resolution,
        field_strength_t=field_strength_t,
        random_seed=random_seed,
    )
    if prior is not None:
        super_resolve.inputs.prior = str(prior)
    images = ('chi', 'mask')
    if source == 'field':
        images += ('field', 'field_mask', 'noise')
    workflow.connect([
        (inputnode, super_resolve, same(*images)),
        (super_resolve, outputnode, same('chi', 'parameters')),
    ])  # fmt:skip
    return workflow

"""Coils that were not combined: their nodes in the graph."""

from __future__ import annotations

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.coils import CoilDifference, CombineCoils, SplitCoils
from qsmprep.interfaces.phase import Romeo
from qsmprep.workflows.nodes import LIBRARIES_GB


def add_coil_combination(
    workflow: Workflow,
    inputnode: pe.Node,
    parts: list[tuple[str, str]],
    together: bool,
    mem_gb: float,
    **scan,
) -> None:
    """
    Add the nodes that combine coils (MCPC-3D-S); the last, ``prepare_echoes``, gives the echoes.

    Parameters
    ----------
    workflow
        The graph.
    inputnode
        Gives the files.
    parts
        Its fields, and those of the nodes.
    together
        Each file holds all coils of an echo, along its fourth axis; else files hold all echoes of
        the first coil, of the second, ...
    mem_gb
        Memory that the echoes of one coil take as floats [GB].
    **scan
        Inputs of :class:`~qsmprep.interfaces.coils.CombineCoils` that are known.

    """
    coil_difference = pe.Node(
        CoilDifference(**scan), name='coil_difference', mem_gb=LIBRARIES_GB + 5 * mem_gb
    )
    unwrap_coils = pe.Node(
        Romeo(quality_map=False), name='unwrap_coils', mem_gb=LIBRARIES_GB + mem_gb
    )
    prepare_echoes = pe.Node(
        CombineCoils(**scan), name='prepare_echoes', mem_gb=LIBRARIES_GB + 8 * mem_gb
    )
    workflow.__desc__ = (
        'Coils were combined, the phase offset of each removed, with MCPC-3D-S [@mcpc3ds]. '
        + workflow.__desc__
    )
    for field, _ in parts:
        source = (inputnode, field)
        if together:
            memory = scan['coils'] * mem_gb
            split = pe.Node(SplitCoils(), name=f'split_{field}', mem_gb=memory)
            workflow.connect(inputnode, field, split, 'in_files')
            source = (split, 'out_files')
        workflow.connect(*source, coil_difference, field)
        workflow.connect(*source, prepare_echoes, field)
    workflow.connect([
        (coil_difference, unwrap_coils, [('difference', 'phase'), ('weight', 'magnitude')]),
        (coil_difference, prepare_echoes, [('weight', 'weight')]),
        (unwrap_coils, prepare_echoes, [('unwrapped', 'unwrapped_difference')]),
    ])  # fmt:skip

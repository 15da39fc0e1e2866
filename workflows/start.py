"""Graphs that start late: at unwrapped phase, a field, or a susceptibility map made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.interfaces.given import MaskGiven
from qsmprep.interfaces.inversion import Reference
from qsmprep.workflows.inversion import connect_region

Outputs = Mapping[str, tuple[str, str]]

STARTS: dict[str, Outputs] = {
    'echoes': {},
    'unwrapped': {},
    'total-field': {
        'total_field': ('inputnode', 'total_field'),
        'field_noise': ('inputnode', 'field_noise'),
    },
    'local-field': {
        'local_field': ('mask_given', 'out_file'),
        'local_noise': ('inputnode', 'field_noise'),
        'field_mask': ('mask_given', 'mask'),
        'background_parameters': ('mask_given', 'parameters'),
    },
    'chi': {
        'chi': ('reference_given', 'chi'),
        'chi_mask': ('mask_given', 'mask'),
        'estimated_mask': ('mask_given', 'none'),
        'inversion_parameters': ('mask_given', 'parameters'),
        'reference_parameters': ('reference_given', 'parameters'),
    },
}
"""Where a graph can start, in its order -> outputs that what is given, and not a stage, makes."""
INPUTS = {
    'unwrapped': 'unwrapped',
    'total-field': 'total_field',
    'local-field': 'local_field',
    'chi': 'given_chi',
}
"""Start -> input of the graph that takes what is given."""
DESCRIPTIONS = {
    'total-field': 'The total field was given. ',
    'local-field': 'The local field was given. ',
    'chi': 'The susceptibility map was given. ',
}
LAST_SKIPPED = {'fieldmap_wf': 'total-field', 'background_wf': 'local-field', 'inversion_wf': 'chi'}
"""Stage -> first start that does without it."""


def outputs_from(
    outputs: Outputs, start: str, noise_given: bool = False, relaxometry: bool = True
) -> dict[str, tuple[str, str]]:
    """
    Outputs of a graph that starts late, and the node and field that they come from.

    Parameters
    ----------
    outputs
        Those of the whole graph.
    start
        Key of :data:`STARTS`.
    noise_given
        Whether the noise of a given field is known.
    relaxometry
        Whether R2* is mapped.

    Examples
    --------
    >>> outputs_from({'chi': ('inversion_wf', 'chi'), 's0': ('fit_relaxation', 's0')}, 'echoes')
    {'chi': ('inversion_wf', 'chi'), 's0': ('fit_relaxation', 's0')}

    """
    order = list(STARTS)
    place = order.index(start)
    skipped = {stage for stage, first in LAST_SKIPPED.items() if place >= order.index(first)}
    if not relaxometry:
        skipped.add('fit_relaxation')
    found = {k: v for k, v in outputs.items() if v[0] not in skipped} | dict(STARTS[start])
    if 'fieldmap_wf' in skipped and not noise_given:
        found = {k: v for k, v in found.items() if k not in ('field_noise', 'local_noise')}
    return found


def add_given_map(
    workflow: Workflow, inputnode: pe.Node, mask_wf: Workflow, start: str, reference: str
) -> None:
    """
    Add what takes the place of the stages before a given local field or susceptibility map.

    Parameters
    ----------
    workflow
        The graph.
    inputnode, mask_wf
        Its inputs and its masks.
    start
        ``'local-field'`` or ``'chi'``.
    reference
        See :func:`~qsmprep.workflows.inversion.init_inversion_wf`.

    """
    mask_given = pe.Node(MaskGiven(), name='mask_given')
    workflow.connect([
        (inputnode, mask_given, [(INPUTS[start], 'in_file')]),
        (mask_wf, mask_given, [('outputnode.brain_mask', 'brain')]),
    ])  # fmt:skip
    if start != 'chi':
        return
    reference_given = pe.Node(Reference(kind=reference), name='reference_given')
    workflow.connect([
        (mask_given, reference_given, [('out_file', 'chi'), ('mask', 'mask')]),
    ])  # fmt:skip
    connect_region(workflow, reference, inputnode, mask_given, reference_given)

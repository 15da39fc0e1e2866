"""The only place with sinks: derivatives, sidecars and figures of one acquisition."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.bids.derivatives import figure_entities, file_path, io_spec, output_entities
from qsmprep.interfaces.metadata import STAGES, DescribeOutput
from qsmprep.interfaces.sink import WriteOutput


def init_outputs_wf(
    *,
    output_dir: Path,
    entities: dict[str, str],
    acquisition_metadata: dict,
    images: tuple[str, ...],
    sources: Mapping[str, tuple[str, ...]] | None = None,
    resolution: tuple[str, str] | None = None,
    echo_times_s: tuple[float, ...] = (),
    panels: tuple[str, ...] = (),
    name: str = 'outputs_wf',
) -> Workflow:
    """
    Build a graph that writes what a graph of :func:`init_qsm_wf` has made.

    Parameters
    ----------
    output_dir
        Root of the derivatives dataset.
    entities
        BIDS entities of the acquisition (without echo and part).
    acquisition_metadata
        What every sidecar says.
    images
        Keys of ``io_spec.json``: what is written.
    sources
        Image -> BIDS URIs of further sources that its sidecar names.
    resolution
        Write a finer map: its label, and what its sidecar says of its resolution.
    echo_times_s
        Echo times of the unwrapped phase [s]; none where it is not asked for.
    panels
        Panels of the report that come in as figures.
    name
        Name of the workflow.

    Inputs
    ------
    derivatives
        One field for each image of ``io_spec.json`` that is written.
    records
        One field for each stage of ``STAGES``.
    panels
        One field ``figure_<panel>`` for each panel.

    """
    workflow = Workflow(name=name)
    names = (*images, 'chi_fine') if resolution else images
    spec = io_spec()['derivatives']
    fields = [*names, *STAGES, *(f'figure_{panel}' for panel in panels), 'unwrapped_echoes']
    inputnode = pe.Node(niu.IdentityInterface(fields=fields), name='inputnode')

    def sink(key: str, target: dict, extension: str) -> pe.Node:
        path = output_dir / file_path(target | {'extension': extension})
        return pe.Node(
            WriteOutput(out_file=str(path)), name=f'sink_{key}', run_without_submitting=True
        )

    def sink_image(key: str, target: dict, metadata: dict, stages: list[str]) -> pe.Node:
        node = sink(key, target, '.nii.gz')
        describe = pe.Node(
            DescribeOutput(acquisition=acquisition_metadata | metadata),
            name=f'describe_{key}',
            run_without_submitting=True,
        )
        workflow.connect([
            (inputnode, describe, [(stage, stage) for stage in stages]),
            (describe, node, [('metadata', 'metadata')]),
        ])  # fmt:skip
        return node

    for key in names:
        target = output_entities(key, entities)
        metadata = spec[key]['metadata']
        if key in (sources or {}):
            metadata = metadata | {'Sources': [*acquisition_metadata['Sources'], *sources[key]]}
        if key == 'chi_fine':
            target = output_entities(key, entities | {'resolution': resolution[0]})
            metadata = metadata | {'Resolution': resolution[1]}
        node = sink_image(key, target, metadata, spec[key]['stages'])
        workflow.connect(inputnode, key, node, 'in_file')

    for index, echo_time in enumerate(echo_times_s):
        echo = pe.Node(niu.Select(index=index), name=f'echo_{index + 1}')
        target = output_entities('unwrapped', entities) | {'echo': str(index + 1)}
        metadata = spec['unwrapped']['metadata'] | {'EchoTime': echo_time}
        node = sink_image(f'unwrapped_{index + 1}', target, metadata, spec['unwrapped']['stages'])
        workflow.connect([
            (inputnode, echo, [('unwrapped_echoes', 'inlist')]),
            (echo, node, [('out', 'in_file')]),
        ])  # fmt:skip

    for panel in panels:
        node = sink(f'figure_{panel}', figure_entities(panel, entities), '.png')
        workflow.connect(inputnode, f'figure_{panel}', node, 'in_file')
    return workflow

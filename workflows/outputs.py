"""The only place with sinks: derivatives, sidecars and figures of one acquisition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.bids.anatomy import TEMPLATE
from qsmprep.bids.derivatives import (
    figure_entities,
    file_path,
    io_spec,
    output_entities,
    output_path,
)
from qsmprep.interfaces.metadata import STAGES, DescribeOutput
from qsmprep.interfaces.regions import ATLAS, dictionary
from qsmprep.interfaces.sink import WriteOutput
from qsmprep.workflows.anatomy import T1W, AnatomyPlan, products

TEMPLATE_URL = 'https://templateflow.s3.amazonaws.com/tpl-MNI152NLin2009cAsym_res-01_T1w.nii.gz'


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
    figures: dict[str, str] | None = None,
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
    figures
        Entities of the acquisition in whose report they stand, if they are others.
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

    sinks = _Sinks(workflow, inputnode, output_dir, acquisition_metadata)
    for key in names:
        target = output_entities(key, entities)
        metadata = spec[key]['metadata']
        if key in (sources or {}):
            metadata = metadata | {'Sources': [*acquisition_metadata['Sources'], *sources[key]]}
        if key == 'chi_fine':
            target = output_entities(key, entities | {'resolution': resolution[0]})
            metadata = metadata | {'Resolution': resolution[1]}
        records = {stage: stage for stage in spec[key]['stages']}
        node = sinks.add(key, target, '.nii.gz', metadata, records)
        workflow.connect(inputnode, key, node, 'in_file')

    for index, echo_time in enumerate(echo_times_s):
        echo = pe.Node(niu.Select(index=index), name=f'echo_{index + 1}')
        target = output_entities('unwrapped', entities) | {'echo': str(index + 1)}
        metadata = spec['unwrapped']['metadata'] | {'EchoTime': echo_time}
        records = {stage: stage for stage in spec['unwrapped']['stages']}
        node = sinks.add(f'unwrapped_{index + 1}', target, '.nii.gz', metadata, records)
        workflow.connect([
            (inputnode, echo, [('unwrapped_echoes', 'inlist')]),
            (echo, node, [('out', 'in_file')]),
        ])  # fmt:skip

    for panel in panels:
        node = sinks.add(f'figure_{panel}', figure_entities(panel, figures or entities), '.png')
        workflow.connect(inputnode, f'figure_{panel}', node, 'in_file')
    return workflow


def init_anatomy_outputs_wf(
    *,
    output_dir: Path,
    entities: dict[str, str],
    acquisition_metadata: dict,
    plan: AnatomyPlan,
    name: str = 'anatomy_outputs_wf',
) -> Workflow:
    """
    Build a graph that writes what a graph of :func:`init_anatomy_wf` has made.

    Parameters
    ----------
    output_dir, entities, acquisition_metadata
        See :func:`init_outputs_wf`.
    plan
        What was made.
    name
        Name of the workflow.

    Inputs
    ------
    files
        Fields of :func:`products`.

    """
    workflow = Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=products(plan)), name='inputnode')
    spec = io_spec()['derivatives']
    to_t1w = {'t1w_registration': 't1w_parameters'} if plan.anatomy else {}
    to_template = {'template_registration': 'template_parameters'} if plan.estimates else {}

    sinks = _Sinks(workflow, inputnode, output_dir, acquisition_metadata)

    def sink(key: str, *described: Any) -> None:
        workflow.connect(inputnode, key, sinks.add(key, *described), 'in_file')

    t1w = plan.anatomy.uri if plan.anatomy else ''
    transforms = [('to_t1w', 'MEGRE', T1W, '.txt'), ('from_t1w', T1W, 'MEGRE', '.txt')]
    transforms += [
        ('template_xfm', plan.source, TEMPLATE, '.nii.gz'),
        ('template_inverse_xfm', TEMPLATE, plan.source, '.nii.gz'),
    ]
    for key, start, end, extension in transforms:
        if key in products(plan):
            target = _fit_transform(entities, start, end)
            records = to_template if 'template' in key else to_t1w
            metadata = {'Description': f'Brings images from {start} to {end}, as ITK applies it'}
            metadata |= {'T1wImage': t1w} if t1w else {}
            sink(key, target, extension, metadata, records)
    for space, resolution in plan.grids.items():
        label, _, res = space.partition('_res_')
        for key in plan.maps:
            target = output_entities(key, entities | {'space': label, 'resolution': res})
            native = output_path(key, entities)
            metadata = spec[key]['metadata'] | {
                'Sources': [f'bids::{native}'],
                'SpatialReference': t1w if resolution is None else TEMPLATE_URL,
            }
            if res:
                metadata['Resolution'] = f'{resolution} mm, the grid of TemplateFlow'
            used = to_t1w if resolution is None else to_t1w | to_template
            sink(f'{space}_{key}', target, '.nii.gz', metadata, used)
    for segmentation, names in plan.segmentations.items():
        target = {**_of_anat(entities), 'segmentation': segmentation}
        records = to_t1w | (to_template if names is None else {})
        sink(f'{segmentation}_labels', target | {'suffix': 'dseg'}, '.nii.gz',
             {'Description': 'Regions on the grid of the maps'}, records)  # fmt:skip
        sink(f'{segmentation}_names', target | {'suffix': 'dseg'}, '.tsv')
        metadata = dictionary() | {'Segmentation': _credit(plan, segmentation)}
        records |= {'regions': f'{segmentation}_parameters'}
        sink(f'{segmentation}_table', target | {'suffix': 'regions'}, '.tsv', metadata, records)
    for key in products(plan):
        if key.startswith('figure_'):
            sink(key, figure_entities(key.removeprefix('figure_'), entities), '.png')
    return workflow


@dataclass(frozen=True)
class _Sinks:
    """Adds nodes that write files, and the sidecars of images and tables, to a graph."""

    workflow: Workflow
    inputnode: pe.Node
    output_dir: Path
    acquisition_metadata: dict

    def add(
        self,
        key: str,
        target: Mapping[str, str],
        extension: str,
        metadata: dict | None = None,
        records: Mapping[str, str] | None = None,
    ) -> pe.Node:
        """Sink of a file with those entities; a sidecar has metadata, and records by stage."""
        path = self.output_dir / file_path({**target, 'extension': extension})
        node = pe.Node(
            WriteOutput(out_file=str(path)), name=f'sink_{key}', run_without_submitting=True
        )
        if metadata is None:
            return node
        describe = pe.Node(
            DescribeOutput(acquisition=self.acquisition_metadata | metadata),
            name=f'describe_{key}',
            run_without_submitting=True,
        )
        fields = [(field, stage) for stage, field in (records or {}).items()]
        self.workflow.connect([
            (self.inputnode, describe, fields),
            (describe, node, [('metadata', 'metadata')]),
        ])  # fmt:skip
        return node


def _of_anat(entities: dict[str, str]) -> dict[str, str]:
    """Entities of an acquisition that a table or a transform can have."""
    return output_entities('chi', entities) | {'datatype': 'anat'}


def _fit_transform(entities: dict[str, str], start: str, end: str) -> dict[str, str]:
    return _of_anat(entities) | {'from': start, 'to': end, 'suffix': 'xfm'}


def _credit(plan: AnatomyPlan, segmentation: str) -> dict[str, str]:
    """Where a segmentation comes from."""
    if segmentation == ATLAS:
        return {
            'Name': 'CIT168 atlas of subcortical nuclei, Pauli, Nili and Tyszka 2018',
            'DOI': '10.1038/sdata.2018.63',
            'License': 'CC BY 4.0',
        }
    (uri,) = (x.uri for x in plan.anatomy.segmentations if x.name == segmentation)
    return {'Name': segmentation, 'Source': uri}

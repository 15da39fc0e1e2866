"""Sinks: every image under its BIDS name, with the records of the stages that it builds on."""

import pytest

from qsmprep.bids.derivatives import io_spec
from qsmprep.interfaces.metadata import STAGES
from qsmprep.workflows.outputs import init_outputs_wf

ENTITIES = {'subject': '01', 'session': 'a', 'run': '2', 'suffix': 'MEGRE', 'datatype': 'anat'}


@pytest.fixture
def outputs(tmp_path):
    """Return a graph of sinks for keywords of ``init_outputs_wf``."""

    def make(images=('chi',), **keywords):
        return init_outputs_wf(
            output_dir=tmp_path,
            entities=ENTITIES,
            acquisition_metadata={'Sources': ['bids:raw:x'], 'EchoTime': [0.004, 0.012]},
            images=images,
            **keywords,
        )

    return make


def written(workflow, tmp_path):
    """Node -> path below the output folder."""
    sinks = (workflow.get_node(n) for n in workflow.list_node_names() if n.startswith('sink_'))
    return {node.name: node.inputs.out_file.removeprefix(f'{tmp_path}/') for node in sinks}


def sources(workflow, name):
    """Input of a node -> node and field that it comes from."""
    node = workflow.get_node(name)
    return {
        target: (source.name, field)
        for source, _, data in workflow._graph.in_edges(node, data=True)
        for field, target in data['connect']
    }


def test_every_image_has_the_name_that_the_specification_gives(outputs, tmp_path):
    spec = io_spec()['derivatives']
    images = tuple(key for key in spec if key not in ('chi_fine', 'unwrapped'))
    paths = written(outputs(images), tmp_path)
    assert set(paths) == {f'sink_{key}' for key in images}
    assert len(set(paths.values())) == len(images)
    for key in images:
        entities = spec[key]['entities']
        label = ''.join(f'_{short}-{entities[name]}' for name, short in
                        (('label', 'label'), ('desc', 'desc')) if name in entities)  # fmt: skip
        folder, suffix = entities['datatype'], entities['suffix']
        assert paths[f'sink_{key}'] == (
            f'sub-01/ses-a/{folder}/sub-01_ses-a_run-2{label}_{suffix}.nii.gz'
        )


def test_a_sidecar_takes_the_records_of_its_stages_and_no_others(outputs):
    spec = io_spec()['derivatives']
    workflow = outputs(('chi', 'r2star', 'brain_mask'))
    for key in ('chi', 'r2star', 'brain_mask'):
        stages = spec[key]['stages']
        assert set(stages) <= set(STAGES)
        assert sources(workflow, f'describe_{key}') == {s: ('inputnode', s) for s in stages}
        assert sources(workflow, f'sink_{key}') == {
            'in_file': ('inputnode', key),
            'metadata': (f'describe_{key}', 'metadata'),
        }
        described = workflow.get_node(f'describe_{key}').inputs.acquisition
        assert described == {
            'Sources': ['bids:raw:x'], 'EchoTime': [0.004, 0.012], **spec[key]['metadata'],
        }  # fmt: skip


def test_further_sources_are_those_of_one_image(outputs):
    workflow = outputs(('chi', 'r2prime'), sources={'r2prime': ('bids:maps:r2',)})
    written = {
        key: workflow.get_node(f'describe_{key}').inputs.acquisition['Sources']
        for key in ('chi', 'r2prime')
    }
    assert written == {'chi': ['bids:raw:x'], 'r2prime': ['bids:raw:x', 'bids:maps:r2']}


def test_a_finer_map_tells_its_resolution(outputs, tmp_path):
    workflow = outputs(resolution=('iso', '1 x 1 x 1 mm'))
    name = 'sub-01_ses-a_run-2_res-iso_desc-sr_Chimap.nii.gz'
    assert written(workflow, tmp_path)['sink_chi_fine'].endswith(name)
    described = workflow.get_node('describe_chi_fine').inputs.acquisition
    assert described['Resolution'] == '1 x 1 x 1 mm'
    assert 'Resolution' not in workflow.get_node('describe_chi').inputs.acquisition


def test_unwrapped_echoes_have_numbers_and_echo_times(outputs, tmp_path):
    workflow = outputs(echo_times_s=(0.004, 0.012))
    paths = written(workflow, tmp_path)
    for number, echo_time in ((1, 0.004), (2, 0.012)):
        assert f'_echo-{number}_' in paths[f'sink_unwrapped_{number}']
        described = workflow.get_node(f'describe_unwrapped_{number}').inputs.acquisition
        assert described['EchoTime'] == echo_time
        assert workflow.get_node(f'echo_{number}').inputs.index == [number - 1]


def test_figures_may_stand_in_the_report_of_another_acquisition(outputs, tmp_path):
    other = ENTITIES | {'run': '1'}
    paths = written(outputs(panels=('cosmos',), figures=other), tmp_path)
    assert paths['sink_figure_cosmos'].startswith('sub-01/figures/sub-01_ses-a_run-1_')
    assert paths['sink_chi'].startswith('sub-01/ses-a/anat/sub-01_ses-a_run-2_')


def test_all_that_writes_runs_in_the_main_process(outputs):
    workflow = outputs(('chi', 's0'), panels=('chi',), resolution=('2', '2 mm'))
    for name in workflow.list_node_names():
        if name.startswith(('sink_', 'describe_')):
            assert workflow.get_node(name).run_without_submitting, name

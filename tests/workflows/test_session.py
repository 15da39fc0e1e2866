"""Maps of all runs of a session: which are made, of what, and where they are written."""

from dataclasses import replace

import pytest
from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.layout import open_dataset
from qsmprep.settings import Settings
from qsmprep.workflows.nodes import ends
from qsmprep.workflows.runs import PER_RUN
from qsmprep.workflows.session import add_session_maps


@pytest.fixture
def session(tiny_dataset, tmp_path):
    """Return the graph of a session for a number of runs and settings of the processing."""

    def of(number, noise_known=True, **processing):
        for run in range(1, number + 1):
            tiny_dataset.add(f'sub-01_ses-a_run-{run}', echo_times_s=(0.01,), echo_entity=False)
        runs, _ = find_acquisitions(open_dataset(tiny_dataset.root), '01')
        graphs = []
        for run in range(1, number + 1):
            qsm_wf = Workflow(name='qsm_wf')
            qsm_wf.add_nodes([*ends(inputs=['x'], outputs=PER_RUN)])
            graphs.append(Workflow(name=f'ses_a_run_{run}_MEGRE_wf'))
            graphs[-1].add_nodes([qsm_wf])
        workflow = Workflow(name='subject_wf')
        settings = Settings()
        add_session_maps(
            workflow, runs, graphs, [{'Sources': [f'bids:raw:{n}']} for n in range(number)],
            settings=replace(
                settings,
                outputs=replace(settings.outputs, output_dir=tmp_path / 'out'),
                processing=replace(settings.processing, **processing),
            ),
            noise_known=noise_known, device='cpu',
        )  # fmt: skip
        return workflow

    return of


def gathered(workflow):
    """Images that are gathered over the runs."""
    names = (n.rpartition('MEGRE_')[2] for n in workflow.list_node_names() if '.' not in n)
    return {name.removesuffix('s') for name in names if name.endswith('s')}


def written(workflow):
    """Paths of all sinks, below the participant."""
    nodes = (workflow.get_node(n) for n in workflow.list_node_names() if '.sink_' in n)
    return {node.inputs.out_file.partition('sub-01/')[2] for node in nodes}


@pytest.mark.parametrize(
    ('number', 'processing'), [(3, {}), (2, {'cosmos': True}), (1, {'average_runs': True})]
)
def test_nothing_is_made_that_was_not_asked_for_or_lacks_runs(session, number, processing):
    assert session(number, **processing).list_node_names() == []


def test_several_orientations_take_fields_and_their_noise(session):
    workflow = session(3, cosmos=True)
    assert gathered(workflow) == set(PER_RUN)
    assert 'runs_of_ses_a_run_1_MEGRE_wf.invert' in workflow.list_node_names()
    assert 'local_noise' not in gathered(session(3, cosmos=True, noise_known=False))


def test_an_average_takes_maps_alone(session):
    workflow = session(2, average_runs=True, cosmos=True)
    assert gathered(workflow) == {'combined_magnitude', 'brain_mask', 'chi', 'chi_mask'}
    assert not any('cosmos' in name for name in workflow.list_node_names())


def test_maps_of_all_runs_have_no_run_but_stand_in_the_report_of_the_first(session):
    anat = 'ses-a/anat/sub-01_ses-a'
    assert written(session(3, cosmos=True, average_runs=True)) == {
        f'{anat}_desc-cosmos_Chimap.nii.gz', f'{anat}_desc-cosmos_mask.nii.gz',
        f'{anat}_desc-mean_Chimap.nii.gz', f'{anat}_desc-mean_mask.nii.gz',
        'figures/sub-01_ses-a_run-1_desc-cosmos_MEGRE.png',
        'figures/sub-01_ses-a_run-1_desc-mean_MEGRE.png',
    }  # fmt: skip


def test_sidecars_name_the_sources_of_all_runs(session):
    workflow = session(3, cosmos=True)
    described = workflow.get_node('outputs_of_ses_a_run_1_MEGRE_runs_wf.describe_cosmos')
    assert described.inputs.acquisition['Sources'] == [f'bids:raw:{n}' for n in range(3)]

"""The graphs can be built in every form, embedded, and hold no sinks of their own."""

import pytest
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from qsmprep.workflows.qsm import OUTPUTS, init_qsm_wf

MINIMAL = {'echo_times_s': (0.004, 0.012), 'field_strength_t': 3.0, 'phase_range': (-1.0, 1.0)}


@pytest.mark.parametrize(
    ('keywords', 'present', 'absent'),
    [
        ({}, 'fieldmap_wf.phase_offset', 'fieldmap_wf.unwrap_echoes'),
        ({'echo_times_s': (0.02,)}, 'fieldmap_wf.romeo', 'fieldmap_wf.phase_offset'),
        ({'echo_times_s': (0.02,)}, 'fieldmap_wf.romeo', 'fit_relaxation'),
        ({'remove_offset': False}, 'fit_relaxation', 'fieldmap_wf.phase_offset'),
        ({'unwrapping': 'laplacian'}, 'fieldmap_wf.unwrap_echoes', 'nothing'),
        ({'coils': 8}, 'unwrap_coils', 'split_phase_files'),
        ({'coils': 8, 'coils_together': True}, 'split_phase_files', 'nothing'),
        ({'relaxometry': False}, 'inversion_wf.reference_chi', 'fit_relaxation'),
    ],
)
def test_keywords_shape_the_graph(keywords, present, absent):
    nodes = init_qsm_wf(**(MINIMAL | keywords)).list_node_names()
    assert present in nodes
    assert absent not in nodes


def test_the_graph_can_be_embedded_and_has_no_sinks():
    outer = pe.Workflow(name='outer')
    source = pe.Node(niu.IdentityInterface(fields=['magnitude', 'phase']), name='source')
    target = pe.Node(niu.IdentityInterface(fields=['chi', 'r2star']), name='target')
    qsm_wf = init_qsm_wf(**MINIMAL)
    outer.connect([
        (source, qsm_wf, [
            ('magnitude', 'inputnode.magnitude_files'),
            ('phase', 'inputnode.phase_files'),
        ]),
        (qsm_wf, target, [('outputnode.chi', 'chi'), ('outputnode.r2star', 'r2star')]),
    ])  # fmt:skip
    interfaces = [type(outer.get_node(n).interface).__name__ for n in outer.list_node_names()]
    assert not [name for name in interfaces if 'Sink' in name]
    assert set(OUTPUTS) == set(qsm_wf.outputs.outputnode.get())


def test_only_nodes_that_use_a_gpu_claim_one():
    workflow = init_qsm_wf(**MINIMAL, device='cuda:0')
    nodes = {name: workflow.get_node(name) for name in workflow.list_node_names()}
    claiming = {name for name, node in nodes.items() if node.is_gpu_node()}
    assert claiming == {'mask_wf.brain', 'inversion_wf.invert_dipole'}
    cpu = init_qsm_wf(**MINIMAL)
    assert not any(cpu.get_node(name).is_gpu_node() for name in cpu.list_node_names())


def test_the_methods_text_follows_the_graph():
    text = init_qsm_wf(**MINIMAL, inversion='tkd', reference='CSF').visit_desc()
    assert '[@tkd]' in text
    assert "region 'CSF'" in text
    assert 'MCPC-3D-S' in text
    assert 'MCPC-3D-S' not in init_qsm_wf(**MINIMAL, remove_offset=False).visit_desc()

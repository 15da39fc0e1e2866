"""What the documentation says of the embeddable graph is what the graph has."""

from qsmprep.workflows.fields import INPUT_FIELDS, OUTPUT_FIELDS
from qsmprep.workflows.qsm import init_qsm_wf


def test_all_fields_are_documented():
    qsm_wf = init_qsm_wf(echo_times_s=(0.004, 0.008), field_strength_t=3.0)
    for node, known in (('inputnode', INPUT_FIELDS), ('outputnode', OUTPUT_FIELDS)):
        assert set(qsm_wf.get_node(node).inputs.copyable_trait_names()) == set(known)

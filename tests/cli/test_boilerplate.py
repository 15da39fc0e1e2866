"""Methods text: every citation has its reference."""

import re
from importlib.resources import files

import pytest

from qsmprep.cli.boilerplate import cite, write_boilerplate
from qsmprep.methods import BACKGROUNDS, INVERSIONS, MASKS, UNWRAPPINGS
from qsmprep.settings import Settings
from qsmprep.workflows.qsm import init_qsm_wf


@pytest.mark.parametrize(
    ('kind', 'name'),
    [
        (kind, name)
        for kind, table in {
            'inversion': INVERSIONS,
            'background': BACKGROUNDS,
            'brain_extraction': MASKS,
            'unwrapping': UNWRAPPINGS,
        }.items()
        for name in table
    ],
)
def test_every_method_has_a_reference(kind, name):
    workflow = init_qsm_wf(echo_times_s=(0.01, 0.02), field_strength_t=3.0, **{kind: name})
    bibliography = files('qsmprep.data').joinpath('boilerplate.bib').read_text()
    text, references = cite(workflow.visit_desc(), bibliography)
    assert '@' not in text
    assert len(references) >= 5
    assert all(re.search(r'doi:10\.\d{4}', reference) for reference in references)


def test_an_unknown_citation_is_an_error():
    with pytest.raises(KeyError):
        cite('By magic [@magic].', '')


def test_text_and_bibliography_are_written(tmp_path):
    write_boilerplate(tmp_path, 'By Nipype [@nipype].', Settings())
    assert 'Gorgolewski et al. 2011' in (tmp_path / 'logs' / 'CITATION.md').read_text()
    assert '@article{nipype' in (tmp_path / 'logs' / 'CITATION.bib').read_text()

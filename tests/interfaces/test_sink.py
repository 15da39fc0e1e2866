"""The sink writes whole files with valid sidecars, and the same bytes for the same result."""

import gzip
import json
import math

from qsmprep.interfaces.metadata import DescribeOutput
from qsmprep.interfaces.sink import WriteOutput


def write(source, path, **metadata):
    return WriteOutput(in_file=str(source), out_file=str(path), **metadata).run()


def test_the_same_result_is_the_same_file(tmp_path):
    source = tmp_path / 'result.nii'
    source.write_bytes(bytes(range(256)) * 40)
    outputs = [tmp_path / name / 'sub-01_Chimap.nii.gz' for name in ('first', 'second')]
    for path in outputs:
        write(source, path)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert gzip.decompress(outputs[0].read_bytes()) == source.read_bytes()
    assert [path.name for path in outputs[0].parent.iterdir()] == ['sub-01_Chimap.nii.gz']


def test_a_sidecar_holds_no_number_that_json_does_not_know(tmp_path):
    source = tmp_path / 'table.tsv'
    source.write_text('a\n')
    given = {'A': math.nan, 'B': [1.0, math.inf], 'C': {'D': 2}}
    write(source, tmp_path / 'out' / 'sub-01_regions.tsv', metadata=given)
    sidecar = json.loads((tmp_path / 'out' / 'sub-01_regions.json').read_text())
    assert sidecar == {'A': None, 'B': [1.0, None], 'C': {'D': 2}}


def test_a_sidecar_has_the_records_of_the_stages_that_there_were():
    described = DescribeOutput(acquisition={'EchoTime': [0.01]}, inversion={'Method': 'tkd'}).run()
    assert described.outputs.metadata == {
        'EchoTime': [0.01],
        'DipoleInversion': {'Method': 'tkd'},
    }

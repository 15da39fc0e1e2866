"""The two recipes of the container agree, and components are listed with their licences."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / 'Dockerfile').read_text()
DEFINITION = (ROOT / 'Apptainer.def').read_text()


def test_both_recipes_have_one_base_one_environment_and_the_same_files():
    (base,) = re.findall(r'^ARG BASE_IMAGE=(\S+)', DOCKERFILE, flags=re.MULTILINE)
    assert f'From: {base}\n' in DEFINITION
    variables = DOCKERFILE.partition('\nENV ')[2].partition('\nUSER')[0]
    own = ('HOME=', 'QSMPREP_CONTAINER_TAG=')  # Apptainer has the caller's home
    for variable in re.findall(r'\w+=\S+', variables):
        assert variable.startswith(own) or variable in DEFINITION
    build = DOCKERFILE.partition(' AS runtime')[0]
    for line in re.findall(r'^COPY (.+) \S+$', build, flags=re.MULTILINE):
        for name in line.split():
            assert re.search(rf'^    {re.escape(name)} /src/', DEFINITION, flags=re.MULTILINE)
    for step in ("uv==0.13.*'", '--constraint constraints.txt', 'components.json'):
        assert step in DEFINITION
        assert step.rstrip("'") in DOCKERFILE


def test_components_are_listed_with_licences(tmp_path):
    script = ROOT / '.ci' / 'components.py'
    command = [sys.executable, script, tmp_path / 'list.json', tmp_path / 'licences.md']
    subprocess.run(command, check=True)
    bill = json.loads((tmp_path / 'list.json').read_text())
    assert (bill['bomFormat'], bill['specVersion']) == ('CycloneDX', '1.6')
    assert bill['metadata']['component']['name'] == 'qsmprep'
    found = {item['name']: item for item in bill['components'] if 'pkg:pypi' in item['purl']}
    assert found['nibabel']['licenses'] == [{'license': {'name': 'MIT'}}]
    assert 'qsmprep' not in found
    lines = (tmp_path / 'licences.md').read_text().splitlines()
    assert any(line.startswith('| torch (pypi) | ') for line in lines)

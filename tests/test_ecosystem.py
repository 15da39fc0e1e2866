"""What other systems read of qsmprep: descriptors, citation, recipes."""

import importlib.util
import json
import shlex
from pathlib import Path

import pytest
import yaml
from boutiques.bosh import bosh
from cffconvert import Citation

from qsmprep.cli.parser import build_parser

ROOT = Path(__file__).parent.parent
NIPOPPY = ROOT / 'ecosystem' / 'nipoppy'


@pytest.fixture(scope='module')
def descriptor(tmp_path_factory):
    """Boutiques descriptor as a file."""
    spec = importlib.util.spec_from_file_location('made', ROOT / 'ecosystem' / 'boutiques.py')
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    path = tmp_path_factory.mktemp('boutiques') / 'descriptor.json'
    path.write_text(json.dumps(made.descriptor()))
    return path


def simulated(descriptor, given, tmp_path):
    """Arguments of the command that Boutiques would run."""
    invocation = tmp_path / 'invocation.json'
    invocation.write_text(json.dumps(given))
    command = ['exec', 'simulate', str(descriptor), '-i', str(invocation)]
    done = bosh([*command, '--skip-data-collection'])
    return shlex.split(done.stdout)


def test_boutiques_runs_the_command_that_is_meant(descriptor, tmp_path):
    bosh(['validate', str(descriptor)])
    words = simulated(
        descriptor,
        {
            'bids_dir': '/data',
            'output_dir': '/out',
            'analysis_level': 'participant',
            'participants': ['01', '02'],
            'phase_range': [-4096, 4094],
            'inversion': 'wiener',
            'inversion_parameters': ['tolerance=0.01'],
            'nprocs': 2,
            'dry_run': True,
        },
        tmp_path,
    )
    assert words[0] == 'qsmprep'
    given = vars(build_parser().parse_args(words[1:]))
    assert given['participants'] == ['01', '02']
    assert given['phase_range'] == [-4096, 4094]
    assert given['inversion_parameters'] == {'tolerance': 0.01}
    assert given['dry_run'] is True
    assert (given['nprocs'], given['inversion']) == (2, 'wiener')


def test_what_nipoppy_passes_on_is_understood(descriptor, tmp_path):
    given = json.loads((NIPOPPY / 'invocation.json').read_text())
    filled = json.loads(
        json.dumps(given).replace('[[NIPOPPY_PARTICIPANT_ID]]', '01').replace(
            '[[NIPOPPY_SESSION_ID]]', 'a'
        )
    )  # fmt: skip
    words = simulated(descriptor, filled, tmp_path)
    parsed = vars(build_parser().parse_args(words[1:]))
    assert (parsed['participants'], parsed['sessions']) == (['01'], ['a'])
    files = json.loads((NIPOPPY / 'config.json').read_text())['STEPS'][0]
    assert {files['TRACKER_CONFIG_FILE'], files['HPC_CONFIG_FILE']} <= {
        path.name for path in NIPOPPY.iterdir()
    }


def test_flags_of_the_babs_recipe_exist():
    recipe = yaml.safe_load((ROOT / 'ecosystem' / 'babs.yaml').read_text())
    known = {flag for action in build_parser()._actions for flag in action.option_strings}
    given = recipe['bids_app_args']
    assert {given.pop('$SUBJECT_SELECTION_FLAG'), *given} <= known


def test_commands_of_the_neurodesk_recipe_are_installed():
    recipe = yaml.safe_load((ROOT / 'ecosystem' / 'neurodesk.yaml').read_text())
    setup = (ROOT / 'setup.cfg').read_text()
    deployed = next(step['deploy'] for step in recipe['build']['directives'] if 'deploy' in step)
    assert all(f'    {command} = qsmprep.cli.' in setup for command in deployed['bins'])


def test_the_citation_is_valid():
    Citation((ROOT / 'CITATION.cff').read_text()).validate()

"""Print the Boutiques descriptor of qsmprep, made from its command line.

python ecosystem/boutiques.py > descriptor.json
bosh validate descriptor.json
"""

from __future__ import annotations

import argparse
import json
import pathlib

import qsmprep
from qsmprep.cli.arguments import path_of_file
from qsmprep.cli.parser import build_parser

NO_RUN = ('help', 'version', 'print_completion')
"""Options that end without processing anything."""
NUMBERS = {int: True, float: False}


def descriptor() -> dict:
    """Descriptor by the schema 0.5."""
    actions = [action for action in build_parser()._actions if action.dest not in NO_RUN]
    inputs = [_input(action) for action in actions]
    return {
        'name': 'qsmprep',
        'description': build_parser().description,
        'tool-version': qsmprep.__version__,
        'schema-version': '0.5',
        'author': 'The qsmprep developers',
        'tags': {'domain': ['neuroinformatics', 'mri'], 'application-type': ['bids']},
        'container-image': {'type': 'docker', 'image': f'qsmprep:{qsmprep.__version__}'},
        'command-line': ' '.join(['qsmprep', *(given['value-key'] for given in inputs)]),
        'inputs': inputs,
        'output-files': [
            {
                'id': 'outputs',
                'name': 'Derivatives',
                'description': 'maps, reports and records as BIDS derivatives',
                'path-template': '[OUTPUT_DIR]',
            }
        ],
        'error-codes': [
            {'code': 1, 'description': 'something failed; the reports say what'},
            {'code': 2, 'description': 'arguments that cannot be used'},
        ],
    }


def _input(action: argparse.Action) -> dict:
    """One input: a positional argument, an option or a flag."""
    names = [name for name in action.option_strings if name.startswith('--')]
    given = {
        'id': action.dest,
        'name': action.dest.replace('_', ' '),
        'description': action.help.replace('%%', '%'),
        'type': 'String',
        'optional': bool(names),
        'value-key': f'[{action.dest.upper()}]',
    }
    if names:
        given['command-line-flag'] = names[0]
    if action.nargs == 0:
        return given | {'type': 'Flag'}
    example = _number(action)
    if action.choices:
        given['value-choices'] = [str(choice) for choice in action.choices]
    elif example is not None:
        given |= {'type': 'Number', 'integer': NUMBERS[example]}
    elif action.type is path_of_file or (action.type is pathlib.Path and action.dest == 'bids_dir'):
        given['type'] = 'File'
    if action.nargs in ('+', 2):
        given |= {'list': True, 'min-list-entries': 1 if action.nargs == '+' else action.nargs}
        given |= {'max-list-entries': action.nargs} if action.nargs == 2 else {}
    return given


def _number(action: argparse.Action) -> type | None:
    """Type of a number that an option takes; None where it takes another thing."""
    if action.type in NUMBERS:
        return action.type
    try:
        value = action.type('3')
    except Exception:
        return None
    return type(value) if type(value) in NUMBERS and action.dest != 'mem_gb' else None


if __name__ == '__main__':
    print(json.dumps(descriptor(), indent=2))

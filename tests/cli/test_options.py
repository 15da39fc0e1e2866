"""Options of the command line agree with the settings and the tables of methods."""

import re
from pathlib import Path

import pytest

from qsmprep.cli import invert, parser, simulate, slurm
from qsmprep.cli.parser import build_parser, parse_args
from qsmprep.settings import CHOICES, Settings

SETTINGS = Settings()
VALUES = {
    name: getattr(section, name)
    for section in (SETTINGS.inputs, SETTINGS.processing, SETTINGS.outputs, SETTINGS.execution)
    for name in section.__dataclass_fields__
}


@pytest.fixture(scope='module')
def options():
    return {action.dest: action for action in build_parser()._actions}


def test_an_option_has_the_choices_of_its_setting(options):
    for name, choices in CHOICES.items():
        assert tuple(options[name].choices) == tuple(choices), name


def test_defaults_that_the_help_tells_are_those_of_the_settings(options):
    stated = {
        name: re.search(r'\(default: ([-\w]+)\)', action.help)
        for name, action in options.items()
        if name in VALUES
    }
    stated = {name: match[1] for name, match in stated.items() if match and match[1] != 'all'}
    assert {'unwrapping', 'background', 'inversion', 'reference', 'hang_after_min'} <= set(stated)
    for name, value in stated.items():
        stated = VALUES[name]
        assert value == (f'{stated:g}' if isinstance(stated, float) else str(stated)), name


def test_no_option_has_a_default_of_its_own(tmp_path):
    (tmp_path / 'bids').mkdir()
    _, settings = parse_args([str(tmp_path / 'bids'), str(tmp_path / 'out'), 'participant'])
    assert settings.processing == SETTINGS.processing


@pytest.mark.parametrize(
    ('spellings', 'value', 'section', 'name', 'expected'),
    [
        (
            ('--participant-label', '--participant_label'),
            ['sub-01', '02'],
            'inputs',
            'participants',
            ('01', '02'),
        ),
        (
            ('--session-label', '--session_label', '--session-id'),
            ['ses-a'],
            'inputs',
            'sessions',
            ('a',),
        ),
        (('--nprocs', '--nthreads', '--n-cpus'), ['3'], 'execution', 'nprocs', 3),
        (('--mem', '--mem-mb', '--mem_mb'), ['2500'], 'execution', 'mem_gb', 2.5),
        (('-w', '--work-dir'), ['/scratch'], 'execution', 'work_dir', Path('/scratch')),
        (
            ('--background-parameter',),
            ['noise=0.5', 'steps=3'],
            'processing',
            'background_parameters',
            {'noise': 0.5, 'steps': 3.0},
        ),
        (('--no-viewer',), [], 'outputs', 'viewer', False),
        (('-v', '--verbose'), [], 'execution', 'verbosity', 1),
    ],
)
def test_spellings_of_other_bids_apps_mean_the_same(spellings, value, section, name, expected):
    for spelling in spellings:
        given = build_parser().parse_args(['bids', 'out', 'participant', spelling, *value])
        found = getattr(given, name)
        assert type(expected)(found) == expected, spelling
        assert name in getattr(SETTINGS, section).__dataclass_fields__


def test_every_option_is_explained_in_one_line_of_lower_case(options):
    for name, action in options.items():
        assert action.help, name
        assert not action.help.endswith('.'), name
        assert action.help[0].islower() or action.help.startswith(('-1', 'JSON', 'YAML')), name


@pytest.mark.parametrize('program', [parser, invert, simulate, slurm])
def test_an_error_is_preceded_by_one_line_of_usage(program):
    assert program.build_parser().format_usage().count('\n') == 1

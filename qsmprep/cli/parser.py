"""The command line, and the settings that it stands for."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import qsmprep
from qsmprep.cli.arguments import (
    Completion,
    Parser,
    folder,
)
from qsmprep.cli.checks import check_settings
from qsmprep.cli.options import (
    add_execution_options,
    add_outputs_options,
    add_phase_options,
    add_processing_options,
    add_selection_options,
)
from qsmprep.settings import (
    Settings,
    SettingsError,
    available_cpus,
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``qsmprep``."""
    parser = Parser(
        prog='qsmprep',
        usage='%(prog)s BIDS_DIR OUTPUT_DIR {participant,group} [options]',
        description='Quantitative susceptibility mapping (QSM) of BIDS datasets.',
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument('bids_dir', type=folder, help='root folder of a BIDS dataset')
    parser.add_argument('output_dir', type=folder, help='root folder of the derivatives')
    parser.add_argument(
        'analysis_level',
        choices=('participant', 'group'),
        help='participant: susceptibility maps and a report of each participant; '
        'group: one table and one page of quality measures of all participants',
    )
    parser.add_argument(
        '--version',
        action='version',
        version=f'qsmprep v{qsmprep.__version__}',
        help='print the version; with -v, those of Python, of the system and of libraries too',
    )
    parser.add_argument(
        '--print-completion',
        action=Completion,
        choices=('bash', 'zsh', 'tcsh'),
        metavar='SHELL',
        help='print the completion of this command for a shell: bash, zsh or tcsh',
    )
    add_selection_options(parser.add_argument_group('What to process'))
    add_phase_options(parser.add_argument_group('How the stored phase is read'))
    add_processing_options(parser.add_argument_group('Processing'))
    add_outputs_options(parser.add_argument_group('Outputs'))
    add_execution_options(parser.add_argument_group('Execution'))
    return parser


def parse_args(argv: list[str] | None = None) -> tuple[str, Settings]:
    """
    Read the command line.

    Parameters
    ----------
    argv
        Arguments; those of the process by default.

    Returns
    -------
    analysis_level
        ``'participant'`` or ``'group'``.
    settings
        Defaults, overridden by ``--config-file``, overridden by the other flags.

    Raises
    ------
    SystemExit
        With code 2, after a message, for whatever cannot be run.

    """
    parser = build_parser()
    given = vars(parser.parse_args(argv))
    analysis_level = given.pop('analysis_level')
    for unused in ('notrack', 'bids_database_dir'):
        given.pop(unused, None)
    settings = Settings()
    config_file = given.pop('config_file', None)
    if config_file is not None:
        try:
            settings = Settings.from_toml(config_file.read_text(encoding='utf-8-sig'))
            _check_as_flags(parser, settings)
        except UnicodeDecodeError:
            parser.error(f'{config_file} is no text in UTF-8; save it as such.')
        except SettingsError as error:
            parser.error(f'{config_file}: {error}')
    settings = _override(settings, given)
    processors = given.get('nprocs', available_cpus())
    threads = given.get('omp_nthreads', max(1, min(processors - 1, 8)))
    if threads > processors:
        print(
            f'qsmprep: --omp-nthreads {threads} is more than the {processors} processors of '
            f'--nprocs; a node takes {processors}.',
            file=sys.stderr,
        )
    settings = replace(
        settings,
        execution=replace(
            settings.execution, nprocs=processors, omp_nthreads=min(threads, processors)
        ),
    )
    try:
        check_settings(settings)
    except SettingsError as error:
        parser.error(str(error))
    return analysis_level, settings


def _check_as_flags(parser: argparse.ArgumentParser, settings: Settings) -> None:
    """Refuse values of a settings file that their flags would refuse."""
    sections = [getattr(settings, name) for name in settings.__dataclass_fields__]
    values = {key: value for section in sections for key, value in vars(section).items()}
    for action in parser._actions:
        value = values.get(action.dest)
        if not callable(action.type) or value is None:
            continue
        items = value if isinstance(value, tuple) else (value,)
        if isinstance(value, dict):
            items = tuple(f'{key}={x}' for key, x in value.items() if isinstance(x, Path))
        for item in items:
            try:
                action.type(f'{item}G' if action.dest == 'mem_gb' else str(item))
            except (argparse.ArgumentTypeError, ValueError) as error:
                raise SettingsError(f'{action.dest} = {item}: {error}.') from error


def _override(settings: Settings, given: dict) -> Settings:
    """Put the values of the command line where they belong in the tree."""
    sections = {}
    for name in ('inputs', 'processing', 'outputs', 'execution'):
        section = getattr(settings, name)
        values = {k: v for k, v in given.items() if k in section.__dataclass_fields__}
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        for path in ('bids_dir', 'output_dir', 'work_dir'):
            if path in section.__dataclass_fields__:
                values[path] = values.get(path, getattr(section, path)).absolute()
        sections[name] = replace(section, **values)
    return Settings(**sections)

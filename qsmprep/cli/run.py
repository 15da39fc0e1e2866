"""Entry point of ``qsmprep``: dispatch, logging and exit codes."""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys

from qsmprep.cli import exit_codes
from qsmprep.cli.process import (
    Stopped,
    ensure_home,
    guard_streams,
    keep_freed_memory,
    leave,
    stop_on_signals,
)

LOGGER = logging.getLogger('qsmprep')
WELCOME = """\
qsmprep maps magnetic susceptibility: gradient-echo phase and magnitude of a BIDS dataset in, maps
and a report of each participant out.

    qsmprep BIDS_DIR OUTPUT_DIR participant --dry-run   checks the dataset, computes nothing
    qsmprep BIDS_DIR OUTPUT_DIR participant             maps and a report of each participant
    qsmprep BIDS_DIR OUTPUT_DIR group                   one table and page of all, afterwards

qsmprep --help lists all options. No data at hand? qsmprep-simulate DATASET makes some."""


def main(argv: list[str] | None = None) -> int:
    """
    Run qsmprep.

    Parameters
    ----------
    argv
        Arguments; those of the process by default.

    Returns
    -------
    int
        0: all done; 1: something failed (and is in the report); 70: the graph could not be
        built; 127: an external command is missing; 128 and its number: a signal stopped the run.
        Arguments that cannot be used end with 2.

    """
    if argv is None:
        guard_streams()
        stop_on_signals()
        ensure_home()
        keep_freed_memory()
    logging.basicConfig(format='%(levelname)s: %(message)s', stream=sys.stderr)
    try:
        return leave(_run(sys.argv[1:])) if argv is None else _run(argv)
    except Stopped as stopped:
        LOGGER.error('The run was %s; the same command goes on from where it was.', stopped)
        logging.shutdown()
        if argv is None:
            os._exit(stopped.exit_code)
        return stopped.exit_code
    except OSError as error:
        LOGGER.error('%s; check the disk and the rights of that folder.', error)
        LOGGER.info('', exc_info=True)
        return exit_codes.FAILURE


def _run(argv: list[str]) -> int:
    if not argv:
        print(WELCOME, file=sys.stderr)
        return exit_codes.USAGE
    if '--version' in argv and any(re.fullmatch('-v+|--verbose', word) for word in argv):
        print(_versions())
        return exit_codes.OK
    from qsmprep.cli.parser import parse_args

    analysis_level, settings = parse_args(argv)
    LOGGER.setLevel(max(25 - 5 * settings.execution.verbosity, logging.DEBUG))
    if analysis_level == 'group':
        from qsmprep.cli.group import run_group

        return run_group(settings.outputs.output_dir, settings.inputs.participants)

    from qsmprep.cli.participant import run_participants

    return run_participants(settings, _command(argv))


def _versions() -> str:
    """Versions of qsmprep and of what it runs on, as an issue should state them."""
    import platform

    import qsmprep
    from qsmprep.bids.derivatives import software_versions

    python = f'Python {platform.python_version()} on {platform.system()} {platform.machine()}'
    libraries = (f'{name} {version}' for name, version in software_versions().items())
    rest = [line for line in libraries if not line.startswith('qsmprep ')]
    return '\n'.join([f'qsmprep v{qsmprep.__version__}', python, *rest])


def _command(argv: list[str]) -> str:
    """Join the arguments into one line that names files and folders, but not where they lie."""
    return shlex.join(['qsmprep', *map(_without_folders, argv)])


def _without_folders(argument: str) -> str:
    """
    Last part of a path, and the name or flag before it.

    Examples
    --------
    >>> _without_folders('/data/study/'), _without_folders('truth=/data/sim')
    ('study', 'truth=sim')

    """
    name, equals, path = argument.partition('=')
    if not equals or '/' in name:
        name, equals, path = '', '', argument
    return name + equals + path.rstrip('/').rpartition('/')[2]


if __name__ == '__main__':
    sys.exit(main())

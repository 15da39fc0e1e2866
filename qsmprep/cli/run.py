"""Entry point of ``qsmprep``: dispatch, logging and exit codes."""

from __future__ import annotations

import logging
import shlex
import sys

from qsmprep.cli.parser import parse_args

LOGGER = logging.getLogger('qsmprep')


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
        built; 127: an external command is missing. Arguments that cannot be used end with 2.

    """
    analysis_level, settings = parse_args(argv)
    logging.basicConfig(format='%(levelname)s: %(message)s', stream=sys.stderr)
    LOGGER.setLevel(max(25 - 5 * settings.execution.verbosity, logging.DEBUG))
    if analysis_level == 'group':
        from qsmprep.cli.group import run_group

        return run_group(settings.outputs.output_dir)

    from qsmprep.cli.participant import run_participants

    return run_participants(settings, _command(sys.argv[1:] if argv is None else argv))


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

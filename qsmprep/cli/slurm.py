"""``qsmprep-slurm``: a script for Slurm that processes each participant in a job of its own."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from qsmprep.bids.errors import InputError
from qsmprep.bids.headers import read_header
from qsmprep.bids.layout import Dataset, open_dataset
from qsmprep.bids.selection import select_participants
from qsmprep.cli import exit_codes
from qsmprep.cli.arguments import Parser, folder, label, positive
from qsmprep.cli.parser import parse_args
from qsmprep.settings import SettingsError

FIXED_GB = 4.0
"""Memory of Python, its libraries and the brain network, in two processes at a time."""
VOLUMES = 60
"""Volumes of floats that inversion holds at most."""
ECHOES = 8
"""Copies of all echoes in memory at most, while they are prepared."""
FIXED_MINUTES = 15
MINUTES_PER_MEGAVOXEL = 30
"""Upper bounds for a run on two processors, the default inversion and reports included."""

SCRIPT = """#!/bin/bash
# Written by qsmprep-slurm. "bash {name}" submits one job for each participant and, after the last
# of them, one that gathers the group. Given again, it processes what is missing or has failed:
# nodes that have ended are taken over from the work folder.
set -euo pipefail
participants=({participants})
case "${{1:-submit}}" in
submit)
    mkdir -p {logs}
    jobs=$(sbatch --parsable --job-name=qsmprep --array=0-{last}%{at_once} \\
        --cpus-per-task={cpus} --mem={memory_gb}G --time={minutes}{partition} \\
        --output={logs}/slurm-%A_%a.out "$0" participant)
    sbatch --job-name=qsmprep-group --dependency="afterany:${{jobs%%;*}}" \\
        --cpus-per-task=1 --mem=2G --time=60{partition} \\
        --output={logs}/slurm-%j-group.out "$0" group
    ;;
participant)
    exec {qsmprep} {bids_dir} {output_dir} participant \\
        --participant-label "${{participants[$SLURM_ARRAY_TASK_ID]}}" \\
        --nprocs {cpus} --mem {memory_gb}G --work-dir {work_dir}{flags}
    ;;
group)
    exec {qsmprep} {bids_dir} {output_dir} group
    ;;
esac
"""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Write the script.

    Parameters
    ----------
    argv
        Arguments; those of the process by default. What follows ``--`` is handed to qsmprep.

    Returns
    -------
    int
        One of :mod:`qsmprep.cli.exit_codes`.

    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    split = arguments.index('--') if '--' in arguments else len(arguments)
    parser, flags = build_parser(), arguments[split + 1 :]
    given = parser.parse_args(arguments[:split])
    _check_flags(parser, given, flags)
    try:
        dataset = open_dataset(given.bids_dir)
        participants = select_participants(dataset, given.participants or ())
        text = render(dataset, participants, given, flags)
        given.script.write_text(text)
        given.script.chmod(0o755)
    except (InputError, SettingsError, OSError) as error:
        print(f'qsmprep-slurm: error: {error}', file=sys.stderr)
        return exit_codes.FAILURE
    print(f'{len(participants)} participants; submit with: bash {shlex.quote(str(given.script))}')
    return exit_codes.OK


def _check_flags(
    parser: argparse.ArgumentParser, given: argparse.Namespace, flags: Sequence[str]
) -> None:
    """Refuse flags that qsmprep would refuse in each job, or that are not for all jobs."""
    folders = [str(path) for path in (given.bids_dir, given.output_dir)]
    if not given.bids_dir.is_dir():
        return  # which is said by the dataset's reader
    _, settings = parse_args([*folders, 'participant', '-w', str(given.work_dir), *flags])
    if settings.inputs.participants:
        parser.error('each job has a participant of its own: give --participant-label before --')


def render(
    dataset: Dataset,
    participants: Sequence[str],
    given: argparse.Namespace,
    flags: Sequence[str] = (),
) -> str:
    """
    Text of the script.

    Parameters
    ----------
    dataset
        The dataset.
    participants
        Labels without ``sub-``.
    given
        Arguments of the command.
    flags
        Flags that every job hands to qsmprep.

    """
    memory_gb, minutes = resources(dataset, participants)
    folders = {
        key: shlex.quote(str(path.absolute()))
        for key, path in (
            ('bids_dir', given.bids_dir),
            ('output_dir', given.output_dir),
            ('work_dir', given.work_dir),
            ('logs', given.output_dir / 'logs'),
        )
    }
    partition = f' --partition={shlex.quote(given.partition)}' if given.partition else ''
    return SCRIPT.format(
        name=given.script.name,
        participants=' '.join(participants),
        last=len(participants) - 1,
        at_once=given.at_once,
        cpus=given.cpus,
        memory_gb=given.mem or memory_gb,
        minutes=given.minutes or minutes,
        partition=partition,
        qsmprep=given.qsmprep,
        flags=''.join(f' {shlex.quote(flag)}' for flag in flags),
        **folders,
    )


def resources(dataset: Dataset, participants: Sequence[str]) -> tuple[int, int]:
    """
    Memory [GB] and time [min] that any of some participants needs, from their headers.

    Parameters
    ----------
    dataset
        The dataset.
    participants
        Labels without ``sub-``.

    """
    most_gb, most_minutes = 0.0, 0.0
    for participant in participants:
        voxels: dict[str, list[int]] = {}
        for image in dataset.images(participant, 'anat', ('MEGRE', 'T2starw')):
            try:
                shape = read_header(image.path).get_data_shape()
            except InputError:
                continue  # the job of this participant will report it
            stem = image.name.partition('_echo-')[0]
            voxels.setdefault(stem, []).append(math.prod(int(n) for n in shape[:3]))
        for sizes in voxels.values():
            volume_gb, echoes_gb = 4e-9 * max(sizes), 4e-9 * sum(sizes) / 2
            most_gb = max(most_gb, VOLUMES * volume_gb, ECHOES * echoes_gb)
        largest = sum(max(sizes) for sizes in voxels.values())
        most_minutes = max(most_minutes, MINUTES_PER_MEGAVOXEL * largest / 1e6)
    return math.ceil(FIXED_GB + most_gb), math.ceil(FIXED_MINUTES + most_minutes)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``qsmprep-slurm``."""
    parser = Parser(
        prog='qsmprep-slurm',
        usage='%(prog)s BIDS_DIR OUTPUT_DIR SCRIPT [options] [-- flags of qsmprep]',
        description='Write a script that processes a dataset on a Slurm cluster, one job a '
        'participant, and then the group. Memory and time come from the headers.',
    )
    parser.add_argument('bids_dir', type=folder, help='root folder of a BIDS dataset')
    parser.add_argument('output_dir', type=folder, help='root folder of the derivatives')
    parser.add_argument('script', type=Path, help='the script to write')
    parser.add_argument(
        '--participant-label', dest='participants', nargs='+', action='extend', type=label('sub')
    )
    parser.add_argument('-w', '--work-dir', type=Path, default=Path('work'))
    parser.add_argument('--cpus', type=positive(int), default=4, help='of a job (default: 4)')
    parser.add_argument('--mem', type=positive(int), metavar='GB', help='of a job')
    parser.add_argument('--minutes', type=positive(int), help='time limit of a job')
    parser.add_argument('--at-once', type=positive(int), default=50, help='jobs (default: 50)')
    parser.add_argument('--partition', help='partition of the cluster')
    parser.add_argument('--qsmprep', default='qsmprep', help='command, such as apptainer run IMAGE')
    return parser


if __name__ == '__main__':
    sys.exit(main())

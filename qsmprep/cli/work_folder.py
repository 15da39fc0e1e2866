"""The work folder: who uses it, and whether what it holds is whole."""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from qsmprep.bids.derivatives import node_name
from qsmprep.bids.errors import InputError
from qsmprep.bids.files import write_whole

LOGGER = logging.getLogger('qsmprep')
GRAPH = 'qsmprep_wf'
LOCK = '.qsmprep.lock'
SEAL = 'sealed.json'
"""In the folder of a node that has ended: size and CRC-32 of each file that it left."""
CHUNK_BYTES = 2**22


def lock(work_dir: Path, participants: Iterable[str]) -> BinaryIO:
    """
    Reserve a work folder for some participants, for as long as this process lives.

    Each participant is one byte of one file, so that thousands need one file handle.

    Parameters
    ----------
    work_dir
        The work folder.
    participants
        Labels without ``sub-``.

    Returns
    -------
    file
        To be kept; closing it ends the reservation.

    Raises
    ------
    InputError
        If another run works on one of the participants there.

    """
    stream = (work_dir / LOCK).open('ab')
    for label in participants:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, zlib.crc32(label.encode()))
        except (BlockingIOError, PermissionError):
            stream.close()
            raise InputError(
                f'sub-{label} is being processed in the work folder {work_dir} by another run; '
                'wait for its end, or choose another with --work-dir.'
            ) from None
        except OSError as error:
            LOGGER.info('%s cannot be reserved (%s).', work_dir, error)
            break
    return stream


def participant_folder(work_dir: Path, participant: str) -> Path:
    """Where a participant's nodes work."""
    return work_dir / GRAPH / f'sub_{node_name(participant)}_wf'


def seal(folder: Path) -> None:
    """
    Write down what the folder of a node holds, so that later runs notice damage.

    Parameters
    ----------
    folder
        The folder of a node that has ended.

    """
    content = {str(path.relative_to(folder)): _fingerprint(path) for path in _files(folder)}
    write_whole(folder / SEAL, lambda stream: stream.write(json.dumps(content).encode()))


def drop_damaged(folder: Path) -> list[Path]:
    """
    Remove the folders of nodes that are not as they were left, so that these run again.

    Parameters
    ----------
    folder
        Where a participant's nodes work.

    Returns
    -------
    list of pathlib.Path
        What was removed.

    """
    dropped = []
    for result in sorted(folder.rglob('result_*.pklz')):
        if not _is_whole(result.parent):
            LOGGER.warning('%s is damaged or unfinished; its node runs again.', result.parent)
            shutil.rmtree(result.parent)
            dropped.append(result.parent)
    return dropped


def _is_whole(folder: Path) -> bool:
    """Whether a folder holds what its seal says; without one (other plugins) it is trusted."""
    if not (folder / SEAL).exists():
        return True
    try:
        expected = json.loads((folder / SEAL).read_text())
        return all(_fingerprint(folder / name) == tuple(known) for name, known in expected.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob('*'))
        if path.is_file() and not path.is_symlink() and path.name != SEAL
    ]


def _fingerprint(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    size = checksum = 0
    with path.open('rb') as stream:
        while block := stream.read(CHUNK_BYTES):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return size, checksum

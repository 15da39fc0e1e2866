"""Folders that a run writes to."""

from __future__ import annotations

import os
from pathlib import Path

from qsmprep.bids.errors import InputError


def make_folder(folder: Path, argument: str) -> None:
    """
    Make a folder where there is none, before hours are spent on what shall be written to it.

    Parameters
    ----------
    folder
        The folder.
    argument
        Name of the argument by which another can be chosen.

    Raises
    ------
    InputError
        If it cannot be made or written to.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f'The folder {folder} cannot be made ({error.strerror.lower()}); choose another as '
            f'{argument}.'
        ) from error
    if not os.access(folder, os.W_OK):
        raise InputError(f'The folder {folder} cannot be written to; choose another as {argument}.')

"""Files: read with care (links, pipes and devices, encodings, sizes), written whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from qsmprep.bids.errors import InputError

MAX_JSON_BYTES = 2**24
MAX_DEPTH = 32


def check_path(path: str | Path) -> Path:
    """
    Return a path that leads to a regular file.

    A file of a dataset may be a symbolic link that leads out of it: DataLad keeps content under
    ``.git/annex``, and shared storage is often linked. Only names below the dataset's root are
    looked up, so no label can climb out of it.

    Raises
    ------
    InputError
        If a link leads nowhere, or to something that is no file.

    """
    path = Path(path)
    try:
        exists, regular = path.exists(), path.is_file()
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error.strerror}; check its folder.') from error
    if path.is_symlink() and not exists:
        raise InputError(
            f'{path} is a link whose target is missing; fetch the content first (datalad get or '
            'git annex get) or, in a container, bind the folder that it points to.'
        )
    if not exists:
        raise InputError(f'{path} is no longer there; run again when the dataset is complete.')
    if not regular:
        raise InputError(f'{path} is no regular file; remove it or replace it by one.')
    if not os.access(path, os.R_OK):
        raise InputError(f'{path} cannot be read: permission denied; check its rights.')
    return path


POINTERS = {
    b'/annex/': 'datalad get or git annex get',
    b'version https://git-lfs': 'git lfs pull',
}
"""How files begin that stand for content which lies elsewhere -> what fetches it."""


def check_fetched(path: Path) -> None:
    """
    Complain of a file that is a pointer to content, as git-annex and Git LFS leave them.

    Raises
    ------
    InputError
        If it is one.

    """
    try:
        with path.open('rb') as stream:
            begin = stream.read(max(map(len, POINTERS)))
    except OSError:
        return
    for words, command in POINTERS.items():
        if begin.startswith(words):
            raise InputError(
                f'{path} stands for content that has not been fetched; fetch it first ({command}).'
            )


def read_json(path: str | Path):
    """
    Read a JSON file in UTF-8, with or without a byte order mark.

    A key that occurs twice with different values gets the list of both, which no check takes for
    the one value that is expected.

    Raises
    ------
    InputError
        If it cannot be read.

    """
    path = check_path(path)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError(
                f'{path} has {path.stat().st_size} bytes, but a JSON file of at most '
                f'{MAX_JSON_BYTES} is expected; replace it.'
            )
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error.strerror}; check its rights.') from error
    try:
        content = json.loads(raw.decode('utf-8-sig'), object_pairs_hook=_merge)
    except UnicodeDecodeError as error:
        raise InputError(
            f'{path} is not UTF-8 (byte {raw[error.start]:#04x} at position {error.start}), as '
            'JSON must be; where it is Latin-1, convert it with iconv -f ISO-8859-1 -t UTF-8.'
        ) from error
    except (ValueError, RecursionError) as error:
        check_fetched(path)
        raise InputError(f'{path} is no readable JSON: {error}; correct or remove it.') from error
    if _is_deeper(content, MAX_DEPTH):
        raise InputError(
            f'{path} holds lists and objects nested more than {MAX_DEPTH} deep; replace it.'
        )
    return content


def _merge(pairs: list[tuple[str, object]]) -> dict:
    """Object of pairs in which a key may occur twice."""
    content: dict = {}
    for key, value in pairs:
        if key in content and content[key] != value:
            value = [content[key], value]
        content[key] = value
    return content


def read_json_object(path: str | Path) -> dict:
    """
    Read a JSON file that holds an object.

    Raises
    ------
    InputError
        If it cannot be read or holds something else.

    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(
            f'{path} holds a {type(content).__name__}, but a JSON object with keys and values is '
            'expected; correct it.'
        )
    return content


def sidecar_of(image: Path) -> Path:
    """
    Path of the JSON file beside an image.

    Examples
    --------
    >>> sidecar_of(Path('sub-01_Chimap.nii.gz')).name
    'sub-01_Chimap.json'

    """
    return image.with_name(image.name.removesuffix('.gz').removesuffix('.nii') + '.json')


def read_sidecar_of(image: Path) -> dict:
    """
    Content of the JSON file beside an image, empty where there is none.

    Raises
    ------
    InputError
        If it cannot be read or holds no object.

    """
    sidecar = sidecar_of(image)
    return read_json_object(sidecar) if sidecar.is_file() else {}


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """
    Write a file so that a reader sees either the old one or the whole new one.

    Parameters
    ----------
    path
        The file.
    write
        Writes its content to a stream.

    """
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        with partial.open('wb') as stream:
            write(stream)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _is_deeper(content: object, depth: int) -> bool:
    """Whether lists and objects are nested deeper than that."""
    level = [content]
    for _ in range(depth + 1):
        level = [
            item
            for container in level
            if isinstance(container, list | dict)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
    return bool(level)

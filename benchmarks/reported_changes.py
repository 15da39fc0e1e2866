"""What converters, scanners and people do to files, as functions that alter a dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from reported_data import Raw, read, set_header, sidecar, store


def phase(change: Callable, **keywords) -> Callable:
    """Change the values of the phase."""
    return lambda root: Raw(root).values('phase', change, **keywords)


def magnitude(change: Callable, **keywords) -> Callable:
    """Change the values of the magnitude."""
    return lambda root: Raw(root).values('mag', change, **keywords)


def sidecars(**keywords) -> Callable:
    """Change sidecars."""
    return lambda root: Raw(root).sidecars(**keywords)


def signal(change: Callable) -> Callable:
    """Change the complex signal."""
    return lambda root: Raw(root).signal(change)


def geometry(change: Callable) -> Callable:
    """Change values and affines of all images."""
    return lambda root: Raw(root).geometry(change)


def headers(part: str = '*', echo: int | str = '*', **fields) -> Callable:
    """Set fields of headers."""

    def alter(root: Path) -> None:
        for path in Raw(root).files(part, echo):
            set_header(path, **fields)

    return alter


def on_files(change: Callable[[Path], object], part: str = '*', echo: int | str = '*') -> Callable:
    """Do something to some files."""

    def alter(root: Path) -> None:
        for path in Raw(root).files(part, echo):
            change(path)

    return alter


def rename(change: Callable[[str], str], part: str = '*', echo: int | str = '*') -> Callable:
    """Rename images with their sidecars."""

    def alter(root: Path) -> None:
        files = [x for path in Raw(root).files(part, echo) for x in (path, sidecar(path))]
        for file in files:  # aside, for new names may be old ones
            file.rename(file.with_name(f'{file.name}.old'))
        for file in files:
            file.with_name(f'{file.name}.old').rename(file.with_name(change(file.name)))

    return alter


def exchange(part: str, first: int, second: int, other_part: str = '') -> Callable:
    """Exchange the images of two echoes (or of two parts); sidecars stay."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        one, other = raw.files(part, first)[0], raw.files(other_part or part, second)[0]
        data = read(one)
        store(one, read(other))
        store(other, data)

    return alter


def complex_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise of both channels, each with an SD of one."""
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def remove(part: str, echo: int | str) -> Callable:
    """Remove images with their sidecars."""

    def alter(root: Path) -> None:
        for path in Raw(root).files(part, echo):
            path.unlink()
            sidecar(path).unlink()

    return alter


def both(*changes: Callable) -> Callable:
    """One change after another."""

    def alter(root: Path) -> None:
        for change in changes:
            change(root)

    return alter


def annexed(root: Path) -> None:
    """Images are links into an annex."""
    store_at = root / '.git' / 'annex' / 'objects'
    store_at.mkdir(parents=True)
    for path in Raw(root).files():
        path.rename(store_at / path.name)
        path.symlink_to(Path('../../.git/annex/objects') / path.name)


def scaled(factor: float) -> Callable:
    """Voxels larger or smaller by a factor, the head with them."""
    return geometry(lambda data, affine: (data, np.diag([factor] * 3 + [1.0]) @ affine))


def slices(z: np.ndarray, echo: int) -> np.ndarray:
    """Every second slice turned by pi."""
    return z * np.where(np.arange(z.shape[2]) % 2, -1, 1)


def cut_file(path: Path) -> None:
    """Cut a file to two thirds of its length."""
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])


def elsewhere(*parts_of: str) -> Callable:
    """Copies of images under other names, the old ones stay: pairs of old and new text."""
    old, new = parts_of

    def change(path: Path) -> None:
        shutil.copy(path, path.with_name(path.name.replace(old, new)))

    return on_files(change)

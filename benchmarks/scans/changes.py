"""What converters, scanners and people do to files, as functions that alter a dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scans.dataset import Raw, read, set_header, store
from scipy import ndimage

TIMES = (0.004, 0.012, 0.020, 0.028)
"""Echo times of the usual scan [s]."""


def values(change: Callable, part: str = '*', **keywords) -> Callable:
    """Change the values of images."""
    return lambda root: Raw(root).values(part, change, **keywords)


def phase(change: Callable, **keywords) -> Callable:
    """Change the values of the phase."""
    return values(change, 'phase', **keywords)


def magnitude(change: Callable, **keywords) -> Callable:
    """Change the values of the magnitude."""
    return values(change, 'mag', **keywords)


def sidecars(**keywords) -> Callable:
    """Change sidecars."""
    return lambda root: Raw(root).sidecars(**keywords)


def signal(change: Callable, only: int | None = None) -> Callable:
    """Change the complex signal, of one echo (counted from one) where its number is given."""

    def of_one(z: np.ndarray, echo: int) -> np.ndarray:
        return change(z, echo) if only in (None, echo + 1) else z

    return lambda root: Raw(root).signal(of_one)


def by_parts(change: Callable, z: np.ndarray) -> np.ndarray:
    """Change the real and the imaginary part, each by itself."""
    return change(z.real) + 1j * change(z.imag)


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


def times(change: Callable[[float], object], part: str = '*', echo: int | str = '*') -> Callable:
    """Change the echo times."""
    return sidecars(part=part, echo=echo, EchoTime=lambda s: change(s['EchoTime']))


def rename(change: Callable[[str], str], part: str = '*', echo: int | str = '*') -> Callable:
    """Rename images with their sidecars."""

    def alter(root: Path) -> None:
        files = Raw(root).with_sidecars(part, echo)
        for file in files:  # aside, for new names may be old ones
            file.rename(file.with_name(f'{file.name}.old'))
        for file in files:
            file.with_name(f'{file.name}.old').rename(file.with_name(change(file.name)))

    return alter


def relabel(old: str, new: str, part: str = '*', echo: int | str = '*') -> Callable:
    """Other text in the names of images and sidecars."""
    return rename(lambda name: name.replace(old, new), part, echo)


def label_all(label: str) -> Callable:
    """Names with one more label."""
    return relabel('sub-01_', f'sub-01_{label}_')


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
        for file in Raw(root).with_sidecars(part, echo):
            file.unlink()

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


def elsewhere(
    old: str, new: str, part: str = '*', echo: int | str = '*', beside: bool = False
) -> Callable:
    """Copies of images under other names, sidecars beside them or not; the old ones stay."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        for path in raw.with_sidecars(part, echo) if beside else raw.files(part, echo):
            shutil.copy(path, path.with_name(path.name.replace(old, new)))

    return alter


def in_t1w(degrees: float) -> Callable:
    """All turned about x by an angle and resampled as complex numbers, the header straight."""

    def alter(root: Path) -> None:
        def turn(data: np.ndarray, order: int = 1) -> np.ndarray:
            return ndimage.rotate(data, degrees, (1, 2), reshape=False, order=order)

        raw = Raw(root)
        raw.signal(lambda z, echo: by_parts(turn, z))
        for path in sorted((root / 'derivatives').rglob('sub-01*.nii.gz')):
            order = 0 if path.name.endswith('mask.nii.gz') else 1
            store(path, turn(read(path), order))

    return alter

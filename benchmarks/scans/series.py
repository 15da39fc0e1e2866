"""Scans of ``reported.py`` by single images of a series: one echo, one run, one header."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from scans.changes import (
    both,
    complex_noise,
    elsewhere,
    geometry,
    label_all,
    magnitude,
    on_files,
    phase,
    sidecars,
    signal,
)
from scans.dataset import failed, of_kind, read, refused, right, set_header, store, told, write
from scans.scanner import ghost, spike
from scipy import ndimage

PI = np.pi


def eddy(z: np.ndarray, echo: int) -> np.ndarray:
    """Every second echo has a phase that grows with the square of x, as eddy currents leave."""
    x = np.linspace(-1, 1, z.shape[0])
    return z * np.exp(1j * (1.5 * x**2 + 0.7 * x) * (echo % 2))[:, None, None]


def own_ramp(z: np.ndarray, echo: int) -> np.ndarray:
    """A ramp and a constant of its own, as in a first echo that alone is flow compensated."""
    y = np.linspace(-1, 1, z.shape[1])
    return z * np.exp(1j * (1.2 * y + 0.4))[None, :, None]


def zipper(z: np.ndarray, echo: int) -> np.ndarray:
    """A line of radio interference."""
    turns = np.random.default_rng(3).uniform(size=z.shape[::2])
    line = np.zeros_like(z)
    line[:, z.shape[1] // 2] = 0.7 * np.abs(z).max() * np.exp(2j * PI * turns)
    return z + line


def noisy(sd: float) -> Callable:
    """Noise with an SD in units of the head's signal."""

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        noise = complex_noise(z.shape, np.random.default_rng(echo))
        return z + sd * np.percentile(np.abs(z), 98) * noise

    return change


def moved(z: np.ndarray, echo: int = 0) -> np.ndarray:
    """The head lies 3 mm away."""
    return np.roll(z, 1, axis=0)


def slice_by_slice(p: np.ndarray) -> np.ndarray:
    """Unwrapped slice by slice: each has a multiple of 2 pi of its own."""
    turns = np.random.default_rng(0).integers(-2, 3, p.shape[2])
    return np.unwrap(p, axis=0) + 2 * PI * turns


def tilted_header(degrees: float) -> Callable:
    """The headers say that the image is oblique, and it is not."""
    a = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    return geometry(lambda data, affine: (data, turn @ affine))


def distance(factor: float) -> Callable:
    """Slices whose distance in the headers is another."""
    return geometry(lambda data, affine: (data, affine @ np.diag([1, 1, factor, 1.0])))


def second_run(change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """A second run, changed."""

    def alter(root: Path) -> None:
        both(label_all('run-1'), elsewhere('run-1', 'run-2', beside=True))(root)
        pairs = (sorted(root.glob(f'sub-01/anat/*run-2*part-{x}*.gz')) for x in ('mag', 'phase'))
        for first, second in zip(*pairs, strict=True):
            z = change(read(first) * np.exp(1j * read(second)))
            store(first, np.abs(z).astype(np.float32))
            store(second, np.angle(z).astype(np.float32))

    return alter


def more_axes(path: Path) -> None:
    """Seven axes, the last four of one."""
    image = nb.load(path)
    data = np.asarray(image.dataobj)
    write(path, data.reshape(data.shape + (1,) * 4), image.affine)


def named_compressed(path: Path) -> None:
    """Not compressed, though the name says so."""
    plain = path.with_name('plain.nii')
    nb.save(nb.load(path), plain)
    plain.rename(path)


def partly_compressed(path: Path) -> None:
    """Every second echo not compressed."""
    if 'echo-2' in path.name or 'echo-4' in path.name:
        image = nb.load(path)
        write(path.with_name(path.name.removesuffix('.gz')), read(path), image.affine)
        path.unlink()


def scaled_integers(dtype: type, slope: float) -> Callable:
    """Phase as whole numbers with a slope that is no round number."""

    def change(path: Path) -> None:
        write(path, np.rint(read(path) / slope).astype(dtype), nb.load(path).affine)
        set_header(path, scl_slope=slope, scl_inter=0)

    return on_files(change, 'phase')


def saturated(m: np.ndarray) -> np.ndarray:
    """Half of the signal lies above the largest number that is stored."""
    return np.minimum(m, np.percentile(m[m > 0.1 * m.max()], 50))


SCANS = of_kind(
    'series',
    told('eddy currents of second order', signal(eddy), 'Misfit'),
    told('first echo with a ramp of its own', signal(own_ramp, only=1), 'Misfit'),
    right('zipper in the second echo', signal(zipper, only=2)),
    failed('ghost in the second echo', signal(ghost, only=2), '.'),
    right('spike in the second echo', signal(spike, only=2)),
    right('second echo ten times as noisy', signal(noisy(0.15), only=2)),
    right('SNR of 8', signal(noisy(0.1))),
    right('two echoes, bipolar', words='two echoes', source='--bipolar 3 --tes 5 15'),
    failed('two echoes, a ghost in one', signal(ghost, only=2), '.', source='--tes 5 15'),
    told(
        'two echoes, the second 3 mm away',
        signal(moved, only=2),
        'Motion|Misfit',
        source='--tes 5 15',
    ),
    right('unwrapped slice by slice', phase(slice_by_slice), 'wrapped'),
    failed('phase through a median filter', phase(lambda p: ndimage.median_filter(p, 3)), '.'),
    failed('header oblique by 30 degrees, image not', tilted_header(30), 'B0'),
    told('header oblique by 15 degrees, image not', tilted_header(15), 'B0'),
    failed('slices of 4.5 mm called 3 mm', distance(2 / 3), '.', source='--voxel 3 3 4.5'),
    failed('slices of 4.5 mm called 9 mm', distance(2), '.', source='--voxel 3 3 4.5'),
    right('repeat 3 mm away, averaged', second_run(moved), flags='--average-runs'),
    failed(
        'repeat is noise, averaged',
        second_run(lambda z: noisy(3)(z, 1)),
        'run-2',
        flags='--average-runs',
    ),
    failed(
        'repeat with the other sign, averaged', second_run(np.conj), 'run-2', flags='--average-runs'
    ),
    refused('seven axes', on_files(more_axes), 'squeeze'),
    refused('named .gz, not compressed', on_files(named_compressed), 'gz'),
    right('half of the files compressed', on_files(partly_compressed)),
    right(
        'zeros after the end of the file',
        on_files(lambda path: path.write_bytes(path.read_bytes() + bytes(512))),
    ),
    right('phase in 16 bits, odd slope', scaled_integers(np.int16, 1.0001e-4)),
    right(
        'phase unsigned with a slope of 2 pi by 65535',
        both(phase(lambda p: p + PI), scaled_integers(np.uint16, 2 * PI / 65535)),
        '0 to 2 pi',
    ),
    failed('magnitude saturated', magnitude(saturated), '.'),
    told(
        'magnitude scaled echo by echo in 8 bits',
        magnitude(lambda m: 255 * m / m.max(), dtype=np.uint8),
        'R2',
    ),
    told('magnitude less its noise floor', magnitude(lambda m: m - 0.05 * m.max()), 'negative'),
    told(
        'two flip angles',
        sidecars(FlipAngle=lambda s: 6 if s['EchoTime'] < 0.015 else 21),
        'FlipAngle 6 and 21',
    ),
    told(
        'half of the echoes an hour later',
        sidecars(AcquisitionTime=lambda s: f'1{int(s["EchoTime"] > 0.015)}:00:00.0'),
        'AcquisitionTime',
    ),
    told(
        'water of a Dixon scan',
        sidecars(ImageType=['DERIVED', 'PRIMARY', 'DIXON', 'WATER']),
        'WATER',
    ),
    right('feet first, prone', sidecars(PatientPosition='FFP')),
    told(
        '9.4 T called 7 T',
        sidecars(MagneticFieldStrength=7, drop='ImagingFrequency'),
        'field strength|MagneticFieldStrength',
        source='--b0 9.4 --tes 3 8 13 18',
    ),
    right('haemorrhage at the surface', source='--lesions haemorrhage'),
    right('voxels of 6 mm', source='--voxel 6'),
)

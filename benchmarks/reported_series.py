"""Scans of ``reported.py`` by single images of a series: one echo, one run, one header."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import (
    both,
    complex_noise,
    geometry,
    magnitude,
    on_files,
    phase,
    sidecars,
    signal,
)
from reported_data import Scan, read, set_header, store, write
from reported_entities import again, label_all
from reported_scanner import ghost, spike
from scipy import ndimage

PI = np.pi
TWO = ('--tes', '5', '15')
THICK = ('--voxel', '3', '3', '4.5')


def in_echo(change: Callable, wanted: int) -> Callable:
    """Change the signal of one echo alone."""
    return signal(lambda z, echo: change(z, echo) if echo == wanted else z)


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
        both(again('sub-01_run-2_'), label_all('run-1'))(root)
        for path in root.glob('sub-01/anat/*run-1_run-2*'):
            path.rename(path.with_name(path.name.replace('run-1_', '')))
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


SCANS: tuple[Scan, ...] = (
    Scan('series', 'eddy currents of second order', signal(eddy), 'told', 'Misfit'),
    Scan('series', 'first echo with a ramp of its own', in_echo(own_ramp, 0), 'told', 'Misfit'),
    Scan('series', 'zipper in the second echo', in_echo(zipper, 1)),
    Scan('series', 'ghost in the second echo', in_echo(ghost, 1), 'failed', '.'),
    Scan('series', 'spike in the second echo', in_echo(spike, 1)),
    Scan('series', 'second echo ten times as noisy', in_echo(noisy(0.15), 1)),
    Scan('series', 'SNR of 8', signal(noisy(0.1))),
    Scan('series', 'two echoes, bipolar', source=('--bipolar', '3', *TWO), words='two echoes'),
    Scan('series', 'two echoes, a ghost in one', in_echo(ghost, 1), 'failed', '.', source=TWO),
    Scan(
        'series',
        'two echoes, the second 3 mm away',
        in_echo(moved, 1),
        'told',
        'Motion|Misfit',
        source=TWO,
    ),
    Scan('series', 'unwrapped slice by slice', phase(slice_by_slice), words='wrapped'),
    Scan(
        'series',
        'phase through a median filter',
        phase(lambda p: ndimage.median_filter(p, 3)),
        'failed',
        '.',
    ),
    Scan('series', 'header oblique by 30 degrees, image not', tilted_header(30), 'failed', 'B0'),
    Scan('series', 'header oblique by 15 degrees, image not', tilted_header(15), 'told', 'B0'),
    Scan('series', 'slices of 4.5 mm called 3 mm', distance(2 / 3), 'failed', '.', source=THICK),
    Scan('series', 'slices of 4.5 mm called 9 mm', distance(2), 'failed', '.', source=THICK),
    Scan('series', 'repeat 3 mm away, averaged', second_run(moved), flags=('--average-runs',)),
    Scan(
        'series',
        'repeat is noise, averaged',
        second_run(lambda z: noisy(3)(z, 1)),
        'failed',
        'run-2',
        flags=('--average-runs',),
    ),
    Scan(
        'series',
        'repeat with the other sign, averaged',
        second_run(np.conj),
        'failed',
        'run-2',
        flags=('--average-runs',),
    ),
    Scan('series', 'seven axes', on_files(more_axes), 'refused', 'squeeze'),
    Scan('series', 'named .gz, not compressed', on_files(named_compressed), 'refused', 'gz'),
    Scan('series', 'half of the files compressed', on_files(partly_compressed)),
    Scan(
        'series',
        'zeros after the end of the file',
        on_files(lambda path: path.write_bytes(path.read_bytes() + bytes(512))),
    ),
    Scan('series', 'phase in 16 bits, odd slope', scaled_integers(np.int16, 1.0001e-4)),
    Scan(
        'series',
        'phase unsigned with a slope of 2 pi by 65535',
        both(phase(lambda p: p + PI), scaled_integers(np.uint16, 2 * PI / 65535)),
        words='0 to 2 pi',
    ),
    Scan('series', 'magnitude saturated', magnitude(saturated), 'failed', '.'),
    Scan(
        'series',
        'magnitude scaled echo by echo in 8 bits',
        magnitude(lambda m: 255 * m / m.max(), dtype=np.uint8),
        'told',
        'R2',
    ),
    Scan(
        'series',
        'magnitude less its noise floor',
        magnitude(lambda m: m - 0.05 * m.max()),
        'told',
        'negative',
    ),
    Scan(
        'series',
        'two flip angles',
        sidecars(FlipAngle=lambda s: 6 if s['EchoTime'] < 0.015 else 21),
        'told',
        'FlipAngle 6 and 21',
    ),
    Scan(
        'series',
        'half of the echoes an hour later',
        sidecars(AcquisitionTime=lambda s: f'1{int(s["EchoTime"] > 0.015)}:00:00.0'),
        'told',
        'AcquisitionTime',
    ),
    Scan(
        'series',
        'water of a Dixon scan',
        sidecars(ImageType=['DERIVED', 'PRIMARY', 'DIXON', 'WATER']),
        'told',
        'WATER',
    ),
    Scan('series', 'feet first, prone', sidecars(PatientPosition='FFP')),
    Scan(
        'series',
        '9.4 T called 7 T',
        sidecars(MagneticFieldStrength=7, drop=('ImagingFrequency',)),
        'told',
        'field strength|MagneticFieldStrength',
        source=('--b0', '9.4', '--tes', '3', '8', '13', '18'),
    ),
    Scan('series', 'haemorrhage at the surface', source=('--lesions', 'haemorrhage')),
    Scan('series', 'voxels of 6 mm', source=('--voxel', '6')),
)

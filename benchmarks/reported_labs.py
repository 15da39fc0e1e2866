"""Scans of ``reported.py`` as scanners, converters and laboratories of any kind leave them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import (
    both,
    exchange,
    geometry,
    magnitude,
    phase,
    remove,
    scaled,
    sidecars,
    signal,
)
from reported_data import Raw, Scan, read, sidecar, store, write
from reported_headers import cropped
from reported_phase import of_maker
from reported_scanner import in_kspace
from scipy import ndimage

PI = np.pi
TIMES = (0.004, 0.012, 0.020, 0.028)


def in_turn(root: Path) -> None:
    """Slices of magnitude and phase take turns in both files, as single-band references of XA30."""
    raw = Raw(root)
    for one, other in zip(raw.files('mag'), raw.files('phase'), strict=True):
        first, second = read(one), read(other)
        even = np.arange(first.shape[2]) % 2 == 0
        store(one, np.where(even, first, second))
        store(other, np.where(even, second, first))


def stacked_along_z(root: Path) -> None:
    """Slices of all echoes above each other in each file: a GE series that was not split."""
    raw = Raw(root)
    for part in ('mag', 'phase'):
        files = raw.files(part)
        for path in files:
            tower = np.concatenate([read(x) for x in files], axis=2)
            write(path.with_name(f'new_{path.name}'), tower, nb.load(path).affine)
        for path in files:
            path.with_name(f'new_{path.name}').replace(path)


def turned_slices_of(echo: int) -> Callable:
    """Every second slice turned by pi in one echo alone."""

    def change(z: np.ndarray, number: int) -> np.ndarray:
        sign = np.where(np.arange(z.shape[2]) % 2, -1, 1)
        return z * sign if number == echo else z

    return signal(change)


def blocks(z: np.ndarray, echo: int) -> np.ndarray:
    """Blocks of 24 mm have constants of their own in each echo, as adaptive combination leaves."""
    rng = np.random.default_rng(echo)
    coarse = rng.normal(0, 0.8, [-(-n // 8) for n in z.shape])
    fine = np.repeat(np.repeat(np.repeat(coarse, 8, 0), 8, 1), 8, 2)
    return z * np.exp(1j * fine[tuple(slice(n) for n in z.shape)])


def poles(z: np.ndarray, echo: int) -> np.ndarray:
    """A fringe line between two poles in the brain, in another place in each echo."""
    x, y = np.indices(z.shape[:2], dtype=float)
    c = (0.4 + 0.05 * echo) * z.shape[0], 0.45 * z.shape[1]
    angle = np.arctan2(y - c[1], x - c[0]) - np.arctan2(y - c[1] - 8, x - c[0] - 3)
    return z * np.exp(1j * angle)[..., None]


def high_passed_last(z: np.ndarray, echo: int) -> np.ndarray:
    """The last echo was filtered for SWI, the others were not."""
    if echo < 3:
        return z
    low = ndimage.gaussian_filter(z.real, 4) + 1j * ndimage.gaussian_filter(z.imag, 4)
    return np.abs(z) * np.exp(1j * np.angle(z * low.conj()))


def smoothed(z: np.ndarray, echo: int) -> np.ndarray:
    """Denoised by a Gaussian of a third of a voxel, real and imaginary parts each."""
    return ndimage.gaussian_filter(z.real, 0.4) + 1j * ndimage.gaussian_filter(z.imag, 0.4)


def no_phase_in_noise(root: Path) -> None:
    """Phase set to zero where an echo has less than a tenth of its largest signal."""
    raw = Raw(root)
    for one, other in zip(raw.files('mag'), raw.files('phase'), strict=True):
        m = read(one)
        store(other, np.where(m > 0.1 * np.percentile(m, 99), read(other), 0))


def cut_face(part: str, depth: float) -> Callable:
    """Zeros in the front of the head below its middle, as defacing leaves."""

    def change(x: np.ndarray) -> np.ndarray:
        y, z = (np.linspace(0, 1, n) for n in x.shape[1:])
        face = (y[:, None] > 1 - depth) & (z[None] < 0.45)
        return np.where(face, 0, x)

    def alter(root: Path) -> None:
        for name in (part,) if part != '*' else ('mag', 'phase'):
            Raw(root).values(name, change)

    return alter


def field_of(chi_ppm: float, radius_mm: float, place: tuple[float, float, float]) -> Callable:
    """A ball without signal in the head, and its field outside."""

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        offset = [
            3 * (p - f * n)
            for p, f, n in zip(np.indices(z.shape, dtype=float), place, z.shape, strict=True)
        ]
        r = np.sqrt(sum(o**2 for o in offset)) + 1e-3
        field = chi_ppm / 3 * (radius_mm / r) ** 3 * (3 * (offset[2] / r) ** 2 - 1)
        turned = z * np.exp(2j * PI * 127.7 * field * TIMES[echo])
        return np.where(r < radius_mm, 0.01 * z, turned)

    return signal(change)


def lines_breathe(z: np.ndarray, echo: int) -> np.ndarray:
    """The frequency changes by 2 Hz with breathing while the lines are measured."""
    hertz = 2 * np.sin(2 * PI * np.arange(z.shape[1]) / 7.3)
    return in_kspace(z, lambda k: k * np.exp(2j * PI * hertz * TIMES[echo])[None, :, None])


def drifting(z: np.ndarray, echo: int) -> np.ndarray:
    """The frequency drifts by 10 Hz over the scan."""
    hertz = np.linspace(-5, 5, z.shape[1])
    return in_kspace(z, lambda k: k * np.exp(2j * PI * hertz * TIMES[echo])[None, :, None])


def planar(z: np.ndarray, echo: int) -> np.ndarray:
    """Distorted along y by a voxel for 60 Hz, as in EPI; the field comes from the phase."""
    x, y, s = np.indices(z.shape, dtype=float)
    bump = 1.5 * np.exp(-(((y / z.shape[1]) - 0.85) ** 2) / 0.02)
    places = [x, y + bump, s]
    parts = (ndimage.map_coordinates(p, places, order=1, mode='nearest') for p in (z.real, z.imag))
    real, imaginary = parts
    return real + 1j * imaginary


def undone(z: np.ndarray, echo: int) -> np.ndarray:
    """Unfolding failed: a third of the signal from a third of the field of view away."""
    return z + 0.3 * np.roll(z, z.shape[0] // 3, axis=0) * np.exp(0.7j)


def flow(z: np.ndarray, echo: int) -> np.ndarray:
    """Phase of blood that flows up in two vessels, as no gradient compensates it."""
    x, y = np.indices(z.shape[:2], dtype=float)
    c = z.shape[0] / 2, 0.5 * z.shape[1]
    vessel = ((abs(x - c[0]) - 5) ** 2 + (y - c[1]) ** 2) < 4
    return z * np.exp(1.5j * (TIMES[echo] / 0.01) * vessel)[..., None]


def in_t1w(degrees: float) -> Callable:
    """All turned about x by an angle and resampled as complex numbers, the header straight."""

    def alter(root: Path) -> None:
        def turn(data: np.ndarray, order: int = 1) -> np.ndarray:
            return ndimage.rotate(data, degrees, (1, 2), reshape=False, order=order)

        raw = Raw(root)
        raw.signal(lambda z, echo: turn(z.real) + 1j * turn(z.imag))
        for path in sorted((root / 'derivatives').rglob('sub-01*.nii.gz')):
            order = 0 if path.name.endswith('mask.nii.gz') else 1
            write(path, turn(read(path), order), nb.load(path).affine)

    return alter


def affine_of(part: str, echo: int | str, shift_mm: float) -> Callable:
    """Another place in the header of some images, the values are right."""

    def alter(root: Path) -> None:
        for path in Raw(root).files(part, echo):
            affine = nb.load(path).affine.copy()
            affine[1, 3] += shift_mm
            write(path, read(path), affine)

    return alter


def slices_scaled(root: Path) -> None:
    """Each slice of the magnitude in a scale of its own, its slope lost (Philips)."""
    scale = np.random.default_rng(1).uniform(0.4, 1, 200)
    Raw(root).values('mag', lambda m: m * scale[: m.shape[2]])


def two_of(change: Callable[[Path, Path], object]) -> Callable:
    """Give the first participant something of the second, which is then removed."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        phases = raw.files('phase'), raw.files('phase', subject='02')
        for mine, other in zip(*phases, strict=True):
            change(mine, other)
        for folder in (root / 'sub-02', root / 'derivatives' / 'simulation' / 'sub-02'):
            shutil.rmtree(folder)

    return alter


def times(change: Callable[[float], float], part: str = '*') -> Callable:
    """Change the echo times."""
    return lambda root: Raw(root).sidecars(part, EchoTime=lambda s: change(s['EchoTime']))


def without_echo(number: int) -> Callable:
    """One echo was left out of the export."""
    return remove('*', number)


def units(text: str, change: Callable = lambda p: p) -> Callable:
    """Units of the phase as somebody writes them."""
    return both(phase(change), sidecars(part='phase', Units=text))


def lying(root: Path) -> None:
    """An animal that lies as in the scanner: what the header calls up is across B0."""

    def change(data: np.ndarray, affine: np.ndarray) -> tuple:
        turn = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
        return data, turn @ affine

    scaled(1 / 12)(root)
    geometry(change)(root)


def mean_times(root: Path) -> None:
    """The sidecar of each phase holds the time between echoes."""
    Raw(root).sidecars('phase', EchoTime=0.008)
    Raw(root).sidecars('mag', drop=('EchoTime',))


def echo_numbers(root: Path) -> None:
    """A sidecar at the root gives EchoTime for all, as a list by echo number."""
    for path in Raw(root).files():
        content = json.loads(sidecar(path).read_text())
        content.pop('EchoTime')
        sidecar(path).write_text(json.dumps(content))
    (root / 'MEGRE.json').write_text(json.dumps({'EchoTime': list(TIMES)}))


SWAPPED = exchange('mag', 2, 2, 'phase')
FIVE = ('--tes', '4', '9', '14', '19', '24')
SCANS: tuple[Scan, ...] = (
    Scan('lab', 'XA30, slices of both parts in turn', in_turn, 'failed', '.'),
    Scan('lab', 'echoes stacked along z', stacked_along_z, 'failed', '.'),
    Scan(
        'lab',
        'bipolar, third echo left out',
        without_echo(3),
        source=('--bipolar', '3', *FIVE),
    ),
    Scan(
        'lab',
        'bipolar, first echo left out',
        without_echo(1),
        source=('--bipolar', '3', *FIVE),
    ),
    Scan(
        'lab',
        'uneven echoes, centre frequency off by half a turn',
        signal(lambda z, e: z * np.exp(2j * PI * 100 * (0.004, 0.009, 0.0165, 0.027)[e])),
        source=('--tes', '4', '9', '16.5', '27'),
    ),
    Scan('lab', 'second echo alternates by slice (GE)', turned_slices_of(1), 'told', '.'),
    Scan('lab', 'blocks with constants of their own', signal(blocks), 'failed', '.'),
    Scan('lab', 'a fringe line between two poles, moving', signal(poles), 'told', '.'),
    Scan('lab', 'last echo filtered for SWI', signal(high_passed_last), 'told', 'echo|Misfit'),
    Scan('lab', 'denoised', signal(smoothed)),
    Scan('lab', 'phase zero where there is noise', no_phase_in_noise),
    Scan('lab', 'defaced', cut_face('*', 0.15)),
    Scan('lab', 'phase defaced, magnitude not', cut_face('phase', 0.15)),
    Scan('lab', 'defaced into the brain', cut_face('*', 0.3), 'told', '[Mm]ask|signal|[Zz]ero'),
    Scan('lab', 'a cavity of 15 mm above the nose', field_of(9.4, 15, (0.5, 0.97, 0.35))),
    Scan('lab', 'a clip of 4 mm in the brain', field_of(100, 4, (0.4, 0.6, 0.6)), 'told', '.'),
    Scan('lab', 'a reservoir beside the skull', field_of(30, 10, (0.15, 0.5, 0.85)), 'told', '.'),
    Scan('lab', 'breathing while the lines were measured', signal(lines_breathe)),
    Scan('lab', 'drift by 10 Hz', signal(drifting)),
    Scan('lab', 'EPI, distorted', signal(planar)),
    Scan('lab', 'unfolding failed', signal(undone), 'told', '.'),
    Scan('lab', 'flow in two vessels', signal(flow), 'told', '.'),
    Scan('lab', 'turned by 15 degrees, header straight', in_t1w(15), 'told', 'B0|'),
    Scan('lab', 'turned by 30 degrees, header straight', in_t1w(30), 'failed', 'B0'),
    Scan('lab', 'turned by 45 degrees, header straight', in_t1w(45), 'failed', 'B0'),
    Scan('lab', 'magnitudes of two echoes exchanged', exchange('mag', 1, 3), 'told', 'rises|R2'),
    Scan('lab', 'both parts of one echo exchanged', SWAPPED, 'refused', 'echo-2'),
    Scan('lab', 'phase half a voxel away in its header', affine_of('phase', '*', 1.5), 'refused'),
    Scan('lab', 'one echo 12 mm away in its header', affine_of('*', 3, 12), 'refused'),
    Scan('lab', 'slices of the magnitude scaled', slices_scaled, 'told', '.'),
    Scan(
        'lab',
        'phase of another participant',
        two_of(lambda a, b: store(a, read(b))),
        'failed',
        'phase',
        source=('--subjects', '2'),
    ),
    Scan(
        'lab',
        'one echo of another participant',
        two_of(lambda a, b: store(a, read(b)) if 'echo-3' in a.name else None),
        'told',
        '.',
        source=('--subjects', '2'),
    ),
    Scan('lab', 'EchoTime later by 2 ms', times(lambda t: t + 0.002)),
    Scan('lab', 'EchoTime from the first echo on', times(lambda t: t - 0.004), 'refused', '.'),
    Scan('lab', 'EchoTime of half', times(lambda t: t / 2), 'told', 'R2'),
    Scan('lab', 'EchoTime in centiseconds', times(lambda t: 100 * t), 'refused', 'EchoTime'),
    Scan('lab', 'the time between echoes for EchoTime', mean_times, 'refused', 'EchoTime'),
    Scan('lab', 'EchoTime of all in one list at the root', echo_numbers, 'refused', 'echo times'),
    Scan(
        'lab',
        'ultrashort, all in milliseconds',
        times(lambda t: 1000 * t),
        'refused',
        'milliseconds',
        source=('--tes', '0.1', '2', '4', '6'),
    ),
    Scan('lab', 'Units radians', units('radians')),
    Scan('lab', 'Units Rad', units('Rad')),
    Scan('lab', 'Units mrad', units('mrad', lambda p: 1000 * p), 'refused', 'Units|--phase-range'),
    Scan('lab', 'Units empty', units('')),
    Scan(
        'lab',
        'Canon, hundredths of a degree',
        of_maker('CANON_MEC', lambda p: 100 * np.degrees(p), dtype=np.int16),
        'refused',
        '--phase-range',
    ),
    Scan(
        'lab',
        'Bruker, 0 to 2 pi in 16 bits, intercept lost',
        of_maker('Bruker', lambda p: (p + PI) * 10000, dtype=np.uint16, slope=1e-4),
        'refused',
        '--phase-range',
    ),
    Scan(
        'lab',
        'Philips, slope lost',
        of_maker('Philips', lambda p: (p + PI) / (2 * PI) * 4095, dtype=np.int16),
    ),
    Scan(
        'lab',
        '1.5 T called 3 T',
        sidecars(MagneticFieldStrength=3, drop=('ImagingFrequency',)),
        'told',
        'Middle of the local field',
        source=('--b0', '1.5', '--tes', '5', '15', '25', '35'),
    ),
    Scan(
        'lab',
        '7 T called 3 T',
        sidecars(MagneticFieldStrength=3, drop=('ImagingFrequency',)),
        'failed',
        'field strength|MagneticFieldStrength',
        source=('--b0', '7', '--tes', '3', '8', '13', '18'),
    ),
    Scan('lab', '0.35 T', source=('--b0', '0.35', '--tes', '10', '25', '45', '70')),
    Scan('lab', '0.35 T, one echo', source=('--b0', '0.35', '--tes', '60')),
    Scan('lab', '7 T, two echoes 20 ms apart', source=('--b0', '7', '--tes', '4', '24')),
    Scan('lab', '7 T, one echo of 20 ms', source=('--b0', '7', '--tes', '20')),
    Scan('lab', 'head tilted by 50 degrees', source=('--b0-direction', '0', '0.77', '0.64')),
    Scan('lab', 'specimen across B0', source=('--b0-direction', '1', '0', '0'), mask='true'),
    Scan('lab', 'mouse that lies across B0 in its header', lying, 'told', 'B0'),
    Scan('lab', 'voxels of 2 x 3 x 4 mm, sagittal', source=('--voxel', '4', '2', '3')),
    Scan(
        'lab',
        'one half of the head, sagittal slab',
        cropped(slice(0, 32), slice(None), slice(None)),
        'told',
        'slab|volume|field of view',
    ),
    Scan(
        'lab',
        'half of the slices in each file',
        cropped(slice(None), slice(None), slice(0, 28)),
        'told',
        '.',
    ),
    Scan('lab', 'magnitude squared', magnitude(np.square), 'told', 'R2'),
    Scan('lab', 'square root of the magnitude', magnitude(np.sqrt), 'told', 'R2'),
)

"""Scans of ``reported.py`` as scanners, converters and laboratories of any kind leave them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from scans.changes import (
    TIMES,
    both,
    by_parts,
    exchange,
    in_t1w,
    magnitude,
    on_files,
    phase,
    remove,
    scaled,
    sidecars,
    signal,
    slices,
    times,
    values,
)
from scans.dataset import Raw, failed, of_kind, read, refused, right, store, told, write
from scans.headers import across_b0, cropped
from scans.phase import high_passed, of_maker
from scans.scanner import in_kspace
from scipy import ndimage

PI = np.pi


def in_turn(root: Path) -> None:
    """Slices of magnitude and phase take turns in both files, as single-band references of XA30."""
    raw = Raw(root)
    for one, other in raw.pairs():
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
            write(path.with_name(f'new_{path.name}'), tower, path)
        for path in files:
            path.with_name(f'new_{path.name}').replace(path)


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


def smoothed(z: np.ndarray, echo: int) -> np.ndarray:
    """Denoised by a Gaussian of a third of a voxel, real and imaginary parts each."""
    return by_parts(lambda part: ndimage.gaussian_filter(part, 0.4), z)


def no_phase_in_noise(root: Path) -> None:
    """Phase set to zero where an echo has less than a tenth of its largest signal."""
    raw = Raw(root)
    for one, other in raw.pairs():
        m = read(one)
        store(other, np.where(m > 0.1 * np.percentile(m, 99), read(other), 0))


def cut_face(part: str, depth: float) -> Callable:
    """Zeros in the front of the head below its middle, as defacing leaves."""

    def change(x: np.ndarray) -> np.ndarray:
        y, z = (np.linspace(0, 1, n) for n in x.shape[1:])
        face = (y[:, None] > 1 - depth) & (z[None] < 0.45)
        return np.where(face, 0, x)

    return values(change, part)


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
    return by_parts(lambda p: ndimage.map_coordinates(p, places, order=1, mode='nearest'), z)


def undone(z: np.ndarray, echo: int) -> np.ndarray:
    """Unfolding failed: a third of the signal from a third of the field of view away."""
    return z + 0.3 * np.roll(z, z.shape[0] // 3, axis=0) * np.exp(0.7j)


def flow(z: np.ndarray, echo: int) -> np.ndarray:
    """Phase of blood that flows up in two vessels, as no gradient compensates it."""
    x, y = np.indices(z.shape[:2], dtype=float)
    c = z.shape[0] / 2, 0.5 * z.shape[1]
    vessel = ((abs(x - c[0]) - 5) ** 2 + (y - c[1]) ** 2) < 4
    return z * np.exp(1.5j * (TIMES[echo] / 0.01) * vessel)[..., None]


def affine_of(part: str, echo: int | str, shift_mm: float) -> Callable:
    """Another place in the header of some images, the values are right."""

    def change(path: Path) -> None:
        affine = nb.load(path).affine.copy()
        affine[1, 3] += shift_mm
        write(path, read(path), affine)

    return on_files(change, part, echo)


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


def units(text: str, change: Callable = lambda p: p) -> Callable:
    """Units of the phase as somebody writes them."""
    return both(phase(change), sidecars(part='phase', Units=text))


def echo_numbers(root: Path) -> None:
    """A sidecar at the root gives EchoTime for all, as a list by echo number."""
    Raw(root).sidecars(drop='EchoTime')
    (root / 'MEGRE.json').write_text(json.dumps({'EchoTime': list(TIMES)}))


SCANS = of_kind(
    'lab',
    failed('XA30, slices of both parts in turn', in_turn, '.'),
    failed('echoes stacked along z', stacked_along_z, '.'),
    right('bipolar, third echo left out', remove('*', 3), source='--bipolar 3 --tes 4 9 14 19 24'),
    right('bipolar, first echo left out', remove('*', 1), source='--bipolar 3 --tes 4 9 14 19 24'),
    right(
        'uneven echoes, centre frequency off by half a turn',
        signal(lambda z, e: z * np.exp(2j * PI * 100 * (0.004, 0.009, 0.0165, 0.027)[e])),
        source='--tes 4 9 16.5 27',
    ),
    told('second echo alternates by slice (GE)', signal(slices, only=2), '.'),
    failed('blocks with constants of their own', signal(blocks), '.'),
    told('a fringe line between two poles, moving', signal(poles), '.'),
    told('last echo filtered for SWI', high_passed(12, only=4), 'echo|Misfit'),
    right('denoised', signal(smoothed)),
    right('phase zero where there is noise', no_phase_in_noise),
    right('defaced', cut_face('*', 0.15)),
    right('phase defaced, magnitude not', cut_face('phase', 0.15)),
    told('defaced into the brain', cut_face('*', 0.3), '[Mm]ask|signal|[Zz]ero'),
    right('a cavity of 15 mm above the nose', field_of(9.4, 15, (0.5, 0.97, 0.35))),
    told('a clip of 4 mm in the brain', field_of(100, 4, (0.4, 0.6, 0.6)), '.'),
    told('a reservoir beside the skull', field_of(30, 10, (0.15, 0.5, 0.85)), '.'),
    right('breathing while the lines were measured', signal(lines_breathe)),
    right('drift by 10 Hz', signal(drifting)),
    right('EPI, distorted', signal(planar)),
    told('unfolding failed', signal(undone), '.'),
    told('flow in two vessels', signal(flow), '.'),
    told('turned by 15 degrees, header straight', in_t1w(15), 'B0|'),
    failed('turned by 30 degrees, header straight', in_t1w(30), 'B0'),
    failed('turned by 45 degrees, header straight', in_t1w(45), 'B0'),
    told('magnitudes of two echoes exchanged', exchange('mag', 1, 3), 'rises|R2'),
    refused('both parts of one echo exchanged', exchange('mag', 2, 2, 'phase'), 'echo-2'),
    refused('phase half a voxel away in its header', affine_of('phase', '*', 1.5)),
    refused('one echo 12 mm away in its header', affine_of('*', 3, 12)),
    told('slices of the magnitude scaled', slices_scaled, '.'),
    failed(
        'phase of another participant',
        two_of(lambda a, b: store(a, read(b))),
        'phase',
        source='--subjects 2',
    ),
    told(
        'one echo of another participant',
        two_of(lambda a, b: store(a, read(b)) if 'echo-3' in a.name else None),
        '.',
        source='--subjects 2',
    ),
    right('EchoTime later by 2 ms', times(lambda t: t + 0.002)),
    refused('EchoTime from the first echo on', times(lambda t: t - 0.004), '.'),
    told('EchoTime of half', times(lambda t: t / 2), 'R2'),
    refused('EchoTime in centiseconds', times(lambda t: 100 * t), 'EchoTime'),
    refused(
        'the time between echoes for EchoTime',
        both(sidecars(part='phase', EchoTime=0.008), sidecars(part='mag', drop='EchoTime')),
        'EchoTime',
    ),
    refused('EchoTime of all in one list at the root', echo_numbers, 'echo times'),
    refused(
        'ultrashort, all in milliseconds',
        times(lambda t: 1000 * t),
        'milliseconds',
        source='--tes 0.1 2 4 6',
    ),
    right('Units radians', units('radians')),
    right('Units Rad', units('Rad')),
    refused('Units mrad', units('mrad', lambda p: 1000 * p), 'Units|--phase-range'),
    right('Units empty', units('')),
    refused(
        'Canon, hundredths of a degree',
        of_maker('CANON_MEC', lambda p: 100 * np.degrees(p), dtype=np.int16),
        '--phase-range',
    ),
    refused(
        'Bruker, 0 to 2 pi in 16 bits, intercept lost',
        of_maker('Bruker', lambda p: (p + PI) * 10000, dtype=np.uint16, slope=1e-4),
        '--phase-range',
    ),
    right(
        'Philips, slope lost',
        of_maker('Philips', lambda p: (p + PI) / (2 * PI) * 4095, dtype=np.int16),
    ),
    told(
        '1.5 T called 3 T',
        sidecars(MagneticFieldStrength=3, drop='ImagingFrequency'),
        'Middle of the local field',
        source='--b0 1.5 --tes 5 15 25 35',
    ),
    failed(
        '7 T called 3 T',
        sidecars(MagneticFieldStrength=3, drop='ImagingFrequency'),
        'field strength|MagneticFieldStrength',
        source='--b0 7 --tes 3 8 13 18',
    ),
    right('0.35 T', source='--b0 0.35 --tes 10 25 45 70'),
    right('0.35 T, one echo', source='--b0 0.35 --tes 60'),
    right('7 T, two echoes 20 ms apart', source='--b0 7 --tes 4 24'),
    right('7 T, one echo of 20 ms', source='--b0 7 --tes 20'),
    right('head tilted by 50 degrees', source='--b0-direction 0 0.77 0.64'),
    right('specimen across B0', source='--b0-direction 1 0 0'),
    told('mouse that lies across B0 in its header', both(scaled(1 / 12), across_b0), 'B0'),
    right('voxels of 2 x 3 x 4 mm, sagittal', source='--voxel 4 2 3'),
    told(
        'one half of the head, sagittal slab',
        cropped(np.s_[0:32, :, :]),
        'slab|volume|field of view',
    ),
    told('half of the slices in each file', cropped(np.s_[:, :, 0:28]), '.'),
    told('magnitude squared', magnitude(np.square), 'R2'),
    told('square root of the magnitude', magnitude(np.sqrt), 'R2'),
)

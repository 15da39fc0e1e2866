"""Scans of ``reported.py`` of other things than one whole head: phantoms, specimens, animals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scans.changes import TIMES, complex_noise
from scans.dataset import Raw, Scan, failed, of_kind, read, right, write
from scipy import ndimage

HZ_PER_PPM = 127.73
AIR_PPM = 9.4
SIGNAL, MAP = '--brain-extraction signal', '--reference none --inversion tv'
SIDE = (64, 64, 48)


def dipole_field(chi_ppm: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Field along the third axis [ppm] of a susceptibility [ppm], in twice the volume."""
    wide = [2 * n for n in chi_ppm.shape]
    k = np.meshgrid(*(np.fft.fftfreq(n, voxel_mm) for n in wide), indexing='ij', sparse=True)
    squared = sum(x**2 for x in k)
    squared[0, 0, 0] = 1
    kernel = 1 / 3 - k[2] ** 2 / squared
    kernel[0, 0, 0] = 0
    field = np.fft.ifftn(kernel * np.fft.fftn(chi_ppm - chi_ppm[0, 0, 0], wide)).real
    return field[tuple(slice(n) for n in chi_ppm.shape)]


def scanned(make: Callable, voxel_mm: float) -> Callable:
    """Scan an object in place of the head.

    ``make`` is given the coordinates [voxels from the middle], susceptibility [ppm] of a brain
    that fills the field of view and its mask, and returns susceptibility, signal at the first
    echo, and what of it is the object.
    """

    def alter(root: Path) -> None:
        rng = np.random.default_rng(0)
        places = [x - (n - 1) / 2 for x, n in zip(np.indices(SIDE, float), SIDE, strict=True)]
        chi, signal, inside = make(places, *brain_of(root))
        affine = np.diag([voxel_mm] * 3 + [1.0])
        affine[:3, 3] = [-voxel_mm * n / 2 for n in SIDE]
        field_hz = HZ_PER_PPM * dipole_field(chi, voxel_mm)
        coil = 0.3 + 0.01 * places[0] + 0.005 * places[1]
        raw = Raw(root)
        for number, time in enumerate(TIMES):
            phase = 2 * np.pi * field_hz * time + coil
            # voxels whose field is steep lose their signal
            turns = (time * slope for slope in np.gradient(field_hz))
            z = signal * np.prod([np.sinc(x) for x in turns], axis=0)
            z = z * np.exp(-25 * time + 1j * phase)
            z = z + complex_noise(z.shape, rng) / 100
            write(raw.files('mag', number + 1)[0], np.abs(z).astype(np.float32), affine)
            write(raw.files('phase', number + 1)[0], np.angle(z).astype(np.float32), affine)
        truth = raw.truth / 'anat'
        write(truth / 'sub-01_Chimap.nii.gz', np.where(inside, chi, 0).astype('f4'), affine)
        write(truth / 'sub-01_desc-brain_mask.nii.gz', inside, affine)

    return alter


def brain_of(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Susceptibility [ppm] and mask of the simulated brain, stretched to the field of view."""
    brain = Raw(root).brain()
    box = tuple(slice(x.min(), x.max() + 1) for x in np.nonzero(brain))
    chi = read(Raw(root).truth / 'anat' / 'sub-01_Chimap.nii.gz')
    shrink = [(n - 8) / (x.stop - x.start) for n, x in zip(SIDE, box, strict=True)]
    parts = [
        np.pad(ndimage.zoom(x[box], shrink, order=o), 4) for x, o in ((chi, 1), (brain * 1, 0))
    ]
    chi, brain = (ndimage.zoom(x, 1, order=0)[: SIDE[0], : SIDE[1], : SIDE[2]] for x in parts)
    return np.where(brain > 0, chi, 0), brain > 0


def half_size(image: np.ndarray) -> np.ndarray:
    """Every second voxel, in the middle of as many voxels as before."""
    small = image[::2, ::2, ::2]
    return np.pad(
        small,
        [((n - m) // 2, n - m - (n - m) // 2) for n, m in zip(SIDE, small.shape, strict=True)],
    )


def tubes(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """Gel with six tubes of iron in a cylinder along B0, air around."""
    x, y, z = places
    gel = (np.hypot(x, y) < 26) & (abs(z) < 19)
    chi = np.where(gel, 0.0, AIR_PPM)
    for n, ppm in enumerate((0.05, 0.1, 0.2, 0.3, 0.4, 0.5)):
        a = np.pi * n / 3
        chi[gel & (np.hypot(x - 14 * np.cos(a), y - 14 * np.sin(a)) < 4)] = ppm
    return chi, gel.astype(float), gel


def lying_tubes(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """The same, its axis across B0."""
    x, y, z = places
    return tubes([x, 1.2 * z, y / 1.6], tissue, brain)


def balls(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """Six balls of iron and one of calcium in a round bottle of gel, air around."""
    gel = sum((p / r) ** 2 for p, r in zip(places, (28, 28, 21), strict=True)) < 1
    chi = np.where(gel, 0.0, AIR_PPM)
    for n, ppm in enumerate((0.05, 0.1, 0.2, 0.3, 0.4, 0.5)):
        a = np.pi * n / 3
        chi[ellipsoid(places, (14 * np.cos(a), 14 * np.sin(a), 4 * (-1) ** n), (5, 5, 5))] = ppm
    chi[ellipsoid(places, (0, 0, 0), (4, 4, 4))] = -0.3
    return chi, gel.astype(float), gel


def vials(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """Six short vials of iron that stand along B0 in a box of water, air around."""
    x, y, z = places
    water = (abs(x) < 27) & (abs(y) < 27) & (abs(z) < 20)
    chi = np.where(water, 0.0, AIR_PPM)
    for n, ppm in enumerate((0.05, 0.1, 0.2, 0.3, 0.4, 0.5)):
        a = np.pi * n / 3
        round_ = np.hypot(x - 14 * np.cos(a), y - 14 * np.sin(a)) < 4
        chi[round_ & (abs(z) < 9)] = ppm
    return chi, water.astype(float), water


def ellipsoid(places: list, middle: tuple, radii: tuple) -> np.ndarray:
    """Voxels within an ellipsoid."""
    return sum(((p - c) / r) ** 2 for p, c, r in zip(places, middle, radii, strict=True)) < 1


def two_specimens(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """Two specimens side by side, with nothing around them that has signal."""
    small, inside = half_size(tissue), half_size(brain)
    chi = np.roll(small, -15, 0) + np.roll(small[:, ::-1], 15, 0)
    both = np.roll(inside, -15, 0) | np.roll(inside[:, ::-1], 15, 0)
    return chi, both.astype(float), both


def fomblin(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """A specimen in a fluid without signal, two air bubbles at its surface."""
    chi = np.where(brain, tissue, 0.5)
    for middle in ((0, 25, 10), (18, -12, 12)):
        air = sum((p - m) ** 2 for p, m in zip(places, middle, strict=True)) < 3.5**2
        chi[air] = AIR_PPM
        brain = brain & ~air
    return chi, brain.astype(float), brain


def in_saline(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """A specimen in a jar of saline that gives signal, an air bubble under its lid."""
    x, y, z = places
    jar = (np.hypot(x, y) < 30) & (abs(z) < 23)
    brain &= (np.hypot(x, y) < 27) & (z < 16)
    air = (np.hypot(x, y) < 12) & (z > 19) & (z < 23)
    chi = np.where(jar, np.where(brain, tissue, 0.0), AIR_PPM)
    chi[air] = AIR_PPM
    return chi, np.where(jar & ~air, np.where(brain, 0.7, 1.0), 0.0), brain


def hemisphere(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """Half a brain, cut along its middle, in a fluid without signal."""
    half = brain & (places[0] > 0)
    return np.where(half, tissue, 0.3), half.astype(float), half


def bottle(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """A ball of water for quality assurance: nothing is in it."""
    ball = sum(p**2 for p in places) < 22**2
    return np.where(ball, 0.0, AIR_PPM), ball.astype(float), ball


def thin(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """A slice of tissue three voxels thick, in fomblin."""
    part = brain & (abs(places[2]) < 1.6)
    return np.where(part, tissue, 0.0), part.astype(float), part


def crumbs(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """Eight blocks of tissue with gaps between them."""
    part = brain & (abs(places[0]) > 2) & (abs(places[1]) > 2) & (abs(places[2]) > 2)
    return np.where(part, tissue, 0.0), part.astype(float), part


def tiny(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """A specimen of 16 voxels across in a wide field of view."""
    small, inside = half_size(half_size(tissue)), half_size(half_size(brain))
    return small, inside.astype(float), inside


def whole(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """A specimen that reaches beyond the field of view on all sides."""
    part = np.ones(SIDE, bool)
    wide = np.pad(tissue[12:52, 12:52, 10:38], [(12, 12), (12, 12), (10, 10)], mode='reflect')
    return wide, part.astype(float), part


def all_signal(scan: Scan) -> Scan:
    """Scan whose mask is all that has signal."""
    return replace(scan, flags=f'{SIGNAL} {MAP}', mask=None)


SCANS = of_kind(
    'object',
    all_signal(right('phantom of six tubes along B0', scanned(tubes, 1.5))),
    all_signal(right('phantom of six tubes across B0', scanned(lying_tubes, 1.5))),
    all_signal(right('phantom of seven balls', scanned(balls, 1.5))),
    all_signal(right('phantom of six vials', scanned(vials, 1.5))),
    right(
        'phantom of six tubes along B0, V-SHARP and TKD',
        scanned(tubes, 1.5),
        flags=f'{SIGNAL} --reference none --background pdf+vsharp --inversion tkd',
        mask=None,
    ),
    all_signal(right('two specimens', scanned(two_specimens, 0.4))),
    right('two specimens, one mask', scanned(two_specimens, 0.4), flags=MAP),
    all_signal(right('eight blocks', scanned(crumbs, 0.4))),
    all_signal(right('half a brain', scanned(hemisphere, 1.5))),
    right('half a brain, no flag', scanned(hemisphere, 1.5), mask=None),
    all_signal(right('fomblin, air bubbles', scanned(fomblin, 0.5))),
    right('fomblin, air bubbles, mask given', scanned(fomblin, 0.5), flags=MAP),
    right('in saline, mask given', scanned(in_saline, 0.6), flags=MAP),
    all_signal(failed('in saline, all signal', scanned(in_saline, 0.6), '[Mm]ask')),
    all_signal(failed('ball of water', scanned(bottle, 3), '.')),
    all_signal(failed('slice of three voxels', scanned(thin, 0.2), '.')),
    all_signal(right('16 voxels across', scanned(tiny, 0.2))),
    all_signal(right('beyond the field of view', scanned(whole, 0.2))),
)

"""Scans of ``reported.py`` as clinics have them: protocols, patients, implants, masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scans.changes import TIMES, both, complex_noise, geometry, phase, signal
from scans.dataset import Raw, failed, of_kind, read, right, store, told
from scans.forums import with_chi
from scans.given import MAPS, give, given
from scans.labs import field_of
from scans.masks import save_mask
from scans.scanner import in_kspace
from scans.series import distance, noisy

PI = np.pi


def interleaved(z: np.ndarray, echo: int) -> np.ndarray:
    """2-D slices: the head moved by 3 mm between the odd and the even ones."""
    z = z.copy()
    z[:, :, 1::2] = np.roll(z[:, :, 1::2], 1, axis=1)
    return z


def upper_half(z: np.ndarray, echo: int) -> np.ndarray:
    """The upper half of the slices has the other sign."""
    upper = np.arange(z.shape[2]) >= z.shape[2] // 2
    return np.where(upper, z.conj(), z)


def halves(data: np.ndarray, affine: np.ndarray) -> tuple:
    """The halves of the field of view are exchanged: a transform without its shift."""
    return np.roll(data, data.shape[1] // 2, axis=1), affine


def ends_folded(z: np.ndarray, echo: int) -> np.ndarray:
    """Both ends of the slab lie over each other."""
    z = z.copy()
    z[:, :, :3], z[:, :, -3:] = z[:, :, :3] + z[:, :, -3:], z[:, :, -3:] + z[:, :, :3]
    return z


def corners(z: np.ndarray, echo: int) -> np.ndarray:
    """The corners of k-space were not measured."""
    r = sum(x**2 for x in np.meshgrid(*(np.linspace(-1, 1, n) for n in z.shape), indexing='ij'))
    return in_kspace(z, lambda k: k * (r < 1))


def electrodes_on_the_scalp() -> Callable:
    """A cap of 32 electrodes, each a ball of 4 mm."""
    rng = np.random.default_rng(1)
    heads = []
    for _ in range(32):
        way = rng.normal(size=3)
        way[2] = abs(way[2])
        way /= np.linalg.norm(way)
        heads.append(field_of(60, 4, tuple(0.5 + 0.5 * way)))
    return both(*heads)


def ball(shape: tuple[int, ...], place: tuple[float, ...], radius: float) -> np.ndarray:
    """Distance from a place [parts of the volume] beyond a radius [voxels]."""
    parts = zip(np.indices(shape, float), place, shape, strict=True)
    return np.sqrt(sum((x - f * n) ** 2 for x, f, n in parts)) - radius


def resection(root: Path) -> None:
    """The cavity of a resection, 36 mm wide, in a rim of haemosiderin that decays faster."""

    def out(shape: tuple[int, ...]) -> np.ndarray:
        return ball(shape, (0.35, 0.6, 0.6), 6)

    def cavity(chi: np.ndarray) -> np.ndarray:
        return np.where(out(chi.shape) < 0, 0.0, np.where(out(chi.shape) < 1, chi + 0.4, chi))

    def decay(z: np.ndarray, echo: int) -> np.ndarray:
        rate = np.where(out(z.shape) < 0, -15.0, np.where(out(z.shape) < 1, 60.0, 0.0))
        return z * np.exp(-rate * TIMES[echo])

    with_chi(cavity)(root)
    Raw(root).signal(decay)


def air(root: Path) -> None:
    """Twelve millilitres of air below the forehead, within the mask."""

    def bubble(shape: tuple[int, ...]) -> np.ndarray:
        return ball(shape, (0.5, 0.78, 0.62), 4.8) < 0

    with_chi(lambda chi: np.where(bubble(chi.shape), 9.4, chi))(root)
    rng = np.random.default_rng(0)
    Raw(root).signal(
        lambda z, echo: np.where(bubble(z.shape), 0.01 * complex_noise(z.shape, rng), z)
    )


def spin_echoes(root: Path) -> None:
    """Spin echoes: the phase does not grow with the echo time."""
    raw = Raw(root)
    first = np.exp(1j * read(raw.files('phase')[0]))
    rng = np.random.default_rng(0)

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        noise = 0.005 * np.percentile(np.abs(z), 98) * complex_noise(z.shape, rng)
        return np.abs(z) * first + noise

    raw.signal(change)


def unshimmed(z: np.ndarray, echo: int) -> np.ndarray:
    """A field of 600 Hz from front to back, and of 200 Hz across."""
    y, x = np.linspace(-300, 300, z.shape[1]), np.linspace(-100, 100, z.shape[0])
    return z * np.exp(2j * PI * TIMES[echo] * (y[None, :, None] + x[:, None, None]))


def on_fat(z: np.ndarray, echo: int) -> np.ndarray:
    """The centre frequency is that of fat."""
    return z * np.exp(2j * PI * 440 * TIMES[echo])


def no_offset(root: Path) -> None:
    """The phase at no time was taken off by the scanner (ASPIRE)."""
    raw = Raw(root)
    field = read(raw.truth / MAPS['total-field'])
    rng = np.random.default_rng(0)

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        noise = 0.005 * np.percentile(np.abs(z), 98) * complex_noise(z.shape, rng)
        return np.abs(z) * np.exp(2j * PI * field * TIMES[echo]) + noise

    raw.signal(change)


def far_away(data: np.ndarray, affine: np.ndarray) -> tuple:
    """An origin that the table has moved by 1.8 m."""
    affine = affine.copy()
    affine[2, 3] -= 1800
    return data, affine


def of_another(path: Path, brain: np.ndarray) -> None:
    """The mask of another participant."""
    truth = path.parents[3] / 'bids' / 'derivatives' / 'simulation' / 'sub-02' / 'anat'
    store(path, read(truth / 'sub-02_desc-brain_mask.nii.gz').astype(np.uint8))


def without_lower_third(brain: np.ndarray) -> np.ndarray:
    """A mask whose lower quarter is missing, as where the field of view of the T1w ended."""
    z = np.arange(brain.shape[2])
    return (brain & (z >= brain.shape[2] // 3)).astype(np.uint8)


def relaxation(value: float) -> Callable:
    """An R2 map of one value."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        source = raw.truth / MAPS['chi']
        path = given(raw) / 'anat' / 'sub-01_R2map.nii.gz'
        give(path, np.where(raw.brain(), value, 0), source, Units='1/s')

    return alter


SCANS = of_kind(
    'clinic',
    told(
        '2-D, moved by 3 mm between odd and even slices', signal(interleaved), '[Ss]lice|[Mm]otion'
    ),
    failed(
        'the upper half of the slices of the other sign', signal(upper_half), '[Ss]ign|[Ss]lice'
    ),
    told('halves of the field of view exchanged', geometry(halves), '.'),
    told('halves of the field of view exchanged, no mask', geometry(halves), '.', mask=None),
    told('both ends of the slab folded', signal(ends_folded), '.'),
    right('corners of k-space not measured', signal(corners)),
    told('magnet of a cochlear implant', field_of(3000, 8, (0.95, 0.45, 0.5)), '.'),
    right('cap of 32 electrodes', electrodes_on_the_scalp()),
    right('cavity of a resection, haemosiderin around', resection),
    told('air below the forehead', air, '.'),
    failed('spin echoes', spin_echoes, 'noise changes|one phase'),
    right('not shimmed', signal(unshimmed)),
    right('centre frequency of fat', signal(on_fat)),
    right('phase offset taken off by the scanner', no_offset),
    right(
        'one echo of 40 ms, 1.5 T, 2.5 x 2.5 x 5 mm', source='--b0 1.5 --tes 40 --voxel 2.5 2.5 5'
    ),
    right('field map of 4.92 and 7.38 ms', source='--tes 4.92 7.38'),
    right('6 x 3 x 3 mm, sagittal slices', source='--voxel 6 3 3'),
    told('0.064 T', source='--b0 0.064 --tes 20 60 100 140 --snr 30', words='[Ff]ield'),
    failed('SNR of 3', signal(noisy(0.33)), '.'),
    told('3 x 3 x 6 mm, header of 3 mm', distance(0.5), 'slice|voxel|B0', source='--voxel 3 3 6'),
    right('origin 1.8 m away', geometry(far_away)),
    told('phase two voxels away', phase(lambda p: np.roll(p, 2, 1)), 'does not fit|R2'),
    failed(
        'phase turned by 180 degrees in the plane',
        phase(lambda p: p[::-1, ::-1]),
        'does not fit|R2',
    ),
    failed(
        'phase mirrored along all axes', phase(lambda p: p[::-1, ::-1, ::-1]), 'does not fit|R2'
    ),
    told(
        'mask of another participant',
        words='[Mm]ask',
        mask=of_another,
        source='--subjects 2',
    ),
    right(
        'mask a slice too low',
        mask=save_mask(lambda b: np.roll(b, 1, 2).astype(np.uint8)),
    ),
    told('mask without its lower third', words='.', mask=save_mask(without_lower_third)),
    right('R2 map', relaxation(12.5), flags='--contrasts r2prime -d GIVEN'),
    told(
        'R2 map that holds T2 in ms',
        relaxation(80),
        'R2 lies above',
        flags='--contrasts r2prime -d GIVEN',
    ),
    told(
        'R2 map that holds T2 in s', relaxation(0.08), 'R2map', flags='--contrasts r2prime -d GIVEN'
    ),
)

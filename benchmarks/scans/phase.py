"""Scans of ``reported.py`` by scale, sign and filter of their phase."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scans.changes import both, by_parts, geometry, headers, phase, sidecars, signal, slices
from scans.dataset import Raw, failed, of_kind, read, refused, right, store, told
from scipy import ndimage

PI = np.pi


def twelve_bits(phase: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to 4095."""
    return np.clip(np.rint((phase + PI) / (2 * PI) * 4096), 0, 4095)


def of_maker(maker: str | None, change: Callable, **keywords) -> Callable:
    """Phase as a manufacturer stores it, without units."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        raw.values('phase', change, **keywords)
        raw.sidecars(drop='Units' if maker else 'Units Manufacturer')
        if maker:
            raw.sidecars(Manufacturer=maker)

    return alter


def homodyne(z: np.ndarray, echo: int) -> np.ndarray:
    """High-pass the phase as for SWI, with a Hann window over a fifth of k-space."""
    k = np.meshgrid(*(np.fft.fftfreq(n) for n in z.shape[:2]), indexing='ij')
    radius = np.hypot(*k) / 0.1
    window = np.where(radius < 1, np.cos(PI * radius / 2) ** 2, 0)[..., None]
    low = np.fft.ifft2(np.fft.fft2(z, axes=(0, 1)) * window, axes=(0, 1))
    return np.abs(z) * np.exp(1j * np.angle(z * low.conj()))


def resampled(shift: float) -> Callable:
    """Each image moved by a part of a voxel, by linear interpolation of what is stored."""

    def change(data: np.ndarray, _: np.ndarray) -> tuple:
        order = 0 if data.dtype.kind in 'iub' else 1
        return ndimage.shift(data, (shift, shift, 0), order=order, mode='nearest'), _

    return geometry(change)


def high_passed(width_mm: float, only: int | None = None) -> Callable:
    """Divide the complex signal by a smoothed copy of itself, as filters for SWI do."""

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        low = by_parts(lambda part: ndimage.gaussian_filter(part, width_mm / 3), z)
        return np.abs(z) * np.exp(1j * np.angle(z * low.conj()))

    return signal(change, only)


def ramp(voxels: float) -> Callable:
    """The echo off the centre of k-space by some samples, the same in every echo."""

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        return z * np.exp(2j * PI * voxels * np.arange(z.shape[0]) / z.shape[0])[:, None, None]

    return signal(change)


def checkerboard(z: np.ndarray, echo: int) -> np.ndarray:
    """Neighbours turned by pi in the slice: a shift of k-space was forgotten."""
    return z * (-1.0) ** np.add.outer(*map(np.arange, z.shape[:2]))[..., None]


def random_phase(p: np.ndarray) -> np.ndarray:
    """Noise alone."""
    return np.random.default_rng(int(abs(p.sum()))).uniform(-PI, PI, p.shape)


def every_second_slice(change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Change the values of every second slice."""
    return lambda p: np.where(np.arange(p.shape[2]) % 2, change(p), p)


def negative_slope(root: Path) -> None:
    """Values stored with the other sign, which the header turns."""
    Raw(root).values('phase', lambda p: -10000 * p, dtype=np.int16, slope=-1e-4)


def masked_phase(root: Path, value: float = 0.0) -> None:
    """Phase outside the brain set to a value."""
    brain = Raw(root).brain()
    Raw(root).values('phase', lambda p: np.where(brain, p, value))


def even_slices_first(data: np.ndarray, _: np.ndarray) -> tuple:
    """Slices in the order in which an interleaved acquisition takes them."""
    count = data.shape[2]
    return data[:, :, [*range(0, count, 2), *range(1, count, 2)]], _


def fringe(first: int) -> Callable:
    """A fringe line that ends in the brain, as a failed combination of coils makes it."""

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        x, y = (np.arange(n) - n // 2 - 0.5 for n in z.shape[:2])
        return z * np.exp(1j * np.arctan2.outer(x, y))[..., None] if echo >= first else z

    return change


def over_echo_time(root: Path) -> None:
    """Phase over the echo time [rad/s]."""
    for number, path in enumerate(Raw(root).files('phase')):
        store(path, read(path) / (0.004 + 0.008 * number))


def mean_of_two(p: np.ndarray) -> np.ndarray:
    """Mean of two repeats whose phases had wrapped."""
    noise = 0.05 * np.random.default_rng(3).normal(size=p.shape)
    return ((p + np.angle(np.exp(1j * (p + 0.8 + noise)))) / 2).astype(np.float32)


def laplacian(p: np.ndarray) -> np.ndarray:
    """Unwrapped by a Laplacian before: what is added is no multiple of 2 pi."""
    from qsmprep.qsm.grid import Grid
    from qsmprep.qsm.unwrapping import laplacian_unwrap

    return laplacian_unwrap(p, Grid(p.shape, (3.0, 3.0, 3.0))).astype(np.float32)


def less_its_mean(p: np.ndarray) -> np.ndarray:
    """Unwrapped along the slices, its mean taken off."""
    unwrapped = np.unwrap(np.unwrap(p, axis=0), axis=1)
    return unwrapped - unwrapped.mean()


SCANS = of_kind(
    'phase',
    right('Siemens, 0 to 4095', of_maker('SIEMENS', twelve_bits, dtype=np.uint16)),
    right(
        'Siemens, -4096 to 4094',
        of_maker('Siemens', lambda p: 2 * twelve_bits(p) - 4096, dtype=np.int16),
    ),
    right(
        'Siemens, slope 2', of_maker('Siemens', twelve_bits, dtype=np.int16, slope=2, inter=-4096)
    ),
    right(
        'Siemens, slope not a number',
        both(
            of_maker('Siemens', twelve_bits, dtype=np.int16),
            headers('phase', scl_slope=np.nan, scl_inter=np.nan),
        ),
    ),
    right(
        'Siemens, slope 0',
        both(of_maker('Siemens', twelve_bits, dtype=np.int16), headers('phase', scl_slope=0)),
    ),
    refused(
        'unknown maker, 0 to 4095', of_maker(None, twelve_bits, dtype=np.int16), '--phase-range'
    ),
    right(
        'unknown maker, the advice taken',
        of_maker(None, twelve_bits, dtype=np.int16),
        flags='--phase-range 0 4096',
    ),
    right(
        'Philips, milliradians',
        of_maker('Philips Medical Systems', lambda p: 1000 * p, dtype=np.int16),
    ),
    right('GE, milliradians', of_maker('GE MEDICAL SYSTEMS', lambda p: 1000 * p, dtype=np.int16)),
    refused(
        'Canon, milliradians',
        of_maker('Canon Medical', lambda p: 1000 * p, dtype=np.int16),
        '--phase-range',
    ),
    refused(
        'eight bits',
        of_maker('Siemens', lambda p: (p + PI) / (2 * PI) * 255, dtype=np.uint8),
        '--phase-range',
    ),
    refused('degrees, Units rad', phase(np.degrees), '--phase-range -180 180|--phase-range -179.*'),
    refused(
        'degrees, Units deg',
        both(phase(np.degrees), sidecars(part='phase', Units='degrees')),
        '--phase-range',
    ),
    right(
        'degrees, the advice taken',
        both(phase(np.degrees), sidecars(part='phase', Units='degrees')),
        flags='--phase-range -180 180',
    ),
    right('from 0 to 2 pi', phase(lambda p: p % (2 * PI)), '0 to 2 pi'),
    right('a little beyond pi', phase(lambda p: 1.0004 * p)),
    right('unwrapped along one axis', phase(lambda p: np.unwrap(p, axis=1)), 'wrapped'),
    refused('divided by 2 pi', phase(lambda p: p / (2 * PI)), '--phase-range'),
    refused('one echo in another scale', phase(twelve_bits, echo=2), 'echo-2'),
    refused(
        'in hertz, as a field map',
        both(phase(lambda p: 20 * p), sidecars(part='phase', Units='Hz')),
        'Units',
    ),
    failed('other sign', phase(lambda p: -p), '[Ss]ign'),
    right('other sign, the advice taken', phase(lambda p: -p), flags='--phase-sign -1'),
    failed('filtered for SWI', signal(homodyne), 'filter|high-pass|Misfit'),
    told('16 levels', phase(lambda p: np.round(p / (PI / 8)) * (PI / 8)), 'Misfit|levels'),
    right(
        'slices alternate (GE)', both(signal(slices), sidecars(Manufacturer='GE MEDICAL SYSTEMS'))
    ),
    failed('without its sign', phase(np.abs), 'phase'),
    refused('half of it', phase(lambda p: p / 2), '--phase-range'),
    refused('in units of pi', phase(lambda p: p / PI), '--phase-range -1 1|--phase-range -0.99.*'),
    right('in units of pi, the advice taken', phase(lambda p: p / PI), flags='--phase-range -1 1'),
    refused(
        'United Imaging, 0 to 4095', of_maker('UIH', twelve_bits, dtype=np.uint16), '--phase-range'
    ),
    right(
        'United Imaging, the advice taken',
        of_maker('UIH', twelve_bits, dtype=np.uint16),
        flags='--phase-range 0 4096',
    ),
    right(
        'Bruker, radians in 16 bits with a slope',
        of_maker('Bruker', lambda p: p * 10000, dtype=np.int16, slope=1e-4),
    ),
    right(
        'Philips, as dcm2niix writes it',
        of_maker('Philips', twelve_bits, dtype=np.int16, slope=2 * PI / 4095, inter=-PI),
    ),
    right(
        'Siemens XA, Units arbitrary',
        both(
            of_maker('Siemens', twelve_bits, dtype=np.uint16),
            sidecars(part='phase', Units='arbitrary'),
        ),
    ),
    refused(
        'Siemens, Units rad left by a converter',
        both(of_maker('Siemens', twelve_bits, dtype=np.int16), sidecars(part='phase', Units='rad')),
        '--phase-range',
    ),
    refused(
        'unsigned, 0 to 65535',
        of_maker(None, lambda p: (p + PI) / (2 * PI) * 65535, dtype=np.uint16),
        '--phase-range',
    ),
    right('stored upside down, slope -1', negative_slope),
    right('zero around the brain', masked_phase),
    refused('NaN around the brain', lambda root: masked_phase(root, np.nan), 'finite'),
    failed('noise', phase(random_phase), '.'),
    failed('smoothed after wrapping', phase(lambda p: ndimage.gaussian_filter(p, 1)), '.'),
    told('resampled after wrapping', resampled(0.5), '.'),
    failed('flipped left to right', phase(lambda p: p[::-1]), '.'),
    failed('four voxels away', phase(lambda p: np.roll(p, 4, axis=1)), 'moved'),
    failed('slices from behind', phase(lambda p: p[:, :, ::-1]), '.'),
    failed('every second slice of the other sign', phase(every_second_slice(np.negative)), '.'),
    right('neighbours turned by pi', signal(checkerboard)),
    right('echo off the centre of k-space by two samples', ramp(2.0)),
    right('echo off the centre of k-space by a third of a sample', ramp(0.33)),
    failed('high-passed by 6 mm', high_passed(6), 'filter'),
    told('high-passed by 15 mm', high_passed(15), 'filter'),
    told('high-passed by 30 mm', high_passed(30), 'filter'),
    right(
        'Philips, milliradians by slope and intercept',
        of_maker('Philips', twelve_bits, dtype=np.int16, slope=1.53455, inter=-3142),
    ),
    refused(
        'Philips, precise scaling',
        of_maker('Philips', lambda p: 1000 * p / 651.74 * 1.2),
        '--phase-range',
    ),
    right(
        'eight bits with a slope',
        phase(lambda p: (p + PI) / (2 * PI) * 255, dtype=np.uint8, slope=2 * PI / 255, inter=-PI),
    ),
    refused(
        'hundredths of a radian, Units rad',
        phase(lambda p: 100 * p, dtype=np.int16),
        '--phase-range',
    ),
    refused('over the echo time', over_echo_time, 'phase'),
    right('unwrapped, less its mean', phase(less_its_mean), 'wrapped'),
    told('a fringe line that ends in the brain', signal(fringe(0)), '.'),
    told('a fringe line in the later echoes', signal(fringe(2)), '.'),
    failed('even slices first', geometry(even_slices_first), '.'),
    refused('mean of two wrapped phases', phase(mean_of_two), 'averaged or filtered'),
    told('unwrapped by a Laplacian', phase(laplacian), '.'),
)

"""Scans of ``reported.py`` by what happens in the scanner: k-space, coils, reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from reported_changes import phase, signal
from reported_data import Raw, Scan, read, store
from scipy import ndimage


def in_kspace(z: np.ndarray, change: Callable) -> np.ndarray:
    """Change a signal in its k-space, whose centre is in the middle."""
    k = np.fft.fftshift(np.fft.fftn(z))
    return np.fft.ifftn(np.fft.ifftshift(change(k)))


def cut(share: float) -> Callable:
    """K-space cut to its middle and filled with zeros, as ZIP and interpolation do."""

    def change(k: np.ndarray) -> np.ndarray:
        kept = np.zeros(k.shape)
        middle = tuple(
            slice(round(n * (1 - share) / 2), round(n * (1 + share) / 2)) for n in k.shape[:2]
        )
        kept[middle] = 1
        return k * kept

    return signal(lambda z, echo: in_kspace(z, change))


def spike(z: np.ndarray, echo: int) -> np.ndarray:
    """One sample of k-space is as large as the largest, which makes stripes."""

    def change(k: np.ndarray) -> np.ndarray:
        place = tuple(n // 2 + n // 5 for n in k.shape)
        k[place] = 0.5 * np.abs(k).max()
        return k

    return in_kspace(z, change)


def ghost(z: np.ndarray, echo: int) -> np.ndarray:
    """A copy of a fifth, half of the field of view away, as every second line is shifted."""
    return z + 0.2 * np.roll(z, z.shape[1] // 2, axis=1)


def moved_during_scan(z: np.ndarray, echo: int) -> np.ndarray:
    """The head moves by 6 mm when 60 % of the lines have been measured."""
    shift = (0, 2.0, 0)
    moved = ndimage.shift(z.real, shift) + 1j * ndimage.shift(z.imag, shift)
    lines = np.arange(z.shape[1]) > 0.6 * z.shape[1]
    k, other = (np.fft.fftshift(np.fft.fft(x, axis=1), axes=1) for x in (z, moved))
    mixed = np.where(lines[None, :, None], other, k)
    return np.fft.ifft(np.fft.ifftshift(mixed, axes=1), axis=1)


def half_turned(z: np.ndarray, echo: int) -> np.ndarray:
    """One half of the head has the phase of another coil, pi away."""
    left = np.arange(z.shape[0]) < z.shape[0] // 2
    return z * np.where(left, -1, 1)[:, None, None]


def echo_half_turned(z: np.ndarray, echo: int) -> np.ndarray:
    """One half of the head is turned by pi in one echo alone."""
    return half_turned(z, echo) if echo == 2 else z


def against(kept: int | None) -> Callable:
    """Each phase less that of the first echo, or of the one before it."""

    def alter(root: Path) -> None:
        files = Raw(root).files('phase')
        values = [read(path) for path in files]
        for number, path in enumerate(files):
            other = values[0] if kept == 0 else values[number - 1]
            if number or kept == 0:
                difference = np.angle(np.exp(1j * (values[number] - other)))
                store(path, difference.astype(np.float32))

    return alter


def metal(z: np.ndarray, echo: int) -> np.ndarray:
    """No signal within 30 mm of the teeth, and a strong field around them."""
    place = np.indices(z.shape, dtype=float)
    centre = np.array([z.shape[0] / 2, 0.9 * z.shape[1], 0.12 * z.shape[2]])
    offset = [3 * (p - c) for p, c in zip(place, centre, strict=True)]
    radius = np.sqrt(sum(o**2 for o in offset)) + 1e-3
    field_ppm = 40 * (15 / radius) ** 3 * (3 * (offset[2] / radius) ** 2 - 1)
    turned = z * np.exp(2j * np.pi * 127.7 * field_ppm * (0.004 + 0.008 * echo))
    return np.where(radius < 30, 0.01 * turned, turned)


def distorted(root: Path) -> None:
    """Magnitudes with the distortion of the gradients taken out, 2 % larger than the phase."""

    def change(m: np.ndarray) -> np.ndarray:
        middle = (np.array(m.shape) - 1) / 2
        return ndimage.affine_transform(m, np.full(3, 1 / 1.02), middle * (1 - 1 / 1.02), order=1)

    Raw(root).values('mag', change)
    Raw(root).sidecars('mag', ImageType=['ORIGINAL', 'PRIMARY', 'M', 'DIS3D'])
    Raw(root).sidecars('phase', ImageType=['ORIGINAL', 'PRIMARY', 'P', 'ND'])


def interleaved(root: Path) -> None:
    """Slices of the magnitude in the order in which they were measured."""

    def change(m: np.ndarray) -> np.ndarray:
        count = m.shape[2]
        return m[:, :, [*range(0, count, 2), *range(1, count, 2)]]

    Raw(root).values('mag', change)


def shared_offset(root: Path) -> None:
    """Magnitudes normalised by another coil each, so that decay is lost."""
    for path in Raw(root).files('mag'):
        image = read(path)
        store(path, image / (ndimage.gaussian_filter(image, 8) + 0.05 * image.max()))


SCANS: tuple[Scan, ...] = (
    Scan('scanner', 'k-space cut to 80 % and filled with zeros', cut(0.8)),
    Scan('scanner', 'k-space cut to a half and filled with zeros', cut(0.5), 'told', '.'),
    Scan('scanner', 'a spike in k-space', signal(spike), 'told', '.'),
    Scan('scanner', 'a ghost of a fifth', signal(ghost), 'failed', 'veins'),
    Scan(
        'scanner',
        'moved while the lines were measured',
        signal(moved_during_scan),
        'failed',
        'veins',
    ),
    Scan('scanner', 'one half turned by pi', signal(half_turned)),
    Scan('scanner', 'one half turned by pi in one echo', signal(echo_half_turned), 'told', '.'),
    Scan('scanner', 'each phase against the first', against(0), 'refused', '.'),
    Scan('scanner', 'each phase against the one before', against(None), 'failed', 'veins'),
    Scan('scanner', 'metal in the teeth', signal(metal), 'told', '.'),
    Scan('scanner', 'distortion corrected in the magnitude alone', distorted),
    Scan('scanner', 'slices of the magnitude interleaved', interleaved, 'told', '.'),
    Scan('scanner', 'uniform magnitude of each echo', shared_offset, 'told', 'R2|decay|rises'),
    Scan(
        'scanner',
        'phase corrected by a slope of one part in a thousand',
        phase(lambda p: p * 1.001),
    ),
    Scan(
        'scanner',
        'single echo, one half turned by pi',
        signal(half_turned),
        'told',
        '.',
        source=('--tes', '20'),
    ),
    Scan(
        'scanner',
        'ultrashort first echo of 0.1 ms',
        source=('--tes', '0.1', '8', '16', '24'),
    ),
    Scan('scanner', 'twelve echoes', source=('--tes', *(str(3 + 2.5 * n) for n in range(12)))),
)

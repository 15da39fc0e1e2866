"""Scans of ``reported.py`` by what happens in the scanner: k-space, coils, reconstruction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from scans.changes import TIMES, by_parts, complex_noise, exchange, in_t1w, phase, signal, times
from scans.dataset import Raw, failed, of_kind, read, refused, right, store, told, write
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
    moved = by_parts(lambda part: ndimage.shift(part, shift), z)
    lines = np.arange(z.shape[1]) > 0.6 * z.shape[1]
    k, other = (np.fft.fftshift(np.fft.fft(x, axis=1), axes=1) for x in (z, moved))
    mixed = np.where(lines[None, :, None], other, k)
    return np.fft.ifft(np.fft.ifftshift(mixed, axes=1), axis=1)


def half_turned(z: np.ndarray, echo: int) -> np.ndarray:
    """One half of the head has the phase of another coil, pi away."""
    left = np.arange(z.shape[0]) < z.shape[0] // 2
    return z * np.where(left, -1, 1)[:, None, None]


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
    turned = z * np.exp(2j * np.pi * 127.7 * field_ppm * TIMES[echo])
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


def fat(root: Path) -> None:
    """The scalp is fat: 3.5 ppm below water, and a voxel away along the readout."""
    brain = Raw(root).brain()

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        head = ndimage.binary_opening(np.abs(z) > 0.1 * np.percentile(np.abs(z), 98))
        head = ndimage.binary_fill_holes(head)
        scalp = head & (3 * ndimage.distance_transform_edt(head) < 7)
        scalp &= ~ndimage.binary_dilation(brain)
        bright = 1.5 * np.abs(z).max() * np.exp(-30 * TIMES[echo])
        turned = np.exp(1j * (np.angle(z) - 2 * np.pi * 447 * TIMES[echo]))
        return np.where(scalp, 0, z) + np.roll(np.where(scalp, bright * turned, 0), 1, axis=0)

    Raw(root).signal(change)


def interpolated(*axes: int) -> Callable:
    """Twice as many voxels along some axes, from a k-space that is filled with zeros."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        factor = np.array([2 if axis in axes else 1 for axis in range(3)])
        signals = {}
        for magnitude, phase_at in raw.pairs():
            k = np.fft.fftshift(np.fft.fftn(read(magnitude) * np.exp(1j * read(phase_at))))
            room = [((f - 1) * (n // 2),) * 2 for n, f in zip(k.shape, factor, strict=True)]
            z = factor.prod() * np.fft.ifftn(np.fft.ifftshift(np.pad(k, room)))
            signals |= {magnitude: np.abs(z), phase_at: np.angle(z)}
        for path in raw.all():
            values = signals.get(path)
            if values is None:
                old = read(path)
                places = np.indices(factor * old.shape).astype(float)
                places /= factor[:, None, None, None]
                order = int(path.name.endswith('Chimap.nii.gz'))
                values = ndimage.map_coordinates(old, places, order=order, mode='nearest')
            fine = np.diag([*1 / factor, 1])
            write(path, values.astype(np.float32), nb.load(path).affine @ fine)

    return alter


def breathing(z: np.ndarray, echo: int) -> np.ndarray:
    """Slices measured one after another have frequencies of their own (SD 3 Hz)."""
    hertz = np.random.default_rng(5).normal(0, 3, z.shape[2])
    return z * np.exp(2j * np.pi * hertz * TIMES[echo])


def partial_fourier(z: np.ndarray, echo: int) -> np.ndarray:
    """The last quarter of the lines and the first eighth of the partitions are zeros."""

    def change(k: np.ndarray) -> np.ndarray:
        k[:, int(0.75 * k.shape[1]) :] = 0
        k[:, :, : k.shape[2] // 8] = 0
        return k

    return in_kspace(z, change)


def noisy_centre(z: np.ndarray, echo: int) -> np.ndarray:
    """Noise that parallel imaging makes in the middle, 8 % of the largest signal."""
    x, y = (np.linspace(-1, 1, n) for n in z.shape[:2])
    rng = np.random.default_rng(echo)
    spread = 0.08 * np.abs(z).max() * np.exp(-np.add.outer(x**2, y**2) / 0.15)[..., None]
    return z + spread * complex_noise(z.shape, rng)


def shared_offset(root: Path) -> None:
    """Magnitudes normalised by another coil each, so that decay is lost."""
    for path in Raw(root).files('mag'):
        image = read(path)
        store(path, image / (ndimage.gaussian_filter(image, 8) + 0.05 * image.max()))


def dead_element(z: np.ndarray, echo: int) -> np.ndarray:
    """One element of the coil is dead: a quarter of the head has the signal of noise."""
    x, y = (np.linspace(0, 1, n) for n in z.shape[:2])
    gain = 1 - 0.95 / (1 + np.exp(30 * (np.hypot.outer(x - 0.15, y - 0.3) - 0.3)))
    rng = np.random.default_rng(echo)
    noise = 0.01 * np.abs(z).max() * complex_noise(z.shape, rng)
    return gain[..., None] * z + noise


def folded(z: np.ndarray, echo: int) -> np.ndarray:
    """The field of view was too small: the nose lies on the back of the head."""
    cut = z.shape[1] // 6
    inner = z.copy()
    inner[:, :cut] += np.roll(z, cut, axis=1)[:, :cut]
    inner[:, -cut:] = 0
    return inner


SCANS = of_kind(
    'scanner',
    right('k-space cut to 80 % and filled with zeros', cut(0.8)),
    told('k-space cut to a half and filled with zeros', cut(0.5), '.'),
    told('a spike in k-space', signal(spike), '.'),
    told('a ghost of a fifth', signal(ghost), 'ghosts'),
    failed('moved while the lines were measured', signal(moved_during_scan), 'veins'),
    right('one half turned by pi', signal(half_turned)),
    told('one half turned by pi in one echo', signal(half_turned, only=3), '.'),
    refused('each phase against the first', against(0), '.'),
    failed('each phase against the one before', against(None), 'one phase'),
    told('metal in the teeth', signal(metal), '.'),
    right('distortion corrected in the magnitude alone', distorted),
    told('slices of the magnitude interleaved', interleaved, '.'),
    told('uniform magnitude of each echo', shared_offset, 'R2|decay|rises'),
    right('phase corrected by a slope of one part in a thousand', phase(lambda p: p * 1.001)),
    told('single echo, one half turned by pi', signal(half_turned), '.', source='--tes 20'),
    right('ultrashort first echo of 0.1 ms', source='--tes 0.1 8 16 24'),
    right('twelve echoes', source=f'--tes {" ".join(str(3 + 2.5 * n) for n in range(12))}'),
    right('fat a voxel away', fat),
    right('interpolated to twice the matrix', interpolated(0, 1)),
    told('slices with frequencies of their own', signal(breathing), 'slice'),
    right('partial Fourier, filled with zeros', signal(partial_fourier)),
    right('noise of parallel imaging in the middle', signal(noisy_centre)),
    right('0.55 T', source='--b0 0.55 --tes 8 20 35 50 65'),
    right('9.4 T', source='--b0 9.4 --tes 3 8 13 18'),
    right('7 T, echoes to 50 ms', source='--b0 7 --tes 10 20 30 40 50'),
)
SCANS += of_kind(
    'few',
    failed('one echo, other sign', phase(lambda p: -p), '[Ss]ign', source='--tes 20'),
    told('one echo, EchoTime of half', times(lambda t: t / 2), '.', source='--tes 20'),
    told('one echo, EchoTime of a third', times(lambda t: t / 3), '.', source='--tes 20'),
    failed('one echo, turned by 30 degrees', in_t1w(30), 'B0', source='--tes 20'),
    told(
        'one echo, moved while the lines were measured',
        signal(moved_during_scan),
        '.',
        source='--tes 20',
    ),
    told('one echo, a ghost of a fifth', signal(ghost), '.', source='--tes 20'),
    failed('two echoes, the second negated', phase(lambda p: -p, echo=2), '.', source='--tes 5 15'),
    failed('two echoes, phases exchanged', exchange('phase', 1, 2), '.', source='--tes 5 15'),
    failed('two echoes, other sign', phase(lambda p: -p), '[Ss]ign', source='--tes 5 15'),
    failed('two echoes, turned by 30 degrees', in_t1w(30), 'B0', source='--tes 5 15'),
    told('one element of the coil is dead', signal(dead_element), '.'),
    told('nose folded onto the back', signal(folded), '.'),
)

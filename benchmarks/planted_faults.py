"""Changes of the files of a scan, in place: the ways of a manufacturer, and faults to be planted.

Used by ``report_faults.py``, which asks whether the report tells of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Folder:
    """A raw dataset of one participant, changed in place, and the masks given for it."""

    raw: Path
    masks: Path

    def files(self, part: str) -> list[Path]:
        """Images of one part, by echo."""
        return sorted(self.raw.glob(f'sub-*/**/*part-{part}*.nii.gz'))

    @property
    def mask(self) -> Path:
        """The given brain mask."""
        return next(self.masks.glob('sub-*/**/*_desc-brain_mask.nii.gz'))

    def image(self, part: str, change: Callable[[np.ndarray, int], np.ndarray]) -> None:
        """Change the images of one part; the echo is counted from zero."""
        for echo, path in enumerate(self.files(part)):
            save(path, change(read(path), echo))

    def signal(self, change: Callable[[np.ndarray, int], np.ndarray]) -> None:
        """Change the complex signal of each echo."""
        pairs = zip(self.files('mag'), self.files('phase'), strict=True)
        for echo, (magnitude, phase) in enumerate(pairs):
            signal = read(magnitude) * np.exp(1j * read(phase))
            # what the scanner has set to zero stays so
            changed = np.where(signal == 0, 0, change(signal, echo))
            save(magnitude, np.abs(changed))
            save(phase, np.angle(changed))

    def sidecars(self, change: Callable[[dict, int], dict]) -> None:
        """Change the sidecars of both parts; the echo is counted from zero."""
        for part in ('mag', 'phase'):
            for echo, path in enumerate(self.files(part)):
                path = path.with_name(path.name.replace('.nii.gz', '.json'))
                path.write_text(json.dumps(change(json.loads(path.read_text()), echo)))

    def affines(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change where all images lie."""
        for path in (*self.files('mag'), *self.files('phase'), self.mask):
            image = nb.load(path)
            write(path, np.array(image.dataobj, np.float32), change(image.affine))

    def brain(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change the given brain mask."""
        save(self.mask, change(read(self.mask) > 0.5).astype(np.uint8))


def read(path: Path) -> np.ndarray:
    """Values of an image."""
    return np.asarray(nb.load(path).dataobj, dtype=np.float32)


def save(path: Path, data: np.ndarray) -> None:
    """Write an image in place, its geometry kept."""
    write(path, data, nb.load(path).affine)


def write(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write an image whose place in the scanner is known."""
    image = nb.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units('mm', 'sec')
    nb.save(image, path)


def as_scanner(folder: Folder, manufacturer: str, axes: str) -> None:
    """
    Store a scan as dcm2niix does for a manufacturer: no Units, Siemens in whole numbers.

    Parameters
    ----------
    folder
        The scan.
    manufacturer
        Siemens, GE or Philips.
    axes
        Where the array's axes lead: ``LAS`` for axial slices, ``PSR`` for sagittal ones.

    """
    target = nb.orientations.axcodes2ornt(axes)
    for path in (*folder.files('mag'), *folder.files('phase')):
        image = nb.load(path)
        turn = nb.orientations.ornt_transform(nb.io_orientation(image.affine), target)
        turned = image.as_reoriented(turn)
        write(path, np.array(turned.dataobj, np.float32), turned.affine)

    def change(sidecar: dict, echo: int) -> dict:
        kept = {key: value for key, value in sidecar.items() if key != 'Units'}
        return kept | {'Manufacturer': manufacturer}

    folder.sidecars(change)
    if manufacturer == 'Siemens':
        folder.image('phase', lambda phase, echo: np.rint(phase * 4095 / np.pi).clip(-4096, 4094))


@dataclass(frozen=True)
class Fault:
    """A fault: what it does to the files, and flags of the command line that it needs."""

    plant: Callable[[Folder], None] = lambda folder: None
    flags: tuple[str, ...] = ()


def wrap(phase: np.ndarray) -> np.ndarray:
    """Phase within +-pi."""
    return (phase + np.pi) % (2 * np.pi) - np.pi


def rotate(axis: int) -> np.ndarray:
    """Exchange the scanner's z with another axis."""
    matrix = np.eye(4)
    matrix[[axis, 2]] = matrix[[2, axis]]
    return matrix


def swap_files(first: list[Path], second: list[Path]) -> None:
    """Exchange the contents of files, sidecars stay."""
    for one, other in zip(first, second, strict=True):
        data, other_data = read(one), read(other)
        save(one, other_data)
        save(other, data)


def vortex(signal: np.ndarray, echo: int) -> np.ndarray:
    """Turn the phase once around a line through the brain, as failed coil combinations do."""
    x, y, _ = np.indices(signal.shape)
    turn = np.arctan2(y - 0.45 * signal.shape[1], x - 0.4 * signal.shape[0])
    return signal * np.exp(1j * turn * echo)


def homodyne(signal: np.ndarray, echo: int) -> np.ndarray:
    """High-pass the phase with a Hann window over a fifth of k-space (homodyne filter)."""
    k = np.meshgrid(*(np.fft.fftfreq(n) for n in signal.shape[:2]), indexing='ij')
    radius = np.hypot(*k) / 0.1
    window = np.where(radius < 1, np.cos(np.pi * radius / 2) ** 2, 0)[..., None]
    low = np.fft.ifft2(np.fft.fft2(signal, axes=(0, 1)) * window, axes=(0, 1))
    return np.abs(signal) * np.exp(1j * np.angle(signal * low.conj()))


def high_pass(signal: np.ndarray, echo: int) -> np.ndarray:
    """High-pass the phase with a Gaussian of two voxels (SD) in all directions."""
    low = sum(
        part * ndimage.gaussian_filter(getattr(signal, name), 2.0)
        for name, part in (('real', 1), ('imag', 1j))
    )
    return np.abs(signal) * np.exp(1j * np.angle(signal * low.conj()))


def add_noise(snr: float) -> Callable[[Folder], None]:
    """Noise that leaves an SNR in the first echo."""

    def plant(folder: Folder) -> None:
        rng = np.random.default_rng(0)
        first = read(folder.files('mag')[0])
        sd = first[read(folder.mask) > 0.5].mean() / snr
        folder.signal(lambda s, echo: s + sd * (rng.normal(size=(2, *s.shape)).T @ (1, 1j)).T)

    return plant


def move(signal: np.ndarray, echo: int) -> np.ndarray:
    """The head nods by 2 mm and 2 degrees after the second half of the echoes has begun."""
    if echo == 0:
        return signal
    return sum(
        part * ndimage.rotate(
            ndimage.shift(getattr(signal, name), (0.0, 0.7, 0.0), order=3), 2.0, (1, 2), False,
            order=3,
        )
        for name, part in (('real', 1), ('imag', 1j))
    )  # fmt: skip


def ramp(signal: np.ndarray, echo: int) -> np.ndarray:
    """Phase of a bipolar readout: 6 rad across the first axis in every second echo."""
    x = np.linspace(-3, 3, signal.shape[0])[:, None, None]
    return signal * np.exp(1j * x * (echo % 2))


def slices(signal: np.ndarray, echo: int) -> np.ndarray:
    """Every second slice turned by pi."""
    return signal * np.where(np.arange(signal.shape[2]) % 2, -1, 1)


def holes(brain: np.ndarray) -> np.ndarray:
    """Take a tenth of the brain out, in balls."""
    rng = np.random.default_rng(0)
    seeds = (rng.random(brain.shape) < 0.1 / 33) & ndimage.binary_erosion(brain, iterations=4)
    return brain & ~ndimage.binary_dilation(seeds, iterations=2)


def kill_echo(signal: np.ndarray, echo: int) -> np.ndarray:
    """Nothing but noise in the second echo."""
    rng = np.random.default_rng(1)
    noise = np.abs(signal).max() / 200 * (rng.normal(size=(2, *signal.shape)).T @ (1, 1j)).T
    return noise if echo == 1 else signal


def give_region(folder: Folder) -> None:
    """A reference region outside the brain."""
    outside = ~ndimage.binary_dilation(read(folder.mask) > 0.5, iterations=2)
    path = folder.mask.with_name(folder.mask.name.replace('desc-brain', 'label-CSF'))
    shutil.copy(folder.mask, path)
    save(path, outside.astype(np.uint8))


def set_key(key: str, factor: float) -> Callable[[Folder], None]:
    """Multiply a number of all sidecars, and drop what would contradict it."""

    def change(sidecar: dict, echo: int) -> dict:
        if key == 'MagneticFieldStrength':
            sidecar.pop('ImagingFrequency', None)
        return sidecar | {key: sidecar[key] * factor}

    return lambda folder: folder.sidecars(change)


def swap_times(folder: Folder) -> None:
    """Two echoes with the times of each other."""
    times = {}
    folder.sidecars(lambda s, echo: times.setdefault(echo, s['EchoTime']) and s)
    order = [1, 0, *range(2, len(times))]
    folder.sidecars(lambda s, echo: s | {'EchoTime': times[order[echo]]})


def copy_echo(folder: Folder) -> None:
    """The second echo is the first again."""
    for part in ('mag', 'phase'):
        shutil.copy(folder.files(part)[0], folder.files(part)[1])


def other_mask(folder: Folder) -> None:
    """A mask of another head: mirrored, a sixth smaller, and moved."""
    folder.brain(
        lambda m: (
            ndimage.affine_transform(
                m[::-1].astype(np.float32), np.diag([1.18, 1.12, 1.1]), (-5.0, -3.0, 0.0), order=1
            )
            > 0.5
        )
    )


def drop_slices(folder: Folder) -> None:
    """A tenth of the slices has been lost."""

    def plant(data: np.ndarray, echo: int) -> np.ndarray:
        data[..., data.shape[2] // 2 : data.shape[2] // 2 + data.shape[2] // 10] = 0
        return data

    folder.image('mag', plant)
    folder.image('phase', plant)


def coarse_phase(folder: Folder) -> None:
    """Eight grey levels of phase."""
    step = np.pi / 4
    folder.image('phase', lambda p, echo: np.floor(p / step) * step)


FAULTS: dict[str, Fault] = {
    'phase sign': Fault(lambda f: f.image('phase', lambda p, e: -p)),
    'phase scale x 2': Fault(lambda f: f.image('phase', lambda p, e: 2 * p)),
    'phase scale / 2': Fault(lambda f: f.image('phase', lambda p, e: p / 2)),
    'echo times x 1000 (ms for s)': Fault(set_key('EchoTime', 1000)),
    'echo times / 1000': Fault(set_key('EchoTime', 1e-3)),
    'echo times x 2': Fault(set_key('EchoTime', 2.0)),
    'two echo times exchanged': Fault(swap_times),
    'one echo dead': Fault(lambda f: f.signal(kill_echo)),
    'an echo twice': Fault(copy_echo),
    'B0 along x': Fault(lambda f: f.affines(lambda a: rotate(0) @ a)),
    'B0 along y': Fault(lambda f: f.affines(lambda a: rotate(1) @ a)),
    'field strength / 2': Fault(set_key('MagneticFieldStrength', 0.5)),
    'field strength 7 T for 3 T': Fault(set_key('MagneticFieldStrength', 7 / 3)),
    'mask too big': Fault(lambda f: f.brain(lambda m: ndimage.binary_dilation(m, iterations=3))),
    'mask too small': Fault(lambda f: f.brain(lambda m: ndimage.binary_erosion(m, iterations=3))),
    'mask shifted by 12 mm': Fault(lambda f: f.brain(lambda m: np.roll(m, 4, 1))),
    'mask with holes': Fault(lambda f: f.brain(holes)),
    'mask of another participant': Fault(other_mask),
    'wraps left (open-ended fringes)': Fault(lambda f: f.signal(vortex)),
    'background left (PDF, two steps)': Fault(
        flags=('--background-parameter', 'coarsest_iterations=2', 'iterations=1')
    ),
    'motion between echoes': Fault(lambda f: f.signal(move)),
    'bipolar ramp': Fault(lambda f: f.signal(ramp)),
    'slices alternate (GE)': Fault(lambda f: f.signal(slices)),
    'SNR of 5': Fault(add_noise(5.0)),
    'filtered phase (homodyne)': Fault(lambda f: f.signal(homodyne)),
    'filtered phase (high-pass, 3D)': Fault(lambda f: f.signal(high_pass)),
    'magnitude and phase exchanged': Fault(lambda f: swap_files(f.files('mag'), f.files('phase'))),
    'reference region outside the brain': Fault(give_region, ('--reference', 'CSF')),
    'slices lost': Fault(drop_slices),
    'eight levels of phase': Fault(coarse_phase),
}
"""Name of each fault -> how it is planted."""

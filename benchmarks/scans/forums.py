"""Scans of ``reported.py`` as forums tell of them: exports, averages, filters, masks of tools."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from scans.changes import (
    TIMES,
    both,
    complex_noise,
    elsewhere,
    geometry,
    label_all,
    magnitude,
    on_files,
    phase,
    relabel,
    rename,
    sidecars,
    signal,
    times,
)
from scans.dataset import Raw, failed, of_kind, read, refused, right, sidecar, store, told, write
from scans.headers import cropped
from scans.masks import save_mask
from scans.objects import HZ_PER_PPM, dipole_field, scanned
from scans.phase import even_slices_first, of_maker
from scans.scanner import in_kspace
from scipy import ndimage

PI = np.pi


def with_chi(change: Callable[[np.ndarray], np.ndarray], decay: float = 1.0) -> Callable:
    """Another susceptibility in the head: its field is added, and R2* is multiplied."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        path = raw.truth / 'anat' / 'sub-01_Chimap.nii.gz'
        brain, chi, first = raw.brain(), read(path), read(raw.files('mag')[0])
        new = np.where(brain, change(chi), chi)
        field_hz = HZ_PER_PPM * dipole_field(new - chi, 3)
        store(path, new)

        def turned(z: np.ndarray, echo: int) -> np.ndarray:
            m = np.abs(z) + 1e-9
            lost = np.clip(m / np.maximum(first, 1e-9), 1e-3, 1) ** (decay - 1)
            return z * np.where(brain, lost, 1) * np.exp(2j * PI * field_hz * TIMES[echo])

        raw.signal(turned)

    return alter


def newborn(root: Path) -> None:
    """Half of susceptibility and R2*; ``participants.tsv`` states the age."""
    with_chi(lambda chi: chi / 2, 0.5)(root)
    (root / 'participants.tsv').write_text('participant_id\tage\nsub-01\t0.1\n')


def out_of_the_skull(root: Path) -> None:
    """A fixed brain in a fluid without signal, its R2* tripled."""
    brain = Raw(root).brain()
    with_chi(lambda chi: chi, 3)(root)
    noise = np.random.default_rng(0)
    Raw(root).signal(lambda z, e: np.where(brain, z, 0.01 * complex_noise(z.shape, noise)))


def slabs(hertz: float, radians: float) -> Callable:
    """The upper half of the slices is a slab of its own."""

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        upper = np.arange(z.shape[2]) >= z.shape[2] // 2
        return z * np.exp(1j * upper * (radians + 2 * PI * hertz * TIMES[echo]))

    return signal(change)


def mean_of_slices(z: np.ndarray, echo: int) -> np.ndarray:
    """Each slice less the angle of its sum."""
    total = z.sum(axis=(0, 1), keepdims=True)
    return z * np.conj(total) / (np.abs(total) + 1e-9)


def soft(root: Path) -> None:
    """The phase times a smoothed mask."""
    weight = ndimage.gaussian_filter(Raw(root).brain().astype(np.float32), 1.0)
    phase(lambda p: p * weight)(root)


def along_echoes(root: Path) -> None:
    """Unwrapped along the echoes, not in space."""
    files = Raw(root).files('phase')
    unwrapped = np.unwrap(np.stack([read(path) for path in files], axis=-1), axis=-1)
    for number, path in enumerate(files):
        store(path, unwrapped[..., number])


def of_two_positions(z: np.ndarray, echo: int) -> np.ndarray:
    """The scanner's average of two repeats between which the head moved by 3 mm."""
    return (z + np.roll(z, 1, axis=1)) / 2


def electrodes(z: np.ndarray, echo: int) -> np.ndarray:
    """Two leads from the top of the head to the basal ganglia: long rods of 300 ppm."""
    chi = np.zeros(z.shape)
    for x in (0.42, 0.58):
        chi[round(x * z.shape[0]), round(0.5 * z.shape[1]), round(0.45 * z.shape[2]) :] = 30
    field = HZ_PER_PPM * dipole_field(chi, 3)
    loss = np.prod([np.sinc(TIMES[echo] * g) for g in np.gradient(field)], axis=0)
    return np.where(chi > 0, 0.01, loss) * z * np.exp(2j * PI * field * TIMES[echo])


def inversions(root: Path) -> None:
    """One echo at the first inversion time, all of them at the second one (MP2RAGEME)."""
    relabel('_echo-', '_inv-2_echo-')(root)
    elsewhere('_inv-2_echo-1', '_inv-1', echo=1, beside=True)(root)


def trains(root: Path) -> None:
    """Two trains of two echoes each, one between the other, as two runs."""
    runs = {'1': 'run-1_echo-1', '2': 'run-2_echo-1', '3': 'run-1_echo-2', '4': 'run-2_echo-2'}
    rename(lambda name: name.replace(f'echo-{name[12]}', runs[name[12]]))(root)
    sidecars(drop='EchoNumber')(root)


def in_its_box(path: Path, brain: np.ndarray) -> None:
    """A mask cut to what it holds."""
    box = tuple(slice(x.min(), x.max() + 1) for x in np.nonzero(brain))
    affine = nb.load(path).affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    write(path, brain[box], affine)


def moved_grid(shift_mm: float) -> Callable:
    """A mask of fMRIPrep, of 2 mm and without a sidecar, whose head lay elsewhere."""

    def change(path: Path, brain: np.ndarray) -> None:
        affine = nb.load(path).affine.copy()
        finer = ndimage.zoom(brain.astype(np.uint8), 1.5, order=0, grid_mode=True, mode='nearest')
        affine[:3, 3] -= affine[:3, :3] @ np.full(3, (1 - 1 / 1.5) / 2)
        affine[:3, :3] /= 1.5
        affine[1, 3] += shift_mm
        write(path, finer, affine)
        sidecar(path).unlink(missing_ok=True)

    return change


def resampled_mask(brain: np.ndarray) -> np.ndarray:
    """Resampled by splines: a little below 0 and above 1."""
    return ndimage.shift(brain.astype(np.float32), 0.4, order=3)


def turned_mask(brain: np.ndarray) -> np.ndarray:
    """Of a head turned by 10 degrees."""
    return ndimage.rotate(brain.astype(np.uint8), 10, (1, 2), reshape=False, order=0)


def stripped_magnitude(root: Path) -> None:
    """Magnitude zero around the brain, phase not."""
    brain = Raw(root).brain()
    magnitude(lambda m: m * brain)(root)


def combined_last(root: Path) -> None:
    """The magnitude of the last echo is the combination of all."""
    files = Raw(root).files('mag')
    store(files[-1], np.sqrt(sum(read(path) ** 2 for path in files)))


def salt(p: np.ndarray) -> np.ndarray:
    """One voxel of 500 holds any phase."""
    rng = np.random.default_rng(int(1e3 * p.std()))
    return np.where(rng.uniform(size=p.shape) < 0.002, rng.uniform(-PI, PI, p.shape), p)


def lost_slice(z: np.ndarray, echo: int) -> np.ndarray:
    """A slice of zeros in the middle of the brain."""
    z = z.copy()
    z[:, :, z.shape[2] // 2] = 0
    return z


def slice_twice(root: Path) -> None:
    """One slice of the phase of the third echo is that below it."""
    path = Raw(root).files('phase', 3)[0]
    p = read(path).copy()
    p[:, :, p.shape[2] // 2] = p[:, :, p.shape[2] // 2 - 1]
    store(path, p)


def hamming(z: np.ndarray, echo: int) -> np.ndarray:
    """The scanner's filter of the raw data."""
    windows = np.ix_(*(np.hamming(n) for n in z.shape))
    return in_kspace(z, lambda k: k * windows[0] * windows[1] * windows[2])


def displaced(z: np.ndarray, echo: int) -> np.ndarray:
    """Every second echo a voxel further, read out from the other side and turned back."""
    return np.roll(z, 1, axis=0) if echo % 2 else z


def overflow(m: np.ndarray) -> np.ndarray:
    """Signal beyond 16 bits starts from below again."""
    return (m / np.percentile(m, 95) * 32767).astype(np.int64).astype(np.int16)


def cord(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """A spinal cord in its fluid, bone and muscle around."""
    x, y, z = places
    neck = np.hypot(x, y) < 27
    bone = (abs(np.hypot(x, y + 12) - 9) < 2) & (np.mod(z, 12) < 9)
    inner = np.hypot(x, y) < 3
    chi = np.where(neck, 0.0, 9.4)
    chi[bone] = -2.0
    chi[inner] = np.where(np.hypot(x, y)[inner] < 1.5, 0.03, -0.02)
    return chi, np.where(neck, np.where(bone, 0.15, 1.0), 0.0), inner


def upside_down(data: np.ndarray, affine: np.ndarray) -> tuple:
    """The head lies the other way round in the scanner, and the header does not know."""
    return data[:, ::-1, ::-1], affine


def rods(chi: np.ndarray) -> np.ndarray:
    """Veins and nuclei five times as paramagnetic, as with an iron oxide in the blood."""
    return chi + 4 * np.clip(chi - 0.08, 0, None)


def in_pairs(z: np.ndarray, echo: int) -> np.ndarray:
    """Slices of each pair exchanged."""
    order = np.arange(z.shape[2] - z.shape[2] % 2).reshape(-1, 2)[:, ::-1].ravel()
    return np.concatenate([z[:, :, order], z[:, :, len(order) :]], axis=2)


def phases_turned_on(root: Path) -> None:
    """Each magnitude has the phase of the next echo; the last that of the first."""
    files = Raw(root).files('phase')
    phases = [read(path) for path in files]
    for path, values in zip(files, [*phases[1:], phases[0]], strict=True):
        store(path, values)


def unlike_slices(z: np.ndarray, echo: int) -> np.ndarray:
    """Slices of each echo with phases of their own: breathing, and no navigator."""
    turns = np.random.default_rng(echo).normal(0, 0.1 * (echo + 1), z.shape[2])
    return z * np.exp(1j * turns)


def bright_middle(m: np.ndarray) -> np.ndarray:
    """Four times the signal in the middle, as at 7 T."""
    r = [np.linspace(-1, 1, n) for n in m.shape]
    x, y, z = np.meshgrid(*r, indexing='ij')
    return m * (1 + 3 * np.exp(-(x**2 + y**2 + z**2) / 0.3))


SECOND_WRONG = times(lambda t: 0.6 * t, echo=2)
SCANS = of_kind(
    'forums',
    failed(
        'slices in the order of acquisition',
        on_files(lambda p: store(p, even_slices_first(read(p), None)[0])),
        '.',
        mask=None,
    ),
    right('newborn', newborn),
    failed('newborn of no stated age', with_chi(lambda chi: chi / 2, 0.5), 'their age'),
    told('fixed brain, R2* three times', out_of_the_skull, 'R2'),
    right('two slabs with offsets of their own', slabs(0, 1.5)),
    told('two slabs with frequencies of their own', slabs(15, 0), '.'),
    told('each slice less its mean phase', signal(mean_of_slices), '.'),
    told('phase times a soft mask', soft, '.'),
    right('unwrapped along the echoes alone', along_echoes),
    refused(
        'negative phase stored unsigned',
        of_maker('Siemens', lambda p: np.mod(np.rint(p / PI * 4096), 65536), dtype=np.uint16),
    ),
    told('magnitude beyond 16 bits, from below again', magnitude(overflow), '.'),
    told('two positions, averaged by the scanner', signal(of_two_positions), '.'),
    told('leads of deep brain stimulation', signal(electrodes), '.'),
    refused(
        'parts named acq-mag and acq-phase',
        rename(lambda n: re.sub('sub-01(.*)_part-([a-z]+)', r'sub-01_acq-\2\1', n)),
        'part-',
    ),
    refused(
        'suffixes mag and phase',
        both(relabel('part-mag_MEGRE', 'mag'), relabel('part-phase_MEGRE', 'phase')),
        'part-',
    ),
    refused('_Eq_1 of dcm2niix', relabel('_MEGRE', '_MEGRE_Eq_1'), 'Eq_1'),
    refused('MEGREa of dcm2niix', relabel('_MEGRE', '_MEGREa'), 'MEGREa'),
    right('dir-AP', label_all('dir-AP')),
    refused(
        'EchoTime of the phase in milliseconds',
        sidecars(part='phase', EchoTime=lambda s: 1000 * s['EchoTime']),
        'EchoTime',
    ),
    right('2.89362 T', sidecars(MagneticFieldStrength=2.89362, ImagingFrequency=123.2)),
    right('5 T', source='--b0 5 --tes 3 9 15 21'),
    right('11.7 T', source='--b0 11.7 --tes 2 5 8 11'),
    right('echoes to 80 ms', source='--tes 10 30 50 80'),
    right('four echoes in 5 ms', source='--tes 1.2 2.4 3.6 4.8'),
    right('mask cut to its box', mask=in_its_box),
    refused('mask resampled by splines', words='bin', mask=save_mask(resampled_mask)),
    told('mask of a head turned by 10 degrees', words='[Mm]ask', mask=save_mask(turned_mask)),
    right('mask of 2 mm', mask=moved_grid(0)),
    told('mask of 2 mm, head 6 mm away', words='[Mm]ask|granted', mask=moved_grid(6)),
    told('magnitude of the last echo is the mean of all', combined_last, 'R2|rises'),
    told('two inversions, MP2RAGEME', inversions, 'one echo'),
    right('two trains as two runs', trains),
    told('spinal cord', scanned(cord, 1.0), '.'),
    told('cut off at both sides', cropped(np.s_[14:48, :, :]), '.'),
    right('magnitude zero around the brain, phase not', stripped_magnitude),
    right('EchoNumber 1 in all', sidecars(EchoNumber=1)),
    told('iron oxide in the blood', with_chi(rods), '.'),
    right('head the other way round', geometry(upside_down)),
    right('one voxel of 500 with any phase', phase(salt)),
    told('a slice of zeros', signal(lost_slice), '.'),
    told('a slice of the third phase twice', slice_twice, '.'),
    right('raw data filtered by the scanner', signal(hamming)),
    told('slices of each pair exchanged', signal(in_pairs), '.'),
    failed('phase of the next echo in each', phases_turned_on, '.'),
    told('slices of each echo with phases of their own', signal(unlike_slices), '.'),
    right('no mask, bright in the middle', magnitude(bright_middle), mask=None),
    right('no mask, magnitude zero around the brain', stripped_magnitude, mask=None),
    told('no mask, cut off at both sides', cropped(np.s_[14:48, :, :]), '.', mask=None),
    failed('EchoTime of the second of four wrong', SECOND_WRONG, 'EchoTime'),
    told('EchoTime of the second of three wrong', SECOND_WRONG, '[Ee]cho', source='--tes 5 12 19'),
    told('EchoTime of the second of two wrong', SECOND_WRONG, 'field|[Ee]cho', source='--tes 5 19'),
    told('every second echo a voxel away', signal(displaced), '.'),
)

"""Scans of ``reported.py`` as issue trackers of QSM, converters and sequences tell of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from scans.changes import TIMES, elsewhere, in_t1w, phase, scaled, signal
from scans.clinics import interleaved, upper_half
from scans.dataset import Raw, failed, of_kind, read, right, store, told
from scans.forums import newborn, with_chi
from scans.headers import cropped
from scans.objects import HZ_PER_PPM, dipole_field
from scans.patients import ONE, TWO, second_phase, smooth_p, tissue
from scans.phase import every_second_slice, high_passed
from scans.scanner import interpolated

PI = np.pi


def by_ratio(p: np.ndarray) -> np.ndarray:
    """Arc tangent of imaginary over real part, where that of both was meant."""
    return np.arctan(np.tan(p))


def vortices(z: np.ndarray, echo: int) -> np.ndarray:
    """Pairs of lines without signal about which the phase turns, as coils are combined badly."""
    grid = np.indices(z.shape[:2], float)
    for place in np.random.default_rng(4).uniform(0.25, 0.75, (8, 2)) * z.shape[:2]:
        for sign, middle in ((1, place), (-1, place + 2.5)):
            x, y = (axis - c for axis, c in zip(grid, middle, strict=True))
            hole = np.clip(np.hypot(x, y) / 1.5, 0.02, 1)
            z = z * (hole * np.exp(1j * sign * np.arctan2(y, x)))[..., None]
    return z


def waves(z: np.ndarray, echo: int) -> np.ndarray:
    """What Wave-CAIPI leaves: a sine along read-out and slices, the same in all echoes."""
    x, y = np.arange(z.shape[0])[:, None], np.arange(z.shape[2])
    return z * np.exp(0.8j * np.sin(2 * PI * x / 17) * np.cos(2 * PI * y / 23))[:, None, :]


LOW = (0.008, 0.020, 0.035, 0.050, 0.065)


def concomitant(z: np.ndarray, echo: int) -> np.ndarray:
    """Fields that accompany gradients at 0.55 T: 4 Hz at 100 mm, with the square of z."""
    middle = (z.shape[2] - 1) / 2
    square = (3 * (np.arange(z.shape[2]) - middle) / 100) ** 2
    return z * np.exp(2j * PI * 4 * square * LOW[echo])


def overflowing(p: np.ndarray) -> np.ndarray:
    """Whole numbers of 16 bits that overflow beyond 2 rad."""
    return np.mod(np.rint(p * 16384) + 32768, 65536) - 32768


def lowest_in_noise(root: Path) -> None:
    """Phase at its least value where an echo has less than 6 % of its largest signal."""
    for one, other in Raw(root).pairs():
        m, p = read(one), read(other)
        store(other, np.where(m < 0.06 * np.percentile(m, 99), -PI, p).astype(np.float32))


def sprinkled(p: np.ndarray) -> np.ndarray:
    """One voxel of a hundred is not a number."""
    lost = np.random.default_rng(6).uniform(size=p.shape) < 0.01
    return np.where(lost, np.nan, p)


def integers(part: str, dtype: type, largest: float, slope: float | None = None) -> Callable:
    """Whole numbers, and the slope that brings them back, or another one."""

    def alter(root: Path) -> None:
        for path in Raw(root).files(part):
            data = read(path)
            scale = np.abs(data).max() / largest
            image = nb.load(path)
            new = nb.Nifti1Image(
                np.rint(data / scale).astype(dtype), None, image.header, dtype=dtype
            )
            new.header.set_slope_inter(scale if slope is None else slope, 0)
            new.header.set_data_dtype(dtype)
            nb.save(new, path)

    return alter


def same_again(root: Path) -> None:
    """The same images as a second run."""
    elsewhere('sub-01_', 'sub-01_run-2_', beside=True)(root)
    for path in sorted((root / 'sub-01' / 'anat').glob('sub-01_echo-*')):
        path.rename(path.with_name(path.name.replace('sub-01_', 'sub-01_run-1_')))


def saying(degrees: float, key: str) -> Callable:
    """Straightened, and the sidecars tell of the position in which it was measured."""

    def alter(root: Path) -> None:
        in_t1w(degrees)(root)
        a = np.radians(degrees)
        told_by = {
            'B0_dir': [0, float(np.sin(a)), float(np.cos(a))],
            'ImageOrientationPatientDICOM': [1, 0, 0, 0, float(np.cos(a)), float(np.sin(a))],
        }
        Raw(root).sidecars(**{key: told_by[key]})

    return alter


def to_template(root: Path) -> None:
    """A registration wrote its template into the sform: turned by 20 degrees, and larger."""
    a = np.radians(20)
    turn = np.diag([1.1, 1.1, 1.1, 1.0])
    turn[1:3, 1:3] = 1.1 * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    for path in Raw(root).files():
        image = nb.load(path)
        data, affine = np.asarray(image.dataobj), image.affine
        new = nb.Nifti1Image(data, affine)
        new.set_qform(affine, 1)
        new.set_sform(turn @ affine, 4)
        nb.save(new, path)


def calcified(root: Path) -> None:
    """Fahr's disease: the nuclei hold calcium in place of iron."""
    raw = Raw(root)
    chi = read(raw.truth / 'anat' / 'sub-01_Chimap.nii.gz')
    tissue(lambda brain: brain & (chi > 0.06), lambda chi: -2.5 * chi, 20)(root)


def postmortem(root: Path) -> None:
    """Blood in the veins without any oxygen."""
    chi = read(Raw(root).truth / 'anat' / 'sub-01_Chimap.nii.gz')
    tissue(lambda brain: brain & (chi > 0.2), lambda chi: 0 * chi + 0.45, 10)(root)


def plate(z: np.ndarray, echo: int) -> np.ndarray:
    """A plate of titanium over one side of the skull."""
    x, y, w = np.meshgrid(*(np.linspace(-1, 1, n) for n in z.shape), indexing='ij')
    radius = np.sqrt(x**2 + y**2 + w**2)
    metal = (abs(radius - 0.96) < 0.035) & (x > 0.55) & (w > 0)
    field_hz = HZ_PER_PPM * dipole_field(np.where(metal, 180.0, 0.0), 3)
    lost = np.prod([np.sinc(TIMES[echo] * s) for s in np.gradient(field_hz)], axis=0)
    return z * lost * np.exp(2j * PI * field_hz * TIMES[echo])


def aged_in_session(root: Path) -> None:
    """A newborn whose age is in the table of its sessions."""
    newborn(root)
    (root / 'participants.tsv').write_text('participant_id\nsub-01\n')
    in_sessions(root, ALL)
    (root / 'sub-01' / 'sub-01_sessions.tsv').write_text('session_id\tage\nses-1\t0.1\n')


def aged_in_whole_years(root: Path) -> None:
    """A newborn of zero years."""
    newborn(root)
    (root / 'participants.tsv').write_text('participant_id\tage\nsub-01\t0\n')


def child(root: Path) -> None:
    """A child of 18 months: three quarters of an adult's susceptibility and R2*."""
    with_chi(lambda chi: 0.75 * chi, 0.75)(root)
    (root / 'participants.tsv').write_text('participant_id\tage\nsub-01\t1.5\n')


def balanced(z: np.ndarray, echo: int) -> np.ndarray:
    """Balanced steady state at half of TR (10 ms): dark bands, and pi from band to band."""
    turns = np.angle(z) * 10 / 20 / PI  # phase of 20 ms, as far as it is not wrapped
    return np.abs(z) * (0.1 + abs(np.cos(PI * turns))) * np.where(np.cos(PI * turns) > 0, 1, -1)


def a_slice_of_zeros(p: np.ndarray) -> np.ndarray:
    """The values of a slice are lost."""
    p = p.copy()
    p[:, :, p.shape[2] // 2] = 0
    return p


def second_signal(change: Callable) -> Callable:
    """The phase of a signal that is changed, in the second echo alone."""

    def alter(root: Path) -> None:
        one, other = Raw(root).pairs()[1]
        z = change(read(one) * np.exp(1j * read(other)), 1)
        store(other, np.angle(z).astype(np.float32))

    return alter


def low_rank(root: Path) -> None:
    """Denoised: in blocks of five voxels one decay and frequency for all."""
    raw = Raw(root)
    series = np.stack([read(m) * np.exp(1j * read(p)) for m, p in raw.pairs()], axis=-1)
    for corner in np.ndindex(*(-(-n // 5) for n in series.shape[:3])):
        block = tuple(slice(5 * c, 5 * c + 5) for c in corner)
        part = series[block]
        u, s, v = np.linalg.svd(part.reshape(-1, part.shape[-1]), full_matrices=False)
        series[block] = (u[:, :1] * s[:1] @ v[:1]).reshape(part.shape)
    raw.signal(lambda z, echo: series[..., echo])


def coils_beside(root: Path) -> None:
    """Two coils, each by itself, beside what was combined of them."""
    for coil in (1, 2):
        for path in Raw(root).with_sidecars():
            if 'coil-' not in path.name:
                name = path.name.replace('sub-01_', 'sub-01_rec-uncombined_')
                shutil.copy(path, path.with_name(name.replace('_part-', f'_coil-{coil}_part-')))


def in_sessions(root: Path, *sessions: dict[str, str]) -> None:
    """Each session has the echoes of a table, by their old and new numbers."""
    old = root / 'sub-01' / 'anat'
    for number, numbers in enumerate(sessions, 1):
        target = root / 'sub-01' / f'ses-{number}' / 'anat'
        target.mkdir(parents=True)
        for path in sorted(old.glob('sub-01_echo-*')):
            echo = path.name.split('echo-')[1][0]
            if echo in numbers:
                name = path.name.replace('sub-01_', f'sub-01_ses-{number}_')
                shutil.copy(path, target / name.replace(f'echo-{echo}', f'echo-{numbers[echo]}'))
    shutil.rmtree(old)


ALL = dict(zip('1234', '1234', strict=True))


def other_protocol(root: Path) -> None:
    """Two sessions; the second has two echoes at other times."""
    in_sessions(root, ALL, {'2': '1', '4': '2'})


SCANS = of_kind(
    'tracker',
    failed('phase by the ratio of both parts alone', phase(by_ratio), '.'),
    told('pairs of singularities with holes', signal(vortices), '.'),
    right('a sine that Wave-CAIPI leaves', signal(waves)),
    told(
        'concomitant fields at 0.55 T',
        signal(concomitant),
        '.',
        source='--b0 0.55 --tes 8 20 35 50 65',
    ),
    failed('16 bits that overflow beyond 2 rad', phase(overflowing, dtype=np.int16), '.'),
    failed(
        '16 bits that overflow beyond 2 rad, with a slope',
        phase(overflowing, dtype=np.int16, slope=1 / 16384),
        '.',
    ),
    right('least value of the phase where there is noise', lowest_in_noise),
    right('one voxel of a hundred not a number', phase(sprinkled)),
    right('magnitude with a slope of 1e-30', integers('mag', np.int16, 30000, 1e-30)),
    right('phase in 64-bit integers with a slope', integers('phase', np.int64, 2**40)),
    told('two runs of the same bits', same_again, 'same'),
    told('straightened by 25 degrees, B0_dir in the sidecar', saying(25, 'B0_dir'), 'B0'),
    told(
        'straightened by 12 degrees, ImageOrientationPatientDICOM tells',
        saying(12, 'ImageOrientationPatientDICOM'),
        'B0|[Oo]rientation',
    ),
    right('sform of a template, turned and larger', to_template),
    right('nuclei with calcium for iron', calcified),
    told('titanium over one side of the skull', signal(plate), '.'),
    right('a head 1.2 times as large', scaled(1.2)),
    right('macaque: a head of 0.45', scaled(0.45)),
    told('macaque: a head of 0.45, no mask', scaled(0.45), '.', mask=None),
    right('newborn, age in the table of sessions', aged_in_session),
    right('newborn, age 0 in whole years', aged_in_whole_years),
    right('child of 18 months', child),
    right('veins of somebody dead', postmortem),
    failed('balanced steady state', signal(balanced), '.', source=ONE),
    right('twice as many slices by zero filling', interpolated(2)),
    right('twice as many voxels along all axes', interpolated(0, 1, 2)),
    told('denoised to one decay in blocks of five voxels', low_rank, '.'),
    right('echoes from 30 to 60 ms', source='--tes 30 40 50 60'),
    right('echoes of functional series, 16 ms apart', source='--tes 11.8 28.04 44.28 60.52'),
    told('coronal slab of 16 slices', cropped(np.s_[:, 30:46, :]), 'slab'),
    right('coils by themselves beside the combined images', coils_beside),
    right('a second session with two echoes at other times', other_protocol),
    failed('two echoes, the second high-passed', high_passed(15, 2), '.', source=TWO),
    failed('two echoes, the second halved', second_phase(lambda p: p / 2), '.', source=TWO),
    failed(
        'two echoes, the second smoothed after wrapping', second_phase(smooth_p), '.', source=TWO
    ),
    failed(
        'two echoes, odd slices of the second phase 3 mm away',
        second_signal(interleaved),
        '.',
        source=TWO,
    ),
    told(
        'two echoes, a slice of zeros in the second phase',
        second_phase(a_slice_of_zeros),
        '[Ss]lice',
        source=TWO,
    ),
    failed(
        'two echoes, the upper half of the second of the other sign',
        second_signal(upper_half),
        '.',
        source=TWO,
    ),
    told('three echoes, the last high-passed', high_passed(15, 3), '.', source='--tes 5 15 25'),
    told('one echo, high-passed by 15 mm', high_passed(15), '.', source=ONE),
    failed(
        'one echo, every second slice of the other sign',
        phase(every_second_slice(lambda p: -p)),
        '.',
        source=ONE,
    ),
    told('one echo, a slice of zeros', phase(a_slice_of_zeros), '[Ss]lice', source=ONE),
)

"""Scans of ``reported.py`` of patients, and exports whose faults come two at a time."""

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
    complex_noise,
    elsewhere,
    geometry,
    phase,
    relabel,
    rename,
    signal,
)
from scans.clinics import interleaved, upper_half
from scans.dataset import Raw, failed, of_kind, read, refused, right, sidecar, store, told, write
from scans.forums import newborn, with_chi
from scans.headers import across_b0, cropped
from scans.objects import AIR_PPM, all_signal, scanned
from scans.phase import of_maker
from scans.scanner import in_kspace
from scipy import ndimage

PI = np.pi
SLAB = cropped(np.s_[:, :, 20:40])


def tissue(region: Callable, chi_ppm: Callable, rate: float) -> Callable:
    """Another susceptibility in a part of the brain, which decays by so much more [1/s]."""

    def alter(root: Path) -> None:
        inside = region(Raw(root).brain())
        with_chi(lambda chi: np.where(inside, chi_ppm(chi), chi))(root)
        Raw(root).signal(lambda z, e: np.where(inside, z * np.exp(-rate * TIMES[e]), z))

    return alter


def ellipsoid(brain: np.ndarray, *balls: tuple) -> np.ndarray:
    """Ellipsoids by middle and radii, both in parts of the brain's box."""
    box = [(x.min(), x.max()) for x in np.nonzero(brain)]
    scaled = [
        (x - a) / (b - a) for x, (a, b) in zip(np.indices(brain.shape, float), box, strict=True)
    ]
    parts = [
        sum(((x - c) / r) ** 2 for x, c, r in zip(scaled, middle, radii, strict=True)) < 1
        for middle, radii in balls
    ]
    return np.any(parts, axis=0) & brain


def ventricles(brain: np.ndarray) -> np.ndarray:
    """Both ventricles of a hydrocephalus."""
    radii = (0.14, 0.3, 0.22)
    return ellipsoid(brain, ((0.34, 0.5, 0.6), radii), ((0.66, 0.5, 0.6), radii))


def one_side(brain: np.ndarray) -> np.ndarray:
    """One hemisphere, which was taken out."""
    x = np.arange(brain.shape[0])[:, None, None]
    return brain & (x > brain.shape[0] // 2 + 2)


def haematoma(brain: np.ndarray) -> np.ndarray:
    """A ball of some 30 ml."""
    return ellipsoid(brain, ((0.7, 0.45, 0.6), (0.14, 0.12, 0.14)))


def surface(brain: np.ndarray) -> np.ndarray:
    """The surface of the lower half of the brain, two voxels deep."""
    rim = brain & ~ndimage.binary_erosion(brain, iterations=2)
    z = np.arange(brain.shape[2])
    return rim & (z < brain.shape[2] // 2)


def overloaded(root: Path) -> None:
    """Iron of the nuclei three times as much, and their R2* with it."""
    chi = read(Raw(root).truth / 'anat' / 'sub-01_Chimap.nii.gz')
    more = 2 * np.clip(chi - 0.05, 0, 0.3)
    with_chi(lambda chi: chi + more)(root)
    Raw(root).signal(lambda z, e: z * np.exp(-120 * more * TIMES[e]))


def microbleeds(brain: np.ndarray) -> np.ndarray:
    """Sixty of them, a voxel each."""
    places = np.argwhere(ndimage.binary_erosion(brain, iterations=2))
    picked = np.random.default_rng(2).choice(len(places), 60, replace=False)
    spots = np.zeros(brain.shape, bool)
    spots[tuple(places[picked].T)] = True
    return spots


def aged(age: str, units: str) -> Callable:
    """A newborn whose age is given in other units."""

    def alter(root: Path) -> None:
        newborn(root)
        (root / 'participants.tsv').write_text(f'participant_id\tage\nsub-01\t{age}\n')
        (root / 'participants.json').write_text(json.dumps({'age': {'Units': units}}))

    return alter


def leaking(z: np.ndarray, echo: int) -> np.ndarray:
    """Slices that were excited together leak into each other by 15 %, shifted by a third."""
    other = np.roll(z, (z.shape[1] // 3, z.shape[2] // 2), (1, 2))
    return z + 0.15 * other


def coarse_phase(z: np.ndarray, echo: int) -> np.ndarray:
    """Phase of half the matrix, each value for two by two voxels."""
    low = np.angle(z)[::2, ::2]
    fine = np.repeat(np.repeat(low, 2, 0), 2, 1)[: z.shape[0], : z.shape[1]]
    return np.abs(z) * np.exp(1j * fine)


def navigator(root: Path) -> None:
    """A fifth echo that is a navigator: an eighth of the lines."""
    elsewhere('echo-4', 'echo-5', echo=4, beside=True)(root)
    raw = Raw(root)
    raw.sidecars(echo=5, EchoTime=0.036)

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        def middle(k: np.ndarray) -> np.ndarray:
            far = abs(np.arange(k.shape[1]) - k.shape[1] // 2) > k.shape[1] // 16
            k[:, far] = 0
            return k

        return in_kspace(z, middle) if echo == 4 else z

    raw.signal(change)


def first_is_noise(z: np.ndarray, echo: int) -> np.ndarray:
    """The first echo is a scan of noise."""
    rng = np.random.default_rng(0)
    return z if echo else 0.02 * np.abs(z).max() * complex_noise(z.shape, rng)


def repeats(root: Path) -> None:
    """Each echo time twice: two averages that were exported as eight echoes."""
    rename(lambda name: name.replace(f'echo-{name[12]}', f'echo-{2 * int(name[12]) - 1}'))(root)
    for number in (1, 3, 5, 7):
        elsewhere(f'echo-{number}_', f'echo-{number + 1}_', echo=number, beside=True)(root)
    rng = np.random.default_rng(0)
    Raw(root).signal(lambda z, e: z + 0.005 * np.abs(z).max() * complex_noise(z.shape, rng))


def turned_round(part: str) -> Callable:
    """Images of the echoes in the reverse order; times stay."""

    def alter(root: Path) -> None:
        files = Raw(root).files(part)
        for path, data in zip(files, [read(x) for x in files][::-1], strict=True):
            store(path, data)

    return alter


def cumulated(root: Path) -> None:
    """Each phase is the sum of all up to it."""
    files = Raw(root).files('phase')
    total = np.cumsum([read(path) for path in files], axis=0)
    for path, data in zip(files, total, strict=True):
        store(path, np.angle(np.exp(1j * data)).astype(np.float32))


def as_phase_difference(root: Path) -> None:
    """The field map of Siemens: two magnitudes, and the difference of their phases."""
    raw, target = Raw(root), root / 'sub-01' / 'fmap'
    target.mkdir()
    mags, phases = raw.files('mag'), [read(p) for p in raw.files('phase')]
    for number in (1, 2):
        shutil.copy(mags[number - 1], target / f'sub-01_magnitude{number}.nii.gz')
    difference = np.angle(np.exp(1j * (phases[1] - phases[0])))
    path = target / 'sub-01_phasediff.nii.gz'
    write(path, difference.astype(np.float32), mags[0])
    times = {'EchoTime1': TIMES[0], 'EchoTime2': TIMES[1], 'MagneticFieldStrength': 3}
    sidecar(path).write_text(json.dumps(times))
    shutil.rmtree(root / 'sub-01' / 'anat')


def of_12_bits(p: np.ndarray) -> np.ndarray:
    """Signed numbers of 12 bits that were read as unsigned ones."""
    return np.mod(np.rint(p / PI * 2047), 4096)


def knee(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """A knee: muscle, fat under the skin, bones with marrow of fat."""
    x, y, z = places
    leg = np.hypot(x, y) < 24
    bone = np.hypot(x, y - 3) < 11
    shell = bone & (np.hypot(x, y - 3) > 9)
    gap = bone & (abs(z) < 1.5)
    chi = np.where(leg, 0.0, AIR_PPM)
    chi[leg & (np.hypot(x, y) > 20)] = 0.6
    chi[bone] = 0.6
    chi[shell | gap] = -2.0
    signal = np.where(leg, np.where(shell | gap, 0.1, 1.0), 0.0)
    return chi, signal, leg & ~bone


def bottle(places: list, tissue: np.ndarray, brain: np.ndarray) -> tuple:
    """A bottle of gel that lies, a tube of iron in it, and a bubble of air below its wall."""
    x, y, z = places
    inside = (x**2 + z**2 < 20**2) & (abs(y) < 26)
    air = (x**2 + y**2 < 6**2) & (z > 15) & inside
    chi = np.where(inside, 0.0, AIR_PPM)
    chi[air] = AIR_PPM
    tube = (np.hypot(x - 4, z + 4) < 4) & (abs(y) < 12)
    chi[tube] = 0.3
    return chi, (inside & ~air).astype(float), inside & ~air


def filtered(z: np.ndarray, echo: int) -> np.ndarray:
    """Phase less that of the middle of k-space."""
    low = ndimage.gaussian_filter(z.real, 3) + 1j * ndimage.gaussian_filter(z.imag, 3)
    return z * np.exp(-1j * np.angle(low))


def smooth_p(p: np.ndarray) -> np.ndarray:
    """Smoothed after wrapping."""
    return ndimage.gaussian_filter(p, 0.6)


def moved(voxels: int) -> Callable[[np.ndarray], np.ndarray]:
    """Moved within the plane."""
    return lambda p: np.roll(p, voxels, 1)


def upside_down(p: np.ndarray) -> np.ndarray:
    """Slices from behind."""
    return p[:, :, ::-1]


def second_phase(change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """The phase of the second echo alone."""

    def alter(root: Path) -> None:
        path = Raw(root).files('phase', 2)[0]
        store(path, change(read(path)))

    return alter


def opposite(p: np.ndarray) -> np.ndarray:
    """The other sign."""
    return -p


def interrupted(z: np.ndarray, echo: int) -> np.ndarray:
    """The frequency jumped by 15 Hz after 45 % of the lines."""
    turns = 15 * TIMES[echo] if echo else 0.3
    late = np.arange(z.shape[1]) >= 0.45 * z.shape[1]
    return in_kspace(z, lambda k: k * np.exp(2j * PI * turns * late)[None, :, None])


def one_coarse(z: np.ndarray, echo: int) -> np.ndarray:
    """The third echo has half the resolution, filled with zeros."""

    def middle(k: np.ndarray) -> np.ndarray:
        for axis, n in enumerate(k.shape):
            far = abs(np.arange(n) - n // 2) > n // 4
            k = k * np.expand_dims(~far, [x for x in range(3) if x != axis])
        return k

    return in_kspace(z, middle) if echo == 2 else z


def wide_voxels(data: np.ndarray, affine: np.ndarray) -> tuple:
    """A header whose voxels are wider within the slices by 30 %."""
    return data, affine @ np.diag([1.3, 1.3, 1, 1])


def two_runs(root: Path) -> None:
    """A second run that is coarser, with two echoes."""
    elsewhere('sub-01_', 'sub-01_run-2_', echo='[12]', beside=True)(root)
    for path in sorted((root / 'sub-01' / 'anat').glob('sub-01_echo-*')):
        path.rename(path.with_name(path.name.replace('sub-01_', 'sub-01_run-1_')))
    for path in sorted((root / 'sub-01' / 'anat').glob('*run-2*.nii.gz')):
        write(path, read(path)[:, :, ::2], affine_of(path) @ np.diag([1, 1, 2, 1]))


def affine_of(path: Path) -> np.ndarray:
    """Affine of an image."""
    return nb.load(path).affine


def blurred_by_decay(z: np.ndarray, echo: int) -> np.ndarray:
    """Lines that were read out one after another within 60 ms, as in EPI."""
    lost = np.exp(-25 * np.linspace(0, 0.06, z.shape[1]))
    return in_kspace(z, lambda k: k * lost[None, :, None])


def in_session_too(root: Path) -> None:
    """A second visit in a session; the first one has none."""
    target = root / 'sub-01' / 'ses-followup' / 'anat'
    target.mkdir(parents=True)
    for path in (root / 'sub-01' / 'anat').glob('*_echo-*'):
        shutil.copy(path, target / path.name.replace('sub-01_', 'sub-01_ses-followup_'))


SCANS = of_kind(
    'patient',
    right('hydrocephalus', tissue(ventricles, lambda chi: 0 * chi, -15)),
    right('hydrocephalus, no mask', tissue(ventricles, lambda chi: 0 * chi, -15), mask=None),
    right('one hemisphere taken out', tissue(one_side, lambda chi: 0 * chi, -15)),
    right('haematoma of 30 ml', tissue(haematoma, lambda chi: chi + 0.8, 150)),
    right('superficial siderosis', tissue(surface, lambda chi: chi + 0.2, 40)),
    right('iron overload of the nuclei', overloaded),
    right('sixty microbleeds', tissue(microbleeds, lambda chi: chi + 1.0, 40)),
    told('newborn, age of 2 weeks', aged('2', 'weeks'), 'R2'),
    told('newborn, age of 40 weeks', aged('40', 'weeks'), 'R2'),
    told('newborn, age of 9 days', aged('9', 'days'), 'R2'),
    failed('newborn of the other sign', both(newborn, phase(opposite)), '[Ss]ign'),
    failed('slab of the other sign', both(SLAB, phase(opposite)), '[Ss]ign'),
    failed(
        'slab of the other sign, one echo',
        both(SLAB, phase(opposite)),
        '[Ss]ign',
        source='--tes 20',
    ),
    failed('slab, B0 along another axis', both(SLAB, across_b0), 'B0'),
    told('slices leak into each other', signal(leaking), '.'),
    told('phase of half the matrix', signal(coarse_phase), '.'),
    told('a navigator as the fifth echo', navigator, '.'),
    told('first echo is noise', signal(first_is_noise), '.'),
    refused('each echo time twice', repeats, 'EchoTime'),
    failed('echoes of the phase in the reverse order', turned_round('phase'), '[Ee]cho|[Ss]ign'),
    failed('echoes in the reverse order', turned_round('*'), '[Ee]cho|R2'),
    failed('phases summed up', cumulated, '[Ee]cho'),
    refused('phase difference in fmap', as_phase_difference, 'anat|phase'),
    refused(
        'T2starw for the magnitude, MEGRE for the phase',
        relabel('_MEGRE', '_T2starw', 'mag'),
        'T2starw',
    ),
    right('signed numbers of 12 bits, unsigned', of_maker('SIEMENS', of_12_bits, dtype=np.uint16)),
    told('knee', scanned(knee, 3), '.', mask=None),
    all_signal(told('bottle with a bubble', scanned(bottle, 1.5), '.')),
    right('second visit in a session', in_session_too),
)
ONE, TWO = '--tes 20', '--tes 5 15'
SCANS += of_kind(
    'patient',
    right('newborn, no mask', newborn, mask=None),
    told('the frequency jumped in the middle', signal(interrupted), '.'),
    right('third echo of half the resolution', signal(one_coarse)),
    told('voxels wider by 30 %, by the header alone', geometry(wide_voxels), '.', mask=None),
    told('a coarser second run', two_runs, '.'),
    told('lines within 60 ms, as in EPI', signal(blurred_by_decay), '.'),
    failed('one echo, filtered for SWI', signal(filtered), '.', source=ONE),
    failed('one echo, flipped left to right', phase(lambda p: p[::-1]), '.', source=ONE),
    failed('one echo, flipped front to back', phase(lambda p: p[:, ::-1]), '.', source=ONE),
    told('one echo, odd slices 3 mm away', signal(interleaved), '.', source=ONE),
    failed('one echo, upper half of the other sign', signal(upper_half), '.', source=ONE),
    told('one echo, the frequency jumped', signal(interrupted), '.', source=ONE),
    failed('one echo, slices from behind', phase(lambda p: p[:, :, ::-1]), '.', source=ONE),
    failed('one echo, smoothed after wrapping', phase(smooth_p), '.', source=ONE),
    failed('one echo, divided by the largest magnitude', phase(lambda p: p / 2), '.', source=ONE),
    told(
        'two echoes, one phase a voxel away',
        second_phase(lambda p: np.roll(p, 1, 1)),
        '.',
        source=TWO,
    ),
    failed(
        'two echoes, one phase two voxels away',
        second_phase(lambda p: np.roll(p, 2, 1)),
        '.',
        source=TWO,
    ),
    failed('two echoes, one phase flipped', second_phase(lambda p: p[::-1]), '.', source=TWO),
    failed(
        'two echoes, one phase upside down', second_phase(lambda p: p[:, :, ::-1]), '.', source=TWO
    ),
    told('iron overload and the other sign', both(overloaded, phase(opposite)), '[Ss]ign'),
    told(
        'microbleeds and the other sign',
        both(tissue(microbleeds, lambda chi: chi + 1.0, 40), phase(opposite)),
        '[Ss]ign',
    ),
    failed(
        'no mask, hydrocephalus of the other sign',
        both(tissue(ventricles, lambda chi: 0 * chi, -15), phase(opposite)),
        '[Ss]ign',
        mask=None,
    ),
)

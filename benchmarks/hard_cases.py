"""Scans with a known map, and what can befall them: noise, remnants, holes, crops, coarse voxels.

The name of a case says all that makes it, so that each can be made again alone:
``tr-1-1+noise=4+crop=56+draw=3`` is a scan in vivo with white noise of 4 ppb, of which a cube of
56 mm is left; ``map02`` the field of the second map of a folder;
``head05+coarse=2x2x2+error=0.035+draw=3`` the fifth label volume, simulated at 1 mm with the third
draw of tissues, averaged to 2 mm, with a planted model error. Departures apply in the order of
:data:`DEPARTURES`, each with numbers of its own from the draw.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from inversion import Case, in_vivo
from robustness import distance_mm
from scipy.fft import next_fast_len
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter

from qsmprep.qsm.grid import Grid, bounding_box
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate import simulate_local_field
from qsmprep.training.heads import find_heads, read_head

HEADS_A_SEED = 6
SNR = 40.0
"""Of heads at 1 mm; averaged to 2 mm it is 113."""
HEAD_COARSE = ('2x2x2', '2x2x2', '3x3x3', '2x2x3', '2x2x2', '3x3x3')
HEAD_ERROR = (None, None, '0.035', None, None, '0.06')
HEAD_TILT = (None, '20', None, None, '40', None)
HOLE_RADIUS_MM = 4.0
PATCH_PPB = 20.0
BARE_NOISE_PPB = 1.0
"""What a noise map says of a scan in vivo to which none was added, and of the field of a map."""
REACH_MM = (2.0, 20.0)


@dataclass(frozen=True)
class Sources:
    """Folders that hold what cases are made of; without label volumes heads are analytic.

    ``maps`` are susceptibility maps of others [ppm, NIfTI, zero outside the brain]; where they are
    given they take the place of heads.
    """

    slabs: Path | None
    labels: Path | None
    maps: Path | None = None


def make_case(name: str, sources: Sources) -> Case:
    """Make a case from its name.

    Raises
    ------
    ValueError
        If the name holds a departure that does not exist.

    """
    scan, departures, draw = parse_name(name)
    tilt = departures.pop('tilt', None)
    case = _scan(scan, draw, float(tilt or 0), sources)
    for kind, change in DEPARTURES.items():
        if kind in departures:
            rng = np.random.default_rng([draw, zlib.crc32(f'{scan}{kind}'.encode())])
            case = change(case, departures[kind], rng)
    return _on_bounding_box(case)


def parse_name(name: str) -> tuple[str, dict[str, str], int]:
    """Scan, departures and draw in the name of a case.

    Examples
    --------
    >>> parse_name('head05+coarse=2x2x2+noise=4+draw=3')
    ('head05', {'coarse': '2x2x2', 'noise': '4'}, 3)

    """
    scan, *parts = name.split('+')
    departures = dict(part.split('=', 1) for part in parts)
    draw = int(departures.pop('draw', 0))
    if unknown := [kind for kind in departures if kind not in (*DEPARTURES, 'tilt')]:
        raise ValueError(f'No departure {", ".join(unknown)}; there are tilt, {", ".join(VALUES)}.')
    return scan, departures, draw


def draw_names(seed: int, count: int, sources: Sources) -> list[str]:
    """Names of the cases of a seed: every scan as it is, then one departure or two.

    Six heads follow on those of the seed before, so that three seeds see all of 17. The first
    cases of a list are as mixed as the whole.
    """
    rng = np.random.default_rng(seed)
    heads = len(find_heads(sources.labels)) or 1
    scans: list[tuple[str, dict[str, str]]] = []
    if sources.slabs:
        paths = sorted(sources.slabs.glob('*_phs.nii.gz'))
        scans += [(path.name.removesuffix('_phs.nii.gz'), {}) for path in paths]
    maps = _find_maps(sources)
    for i in range(len(maps)):
        scans += [(f'map{i + 1:02d}', {}), (f'map{i + 1:02d}', {'error': '0.035'})]
    for i in range(0 if maps else HEADS_A_SEED):
        base = {'coarse': HEAD_COARSE[i], 'error': HEAD_ERROR[i], 'tilt': HEAD_TILT[i]}
        base = {kind: value for kind, value in base.items() if value}
        scans.append((f'head{(HEADS_A_SEED * seed + i) % heads + 1:02d}', base))

    pairs = [p for p in combinations(VALUES, 2) if set(p) not in EXCLUSIVE]
    singles = iter(_mixed([(kind,) for kind in VALUES], scans, rng))
    doubles = iter(_mixed(pairs, scans, rng))
    names = [_name(*scan, seed) for scan in scans]
    while len(names) < count:
        turn = [next(singles, None), next(singles, None), next(doubles)]
        for scan, base, kinds in filter(None, turn):
            added = {kind: str(rng.choice(VALUES[kind])) for kind in kinds}
            name = _name(scan, {**base, **added}, seed)
            if name not in names:
                names.append(name)
    return names[:count]


def _mixed(kinds: list[tuple], scans: list[tuple], rng: np.random.Generator) -> list[tuple]:
    """Every scan with every choice of departures, scans and departures taken in turn."""
    order = rng.permutation(len(kinds))
    shifts = rng.permutation(len(scans))
    rounds = [(i, (i + s) % len(scans)) for s in shifts for i in range(len(kinds))]
    return [(*scans[j], kinds[order[i]]) for i, j in rounds if _fits(scans[j][0], kinds[order[i]])]


def _fits(scan: str, kinds: tuple[str, ...]) -> bool:
    return scan.startswith(('head', 'map')) or not {'tilt', 'error'} & set(kinds)


def _name(scan: str, departures: dict[str, str], seed: int) -> str:
    return '+'.join([scan, *(f'{k}={v}' for k, v in departures.items()), f'draw={seed}'])


@lru_cache(maxsize=2)
def _scan(name: str, draw: int, tilt_deg: float, sources: Sources) -> Case:
    """Scan in vivo, field of a map, or head at 1 mm; the last ones are kept."""
    if not name.startswith(('head', 'map')):
        return in_vivo(sources.slabs, name)
    number = int(name.removeprefix('head').removeprefix('map'))
    tilt, turn = np.deg2rad(tilt_deg), np.random.default_rng([draw, number]).uniform(0, 2 * np.pi)
    b0 = (np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), np.cos(tilt))
    direction, seed = b0 if tilt else (0, 0, 1), 100 * draw + number
    if name.startswith('map'):
        return _field_of_map(_find_maps(sources)[number - 1], direction, seed)
    heads = find_heads(sources.labels)
    head = read_head(heads[number - 1]) if heads else None
    scan = simulate_local_field(head, seed=seed, snr=SNR, b0_direction=direction)
    return Case(
        scan.measured_ppm.astype(np.float32), scan.chi, scan.mask, scan.grid, scan.noise_ppm
    )


def _find_maps(sources: Sources) -> list[Path]:
    return sorted(sources.maps.glob('*.nii*')) if sources.maps else []


def _field_of_map(path: Path, b0_direction: tuple[float, ...], seed: int) -> Case:
    """Dipole field of a map, with white noise that the noise map states."""
    image = nib.load(path)
    chi = np.asarray(image.dataobj, dtype=np.float32)
    size = tuple(float(v) for v in image.header.get_zooms())
    mask = binary_fill_holes(chi != 0)
    grid = Grid(chi.shape, size, b0_direction)
    field = Dipole(grid, padding=1.5).forward(torch.from_numpy(chi)).numpy() * mask
    noise = (1e-3 * BARE_NOISE_PPB * mask).astype(np.float32)
    white = np.random.default_rng(seed).standard_normal(mask.shape).astype(np.float32)
    return Case(field + noise * white, chi, mask, grid, noise)


def _on_bounding_box(case: Case) -> Case:
    box = bounding_box(case.mask)
    mask = case.mask[box]
    images = [None if a is None else a[box] * mask for a in (case.field, case.truth, case.noise)]
    grid = replace(case.grid, shape=mask.shape)
    return Case(images[0], images[1], mask, grid, images[2])


def _added(case: Case, image: np.ndarray) -> Case:
    return replace(case, field=case.field + (image * case.mask).astype(np.float32))


def _scaled_to(image: np.ndarray, mask: np.ndarray, sd_ppb: float) -> np.ndarray:
    return (image - image[mask].mean()) * (1e-3 * sd_ppb / image[mask].std())


def _smoothed(image: np.ndarray, sd_mm: float, case: Case) -> np.ndarray:
    return gaussian_filter(image, [sd_mm / v for v in case.grid.voxel_size], mode='constant')


def _coarse(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Average blocks of voxels; field and map are means over what was measured."""
    factors = [int(f) for f in value.split('x')]
    shape = [-(-n // f) for n, f in zip(case.mask.shape, factors, strict=True)]
    margin = [(0, s * f - n) for s, f, n in zip(shape, factors, case.mask.shape, strict=True)]
    split = [n for pair in zip(shape, factors, strict=True) for n in pair]

    def total(image: np.ndarray) -> np.ndarray:
        image = np.pad(image * case.mask, margin)
        return image.reshape(split).sum(axis=(1, 3, 5), dtype=np.float32)

    measured = total(np.ones_like(case.field))
    mask = 2 * measured >= np.prod(factors)
    count = measured.clip(1)
    noise = None if case.noise is None else np.sqrt(total(case.noise**2)) / count * mask
    size = tuple(v * f for v, f in zip(case.grid.voxel_size, factors, strict=True))
    field, truth = (total(a) / count * mask for a in (case.field, case.truth))
    return Case(field, truth, mask, Grid(mask.shape, size, case.grid.b0_direction), noise)


def _scale(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Scale field and map."""
    return replace(case, field=float(value) * case.field, truth=float(value) * case.truth)


def _error(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Add a Gaussian field with the spectrum of the map times a number."""
    shape = tuple(next_fast_len(n + 16) for n in case.mask.shape)
    k2 = 0.0
    for axis, (n, v) in enumerate(zip(shape, case.grid.voxel_size, strict=True)):
        k2 = k2 + np.expand_dims(np.fft.fftfreq(n, v) ** 2, tuple({0, 1, 2} - {axis}))
    centred = np.where(case.mask, case.truth - case.truth[case.mask].mean(), 0)
    power = np.abs(np.fft.fftn(centred, shape)) ** 2 / case.mask.sum()
    cell = np.log(np.sqrt(k2).clip(0.01) / 0.01) / np.log(1.15)
    count = np.bincount(cell.astype(int).ravel())
    radial = np.bincount(cell.astype(int).ravel(), power.ravel()) / count.clip(1)
    filled = np.flatnonzero(count)
    spectrum = np.exp(np.interp(cell, filled + 0.5, np.log(radial[filled])))
    white = np.fft.fftn(rng.standard_normal(shape))
    error = np.fft.ifftn(white * np.sqrt(float(value) * spectrum)).real
    return _added(case, error[tuple(slice(n) for n in case.mask.shape)])


def _remnant(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Add a Gaussian field smoothed with an SD [mm], of an SD [ppb]."""
    sd_mm, sd_ppb = (float(part) for part in value.split(':'))
    margin = [int(2 * sd_mm / v) for v in case.grid.voxel_size]
    wide = [n + 2 * m for n, m in zip(case.mask.shape, margin, strict=True)]
    smooth = _smoothed(rng.standard_normal(wide), sd_mm, case)
    inner = tuple(slice(m, m + n) for m, n in zip(margin, case.mask.shape, strict=True))
    return _added(case, _scaled_to(smooth[inner], case.mask, sd_ppb))


def _harmonic(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Add the field, of an SD [ppb], of sources outside the mask, near it or far."""
    margin = [int(REACH_MM[1] / v) for v in case.grid.voxel_size]
    mask = np.pad(case.mask, [(m, m) for m in margin])
    distance = distance_transform_edt(~mask, sampling=case.grid.voxel_size)
    nearest = rng.uniform(*REACH_MM) / 2
    around = (distance > nearest) & (distance < REACH_MM[1])
    sources = np.zeros(mask.shape, dtype=np.float32)
    places = np.argwhere(around)[rng.integers(around.sum(), size=60)]
    sources[tuple(places.T)] = rng.standard_normal(60)
    grid = replace(case.grid, shape=mask.shape)
    field = Dipole(grid, padding=1.5).forward(torch.from_numpy(sources)).numpy()
    inner = tuple(slice(m, m + n) for m, n in zip(margin, case.mask.shape, strict=True))
    return _added(case, _scaled_to(field[inner], case.mask, float(value)))


def _noise(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Add white noise of an SD [ppb]; there is no noise map."""
    noisy = _added(case, 1e-3 * float(value) * rng.standard_normal(case.mask.shape))
    return replace(noisy, noise=None)


def _noise_map(case: Case) -> np.ndarray:
    return np.full(case.mask.shape, 1e-3 * BARE_NOISE_PPB) if case.noise is None else case.noise


def _known_noise(case: Case, sd: np.ndarray, rng: np.random.Generator) -> Case:
    noisy = _added(case, sd * rng.standard_normal(case.mask.shape))
    total = np.hypot(_noise_map(case), sd) * case.mask
    return replace(noisy, noise=total.astype(np.float32))


def _known(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Add noise of a median SD [ppb] that varies smoothly and is stated in the noise map."""
    smooth = _smoothed(rng.standard_normal(case.mask.shape), 12, case)
    level = np.exp(0.4 * smooth / smooth[case.mask].std())
    return _known_noise(case, 1e-3 * float(value) * level / np.median(level[case.mask]), rng)


def _patch(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Add noise of 20 ppb, stated in the noise map, to a ball of a share [%] of the mask."""
    centre = np.argwhere(case.mask)[rng.integers(case.mask.sum())]
    distance = np.where(case.mask, distance_mm(case.grid, centre, (1, 1, 1)), np.inf)
    radius = np.quantile(distance[case.mask], float(value) / 100)
    return _known_noise(case, 1e-3 * PATCH_PPB * (distance <= radius), rng)


def _highpass(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Take off the mean of the field under a Gaussian of an SD [mm] within the mask."""
    weight = _smoothed(case.mask.astype(np.float32), float(value), case).clip(1e-6)
    return _added(case, -_smoothed(case.field * case.mask, float(value), case) / weight)


def _zero_fill(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Leave the inner half of the frequencies along each of some axes, such as 2 or 01."""
    spectrum = np.fft.fftn(case.field * case.mask)
    for axis in map(int, value):
        inner = np.abs(np.fft.fftfreq(case.mask.shape[axis])) < 0.25
        spectrum *= np.expand_dims(inner, tuple({0, 1, 2} - {axis}))
    field = (np.fft.ifftn(spectrum).real * case.mask).astype(np.float32)
    noise = None if case.noise is None else case.noise * np.float32(0.5 ** (len(value) / 2))
    return replace(case, field=field, noise=noise)


def _erode(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Take a rim [mm] from the mask."""
    depth = distance_transform_edt(np.pad(case.mask, 1), sampling=case.grid.voxel_size)
    return replace(case, mask=depth[1:-1, 1:-1, 1:-1] > float(value))


def _holes(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Cut balls from the mask until a share [%] of it is gone."""
    mask, places = case.mask.copy(), np.argwhere(case.mask)
    while mask.sum() > (1 - float(value) / 100) * case.mask.sum():
        centre = places[rng.integers(len(places))]
        mask &= distance_mm(case.grid, centre, (HOLE_RADIUS_MM,) * 3) > 1
    return replace(case, mask=mask)


def _crop(case: Case, value: str, rng: np.random.Generator) -> Case:
    """Keep a cube [mm], the fullest of a few."""
    places, best = np.argwhere(case.mask), np.zeros_like(case.mask)
    half = [float(value) / (2 * v) for v in case.grid.voxel_size]
    for _ in range(5):
        centre, mask = places[rng.integers(len(places))], np.zeros_like(case.mask)
        sides = [
            slice(round(max(c - h, 0)), round(c + h)) for c, h in zip(centre, half, strict=True)
        ]
        mask[tuple(sides)] = case.mask[tuple(sides)]
        best = max(best, mask, key=np.count_nonzero)
    return replace(case, mask=best)


DEPARTURES: dict[str, Callable[[Case, str, np.random.Generator], Case]] = {
    'coarse': _coarse,
    'scale': _scale,
    'error': _error,
    'remnant': _remnant,
    'harmonic': _harmonic,
    'noise': _noise,
    'known': _known,
    'patch': _patch,
    'highpass': _highpass,
    'zerofill': _zero_fill,
    'erode': _erode,
    'holes': _holes,
    'crop': _crop,
}
"""By name, in the order in which they apply; ``tilt`` of B0 [deg] comes before all.

``zerofill`` and those that belong to a scan are not drawn.
"""

VALUES: dict[str, tuple[str, ...]] = {
    'coarse': ('2x2x2', '3x3x3', '1x1x3', '2x2x4', '3x2x2'),
    'tilt': ('15', '30', '60', '90'),
    'scale': ('0.5',),
    'remnant': ('8:10', '15:20', '25:50', '15:60'),
    'harmonic': ('5', '10', '20', '40'),
    'noise': ('1', '2', '4', '8'),
    'known': ('1', '2', '4', '8'),
    'patch': ('1', '2', '3', '5'),
    'highpass': ('4', '6', '10', '15'),
    'erode': ('1', '2', '3', '4'),
    'holes': ('2', '5', '10'),
    'crop': ('48', '56', '64', '80'),
}
"""Values that are drawn."""

EXCLUSIVE = ({'noise', 'known'}, {'noise', 'patch'})
"""Pairs of which the one would undo the other."""

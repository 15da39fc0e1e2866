"""The heads of ``pathology.py``: lesions, implants, strong fields, odd geometry; their scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from qsmprep.qsm.grid import ppm_to_hz
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate import Phantom, Scan, Tissue
from qsmprep.qsm.simulate import _field_of_view as field_of_view
from qsmprep.qsm.simulate.acquisition import scan as scan_phantom
from qsmprep.qsm.simulate.susceptibility import block_mean, majority, make_phantom

ECHO_TIMES_S = {3.0: (0.004, 0.012, 0.020, 0.028), 7.0: (0.003, 0.008, 0.013, 0.018)}


@dataclass(frozen=True)
class Ball:
    """A ball of one tissue.

    Parameters
    ----------
    radius_mm
        Radius [mm].
    chi_ppm
        Susceptibility [ppm].
    tissue
        Gives signal and relaxation.

    """

    radius_mm: float
    chi_ppm: float
    tissue: Tissue


CALCIFICATION = (Ball(4.0, -3.0, Tissue.CALCIFICATION),)
HAEMORRHAGE = (Ball(6.0, 1.0, Tissue.HAEMORRHAGE),)
CAVERNOMA = (Ball(8.0, 1.2, Tissue.HAEMORRHAGE), Ball(5.0, 0.3, Tissue.MICROBLEED))
VEINS = (Ball(2.0, 0.35, Tissue.VEIN),)
CAVITY = (Ball(16.0, 0.0, Tissue.CSF),)
IMPLANT = (Ball(4.0, 30.0, Tissue.AIR),)
AIR = (Ball(12.0, 9.4, Tissue.AIR),)


@dataclass(frozen=True)
class Case:
    """A head and how it is scanned.

    Parameters
    ----------
    lesion
        Balls about one centre, the larger ones first.
    place
        Where the centre lies: ``'deep'``, ``'surface'`` (within the brain), ``'skull'`` or
        ``'base'`` (just outside).
    length_mm
        Drawn out to a rod along the head's long axis [mm].
    other
        A further object, which is not scored: its balls and its place.
    cavities_ppm
        Susceptibility of the air cavities of the skull [ppm].
    field_strength_t, snr, b0_direction
        Of the scan.
    stretch
        Factors on the voxel size.
    slab_mm
        Height of the field of view [mm], the head going on beyond it; None for the whole head.
    scale
        Size of the head, and of its voxels, relative to those of an adult.

    """

    lesion: tuple[Ball, ...] = HAEMORRHAGE
    place: str = 'deep'
    length_mm: float = 0.0
    other: tuple[tuple[Ball, ...], str] | None = None
    cavities_ppm: float = 9.4
    field_strength_t: float = 3.0
    snr: float = 100.0
    b0_direction: tuple[float, float, float] = (0.0, 0.0, 1.0)
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    slab_mm: float | None = None
    scale: float = 1.0


CASES: dict[str, Case] = {
    'calcification': Case(CALCIFICATION),
    'calcification at the surface': Case(CALCIFICATION, 'surface'),
    'calcification, 7 T': Case(CALCIFICATION, field_strength_t=7.0),
    'haemorrhage, deep': Case(),
    'haemorrhage at the surface': Case(place='surface'),
    'cavernoma': Case(CAVERNOMA),
    'large vein': Case(VEINS, length_mm=50.0),
    'resection cavity': Case(CAVITY, 'surface'),
    'implant in the skull': Case(other=(IMPLANT, 'skull')),
    'strong sinus field': Case(other=(AIR, 'base')),
    'weak sinus field': Case(cavities_ppm=3.0),
    'haemorrhage, 7 T': Case(field_strength_t=7.0),
    'SNR 30': Case(snr=30.0),
    'oblique, 20 degrees': Case(b0_direction=(0.0, 0.342, 0.940)),
    'oblique, 45 degrees': Case(b0_direction=(0.5, 0.5, 0.7071)),
    'thick slices': Case(stretch=(0.8, 0.8, 1.6)),
    'slab': Case(slab_mm=60.0),
    'small brain': Case(scale=0.1),
}


def find_centre(phantom: Phantom, place: str, radius_mm: float, draw: float) -> np.ndarray:
    """Head coordinates of a place [mm]; ``draw`` from 0 to 1 picks one of those that fit."""
    mask, size = phantom.mask.numpy(), phantom.axes.voxel_size
    inside = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=size)[1:-1, 1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~mask, sampling=size)
    z = phantom.axes.coordinates(2).numpy()
    middle = float(np.median(z[np.nonzero(mask)[2]]))
    upper = np.broadcast_to(z > middle, mask.shape)
    white = phantom.labels.numpy() == int(Tissue.WHITE_MATTER)
    fits = {
        'deep': white & (inside > 12 + radius_mm) & (abs(z - middle) < 25),
        'surface': upper & (abs(inside - radius_mm - 1) < 2),
        'skull': upper & (abs(outside - radius_mm - 3) < 2),
        'base': ~upper & (abs(outside - radius_mm - 4) < 2) & (z > middle - 60),
    }[place]
    if place == 'base':
        y = phantom.axes.coordinates(1).numpy()[None, :, None]
        fits &= y > np.quantile(y, 0.6)
    found = np.argwhere(fits)
    index = found[int(draw * len(found))]
    return np.array([float(phantom.axes.coordinates(a)[i]) for a, i in enumerate(index)])


def paint(phantom: Phantom, balls: Sequence[Ball], centre: np.ndarray, length_mm: float) -> None:
    """Paint balls, drawn out along y, on the fine grid of a phantom, in place."""
    fine = phantom.axes.finer(phantom.factors)
    offsets = [fine.coordinates(a) - float(centre[a]) for a in range(3)]
    offsets[1] = (offsets[1].abs() - length_mm / 2).clamp(min=0)
    x, y, z = (o.reshape([-1 if b == a else 1 for b in range(3)]) for a, o in enumerate(offsets))
    distance = (x**2 + y**2 + z**2).sqrt()
    for ball in balls:
        inside = distance < ball.radius_mm
        phantom.chi_fine[inside] = ball.chi_ppm
        phantom.labels_fine[inside] = int(ball.tissue)


def simulate(case: Case, head, voxel_mm: float, seed: int) -> tuple[Scan, np.ndarray, np.ndarray]:
    """Scan of a case, the lesion's voxels, and those of the brain that hold no bone or air."""
    size = tuple(voxel_mm * s for s in case.stretch)
    axes = field_of_view(head, size, None, True, 'cpu')
    generator = torch.Generator().manual_seed(seed)
    factors = [max(2, round(v)) for v in size]
    phantom = make_phantom(head, axes, factors=factors, generator=generator)
    air, _ = ndimage.label(phantom.labels_fine.numpy() == int(Tissue.AIR))
    phantom.chi_fine[torch.from_numpy((air > 0) & (air != air[0, 0, -1]))] = case.cavities_ppm
    draws = torch.rand(2, generator=generator).tolist()
    healthy = phantom.chi_fine.clone()
    places = [(case.lesion, case.place, case.length_mm)]
    if case.other is not None:
        places.insert(0, (*case.other, 0.0))
    for (balls, place, length_mm), draw in zip(places, draws[-len(places) :], strict=True):
        healthy.copy_(phantom.chi_fine)
        centre = find_centre(phantom, place, balls[0].radius_mm, draw)
        paint(phantom, balls, centre, length_mm)
    changed = block_mean((healthy != phantom.chi_fine).float(), phantom.factors) > 0.5
    phantom = replace(
        phantom,
        labels=majority(phantom.labels_fine, phantom.factors),
        chi=block_mean(phantom.chi_fine, phantom.factors),
    )
    scan = scan_phantom(
        phantom,
        field_strength_t=case.field_strength_t,
        b0_direction=case.b0_direction,
        echo_times_s=ECHO_TIMES_S[case.field_strength_t],
        snr=case.snr,
        generator=generator,
    )
    affine = scan.affine @ np.diag([case.scale] * 3 + [1.0])
    affine[:3, 3] = scan.affine[:3, 3] * case.scale
    grid = replace(scan.grid, voxel_size=tuple(case.scale * v for v in size))
    brain_alone = (phantom.labels_fine >= int(Tissue.ARTERY)).float()
    whole = scan.brain & (block_mean(brain_alone, phantom.factors) > 0.99).numpy()
    scan, lesion = replace(scan, affine=affine, grid=grid), changed.numpy() & scan.brain
    if case.slab_mm is None:
        return scan, lesion, whole
    part = slab_about_the_middle(scan.brain, round(case.slab_mm / size[2]))
    return cut_slab(scan, part), lesion[part], whole[part]


def slab_about_the_middle(brain: np.ndarray, slices: int) -> tuple[slice, ...]:
    """Some slices about the middle of a brain."""
    start = int(np.median(np.nonzero(brain)[2])) - slices // 2
    return (slice(None), slice(None), slice(start, start + slices))


def cut_slab(scan: Scan, part: tuple[slice, ...]) -> Scan:
    """Scan of some slices; brain above and below them goes on, as a source of background."""
    beyond = torch.from_numpy(scan.chi * scan.brain)
    beyond[part] = 0
    field = Dipole(scan.grid, padding=2.0).forward(beyond).numpy()
    local = (scan.local_field_hz - ppm_to_hz(field, scan.field_strength_t)) * scan.brain
    scan = replace(scan, local_field_hz=local.astype(np.float32))
    cut = {
        key: value[part]
        for key, value in vars(scan).items()
        if isinstance(value, np.ndarray) and value.shape[:3] == scan.grid.shape
    }
    for key in ('affine', 'head_affine'):
        affine = cut[key] = getattr(scan, key).copy()
        affine[:3, 3] += part[2].start * affine[:3, 2]
    return replace(scan, **cut, grid=replace(scan.grid, shape=cut['brain'].shape))

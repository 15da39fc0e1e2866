"""Veins as random branching tubes over the cortex and through the white matter."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from qsmprep.qsm.simulate.anatomy import Axes, Tissue, smooth

__all__ = ['venous_fraction']

_STEP_MM = 0.4
_GUIDE_MM = 1.5
_CHUNK = 1_500_000


def venous_fraction(
    labels: Tensor, axes: Axes, generator: torch.Generator, number: float = 1.0
) -> Tensor:
    """Share of each voxel that venous blood fills.

    Walkers drift along the level surfaces of the smoothed cortical border (pial veins) or along
    the gradient of the distance from the ventricles (medullary veins); each leaves a tube whose
    branches are thinner.

    Parameters
    ----------
    labels
        :class:`~qsmprep.qsm.simulate.anatomy.Tissue` codes on ``axes``.
    axes
        Grid of the labels; tubes thinner than its voxels become partial volumes.
    generator
        Source of places, directions and radii.
    number
        How many veins there are, as a share of the usual number.

    Returns
    -------
    torch.Tensor
        Fractions from 0 to 1.

    """
    fraction = torch.zeros(axes.shape, dtype=torch.float32, device=axes.device)
    for kind in ('pial', 'medullary'):
        guide, starts = _guide(labels, axes, kind, number, generator)
        if not len(starts):
            continue
        for points, radii in _grow(guide, starts, axes, kind, generator):
            _paint_tubes(fraction, points, radii, axes)
    fraction[labels < int(Tissue.CSF)] = 0
    return fraction


def _coarse(labels: Tensor, axes: Axes, tissues: tuple[Tissue, ...], sigma_mm: float) -> Tensor:
    """Smoothed indicator of some tissues on a grid of about 1.5 mm."""
    strides = [max(1, round(_GUIDE_MM / v)) for v in axes.voxel_size]
    thinned = labels[:: strides[0], :: strides[1], :: strides[2]]
    wanted = torch.zeros(256, device=labels.device)
    wanted[list(tissues)] = 1
    volume = wanted[thinned.long()]
    for axis in range(3):
        volume = smooth(volume, sigma_mm / (axes.voxel_size[axis] * strides[axis]), axis)
    return volume


def _guide(labels: Tensor, axes: Axes, kind: str, number: float, generator: torch.Generator):
    """Potential that leads the walkers, and voxels at which they may start [mm]."""
    if kind == 'pial':
        fluid = (Tissue.CSF, Tissue.SINUS, Tissue.BONE, Tissue.AIR)
        potential = _coarse(labels, axes, fluid, 2.0)
        tissue = _coarse(labels, axes, (Tissue.CORTEX,), 1.5)
        allowed = (potential > 0.25) & (potential < 0.5) & (tissue > 0.25)
        per_ml = 2.5
    else:
        potential = _coarse(labels, axes, (Tissue.VENTRICLE, Tissue.CAUDATE), 7.0)
        tissue = _coarse(labels, axes, (Tissue.WHITE_MATTER, Tissue.CORPUS_CALLOSUM), 1.5)
        allowed = (potential > 0.03) & (potential < 0.4) & (tissue > 0.6)
        per_ml = 3.0
    places = torch.nonzero(allowed)
    strides = [max(1, round(_GUIDE_MM / v)) for v in axes.voxel_size]
    step = torch.tensor(
        [v * s for v, s in zip(axes.voxel_size, strides, strict=True)], device=axes.device
    )
    count = int(len(places) * float(step.prod()) / 1000 * per_ml * number)
    if not len(places):
        return potential, places
    draw = torch.randint(len(places), (count,), generator=generator, device=generator.device)
    first = torch.tensor([float(axes.coordinates(a)[0]) for a in range(3)], device=axes.device)
    return potential, places[draw.to(axes.device)].float() * step + first


def _grow(guide: Tensor, starts: Tensor, axes: Axes, kind: str, generator: torch.Generator):
    """Paths of three generations of walkers: points [mm] and radii [mm] of each generation."""
    thickest, thinnest, steps = (1.1, 0.3, 110) if kind == 'pial' else (0.45, 0.2, 70)
    spread = _uniform((len(starts),), generator, axes.device)
    radius = thinnest + (thickest - thinnest) * spread**3
    gradient = torch.stack(torch.gradient(guide), -1)
    for generation in range(3):
        direction = _normal((len(starts), 3), generator, axes.device)
        if kind == 'medullary':
            direction = direction * 0.5 - 2 * _unit(_sample(gradient, starts, axes))
        level = _sample(guide[..., None], starts, axes)
        paths, widths = [], []
        position, direction = starts, _unit(direction)
        for step in range(steps):
            normal = _unit(_sample(gradient, position, axes))
            noise = _normal(direction.shape, generator, axes.device)
            if kind == 'pial':
                offset = _sample(guide[..., None], position, axes) - level
                along = (direction * normal).sum(-1, keepdim=True)
                turn = -along * normal - 4 * offset.clamp(-0.2, 0.2) * normal
            else:
                turn = -0.15 * normal
            direction = _unit(direction + turn + 0.18 * noise)
            position = position + _STEP_MM * direction
            paths.append(position)
            widths.append(radius * (1 - 0.5 * step / steps))
        points, width = torch.stack(paths), torch.stack(widths)
        yield points.reshape(-1, 3), width.reshape(-1)
        if generation < 2:
            n = len(starts) // 2
            start = torch.randint(steps - 10, (n,), generator=generator, device=generator.device)
            start = start.to(axes.device)
            walker = torch.arange(n, device=axes.device)
            starts = points[start, walker]
            radius = (0.7 * width[start, walker]).clamp(min=thinnest)


def _uniform(shape, generator: torch.Generator, device) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def _normal(shape, generator: torch.Generator, device) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device).to(device)


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1, eps=1e-9)


def _sample(volume: Tensor, points: Tensor, axes: Axes) -> Tensor:
    """Values (n, channels) of a guide volume (x, y, z, channels) at points [mm]."""
    low = torch.tensor([float(axes.coordinates(a)[0]) for a in range(3)], device=axes.device)
    strides = [max(1, round(_GUIDE_MM / v)) for v in axes.voxel_size]
    step = torch.tensor(
        [v * s for v, s in zip(axes.voxel_size, strides, strict=True)], device=axes.device
    )
    size = torch.tensor(volume.shape[:3], device=axes.device)
    position = 2 * (points - low) / step / (size - 1).clamp(min=1) - 1
    sampled = functional.grid_sample(
        volume.permute(3, 0, 1, 2)[None],
        position.flip(-1)[None, None, None],
        align_corners=True,
        padding_mode='border',
    )
    return sampled[0, :, 0, 0].T


def _paint_tubes(fraction: Tensor, points: Tensor, radii: Tensor, axes: Axes) -> None:
    """Raise the fraction to what balls strung along the paths cover."""
    voxel = torch.tensor(axes.voxel_size, device=axes.device)
    low = torch.tensor([float(axes.coordinates(a)[0]) for a in range(3)], device=axes.device)
    edge = float(voxel.prod()) ** (1 / 3)
    size = torch.tensor(axes.shape, device=axes.device)
    flat = fraction.view(-1)
    radii, order = radii.sort()
    points = points[order]
    start = 0
    while start < len(radii):
        # tubes of about the same radius share one set of neighbours
        stop = start + int((radii[start:] < radii[start] + 0.25 * edge).sum())
        largest = float(radii[stop - 1])
        reach = ((largest + 0.5 * edge) / voxel).ceil().long().tolist()
        offsets = torch.cartesian_prod(
            *(torch.arange(-r, r + 1, device=axes.device) for r in reach)
        )
        offsets = offsets[(offsets * voxel).square().sum(-1).sqrt() < largest + 1.4 * edge]
        part = max(1, _CHUNK // len(offsets))
        for first in range(start, stop, part):
            last = min(first + part, stop)
            radius = radii[first:last, None]
            centre = points[first:last, None]
            index = ((centre - low) / voxel).round() + offsets
            distance = (index * voxel + low - centre).square().sum(-1).sqrt()
            cover = ((radius - distance) / edge + 0.5).clamp(0, 1)
            # a tube thinner than a voxel fills at most its cross-section's share of it
            cover = cover * (3.1416 * radius**2 / edge**2).clamp(max=1)
            inside = (cover > 0) & ((index >= 0) & (index < size)).all(-1)
            index = index[inside].long()
            place = (index[:, 0] * axes.shape[1] + index[:, 1]) * axes.shape[2] + index[:, 2]
            flat.scatter_reduce_(0, place, cover[inside], 'amax')
        start = stop

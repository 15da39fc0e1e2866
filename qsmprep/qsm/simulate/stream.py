"""Endless windows of simulated susceptibility maps: what the diffusion prior is trained on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qsmprep.qsm.simulate import _field_of_view
from qsmprep.qsm.simulate.anatomy import Axes, LabelledHead, brain_mask
from qsmprep.qsm.simulate.lesions import LESIONS
from qsmprep.qsm.simulate.susceptibility import cortical_layers, draw_tissues
from qsmprep.qsm.simulate.texture import draw_holes, draw_texture, integer, resolve, uniform

__all__ = ['Maps', 'Specimen', 'draw_windows', 'make_specimen', 'to_device', 'window_stream']

SPECIMEN_VOXEL_MM = (0.6, 0.9)
WINDOW_VOXEL_MM = (0.4, 4.0)
COARSEST_EDGE_MM = 2.5
DEPTH_MM = 8.0
LEVELS = 3


class Specimen(NamedTuple):
    """A simulated brain from which windows are cut.

    Parameters
    ----------
    levels
        Arrays (3, X, Y, Z), float16, each half as fine as the one before: susceptibility without
        texture [ppm], SD of the texture [ppm], and depth below the surface of the brain [mm],
        negative outside and cut at 8 mm.
    voxel_size
        Isotropic voxel size of the first level [mm].
    places
        Voxels (n, 3) of the last level that lie in the brain, on the CPU.

    """

    levels: tuple[Tensor, ...]
    voxel_size: float
    places: Tensor

    @classmethod
    def of(cls, stack: Tensor, voxel_size: float) -> Specimen:
        """Make a specimen of the first of its levels, in any precision."""
        levels = [stack.half()]
        for _ in range(LEVELS - 1):
            stack = functional.avg_pool3d(stack[None], 2)[0]
            levels.append(stack.half())
        return cls(tuple(levels), voxel_size, torch.nonzero(stack[2] > 0).cpu())


class Maps(NamedTuple):
    """Susceptibility (N, 1, X, Y, Z) [ppm], zero outside the brain; voxel size (N, 3) [mm]."""

    chi: Tensor
    voxel_size: Tensor


def make_specimen(
    head: LabelledHead | None, generator: torch.Generator, device: torch.device | str = 'cpu'
) -> Specimen:
    """Simulate one individual: region values, cortical layers, veins, lesions and mask anew.

    Parameters
    ----------
    head
        Segmented head, or None for the analytic one.
    generator
        Source of all that is random, on the CPU.
    device
        Where to compute and to keep the result.

    """
    voxel = uniform(*SPECIMEN_VOXEL_MM, generator)
    axes = _field_of_view(head, (voxel,) * 3, None, False, device)
    lesions = [kind for kind in LESIONS if uniform(0, 1, generator) < 0.2]
    veins = math.exp(uniform(-1.2, 0.4, generator))
    labels, chi, texture_sd = draw_tissues(
        head, axes, lesions=lesions, veins=veins, generator=generator
    )
    chi += uniform(0.4, 1.5, generator) * cortical_layers(labels, axes, (1, 1, 1))
    mask = brain_mask(labels, axes.voxel_size, uniform(3, 7, generator))
    return Specimen.of(torch.stack([chi * mask, texture_sd * mask, _depth(mask, voxel)]), voxel)


def _depth(mask: Tensor, voxel: float) -> Tensor:
    """Distance to the surface of a mask [mm], positive inside, within a voxel or two."""
    coarse = functional.avg_pool3d(mask[None].float(), 2, ceil_mode=True)[0] > 0.5
    depth = _distance(coarse, 2 * voxel) - _distance(~coarse, 2 * voxel)
    depth = functional.interpolate(depth[None, None], size=mask.shape, mode='trilinear')[0, 0]
    return depth.clamp(-DEPTH_MM, DEPTH_MM)


def _distance(inside: Tensor, voxel: float) -> Tensor:
    """Distance of voxels to the nearest that is not inside [mm], exact up to 8 mm and cut there."""
    reach = math.ceil(DEPTH_MM / voxel)
    square = inside * float((reach + 1) ** 2)
    for axis, n in enumerate(inside.shape):
        nearest = square.clone()
        for step in range(1, min(reach, n - 1) + 1):
            for start, origin in ((step, 0), (0, step)):
                part = nearest.narrow(axis, start, n - step)
                torch.minimum(part, square.narrow(axis, origin, n - step) + step**2, out=part)
        square = nearest
    return (square.sqrt() * voxel).clamp(max=DEPTH_MM)


def draw_windows(
    specimens: Sequence[Specimen],
    shape: Sequence[int],
    number: int,
    generator: torch.Generator,
    voxel_size: Sequence[float] | None = None,
) -> Maps:
    """Cut windows out of specimens, turned, stretched, resampled, and textured.

    Each has a voxel size of its own (0.4-4 mm, half of them anisotropic), any orientation, an
    affine and an elastic deformation, a gain of 0.6-1.6, and may hold further lesions of -3 to
    1.5 ppm. The mask's edge is eroded by up to 5 mm, and there may be holes in it. Values are
    partial volumes; the texture, whose kind and spectrum vary, and what a reconstruction leaves as
    noise are added on the window's own grid, so that they reach up to its highest frequency. As
    the field leaves the mean susceptibility open, a small constant is added.

    On an accelerator nothing here waits for it.

    Parameters
    ----------
    specimens
        Brains to choose from.
    shape
        Voxels of a window.
    number
        How many.
    generator
        Source of all that is random, on the CPU.
    voxel_size
        Edge lengths of the voxels [mm], where they are not to be drawn.

    """
    x, y, z = shape
    windows = [
        _window(specimens[integer(len(specimens), generator)], (x, y, z), voxel_size, generator)
        for _ in range(number)
    ]
    return Maps(*(torch.cat(parts) for parts in zip(*windows, strict=True)))


def window_stream(
    heads: Sequence[LabelledHead | None],
    *,
    batches: Sequence[tuple[int, int]],
    seed: int,
    first: int = 0,
    pool: int = 16,
    renewal: int = 100,
    device: torch.device | str = 'cpu',
) -> Iterator[Maps]:
    """Batches without end, each a function of the seed and its number alone.

    Parameters
    ----------
    heads
        Segmented heads; individuals are drawn from them in random turn.
    batches
        Edge length of the windows [voxels] and their number; batches take them in turn.
    seed
        Seed of all that is random.
    first
        Number of the first batch to yield, to go on where a training stopped.
    pool
        Individuals that windows are drawn from at any time.
    renewal
        Batches after which the oldest individual is replaced.
    device
        Where to compute.

    """
    individuals: dict[int, Specimen] = {}
    for number in range(first, 2**62):
        newest = number // renewal + pool
        for i in range(newest - pool, newest):
            if i not in individuals:
                generator = _generator(seed, 0, i)
                head = heads[integer(len(heads), generator)]
                individuals[i] = make_specimen(head, generator, device)
        individuals.pop(newest - pool - 1, None)
        edge, count = batches[number % len(batches)]
        specimens = [individuals[i] for i in sorted(individuals)]
        yield draw_windows(specimens, (edge,) * 3, count, _generator(seed, 1, number))


def _generator(*key: int) -> torch.Generator:
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))


def _window(
    specimen: Specimen,
    shape: tuple[int, int, int],
    voxel_size: Sequence[float] | None,
    generator: torch.Generator,
) -> Maps:
    device = specimen.levels[0].device
    voxel_size = voxel_size or _draw_voxel_size(generator)
    chi, texture_sd, depth = _cut(specimen, shape, voxel_size, generator)
    axes = Axes(shape, tuple(voxel_size), device=device)
    fields = torch.Generator(device).manual_seed(integer(2**62, generator))
    gain = math.exp(uniform(math.log(0.6), math.log(1.6), generator))
    chi = gain * chi + draw_texture(axes, texture_sd, depth, generator, fields)
    chi = resolve(chi, axes, generator)
    if uniform(0, 1, generator) < 0.06:
        for _ in range(1 + integer(4, generator)):
            chi = _with_lesion(chi, axes, generator)
    chi = chi + 0.008 * float(torch.randn((), generator=generator))
    inside = depth > max(0.0, uniform(-4, 5, generator))
    if uniform(0, 1, generator) < 0.1:
        inside &= ~draw_holes(axes, generator, fields)
    return Maps((chi * inside)[None, None], to_device(torch.tensor(voxel_size), device)[None])


def to_device(small: Tensor, device: torch.device) -> Tensor:
    """A small array from the CPU on the device, without waiting for what the device does."""
    if device.type == 'cuda':
        small = small.pin_memory()
    return small.to(device, non_blocking=True)


def _draw_voxel_size(generator: torch.Generator) -> list[float]:
    low, high = WINDOW_VOXEL_MM
    base = math.exp(uniform(math.log(low), math.log(COARSEST_EDGE_MM), generator))
    voxel_size = [base] * 3
    if uniform(0, 1, generator) < 0.5:
        voxel_size[integer(3, generator)] *= uniform(1, 3, generator)
    return [min(v, high) for v in voxel_size]


def _cut(
    specimen: Specimen,
    shape: tuple[int, int, int],
    voxel_size: Sequence[float],
    generator: torch.Generator,
) -> Tensor:
    """Means of a specimen's channels over the voxels of a window (3, X, Y, Z).

    The window lies anywhere in the brain, turned, stretched and bent.
    """
    device = specimen.levels[0].device
    level = min(int(math.log2(max(min(voxel_size) / specimen.voxel_size, 1))), LEVELS - 1)
    spacing = specimen.voxel_size * 2**level
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    stretch = torch.exp(0.08 * torch.randn(3, generator=generator))
    edges = torch.tensor(voxel_size)[:, None] * rotation * stretch
    place = specimen.places[integer(len(specimen.places), generator)]
    centre = (place + torch.rand(3, generator=generator)) * specimen.voxel_size * 2 ** (LEVELS - 1)

    offsets = [torch.arange(n, device=device) - (n - 1) / 2 for n in shape]
    points = torch.stack(torch.meshgrid(*offsets, indexing='ij'), -1) @ to_device(edges, device)
    reach = (edges.abs() * torch.tensor(shape)[:, None]).sum(0) / 2
    for _ in range(3):
        wave = torch.randn(3, generator=generator)
        wave *= 2 * math.pi / (uniform(25, 80, generator) * wave.norm())
        shift = 0.8 * torch.randn(3, generator=generator)
        phase = uniform(0, 2 * math.pi, generator)
        bend = torch.sin(points @ to_device(wave, device) + phase)
        points = points + bend[..., None] * to_device(shift, device)
        reach += shift.abs()

    volume = specimen.levels[level]
    size = torch.tensor(volume.shape[1:])
    low = ((centre - reach) / spacing - 2).floor().long().clamp(min=0).minimum(size - 2)
    high = ((centre + reach) / spacing + 2).ceil().long().minimum(size).maximum(low + 2)
    crop = volume[tuple(map(slice, (0, *low.tolist()), (3, *high.tolist())))].float()[None]
    # voxel indices, then -1 to 1 between the first and the last voxel centre of the crop
    scale = 2 / (high - low - 1)
    points = points * to_device(scale / spacing, device)
    parts = [max(1, min(4, round(n))) for n in (edges.norm(dim=1) / spacing).tolist()]
    total = torch.zeros((), device=device)
    for index in itertools.product(*(range(n) for n in parts)):
        share = torch.tensor([(i + 0.5) / n - 0.5 for i, n in zip(index, parts, strict=True)])
        origin = ((centre + share @ edges) / spacing - 0.5 - low) * scale - 1
        where = points + to_device(origin, device)
        total = total + functional.grid_sample(
            crop, where.flip(-1)[None], align_corners=True, padding_mode='border'
        )
    return total[0] / math.prod(parts)


def _with_lesion(chi: Tensor, axes: Axes, generator: torch.Generator) -> Tensor:
    """Add an ellipsoid, of calcium or of blood, with a soft border."""
    value = math.exp(uniform(math.log(0.05), math.log(3), generator))
    value = -value if uniform(0, 1, generator) < 0.5 else min(value, 1.5)
    square = torch.zeros((), device=chi.device)
    for axis in range(3):
        radius = math.exp(uniform(math.log(1.0), math.log(8), generator))
        x = axes.coordinates(axis)
        centre = uniform(-0.5, 0.5, generator) * len(x) * axes.voxel_size[axis]
        shape = [-1 if a == axis else 1 for a in range(3)]
        square = square + (((x - centre) / max(radius, axes.voxel_size[axis])) ** 2).reshape(shape)
    share = torch.sigmoid((1 - square) * uniform(1.5, 8, generator))
    return chi + share * (value - chi)

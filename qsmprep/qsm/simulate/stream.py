"""Endless windows of simulated susceptibility maps: what the diffusion prior is trained on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional

from qsmprep.qsm.simulate import _field_of_view
from qsmprep.qsm.simulate.anatomy import Axes, LabelledHead, brain_mask
from qsmprep.qsm.simulate.lesions import LESIONS
from qsmprep.qsm.simulate.susceptibility import correlated_noise, cortical_layers, draw_tissues

__all__ = ['Maps', 'Specimen', 'draw_windows', 'make_specimen', 'window_stream']

SPECIMEN_VOXEL_MM = (0.6, 0.9)
WINDOW_VOXEL_MM = (0.5, 3.0)
DEPTH_MM = 8.0
LEVELS = 3
LEAST_TISSUE = 0.1
TEXTURE_GAIN = 0.64
"""Together with the draws below it brings gradients and spectra to those of COSMOS maps at 1 mm."""


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

    """

    levels: tuple[Tensor, ...]
    voxel_size: float


class Maps(NamedTuple):
    """Susceptibility (N, 1, X, Y, Z) [ppm], zero outside the brain; voxel size (N, 3) [mm]."""

    chi: Tensor
    voxel_size: Tensor


def make_specimen(
    head: LabelledHead | None, generator: torch.Generator, device: torch.device | str = 'cpu'
) -> Specimen:
    """Simulate one individual: region values, veins and lesions anew.

    Parameters
    ----------
    head
        Segmented head, or None for the analytic one.
    generator
        Source of all that is random, on the CPU.
    device
        Where to compute and to keep the result.

    """
    low, high = SPECIMEN_VOXEL_MM
    voxel = low + (high - low) * float(torch.rand((), generator=generator))
    axes = _field_of_view(head, (voxel,) * 3, None, False, device)
    lesions = [kind for kind in LESIONS if torch.rand((), generator=generator) < 0.5]
    labels, chi, texture_sd = draw_tissues(head, axes, lesions=lesions, generator=generator)
    chi += cortical_layers(labels, axes, (1, 1, 1))
    mask = brain_mask(labels, axes.voxel_size)
    stack = torch.stack([chi * mask, texture_sd * mask, _depth(mask, voxel)])
    levels = [stack.half()]
    for _ in range(LEVELS - 1):
        stack = functional.avg_pool3d(stack[None], 2)[0]
        levels.append(stack.half())
    return Specimen(tuple(levels), voxel)


def _depth(mask: Tensor, voxel: float) -> Tensor:
    """Distance to the surface of a mask [mm], positive inside, within a voxel or two."""
    coarse = (functional.avg_pool3d(mask[None].float(), 2, ceil_mode=True)[0] > 0.5).cpu().numpy()
    inside, outside = distance_transform_edt(coarse), distance_transform_edt(~coarse)
    depth = torch.from_numpy((inside - outside).astype(np.float32)).to(mask.device) * 2 * voxel
    depth = functional.interpolate(depth[None, None], size=mask.shape, mode='trilinear')[0, 0]
    return depth.clamp(-DEPTH_MM, DEPTH_MM)


def draw_windows(
    specimens: Sequence[Specimen],
    shape: Sequence[int],
    number: int,
    generator: torch.Generator,
    voxel_size: Sequence[float] | None = None,
) -> Maps:
    """Cut windows out of specimens, turned, stretched, resampled, and textured.

    Each has a voxel size of its own (0.5-3 mm, half of them anisotropic), any orientation, an
    affine and an elastic deformation, a gain of 0.6-1.6, and may hold a further lesion of up to
    1.2 ppm of either sign. The mask's edge is eroded by up to 6 mm. Values are partial
    volumes; the texture, whose spectrum varies, and what a reconstruction leaves as noise are
    added on the window's own grid, so that they reach up to its highest frequency. As the field
    leaves the mean susceptibility open, a small constant is added.

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
    windows = []
    while len(windows) < number:
        specimen = specimens[_integer(len(specimens), generator)]
        window = _window(specimen, tuple(shape), voxel_size, generator)
        if (window.chi != 0).float().mean() > LEAST_TISSUE:
            windows.append(window)
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
                head = heads[_integer(len(heads), generator)]
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
    points, edges = _draw_points(specimen, shape, voxel_size, generator)
    chi, texture_sd, depth = _sample(specimen, points, edges, min(voxel_size))
    axes = Axes(shape, tuple(voxel_size), device=device)
    gain = math.exp(_uniform(math.log(0.6), math.log(1.6), generator))
    chi = gain * chi + _draw_texture(axes, texture_sd, generator)
    if _uniform(0, 1, generator) < 0.15:
        chi = _with_lesion(chi, axes, generator)
    chi = chi + 0.008 * float(torch.randn((), generator=generator))
    erosion = max(0.0, _uniform(-3, 6, generator))
    chi = torch.where(depth > erosion, chi, 0.0)
    return Maps(chi[None, None], torch.tensor(voxel_size, device=device)[None])


def _draw_voxel_size(generator: torch.Generator) -> list[float]:
    low, high = WINDOW_VOXEL_MM
    base = math.exp(_uniform(math.log(low), math.log(2.0), generator))
    voxel_size = [base] * 3
    if _uniform(0, 1, generator) < 0.5:
        voxel_size[_integer(3, generator)] *= _uniform(1, 3, generator)
    return [min(v, high) for v in voxel_size]


def _draw_points(
    specimen: Specimen,
    shape: tuple[int, int, int],
    voxel_size: Sequence[float],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Places (X, Y, Z, 3) of a window's voxel centres in a specimen, and the edges of a voxel.

    Both in mm from the specimen's corner; the edges (3, 3) are those before the elastic part.
    """
    device = specimen.levels[0].device
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    stretch = torch.exp(0.08 * torch.randn(3, generator=generator))
    edges = (torch.tensor(voxel_size)[:, None] * rotation * stretch).to(device)
    offsets = [torch.arange(n, device=device) - (n - 1) / 2 for n in shape]
    points = torch.stack(torch.meshgrid(*offsets, indexing='ij'), -1) @ edges
    for _ in range(3):
        wave = torch.randn(3, generator=generator)
        wave *= 2 * math.pi / (_uniform(25, 80, generator) * wave.norm())
        shift = 0.8 * torch.randn(3, generator=generator)
        phase = _uniform(0, 2 * math.pi, generator)
        points = points + torch.sin(points @ wave.to(device) + phase)[..., None] * shift.to(device)
    coarse = specimen.levels[-1]
    inside = torch.nonzero(coarse[2] > 0)
    centre = inside[_integer(len(inside), generator)] + torch.rand(3, generator=generator).to(
        device
    )
    return points + centre * (specimen.voxel_size * 2 ** (LEVELS - 1)), edges


def _sample(specimen: Specimen, points: Tensor, edges: Tensor, smallest: float) -> Tensor:
    """Means of a specimen's channels over the voxels at some points (3, X, Y, Z)."""
    level = min(int(math.log2(max(smallest / specimen.voxel_size, 1))), LEVELS - 1)
    spacing = specimen.voxel_size * 2**level
    position, edges = points / spacing - 0.5, edges / spacing
    volume = specimen.levels[level]
    size = torch.tensor(volume.shape[1:], device=points.device)
    margin = edges.abs().sum(0) / 2 + 1
    low = (position.amin((0, 1, 2)) - margin).floor().long().clamp(min=0)
    high = (position.amax((0, 1, 2)) + margin).ceil().long() + 1
    low = torch.minimum(low, size - 2)
    high = torch.maximum(torch.minimum(high, size), low + 2)
    crop = volume[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]].float()[None]
    parts = [max(1, min(4, round(n))) for n in edges.norm(dim=1).tolist()]
    total = 0.0
    for index in itertools.product(*(range(n) for n in parts)):
        share = torch.tensor([(i + 0.5) / n - 0.5 for i, n in zip(index, parts, strict=True)])
        where = 2 * (position + share.to(edges.device) @ edges - low) / (high - low - 1) - 1
        total = total + functional.grid_sample(
            crop, where.flip(-1)[None], align_corners=True, padding_mode='border'
        )
    return total[0] / math.prod(parts)


def _draw_texture(axes: Axes, sd: Tensor, generator: torch.Generator) -> Tensor:
    """Texture of the tissue and what a reconstruction leaves as noise [ppm]."""
    gain = TEXTURE_GAIN * math.exp(0.35 * float(torch.randn((), generator=generator)))
    contrast = torch.exp(_uniform(0, 0.7, generator) * correlated_noise(axes, generator))
    exponent = _uniform(2.6, 4.0, generator)
    texture = gain * contrast * sd * correlated_noise(axes, generator, exponent)
    noise = 0.0015 * abs(float(torch.randn((), generator=generator)))
    return texture + noise * correlated_noise(axes, generator, _uniform(0, 2, generator))


def _with_lesion(chi: Tensor, axes: Axes, generator: torch.Generator) -> Tensor:
    """Add an ellipsoid of either sign with a soft border."""
    value = _uniform(-1.2, 1.2, generator)
    square = 0.0
    for axis in range(3):
        radius = math.exp(_uniform(math.log(1.5), math.log(8), generator))
        x = axes.coordinates(axis)
        centre = float(x[_integer(len(x), generator)])
        shape = [-1 if a == axis else 1 for a in range(3)]
        square = square + (((x - centre) / max(radius, axes.voxel_size[axis])) ** 2).reshape(shape)
    share = torch.sigmoid((1 - square) * _uniform(1.5, 8, generator))
    return chi + share * (value - chi)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _integer(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=generator))

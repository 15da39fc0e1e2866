"""What varies within the tissues of a training window: grain, parcels, laminae, vessels, noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qsmprep.qsm.operators import frequencies
from qsmprep.qsm.simulate.anatomy import Axes
from qsmprep.qsm.simulate.susceptibility import correlated_noise

__all__ = ['draw_holes', 'draw_texture', 'integer', 'resolve', 'uniform']

TEXTURE_GAIN = 0.75
"""Together with the draws below it brings gradients and spectra to those of COSMOS maps at 1 mm."""

Form = tuple[tuple[float, ...], ...]


def draw_texture(
    axes: Axes, sd: Tensor, depth: Tensor, generator: torch.Generator, fields: torch.Generator
) -> Tensor:
    """Texture of the tissue, fine vessels, and what a reconstruction leaves as noise [ppm].

    The texture is a mixture of grain, a Gaussian field that is drawn out along tracts or sheets
    which change their direction from place to place, and of parcels with borders, along some of
    which a lamina runs.

    Parameters
    ----------
    axes
        Grid of the window.
    sd
        SD of the texture [ppm].
    depth
        Depth below the surface of the brain [mm]; noise may rise towards it.
    generator
        Source of the numbers that describe the texture, on the CPU.
    fields
        Source of the fields, on the device of the window.

    """
    gain = TEXTURE_GAIN * math.exp(0.35 * float(torch.randn((), generator=generator)))
    contrast = torch.exp(uniform(0, 0.5, generator) * correlated_noise(axes, fields))
    turn = max(0.0, uniform(-0.8, 1.2, generator))
    texture = math.cos(turn) * _grain(axes, generator, fields)
    if turn:
        texture += math.sin(turn) * _parcels(axes, generator, fields)
    texture *= gain * contrast * sd
    if uniform(0, 1, generator) < 0.3:
        texture += _vessels(axes, generator, fields) * (sd > 0)
    level = 0.0018 * abs(float(torch.randn((), generator=generator)))
    noise = level * (1 + max(0.0, uniform(-4, 6, generator)) * torch.exp(-depth.clamp(min=0) / 1.5))
    return texture + noise * correlated_noise(axes, fields, uniform(0, 2, generator))


def resolve(chi: Tensor, axes: Axes, generator: torch.Generator) -> Tensor:
    """A map at the resolution that scan and processing leave, not always that of its voxels.

    Interpolation, registration and filters make maps in vivo fall off towards the corners of
    k-space, where half of its samples lie. Three fifths of the maps are smoothed by up to half a
    voxel (SD, for each axis), and some lose the corners.
    """
    if uniform(0, 1, generator) < 0.4:
        return chi
    ks = frequencies(axes.shape, axes.voxel_size, device=axes.device)
    x, y, z = [(k * v) ** 2 for k, v in zip(ks, axes.voxel_size, strict=True)]
    common = uniform(0, 0.5, generator)
    a, b, c = [-2 * (math.pi * common * uniform(0.6, 1, generator)) ** 2 for _ in range(3)]
    logarithm = a * x + b * y + c * z
    if uniform(0, 1, generator) < 0.3:
        logarithm = logarithm - ((x + y + z) / uniform(0.5, 0.9, generator) ** 2) ** 4
    return torch.fft.irfftn(torch.fft.rfftn(chi).mul_(torch.exp(logarithm)), s=axes.shape)


def draw_holes(axes: Axes, generator: torch.Generator, fields: torch.Generator) -> Tensor:
    """A few blobs, true where a mask of reliable phase would have holes."""
    return correlated_noise(axes, fields, 6.0, corner=0.03) > uniform(2, 3, generator)


def _grain(axes: Axes, generator: torch.Generator, fields: torch.Generator) -> Tensor:
    """A cloudy field, or two drawn-out ones that take turns from place to place."""
    if uniform(0, 1, generator) < 0.3:
        return correlated_noise(axes, fields, uniform(2.6, 4.0, generator))
    first, second = (
        correlated_noise(
            axes,
            fields,
            uniform(2.4, 3.8, generator),
            corner=_log_uniform(0.02, 0.08, generator),
            form=_form(generator),
        )
        for _ in range(2)
    )
    share = torch.sigmoid(3 * correlated_noise(axes, fields, 6.0, corner=0.03))
    return (share * first + (1 - share) * second) / (share**2 + (1 - share) ** 2).sqrt()


def _parcels(axes: Axes, generator: torch.Generator, fields: torch.Generator) -> Tensor:
    """Three tissues of unit spread, and a thin layer along the border of two of them."""
    corner, form = _log_uniform(0.015, 0.08, generator), _form(generator)
    exponent = uniform(5, 8, generator)
    which = torch.stack(
        [correlated_noise(axes, fields, exponent, corner=corner, form=form) for _ in range(3)]
    )
    values = torch.randn(3, generator=generator).tolist()
    share = (_log_uniform(4, 40, generator) * which).softmax(0)
    parcels = sum(value * part for value, part in zip(values, share, strict=True))
    thickness = uniform(0.6, 2.5, generator) * 2 * math.pi * corner * math.sqrt(2)
    shift = uniform(-2, 2, generator) * thickness
    lamina = torch.exp(-0.5 * ((which[0] - which[1] - shift) / thickness) ** 2)
    return parcels + uniform(-2, 2, generator) * lamina


def _vessels(axes: Axes, generator: torch.Generator, fields: torch.Generator) -> Tensor:
    """Tubes where two smooth fields are zero at once; thin ones are partial volumes [ppm]."""
    corner = _log_uniform(0.015, 0.05, generator)
    radius = _log_uniform(0.2, 1.0, generator)
    seen = max(radius, 0.5 * math.prod(axes.voxel_size) ** (1 / 3))
    form = _form(generator)
    first, second = (
        correlated_noise(axes, fields, 6.0, corner=corner, form=form) for _ in range(2)
    )
    square = first**2 + second**2
    value = uniform(0.03, 0.25, generator) * (radius / seen) ** 2
    return value * torch.exp(square * (-0.5 / (2 * math.pi * corner * seen) ** 2))


def _form(generator: torch.Generator) -> Form:
    """Quadratic form of unit determinant: fields longer in one direction, or shorter in one."""
    stretch = uniform(-1.0, 1.2, generator)
    lengths = torch.exp(torch.tensor([2 * stretch, -stretch, -stretch]))
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    return tuple(map(tuple, (rotation.T @ (lengths[:, None] * rotation)).tolist()))


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A number, evenly between two."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def _log_uniform(low: float, high: float, generator: torch.Generator) -> float:
    return math.exp(uniform(math.log(low), math.log(high), generator))


def integer(n: int, generator: torch.Generator) -> int:
    """A number from 0 to n - 1."""
    return int(torch.randint(n, (), generator=generator))

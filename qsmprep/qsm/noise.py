"""How noisy a field is, as it shows itself, and what its voxels weigh for it."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

LEAST_ROUGHNESS = 1e-9


def field_roughness(field: Tensor, mask: Tensor) -> float:
    """Robust noise of a field: median of its finest diagonal Haar detail over 0.6745.

    Includes what the anatomy adds at the scale of a voxel, about 1 ppb at 1 mm.

    References
    ----------
    Donoho and Johnstone 1994, 10.1093/biomet/81.3.425.

    """
    values = _finest_detail(field, mask).abs()
    if not values.numel():
        return max(float(field[mask].std(correction=0)), LEAST_ROUGHNESS)
    return max(float(values.median()) / 0.6745, LEAST_ROUGHNESS)


def noise_level(field: Tensor, mask: Tensor, known: float | None, white: float) -> float:
    """Noise that a fit counts on [ppm], at least an eighth of the roughness of the field.

    Parameters
    ----------
    field, mask
        Field [ppm] and its voxels.
    known
        Typical noise by a noise map [ppm], or None.
    white
        Power of the white part of the field's spectrum [ppm^2], taken where there is no map.

    """
    return max(white**0.5 if known is None else known, field_roughness(field, mask) / 8)


def noise_share(field: Tensor, mask: Tensor) -> float:
    """Share of the power of a field that could be white noise: that of its finest diagonal detail.

    One for white noise, with or without outliers, and where no eight voxels of the mask touch.

    Examples
    --------
    >>> mask = torch.ones((8, 8, 8), dtype=torch.bool)
    >>> ramp = torch.linspace(-1, 1, 8).expand(8, 8, 8)
    >>> noise_share(ramp, mask), noise_share(ramp[:1], mask[:1])
    (0.0, 1.0)

    """
    values = _finest_detail(field, mask)
    if not values.numel():
        return 1.0
    return min(float(values.square().mean() / field[mask].square().mean()), 1.0)


def _finest_detail(field: Tensor, mask: Tensor) -> Tensor:
    """Diagonal Haar detail of all cubes of 2 x 2 x 2 voxels that lie in the mask."""
    detail, inside = field, mask
    for axis, n in enumerate(field.shape):
        detail = detail.diff(dim=axis) / sqrt(2)
        inside = inside.narrow(axis, 0, n - 1) & inside.narrow(axis, 1, n - 1)
    return detail[inside]


def data_weight(
    mask: Tensor, magnitude: Tensor | None, noise: Tensor | None, roughness: float
) -> Tensor:
    """Voxel weights between 0 and 1; zero where noise or magnitude are, as nothing was measured."""
    inside = mask.to(torch.float32)
    if noise is not None:
        floor = typical_noise(noise, mask) ** 2 + roughness**2
        return inside * (noise > 0) * (floor / (noise.square() + roughness**2)).sqrt().clamp(max=1)
    if magnitude is not None:
        middle = magnitude[mask].median().clamp(min=1e-12)
        return inside * (magnitude / middle).clamp(0, 1)
    return inside


def typical_noise(noise: Tensor, mask: Tensor) -> float:
    """Median of a noise map [ppm] over the voxels of a mask that were measured."""
    return float(noise[mask & (noise > 0)].median())


def even_weights(noise: Tensor, mask: Tensor) -> Tensor:
    """Weights of at most one that even out noise above its median; zero where none is known."""
    even = (typical_noise(noise, mask) / noise.clamp(min=1e-30)).clamp(max=1)
    return torch.where(mask & (noise > 0), even, 0.0)

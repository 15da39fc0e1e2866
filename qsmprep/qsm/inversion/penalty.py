"""Edge-weighted total variation inside a mask."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

LARGEST_SAMPLE = 1_000_000
SMOOTHING_PPM = 1e-4


def edges_inside(mask: Tensor, voxel_size: tuple[float, ...]) -> list[Tensor]:
    """Weights of the differences between neighbours along each axis.

    A weight is the mean voxel edge over the distance of the neighbours, and zero where one of them
    lies outside the mask.
    """
    edge = prod(voxel_size) ** (1 / 3)
    return [
        (mask.narrow(a, 0, n - 1) & mask.narrow(a, 1, n - 1)).float() * (edge / v)
        for a, (n, v) in enumerate(zip(mask.shape, voxel_size, strict=True))
    ]


def edge_weights(chi: Tensor, edges: list[Tensor], lower: float, upper: float) -> list[Tensor]:
    """Weights that let the edges of a map go unpenalised.

    A difference weighs 1 below the lower percentile of the absolute differences along its axis
    within the mask, 0 above the upper one, and is interpolated between them.

    Parameters
    ----------
    chi
        Initial map (X, Y, Z) [ppm].
    edges
        Weights from :func:`edges_inside`, by which the result is multiplied.
    lower, upper
        Percentiles, 0 to 100.

    Raises
    ------
    ValueError
        If the percentiles are not in order.

    References
    ----------
    Zhang et al. 2024, 10.1016/j.media.2024.103173 (with 50 and 70).

    """
    if not 0 <= lower < upper <= 100:
        raise ValueError(
            f'The percentiles of the edges rise from 0 to 100, unlike {lower} and {upper}.'
        )
    weighted = []
    for axis, weight in enumerate(edges):
        size = chi.diff(dim=axis).abs_()
        inside = size[weight > 0]
        if not inside.numel():
            weighted.append(weight)
            continue
        sample = inside[:: inside.numel() // LARGEST_SAMPLE + 1]
        levels = torch.tensor([lower / 100, upper / 100], device=chi.device)
        low, high = torch.quantile(sample, levels)
        share = ((high - size) / (high - low).clamp(min=1e-12)).clamp_(0, 1)
        weighted.append(share * weight)
    return weighted


def weights_by_anatomy(magnitude: Tensor, mask: Tensor) -> list[Tensor] | None:
    r"""Weights that let a map have its edges where the magnitude has them.

    With :math:`m` the median difference of the magnitude between neighbours in the mask, a
    difference :math:`d` gives the weight :math:`1 / (1 + (d / m)^2)`: noise and shading alone are
    all of the usual size, boundaries of tissue are many times that.

    Parameters
    ----------
    magnitude
        Magnitude (X, Y, Z) [arbitrary].
    mask
        Where it is looked at.

    Returns
    -------
    list of Tensor or None
        Weights of the differences along each axis, one where a neighbour has no signal or lies
        outside the mask; None where the median difference is zero.

    References
    ----------
    Idea: MEDI, Liu J et al. 2012, 10.1016/j.neuroimage.2011.08.082, where weights are zero or one;
    the weight is that of Perona and Malik 1990, 10.1109/34.56205.

    """
    inside = edges_inside(mask & (magnitude > 0), (1.0, 1.0, 1.0))
    sizes = [magnitude.diff(dim=a).abs_() * edge for a, edge in enumerate(inside)]
    every = torch.cat([s[edge > 0] for s, edge in zip(sizes, inside, strict=True)])
    if not every.numel():
        return None
    usual = every[:: every.numel() // LARGEST_SAMPLE + 1].median()
    return [1 / (1 + (s / usual).square()) for s in sizes] if usual > 0 else None


def total_variation(
    chi: Tensor, weights: list[Tensor], smoothing: float = SMOOTHING_PPM
) -> tuple[Tensor, Tensor]:
    """Isotropic total variation and its gradient.

    Parameters
    ----------
    chi
        Map (X, Y, Z) [ppm].
    weights
        Weights of the forward differences along each axis.
    smoothing
        Length [ppm] below which the norm is rounded off, so that it can be differentiated.

    Returns
    -------
    value
        Sum over voxels of the length of the weighted difference vector [ppm].
    gradient
        Derivative with respect to ``chi``.

    """
    differences = [chi.diff(dim=a).mul_(w) for a, w in enumerate(weights)]
    length = torch.full_like(chi, smoothing**2)
    for axis, d in enumerate(differences):
        length.narrow(axis, 0, d.shape[axis]).addcmul_(d, d)
    length.sqrt_()
    value = (length - smoothing).sum()
    gradient = torch.zeros_like(chi)
    for axis, (d, w) in enumerate(zip(differences, weights, strict=True)):
        n = d.shape[axis]
        flow = d.mul_(w).div_(length.narrow(axis, 0, n))
        gradient.narrow(axis, 0, n).sub_(flow)
        gradient.narrow(axis, 1, n).add_(flow)
    return value, gradient

"""Classical dipole inversions: k-space division, closed-form Tikhonov, total variation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qsmprep.qsm.dipole import Dipole

Progress = Callable[[int, int, float], None]


def tkd(field: Tensor, weight: Tensor, dipole: Dipole, *, threshold: float = 0.2) -> Tensor:
    """Thresholded k-space division.

    Parameters
    ----------
    field
        Local field [ppm], zero outside the mask.
    weight
        Voxel weights; only their support is used.
    dipole
        The dipole operator.
    threshold
        Magnitude of the kernel below which it is replaced by this value, with its sign.

    References
    ----------
    Shmueli et al. 2009, 10.1002/mrm.22135.

    """
    kernel = dipole.kernel
    sign = torch.where(kernel < 0, -1.0, 1.0)
    bounded = torch.where(kernel.abs() < threshold, sign * threshold, kernel)
    return dipole.filter(field, 1 / bounded) * (weight > 0)


def tikhonov(field: Tensor, weight: Tensor, dipole: Dipole, *, regularisation: float = 0.02):
    """Closed-form minimiser of ||D x - f||^2 + regularisation ||x||^2.

    Parameters
    ----------
    field, weight, dipole
        See :func:`tkd`.
    regularisation
        Weight of the norm of susceptibility.

    References
    ----------
    Bilgic et al. 2014, 10.1002/jmri.24365.

    """
    return dipole.prox(field, torch.zeros_like(field), regularisation) * (weight > 0)


def tv(
    field: Tensor,
    weight: Tensor,
    dipole: Dipole,
    *,
    regularisation: float = 2e-4,
    tolerance: float = 5e-3,
    iterations: int = 200,
    progress: Progress | None = None,
) -> Tensor:
    """Minimiser of 1/2 ||W (D x - f)||^2 + regularisation TV(x), x = 0 outside the mask.

    ADMM with three splittings: the field D x, which takes the voxel weights; the gradient of x,
    which takes the isotropic total variation; and x itself, which takes the mask.

    Parameters
    ----------
    field, weight, dipole
        See :func:`tkd`; the weights have a mean of about one.
    regularisation
        Weight of the total variation [ppm].
    tolerance
        Relative change of x between two iterations at which the iteration ends.
    iterations
        Most iterations.
    progress
        Called with iteration, ``iterations`` and the relative change.

    References
    ----------
    Milovic et al. 2018, 10.1002/mrm.27073.

    """
    n, voxel_size = dipole.grid.shape, dipole.grid.voxel_size
    mask = weight > 0
    power = weight.square()
    rho_field, rho_gradient, rho_mask = 1.0, 100 * regularisation, 0.1
    shrinkage = regularisation / rho_gradient
    kernel = dipole.kernel
    denominator = rho_field * kernel.square() + rho_gradient * _gradient_power(dipole) + rho_mask
    edges = [
        (mask.narrow(a, 0, n[a] - 1) & mask.narrow(a, 1, n[a] - 1)).to(field.dtype) / voxel_size[a]
        for a in range(3)
    ]
    modelled = field.clone()
    dual_field, dual_mask = torch.zeros_like(field), torch.zeros_like(field)
    inside, gradient = torch.zeros_like(field), [torch.zeros_like(e) for e in edges]
    duals = [torch.zeros_like(e) for e in edges]
    for iteration in range(1, iterations + 1):
        target = rho_mask * (inside - dual_mask)
        for axis, edge in enumerate(edges):
            step = rho_gradient * edge * (gradient[axis] - duals[axis])
            target.narrow(axis, 0, n[axis] - 1).sub_(step)
            target.narrow(axis, 1, n[axis] - 1).add_(step)
        spectrum = rho_field * kernel * dipole.transform(modelled - dual_field)
        spectrum = (spectrum + dipole.transform(target)) / denominator
        x, image = dipole.inverse(spectrum), dipole.inverse(kernel * spectrum)

        modelled = (power * field + rho_field * (image + dual_field)) / (power + rho_field)
        dual_field += image - modelled
        shifted = [
            torch.diff(x, dim=a) * edge + dual
            for a, (edge, dual) in enumerate(zip(edges, duals, strict=True))
        ]
        norm = torch.zeros_like(x)
        for axis, part in enumerate(shifted):
            norm.narrow(axis, 0, n[axis] - 1).add_(part.square())
        factor = 1 - shrinkage / norm.sqrt_().clamp_(min=shrinkage)
        gradient = [part * factor.narrow(a, 0, n[a] - 1) for a, part in enumerate(shifted)]
        duals = [part - kept for part, kept in zip(shifted, gradient, strict=True)]
        previous, inside = inside, (x + dual_mask) * mask
        dual_mask += x - inside
        change = float((inside - previous).norm() / inside.norm().clamp_(min=1e-30))
        if progress is not None:
            progress(iteration, iterations, change)
        if change < tolerance:
            break
    return inside


def _gradient_power(dipole: Dipole) -> Tensor:
    """Sum over the axes of the squared response of forward differences [1/mm^2]."""
    from qsmprep.qsm.dipole import frequencies

    voxel_size = dipole.grid.voxel_size
    axes = frequencies(dipole.padded_shape, voxel_size, device=dipole.device, dtype=dipole.dtype)
    return sum(
        (2 * torch.sin(torch.pi * k * v) / v).square()
        for k, v in zip(axes, voxel_size, strict=True)
    )

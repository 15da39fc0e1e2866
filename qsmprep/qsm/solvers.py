"""One solver for all: preconditioned conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Progress = Callable[[int, int, float], None]


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor],
    target: Tensor,
    *,
    start: Tensor | None = None,
    precondition: Callable[[Tensor], Tensor] = torch.clone,
    iterations: int,
    tolerance: float,
    progress: Progress | None = None,
) -> Tensor:
    """Solution of A x = target for a symmetric positive definite A.

    Parameters
    ----------
    operator
        Applies A.
    target
        Right-hand side.
    start
        First guess, by default zero.
    precondition
        Applies an approximation of the inverse of A, symmetric and positive definite.
    iterations
        Most steps to take.
    tolerance
        Norm of the residual, under the preconditioner and relative to that of ``target``, at
        which to stop.
    progress
        Called with the step, their greatest number, and that ratio.

    References
    ----------
    Hestenes and Stiefel 1952, 10.6028/jres.049.044.

    Examples
    --------
    >>> diagonal = torch.tensor([1.0, 2.0, 4.0])
    >>> conjugate_gradients(diagonal.mul, torch.ones(3), iterations=3, tolerance=1e-6)
    tensor([1.0000, 0.5000, 0.2500])

    """
    residual = target.clone()
    direction = precondition(residual)
    energy = scale = (residual * direction).sum()
    x = torch.zeros_like(target)
    if start is not None:
        x = start.clone()
        residual -= operator(x)
        direction = precondition(residual)
        energy = (residual * direction).sum()
    for iteration in range(1, iterations + 1):
        if energy <= tolerance**2 * scale:
            break
        image = operator(direction)
        step = energy / (direction * image).sum()
        x += step * direction
        residual -= step * image
        smoothed = precondition(residual)
        previous, energy = energy, (residual * smoothed).sum()
        direction = smoothed.add_(direction.mul_(energy / previous))
        if progress is not None:
            progress(iteration, iterations, float((energy / scale).clamp(min=0).sqrt()))
    return x

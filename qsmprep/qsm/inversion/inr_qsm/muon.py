"""Muon: steps along momentum whose matrices are made orthogonal."""

from __future__ import annotations

import torch
from torch import Tensor

MOMENTUM = 0.9
ITERATIONS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Muon for square matrices that are stepped together, ``torch.optim.Muon`` takes one by one.

    Parameters
    ----------
    matrices
        Parameters (..., N, N) of one shape.
    rate
        Length of a step, as singular value.

    References
    ----------
    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.

    """

    def __init__(self, matrices: list[Tensor], rate: float) -> None:
        super().__init__(matrices, {'lr': rate})
        self.momentum = torch.zeros_like(torch.stack(matrices), requires_grad=False)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step along the gradients, with Nesterov's momentum."""
        matrices, rate = self.param_groups[0]['params'], self.param_groups[0]['lr']
        gradients = torch.stack([matrix.grad for matrix in matrices])
        self.momentum.lerp_(gradients, 1 - MOMENTUM)
        directions = orthogonal(gradients.lerp_(self.momentum, MOMENTUM))
        for matrix, direction in zip(matrices, directions, strict=True):
            matrix.sub_(direction, alpha=rate)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (..., N, N) with singular values near one, by Newton and Schulz in bfloat16."""
    x = matrices.flatten(0, -3).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, gram.baddbmm(gram, gram, beta=third, alpha=fifth), x, beta=first)
    return x.view(matrices.shape)

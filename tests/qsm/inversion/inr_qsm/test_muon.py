"""Muon for stacks of matrices, against that of PyTorch for one after the other."""

from __future__ import annotations

import torch

from qsmprep.qsm.inversion.inr_qsm.muon import Muon, orthogonal


def test_singular_values_are_near_one():
    matrices = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrices).float())
    assert orthogonal(matrices).shape == matrices.shape
    assert 0.5 < values.median() < 1.3
    assert values.max() < 1.4


def test_stacks_of_matrices_are_stepped_as_one_after_the_other():
    generator = torch.Generator().manual_seed(0)
    start, goal = torch.randn(2, 2, 3, 16, 16, generator=generator)
    together = [layer.clone().requires_grad_() for layer in start]
    alone = [matrix.clone().requires_grad_() for matrix in start.flatten(0, 1)]
    ours = Muon(together, 0.1)
    theirs = torch.optim.Muon(alone, lr=0.1, weight_decay=0, momentum=0.9)
    for _ in range(5):
        for optimiser, matrices in ((ours, together), (theirs, alone)):
            optimiser.zero_grad()
            found = torch.stack(matrices).view(goal.shape)
            (found - goal).square().sum().backward()
            optimiser.step()
    moved, expected = (torch.stack(each).view(start.shape) - start for each in (together, alone))
    torch.testing.assert_close(moved, expected, rtol=0, atol=5e-3)
    assert moved.std() > 0.05

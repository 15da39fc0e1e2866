"""Functions of blocks make one function of the volume."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from qsmprep.qsm.inversion.inr_qsm.blocks import in_blocks


class Memory(nn.Module):
    """Values at the voxels of a block; not a number wherever else it is asked."""

    def __init__(self, places, values):
        super().__init__()
        self.known = {tuple(p): v for p, v in zip(places.tolist(), values, strict=True)}

    def forward(self, positions):
        return torch.tensor([self.known.get(tuple(p), torch.nan) for p in positions.tolist()])


class Plane(nn.Module):
    """A linear function, the same in all blocks, but for a constant."""

    def __init__(self, constant):
        super().__init__()
        self.constant = constant

    def forward(self, positions):
        return positions @ torch.tensor([1.0, -2.0, 0.5]) + self.constant


@pytest.fixture
def ball():
    axis = torch.arange(19)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing='ij')
    return ((x - 9) ** 2 + (y - 9) ** 2 + (z - 6) ** 2 < 70).nonzero()


def test_every_voxel_is_asked_of_blocks_that_hold_it(ball):
    truth = torch.sin(ball.float() @ torch.tensor([1.0, 7.0, 50.0]))
    wanted = {tuple(p): v for p, v in zip(ball.tolist(), truth.tolist(), strict=True)}

    def build(places):
        return Memory(places, [wanted[tuple(p)] for p in places.tolist()])

    function, parts = in_blocks(ball, 300, build)
    assert len(parts) > 4
    assert all(len(places) <= 300 for _, places in parts)
    torch.testing.assert_close(function(ball.float()), truth)


def test_between_blocks_the_function_is_continuous(ball):
    constants = iter(range(100))
    function, parts = in_blocks(ball, 300, lambda places: Plane(next(constants)))
    line = torch.stack([torch.linspace(-2, 20, 4401), *torch.full((2, 4401), 7.3)], 1)
    assert len({int(v) for v in function(line) - Plane(0)(line)}) > 1
    assert function(line).diff().abs().max() < 0.005 * (1 + len(parts)) * 1.1


def test_equal_functions_leave_no_trace_of_the_blocks(ball):
    function, _ = in_blocks(ball, 300, lambda places: Plane(0.0))
    positions = 20 * torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)) - 1
    torch.testing.assert_close(function(positions), Plane(0.0)(positions))


def test_voxels_in_one_layer_but_few_are_divided():
    plate = torch.cartesian_prod(torch.arange(30), torch.arange(30), torch.tensor([40]))
    stalk = torch.cartesian_prod(torch.tensor([3]), torch.tensor([3]), torch.arange(40))
    _, parts = in_blocks(torch.cat([plate, stalk]), 200, lambda places: Plane(0.0))
    assert max(len(places) for _, places in parts) <= 200

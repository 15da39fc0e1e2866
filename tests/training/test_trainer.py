"""Training of the prior: it learns, goes on to the bit, and is measured honestly."""

import math

import pytest
import torch

from qsmprep.qsm.diffusion.denoiser import Architecture
from qsmprep.qsm.simulate.stream import Maps
from qsmprep.training.trainer import Trainer, denoising_error, noise_like

SMALL = Architecture(channels=(8, 16), blocks=(1, 1), embedding=32)


def flat_maps(number, seed):
    """Windows of constant susceptibility of 0.03 ppm spread, in which noise is easy to see."""
    generator = torch.Generator().manual_seed(seed)
    levels = 0.03 * torch.randn(number, 1, 1, 1, 1, generator=generator)
    return Maps(levels.expand(-1, 1, 16, 16, 16), torch.ones(number, 3))


def test_training_removes_noise_that_the_maps_do_not_hold():
    trainer = Trainer(SMALL, seed=0)
    first = float(trainer.step(flat_maps(4, 0)))
    losses = [trainer.step(flat_maps(4, n)) for n in range(1, 200)]
    assert first == pytest.approx(1, rel=0.15)
    assert sum(losses[-20:]) / 20 < 0.4
    assert denoising_error(trainer.average, [flat_maps(4, 1000)], 0.03) < 0.3


def test_a_resumed_training_gives_the_same_bits():
    straight, halted = Trainer(SMALL, seed=1), Trainer(SMALL, seed=1)
    for n in range(4):
        straight.step(flat_maps(2, n))
    for n in range(2):
        halted.step(flat_maps(2, n))
    resumed = Trainer(SMALL, seed=99)
    resumed.load_state_dict(halted.state_dict())
    for n in range(2, 4):
        resumed.step(flat_maps(2, n))
    for one, other in ((straight.network, resumed.network), (straight.average, resumed.average)):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)


def test_the_error_of_a_network_that_returns_its_input_is_the_noise():
    class Identity(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, noisy, sigma, voxel_size):
            return noisy

    error = denoising_error(Identity(), [flat_maps(8, 0)], 0.01)
    assert error == pytest.approx(1, abs=4 / math.sqrt(8 * 16**3))


def test_noise_ends_where_the_map_is_zero():
    chi = flat_maps(2, 0).chi.clone()
    chi[:, :, :5] = 0
    noise = noise_like(chi, torch.Generator().manual_seed(0))
    assert torch.equal(noise == 0, chi == 0)
    assert noise[chi != 0].std() == pytest.approx(1, abs=0.05)

"""Denoising score matching: the steps that turn a network into a prior, and its held-out error."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qsmprep.qsm.diffusion.denoiser import Architecture, Denoiser
from qsmprep.qsm.simulate.stream import Maps, to_device

LEARNING_RATE = 2e-3
WARM_UP = 200
DECAY_AFTER = 2000
AVERAGE_OVER = 0.1
COMMON_NOISE = (math.log(0.015), 1.2)
EVEN_NOISE = 0.6


class Trainer:
    """A network in training, its running average, and all that is needed to go on later.

    Every step is a function of the seed, the number of the step and the state before it, so that a
    training that was saved and resumed gives the same weights, on the CPU to the bit.

    The learning rate rises over 200 steps and falls with the inverse root of their number after
    2000; the average over the last tenth of the steps or so takes the place of a final decay, so
    that a training may end at any time.

    Parameters
    ----------
    architecture
        The network.
    seed
        Seed of its first weights and of the noise.
    device
        Where to train; bfloat16 is used for the convolutions.

    References
    ----------
    Karras et al. 2022, 10.48550/arXiv.2206.00364 (loss); Karras et al. 2024,
    10.48550/arXiv.2312.02696 (learning rate, power-function average).

    """

    def __init__(
        self, architecture: Architecture, *, seed: int = 0, device: torch.device | str = 'cpu'
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Denoiser(architecture).to(device)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), fused=True
        )
        self.seed, self.device, self.number = seed, torch.device(device), 0

    def step(self, windows: Maps) -> Tensor:
        """Learn from a batch; returns its weighted denoising error, about 1 for a zero network.

        The error stays on the device: who reads its value waits for the step to end.
        """
        seed = self.seed * 1_000_003 + self.number
        chi = windows.chi.to(self.device)
        sigma = self._draw_sigma(len(chi), torch.Generator().manual_seed(seed))
        noise = noise_like(chi, torch.Generator(self.device).manual_seed(seed))
        unit = self.network.architecture.sigma_data_ppm
        weight = (sigma**2 + unit**2) / (sigma * unit) ** 2
        noisy = chi + sigma.reshape(-1, 1, 1, 1, 1) * noise
        with torch.autocast(self.device.type, torch.bfloat16):
            denoised = self.network(noisy, sigma, windows.voxel_size.to(self.device))
        loss = (weight * (denoised - chi).square().mean((1, 2, 3, 4))).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self._update()
        return loss.detach()

    def _draw_sigma(self, number: int, generator: torch.Generator) -> Tensor:
        """Noise levels [ppm]: mostly those at which anatomy is decided, the rest evenly in log."""
        architecture = self.network.architecture
        low, high = math.log(architecture.sigma_min_ppm), math.log(architecture.sigma_max_ppm)
        middle, spread = COMMON_NOISE
        common = middle + spread * torch.randn(number, generator=generator)
        even = low + (high - low) * torch.rand(number, generator=generator)
        choose = torch.rand(number, generator=generator) < EVEN_NOISE
        level = torch.where(choose, even, common).clamp(low, high).exp()
        return to_device(level, self.device)

    def _update(self) -> None:
        self.number += 1
        rate = LEARNING_RATE * min(self.number / WARM_UP, 1, (DECAY_AFTER / self.number) ** 0.5)
        for group in self.optimiser.param_groups:
            group['lr'] = rate
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        keep = (1 - 1 / self.number) ** (1 / AVERAGE_OVER)
        with torch.no_grad():
            average, latest = (list(n.parameters()) for n in (self.average, self.network))
            torch._foreach_lerp_(average, latest, 1 - keep)

    def state_dict(self) -> dict:
        """All that :meth:`load_state_dict` needs."""
        return {
            'network': self.network.state_dict(),
            'average': self.average.state_dict(),
            'optimiser': self.optimiser.state_dict(),
            'seed': self.seed,
            'number': self.number,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from :meth:`state_dict`."""
        self.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self.optimiser.load_state_dict(state['optimiser'])
        self.seed, self.number = state['seed'], state['number']


def noise_like(chi: Tensor, generator: torch.Generator) -> Tensor:
    """White noise of unit variance where a map is not zero, which tells a network the mask."""
    noise = torch.randn(chi.shape, generator=generator, device=generator.device)
    return noise.to(chi) * (chi != 0)


@torch.no_grad()
def denoising_error(denoiser: Denoiser, windows: Sequence[Maps], sigma: float) -> float:
    """Root mean square error of the denoised maps within the brain, as a share of the noise.

    Parameters
    ----------
    denoiser
        The network.
    windows
        Maps without noise.
    sigma
        SD of the noise [ppm].

    """
    device = next(denoiser.parameters()).device
    squares = voxels = 0.0
    for number, batch in enumerate(windows):
        generator = torch.Generator().manual_seed(number)
        chi = batch.chi.to(device)
        noisy = chi + sigma * noise_like(chi, generator)
        level = torch.full((len(chi),), sigma, device=device)
        with torch.autocast(device.type, torch.bfloat16):
            denoised = denoiser(noisy, level, batch.voxel_size.to(device))
        inside = chi != 0
        squares += (denoised - chi)[inside].square().sum().item()
        voxels += inside.sum().item()
    return math.sqrt(squares / voxels) / sigma

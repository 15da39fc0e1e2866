"""The network of the prior: a fully convolutional 3-D U-Net that removes Gaussian noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

MAX_PARAMETERS = 8_000_000
NOISE_FREQUENCIES = 8


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a :class:`Denoiser`.

    Parameters
    ----------
    channels
        Features of every level; each level has half the resolution of the one before.
    blocks
        Residual blocks of every level: on the way down and again on the way up, once at the
        coarsest level.
    embedding
        Width of the embedding of noise level and voxel size.
    sigma_data_ppm
        Standard deviation of susceptibility within the brain [ppm], the unit of the network.
    sigma_min_ppm, sigma_max_ppm
        Noise levels of the training [ppm]. Beyond them the network receives the nearer one; the
        preconditioning goes on with the true level. Above, the network's part falls with the
        signal-to-noise ratio of what it sees.

    Raises
    ------
    ValueError
        If a size is not positive or absurdly large, or a range is empty.

    Examples
    --------
    >>> Architecture(channels=[8, 16], blocks=[1, 1]).stride
    2

    """

    channels: tuple[int, ...] = (16, 32, 64, 96)
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    embedding: int = 128
    sigma_data_ppm: float = 0.03
    sigma_min_ppm: float = 0.002
    sigma_max_ppm: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, 'channels', tuple(self.channels))
        object.__setattr__(self, 'blocks', tuple(self.blocks))
        sizes = (*self.channels, *self.blocks, self.embedding)
        if (
            not 1 <= len(self.channels) == len(self.blocks) <= 6
            or not all(isinstance(size, int) and 1 <= size <= 512 for size in sizes)
            or not self.sigma_data_ppm > 0
            or not 0 < self.sigma_min_ppm < self.sigma_max_ppm
        ):
            raise ValueError(
                f'{self} cannot be built: give 1 to 6 levels, as many blocks as channels, '
                'sizes from 1 to 512, and noise levels in increasing order.'
            )

    @property
    def stride(self) -> int:
        """Voxels of the image to a voxel of the coarsest level, along an axis."""
        return 2 ** (len(self.channels) - 1)

    @property
    def reach(self) -> int:
        """Voxels to either side that can influence the value of a voxel, at most.

        Examples
        --------
        >>> Architecture().reach
        92

        """
        convolutions = [4 * n * 2**level for level, n in enumerate(self.blocks)]
        convolutions[-1] //= 2
        return 1 + sum(convolutions) + self.stride - 1


class Denoiser(nn.Module):
    """Expected susceptibility given a noisy map, E[chi | chi + sigma n].

    A U-Net with residual blocks, made for speed on processors and accelerators alike: few
    features at full resolution, skip connections that add, and no statistics over space, so that
    windows of a volume and the volume itself give the same result away from borders. The
    preconditioning of Karras et al. keeps input, output and target of the network at unit
    variance at every noise level. Local means skip the network, by a gain for each noise level.

    Under ``torch.autocast`` with bfloat16 the convolutions and the activations between them
    are in half precision; the preconditioning stays in float32. The weights are laid out with
    channels last, which is what makes that fast.

    Parameters
    ----------
    architecture
        Sizes of the network and noise levels that it serves.

    Raises
    ------
    ValueError
        If the network would have more than 8 million parameters.

    References
    ----------
    Karras et al. 2022, 10.48550/arXiv.2206.00364, Table 1; Ronneberger et al. 2015,
    10.1007/978-3-319-24574-4_28; FiLM: Perez et al. 2018, 10.1609/aaai.v32i1.11671.

    Examples
    --------
    >>> denoiser = Denoiser(Architecture(channels=(8, 16), blocks=(1, 1)))
    >>> noisy, voxel_size = torch.ones(1, 1, 9, 8, 7), torch.ones(1, 3)
    >>> denoised = denoiser(noisy, torch.tensor([0.03]), voxel_size)
    >>> denoised.shape, round(denoised.mean().item(), 3)  # as yet it halves: it was not trained
    (torch.Size([1, 1, 9, 8, 7]), 0.5)

    """

    def __init__(self, architecture: Architecture = Architecture()) -> None:
        super().__init__()
        self.architecture = architecture
        width, channels, blocks = architecture.embedding, architecture.channels, architecture.blocks
        self.embed = nn.Sequential(
            nn.Linear(2 * NOISE_FREQUENCIES + 4, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
        )
        self.first = nn.Conv3d(1, channels[0], 3, padding=1)
        self.last = nn.Conv3d(channels[0], 1, 1)
        _zero(self.last)

        def level(n: int) -> nn.ModuleList:
            return nn.ModuleList(_Block(channels[n], width) for _ in range(blocks[n]))

        coarsest = len(channels) - 1
        self.encoder = nn.ModuleList(level(n) for n in range(coarsest))
        self.middle = level(coarsest)
        self.decoder = nn.ModuleList(level(n) for n in range(coarsest))
        steps = list(zip(channels, channels[1:], strict=False))
        self.down = nn.ModuleList(nn.Conv3d(fine, coarse, 2, 2) for fine, coarse in steps)
        self.up = nn.ModuleList(nn.ConvTranspose3d(coarse, fine, 2, 2) for fine, coarse in steps)
        self.trust = nn.Linear(width, 2)
        _zero(self.trust)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if self.parameter_count > MAX_PARAMETERS:
            raise ValueError(
                f'{architecture} has {self.parameter_count} parameters; '
                f'at most {MAX_PARAMETERS} are allowed.'
            )

    @property
    def parameter_count(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, noisy: Tensor, sigma: Tensor, voxel_size: Tensor) -> Tensor:
        """Remove noise.

        Parameters
        ----------
        noisy
            Susceptibility with white Gaussian noise [ppm], (batch, 1, x, y, z), of any size.
        sigma
            Standard deviation of the noise [ppm], (batch,), or one for all.
        voxel_size
            Edge lengths of a voxel along x, y and z [mm], (batch, 3), or (3,) for all.

        Returns
        -------
        Tensor
            Susceptibility [ppm], of the shape of ``noisy``, float32.

        """
        unit = self.architecture.sigma_data_ppm
        sigma = sigma.float().expand(len(noisy))
        embedding = self._embedding(sigma, voxel_size.expand(len(noisy), 3))
        sigma = sigma.reshape(-1, 1, 1, 1, 1)
        variance = sigma**2 + unit**2
        scaled = noisy * variance.rsqrt()
        highest = self.architecture.sigma_max_ppm
        known = sigma.clamp(max=highest)
        trust = self.trust(embedding).float()[:, :, None, None, None]
        trust = trust * (known**2 + unit**2).sqrt() / unit
        prediction = self._network(scaled, embedding).float()
        prediction = prediction + (trust * self._local_means(scaled)).sum(1, keepdim=True)
        prediction = prediction * (highest / sigma).clamp(max=1)
        return noisy * (unit**2 / variance) + prediction * (sigma * unit * variance.rsqrt())

    def _embedding(self, sigma: Tensor, voxel_size: Tensor) -> Tensor:
        """Embedding of noise level and voxel size, (batch, embedding)."""
        low, high = self.architecture.sigma_min_ppm, self.architecture.sigma_max_ppm
        level = (sigma.clamp(low, high) / low).log() / math.log(high / low)
        order = torch.arange(1, NOISE_FREQUENCIES + 1, device=sigma.device)
        phase = math.pi * level[:, None] * order
        size = voxel_size.float().log()
        return self.embed(torch.cat((level[:, None], phase.sin(), phase.cos(), size), 1))

    def _local_means(self, x: Tensor) -> Tensor:
        """Means of what is not zero over coarse voxels, and over 3 x 3 x 3 of them, interpolated.

        They are what is left to be seen where noise is far above the map.
        """
        shape, stride = x.shape[2:], self.architecture.stride
        fill = [side for n in reversed(shape) for side in (0, -n % stride)]
        inside = (x != 0).float()
        sums = F.avg_pool3d(F.pad(torch.cat((x.float(), inside), 1), fill), stride)
        sums = torch.cat((sums, F.avg_pool3d(F.pad(sums, (1,) * 6), 3, 1)), 1)
        means = sums[:, ::2] / sums[:, 1::2].clamp(min=1e-3)
        means = F.interpolate(means, scale_factor=stride, mode='trilinear')
        return inside * means[:, :, : shape[0], : shape[1], : shape[2]]

    def _network(self, x: Tensor, embedding: Tensor) -> Tensor:
        """The U-Net, with zeros added up to a multiple of its stride.

        Where the gradient by x is asked for, and so not in training, levels are evaluated a second
        time in the backward pass: their inner features would take most of the memory.
        """

        def level(n: int, x: Tensor) -> tuple[Tensor, Tensor]:
            """Features of a level, and what the next one starts from."""
            x = x if n else self.first(x)
            for block in cast(nn.ModuleList, levels[n]):
                x = block(x, embedding)
            return x, steps[n](x)

        levels = (*self.encoder, self.middle, *reversed(self.decoder))
        steps = (*self.down, *reversed(self.up), self.last)
        again, shape = x.requires_grad, x.shape[2:]
        stride = self.architecture.stride
        x = F.pad(x, [side for n in reversed(shape) for side in (0, -n % stride)])
        skips: list[Tensor] = []
        for n in range(len(levels)):
            found, x = checkpoint(level, n, x, use_reentrant=False) if again else level(n, x)
            if n < len(self.down):
                skips.append(found)
            elif skips:
                x = x.add_(skips.pop())
        return x[:, :, : shape[0], : shape[1], : shape[2]]


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class _Block(nn.Module):
    """Residual block; noise level and voxel size scale its features."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.gain = nn.Linear(embedding, channels)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        _zero(self.gain)
        _zero(self.second)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        gain = 1 + self.gain(embedding)[:, :, None, None, None]
        features = self.first(_silu(_normalise(x))) * gain.to(x.dtype)
        return self.second(_silu(features)).add_(x)


def _normalise(x: Tensor) -> Tensor:
    """Divide the features of every voxel by their root mean square.

    The mean over features is a convolution with one weight: with channels last, broadcasting 16
    numbers of half precision takes a processor several times longer.
    """
    channels = x.shape[1]
    mean = x.new_full((channels, channels, 1, 1, 1), 1 / channels)
    return x * (F.conv3d(x * x, mean) + 1e-6).rsqrt().to(x.dtype)


def _silu(x: Tensor) -> Tensor:
    return F.silu(x, inplace=not torch.is_grad_enabled())

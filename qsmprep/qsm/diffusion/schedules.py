"""One network under every schedule of noise.

The network removes noise from x = x0 + sigma n [ppm], as in Karras et al.; a variance-preserving
(VP) schedule mixes x_t = sqrt(alpha_bar) x0 / scale + sqrt(1 - alpha_bar) eps instead, and a
change of variables leads from one to the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor | float], Tensor]
"""Expected x0 [ppm] given x0 + sigma n [ppm] and sigma [ppm]: one level, or one an image."""


def sigma_levels(
    steps: int, sigma_max_ppm: float, sigma_min_ppm: float, rho: float = 7.0
) -> Tensor:
    """Falling noise levels, evenly spaced in sigma^(1/rho).

    Parameters
    ----------
    steps
        Number of levels.
    sigma_max_ppm, sigma_min_ppm
        First and last level [ppm].
    rho
        The larger, the more levels are low; infinity spaces their logarithms evenly.

    Returns
    -------
    Tensor
        ``steps`` levels [ppm], float64.

    Raises
    ------
    ValueError
        If the levels do not fall or there are none.

    References
    ----------
    Karras et al. 2022, 10.48550/arXiv.2206.00364, Eq. 5.

    Examples
    --------
    >>> [round(level, 4) for level in sigma_levels(3, 0.1, 0.001, rho=math.inf).tolist()]
    [0.1, 0.01, 0.001]

    """
    if not (sigma_max_ppm >= sigma_min_ppm > 0 and steps >= 1):
        raise ValueError(
            f'There are no {steps} levels of noise that fall from {sigma_max_ppm} to '
            f'{sigma_min_ppm} ppm; give positive ones, the highest first.'
        )
    fraction = torch.linspace(0, 1, steps, dtype=torch.float64)
    if math.isinf(rho):
        return sigma_max_ppm * (sigma_min_ppm / sigma_max_ppm) ** fraction
    first, last = sigma_max_ppm ** (1 / rho), sigma_min_ppm ** (1 / rho)
    return (first + fraction * (last - first)) ** rho


@dataclass(frozen=True)
class VPSchedule:
    """A variance-preserving schedule with linear beta (Ho et al. 2020, 10.48550/arXiv.2006.11239).

    A step is an index from 0, the least noise, to ``steps`` - 1: an integer, or a tensor with one
    an image.

    Parameters
    ----------
    scale_ppm
        Susceptibility [ppm] that counts as one: 1 in Diffusion-QSM, 0.15 in DM-QSM.
    steps
        Number of steps.
    beta_start, beta_end
        Variance added by the first and by the last step.

    Examples
    --------
    >>> schedule = VPSchedule(scale_ppm=0.15)
    >>> [round(float(schedule.sigma_ppm(step)), 4) for step in (0, 10, 999)]
    [0.0015, 0.007, 23.6111]

    """

    scale_ppm: float = 1.0
    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    @cached_property
    def _alpha_bar(self) -> Tensor:
        beta = torch.linspace(self.beta_start, self.beta_end, self.steps, dtype=torch.float64)
        return torch.cumprod(1 - beta, 0)

    def alpha_bar(self, step: int | Tensor) -> Tensor:
        """Part of the variance that is signal, float64."""
        if isinstance(step, Tensor):
            return self._alpha_bar.to(step.device)[step]
        return self._alpha_bar[step]

    def sigma_ppm(self, step: int | Tensor) -> Tensor:
        """Noise over signal [ppm], scale sqrt((1 - alpha_bar) / alpha_bar), float64."""
        alpha_bar = self.alpha_bar(step)
        return self.scale_ppm * ((1 - alpha_bar) / alpha_bar).sqrt()

    def diffuse(self, chi_ppm: Tensor, eps: Tensor, step: int | Tensor) -> Tensor:
        """Mix a map [ppm] with noise of unit variance: x_t."""
        alpha_bar = self.alpha_bar(step)
        signal = _per_image(alpha_bar.sqrt() / self.scale_ppm, chi_ppm)
        return signal * chi_ppm + _per_image((1 - alpha_bar).sqrt(), eps) * eps

    def denoised(self, denoise: Denoise, x_t: Tensor, step: int | Tensor) -> Tensor:
        """Expected map [ppm] given x_t, x0-prediction."""
        noisy = x_t * _per_image(self.scale_ppm / self.alpha_bar(step).sqrt(), x_t)
        return denoise(noisy, self.sigma_ppm(step).to(x_t))

    def epsilon(self, x_t: Tensor, denoised: Tensor, step: int | Tensor) -> Tensor:
        """Noise of unit variance in x_t, given the map [ppm] that is taken to be in it."""
        alpha_bar = self.alpha_bar(step)
        signal = _per_image(alpha_bar.sqrt() / self.scale_ppm, x_t)
        return (x_t - signal * denoised) / _per_image((1 - alpha_bar).sqrt(), x_t)


def _per_image(value: Tensor | float, images: Tensor) -> Tensor:
    """Shape one number, or one an image, so that it multiplies images."""
    return torch.as_tensor(value).to(images).reshape(-1, *[1] * (images.ndim - 1))

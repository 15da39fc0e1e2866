"""Diffusion-QSM and DM-QSM: the algorithms of their papers under conditions that let them work.

What differs from the papers' settings, which ``published=True`` restores
(:mod:`~qsmprep.qsm.diffusion.as_published`):

- Data act where there are data, with the weights and spectra of the calibrated likelihood, and the
  map is zero outside the mask; conjugate gradients go on from the map of the step before.
- How far the network's map is moved towards the data follows from the noise level of the step.
- Levels of noise are evenly spaced in their logarithm where a map can be seen, below its spread,
  and start from the map of :func:`~qsmprep.qsm.inversion.wiener.wiener`.
- The network's map is the mean of what it makes of noise of both signs.
- The network sees whole volumes, where they fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from qsmprep.qsm.calibration import calibrate
from qsmprep.qsm.diffusion import as_published
from qsmprep.qsm.diffusion.guidance import Guide, stiffness
from qsmprep.qsm.diffusion.samplers import _guides
from qsmprep.qsm.diffusion.schedules import Denoise, sigma_levels
from qsmprep.qsm.diffusion.weights import load_weights
from qsmprep.qsm.diffusion.windows import WHOLE, Windows, windowed_denoiser
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.qsm.inversion.wiener import wiener
from qsmprep.qsm.operators import Dipole

Progress = Callable[[int, int, float], None]
Expect = Callable[[Tensor], Tensor]
Correct = Callable[[Expect, Tensor, float], Tensor]

BATCH = 4
FARTHEST = 2.0
HIGHEST_PPM, LOWEST_PPM = 0.03, 0.002
TOLERANCE = {'exact': 4.0, 'completed': 2.0}


def diffusion_qsm(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    prior: str | None = None,
    published: bool = False,
    steps: int | None = None,
    late_steps: int | None = None,
    repeats: int = 2,
    window: int | None = None,
    overlap: int = 16,
    error_share: float | None = None,
) -> Estimate:
    """Diffusion-QSM: ancestral sampling with data consistency at every step, and time travel.

    At each noise level the network's clean map is corrected by the data,
    x = argmin -log p(f|x) + 1/2 (x - clean)' Q^-1 (x - clean), and diffused to the next level. The
    last levels are each repeated: the corrected map is diffused back up and the step is taken
    again.

    Parameters
    ----------
    field, mask, grid
        See :func:`~qsmprep.qsm.inversion.tkd.tkd`.
    magnitude, noise
        Magnitude [arbitrary], standard deviation of the field [ppm]; the noise goes first.
    seed
        Seed of the noise.
    progress
        Called with the pass of the network, their number, and the relative residual of the field.
    prior
        File of weights; by default those of the package.
    published
        Whether to run under the settings of the paper: 200 steps, 10 late ones, windows of 64.
    steps
        Number of noise levels, by default 12.
    late_steps, repeats
        How many of the last levels before the lowest travel back, by default 4, and how often.
    window, overlap
        Edge of the windows and their overlap, blended linearly [voxels]; by default volumes are
        seen whole.
    error_share
        See :func:`~qsmprep.qsm.calibration.calibrate`; the papers' settings have none.

    References
    ----------
    Zhang et al. 2025, 10.1109/TBME.2025.3605587.

    """
    chosen = {
        'steps': steps or (200 if published else 12),
        'late_steps': (10 if published else 4) if late_steps is None else late_steps,
    }
    tiles = published or window is not None
    windows = Windows(window or 64, overlap, 'linear') if tiles else WHOLE
    loaded = load_weights(prior, mask.device)
    denoise = windowed_denoiser(loaded.denoiser, grid, mask, windows, BATCH)
    chosen |= {'window': windows.size, 'overlap': windows.overlap, 'prior': loaded.sha256}
    if published:
        chi = as_published.diffusion_qsm(
            denoise,
            field,
            mask,
            Dipole(grid, device=field.device),
            seed=seed,
            progress=progress,
            steps=chosen['steps'],
            late_steps=chosen['late_steps'],
            repeats=repeats,
        )
        return Estimate(chi, {**chosen, 'error_share': 0.0})
    scan = _Scan(field, mask, grid, magnitude, noise, error_share)

    def correct(expect: Expect, base: Tensor, sigma: float) -> Tensor:
        return scan.prox(expect(base), sigma)

    with torch.no_grad():
        chi = _sample(
            denoise,
            correct,
            scan,
            chosen['steps'],
            seed,
            late_steps=chosen['late_steps'],
            repeats=repeats,
            progress=progress,
        )
    return Estimate(chi, {**chosen, 'error_share': scan.error_share})


def dm_qsm(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    prior: str | None = None,
    published: bool = False,
    steps: int | None = None,
    window: int | None = None,
    overlap: int = 8,
    error_share: float | None = None,
) -> Estimate:
    r"""DM-QSM: posterior sampling with the gradient of the misfit through the network.

    At each noise level the network's clean map x0(x_t) is moved by sigma^2 times the gradient,
    with respect to x_t, of log p(f|x_t), the clean map's error being taken as Gaussian with the
    spectrum Q(k): that is, by sigma^2 J' D w N^-1 w (f - D x) at the map x that agrees with the
    data and with x0, J being the derivative of the network, and by no more than twice as far as x
    lies.

    Parameters
    ----------
    field, mask, grid, magnitude, noise, seed, progress, prior
        See :func:`diffusion_qsm`.
    published
        Whether to run under the settings of the paper: 200 steps, xi = 0.5 along the gradient of
        the misfit to a truncated k-space division, windows of 48.
    steps
        Number of noise levels, by default 12.
    window, overlap
        Edge of the windows and their overlap, which counts alike [voxels]; by default volumes are
        seen whole. An overlap of 0 is the paper's ablation.
    error_share
        See :func:`diffusion_qsm`.

    References
    ----------
    Xiong et al., Proc. ISMRM 2024, 2821; posterior sampling: Chung et al. 2023,
    10.48550/arXiv.2209.14687; the Gaussian about the clean map: Song et al. 2023,
    "Pseudoinverse-guided diffusion models for inverse problems", ICLR.

    """
    chosen = {
        'steps': steps or (200 if published else 12),
    }
    tiles = published or window is not None
    windows = Windows(window or 48, overlap, 'uniform') if tiles else WHOLE
    loaded = load_weights(prior, mask.device)
    denoise = windowed_denoiser(loaded.denoiser, grid, mask, windows, BATCH)
    chosen |= {'window': windows.size, 'overlap': windows.overlap, 'prior': loaded.sha256}
    if published:
        chi = as_published.dm_qsm(
            denoise,
            field,
            mask,
            Dipole(grid, device=field.device),
            seed=seed,
            progress=progress,
            steps=chosen['steps'],
        )
        return Estimate(chi, {**chosen, 'error_share': 0.0})
    scan = _Scan(field, mask, grid, magnitude, noise, error_share, tolerance=1.0)

    def correct(expect: Expect, base: Tensor, sigma: float) -> Tensor:
        base = base.detach().requires_grad_()
        with torch.enable_grad():
            expected = expect(base)
        clean = expected.detach()
        pull = scan.pull(clean, sigma)
        move = sigma**2 * mask * torch.autograd.grad(expected, base, pull)[0]
        farthest = FARTHEST * (scan.chi - clean).norm()
        return clean + move * (farthest / move.norm().clamp(min=1e-12)).clamp(max=1)

    with torch.no_grad():
        chi = _sample(denoise, correct, scan, chosen['steps'], seed, progress=progress)
    return Estimate(chi, {**chosen, 'error_share': scan.error_share})


class _Scan:
    """What the scan says of maps: its guides, the map that solves them last, and the first one."""

    def __init__(
        self,
        field: Tensor,
        mask: Tensor,
        grid: Grid,
        magnitude: Tensor | None,
        noise: Tensor | None,
        error_share: float | None,
        tolerance: float | None = None,
    ) -> None:
        scan = {'magnitude': magnitude, 'noise': noise}
        dipole = Dipole(grid, padding=1.1, device=field.device)
        calibration = calibrate(field, mask, dipole, error_share=error_share, **scan)
        first = wiener(field, mask, grid, calibration=calibration, **scan)
        self.field, self.mask, self.error_share = field, mask, calibration.error_share
        self.guides: list[tuple[float, Guide]] = _guides(field, mask, calibration)
        for _, guide in self.guides:
            kind = 'exact' if hasattr(guide, 'iterations') else 'completed'
            guide.tolerance = tolerance or TOLERANCE[kind]
        self.chi = self.start = first.chi

    def prox(self, expected: Tensor, sigma: float) -> Tensor:
        """Map that agrees with the data and, to the error of the level, with the expected one."""
        self.chi = sum(
            part * guide.prox(expected, sigma, start=self.chi) for part, guide in self.guides
        )
        return self.chi

    def pull(self, expected: Tensor, sigma: float) -> Tensor:
        """Gradient of the log likelihood at that map, Q^-1 (x - expected) [1/ppm]."""
        total, chi = torch.zeros_like(expected), torch.zeros_like(expected)
        for part, guide in self.guides:
            found = guide.prox(expected, sigma, start=self.chi)
            stiff = stiffness(guide.likelihood, sigma, guide.tolerance)
            total += part * guide.likelihood.dipole.filter(found - expected, stiff)
            chi += part * found
        self.chi = chi
        return total * self.mask

    def residual(self, chi: Tensor) -> float:
        """Norm of D x - field in the mask over that of the field."""
        dipole = self.guides[0][1].likelihood.dipole
        misfit = (dipole.forward(chi) - self.field)[self.mask]
        return float(misfit.norm() / self.field[self.mask].norm())


def _sample(
    denoise: Denoise,
    correct: Correct,
    scan: _Scan,
    steps: int,
    seed: int,
    *,
    late_steps: int = 0,
    repeats: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Go through falling noise levels by ancestral steps of DDIM (eta = 1).

    The noisy map is ``base`` plus ``rest``, and of the noise ``rest`` the network sees both signs.
    """
    levels = sigma_levels(steps, HIGHEST_PPM, LOWEST_PPM, rho=math.inf).tolist()
    generator = torch.Generator().manual_seed(seed)
    mask, last = scan.mask, steps - 1
    order = [n for n in range(steps) for _ in range(1 + repeats * (last - late_steps <= n < last))]

    def draw(sigma: float) -> Tensor:
        return sigma * torch.randn(mask.shape, generator=generator).to(scan.field)

    base, rest = scan.start, draw(levels[0])
    for count, n in enumerate(order, start=1):
        sigma = levels[n]

        def expect(x: Tensor, sigma: float = sigma, rest: Tensor = rest) -> Tensor:
            return mask * (denoise(x + rest, sigma) + denoise(x - rest, sigma)) / 2

        clean = correct(expect, base, sigma)
        if progress is not None:
            progress(count, len(order), scan.residual(clean))
        if count == len(order):
            return clean
        following = levels[order[count]]
        if following == sigma:
            base, rest = clean, draw(sigma)
        else:
            fresh = following * math.sqrt(1 - (following / sigma) ** 2)
            kept = math.sqrt(following**2 - fresh**2) / sigma
            base, rest = clean + kept * (base - clean), kept * rest + draw(fresh)
    raise AssertionError('There is at least one level of noise.')

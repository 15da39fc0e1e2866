"""Diffusion-QSM and DM-QSM: the algorithms of their papers under conditions that let them work.

What differs from the papers' settings, which ``published=True`` restores
(:mod:`~qsmprep.qsm.diffusion.published`):

- Data act where there are data, with the weights and spectra of the calibrated likelihood, and the
  map is zero outside the mask; conjugate gradients go on from the map of the step before.
- How far the network's map is moved towards the data follows from the noise level of the step.
- A few levels of noise, evenly spaced in their logarithm and below the spread of a map, start from
  the map of :func:`~qsmprep.qsm.inversion.tv.tv`: errors that reach farther than the network sees
  must be gone before (Chung et al. 2022, 10.48550/arXiv.2112.05146, start so too).
- The network's map is the mean of what it makes of noise of both signs.
- The network sees whole volumes, where they fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qsmprep.qsm.calibration import Calibration, calibrate
from qsmprep.qsm.diffusion import published as papers
from qsmprep.qsm.diffusion.guidance import Guide, Mixture, stiffness
from qsmprep.qsm.diffusion.schedules import Denoise, sigma_levels
from qsmprep.qsm.diffusion.weights import load_weights
from qsmprep.qsm.diffusion.windows import WHOLE, Windows, windowed_denoiser
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.qsm.inversion.reliability import reweighted
from qsmprep.qsm.inversion.tv import tv
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.solvers import Progress

Expect = Callable[[Tensor], Tensor]
"""Clean map [ppm] that the network expects of a noisy one, whose noise is known."""
Correct = Callable[[Expect, Tensor, float, Tensor], tuple[Tensor, Tensor]]
"""Map moved towards the data, and that of the proximal step, of a noisy one and its level."""

BATCH = 4
FARTHEST = 2.0
LEVELS = 4
HIGHEST_PPM, LOWEST_PPM = 0.01, 0.002
EXACT_TOLERANCE, COMPLETED_TOLERANCE = 4.0, 3.0
GRADIENT_TOLERANCE = 2.0


def diffusion_qsm(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
    calibration: Calibration | None = None,
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
    field, mask, grid, magnitude, noise, calibration
        See :func:`~qsmprep.qsm.inversion.tv.tv`.
    seed
        Seed of the noise.
    progress
        Called with the pass of the network, their number, and the relative change of the map.
    prior
        File of weights; by default those of the package.
    published
        Whether to run under the settings of the paper: 200 steps, 10 late ones, windows of 64.
    steps
        Number of noise levels, by default 4.
    late_steps, repeats
        How many of the last levels before the lowest travel back, by default 1, and how often.
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
        'steps': steps or (200 if published else LEVELS),
        'late_steps': (10 if published else 1) if late_steps is None else late_steps,
    }
    tiles = published or window is not None
    windows = Windows(window or 64, overlap, 'linear') if tiles else WHOLE
    denoise, record = _network(prior, grid, mask, windows)
    travel = {'late_steps': chosen['late_steps'], 'repeats': repeats}
    run: dict[str, Any] = {**travel, 'seed': seed, 'progress': progress}
    if published:
        dipole = Dipole(grid, device=field.device)
        chi = papers.diffusion_qsm(denoise, field, mask, dipole, steps=chosen['steps'], **run)
        return Estimate(chi, {**chosen, **record, 'error_share': 0.0})
    tolerances = (EXACT_TOLERANCE, COMPLETED_TOLERANCE)
    calibration = calibration or calibrate(
        field, mask, grid, noise=noise, magnitude=magnitude, error_share=error_share
    )
    guide, start, share = _prepare(mask, grid, magnitude, noise, calibration, tolerances)
    levels = _levels(chosen['steps'])
    chi = sample(denoise, proximal(guide), start, mask, levels, **run)
    return Estimate(chi, {**chosen, **record, 'error_share': share})


def dm_qsm(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
    calibration: Calibration | None = None,
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

    At each noise level the network's clean map x0(x_t) is moved by c sigma^2 times the gradient,
    with respect to x_t, of log p(f|x_t), the clean map's error being taken as Gaussian with the
    spectrum Q(k) = c / (1 / S(k) + 1 / sigma^2), c = 2: that is, by c sigma^2 J' D w N^-1 w (f - D
    x) at the map x that agrees with the data and with x0, J being the derivative of the network,
    and by no more than twice as far as x lies. With the best linear denoiser the move ends at x.

    Parameters
    ----------
    field, mask, grid, magnitude, noise, calibration, seed, progress, prior
        See :func:`diffusion_qsm`.
    published
        Whether to run under the settings of the paper: 200 steps, xi = 0.5 along the gradient of
        the misfit to a truncated k-space division, windows of 48.
    steps
        Number of noise levels, by default 4.
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
    chosen = {'steps': steps or (200 if published else LEVELS)}
    tiles = published or window is not None
    windows = Windows(window or 48, overlap, 'uniform') if tiles else WHOLE
    denoise, record = _network(prior, grid, mask, windows)
    run: dict[str, Any] = {'seed': seed, 'progress': progress}
    if published:
        dipole = Dipole(grid, device=field.device)
        chi = papers.dm_qsm(denoise, field, mask, dipole, steps=chosen['steps'], **run)
        return Estimate(chi, {**chosen, **record, 'error_share': 0.0})
    tolerances = (GRADIENT_TOLERANCE, GRADIENT_TOLERANCE)
    calibration = calibration or calibrate(
        field, mask, grid, noise=noise, magnitude=magnitude, error_share=error_share
    )
    guide, start, share = _prepare(mask, grid, magnitude, noise, calibration, tolerances)

    def whiten(image: Tensor, sigma: float) -> Tensor:
        return guide.likelihood.dipole.filter(image, stiffness(guide.likelihood, sigma, 1.0))

    levels = _levels(chosen['steps'])
    correct = through_network(guide, whiten, mask)
    chi = sample(denoise, correct, start, mask, levels, **run)
    return Estimate(chi, {**chosen, **record, 'error_share': share})


def _levels(steps: int) -> list[float]:
    """Noise levels [ppm]."""
    return sigma_levels(steps, HIGHEST_PPM, LOWEST_PPM, rho=math.inf).tolist()


def _network(
    prior: str | None, grid: Grid, mask: Tensor, windows: Windows
) -> tuple[Denoise, dict[str, Any]]:
    """The network in windows, and what a sidecar tells of both."""
    loaded = load_weights(prior, mask.device)
    batch = 1 if windows is WHOLE else BATCH
    denoise = windowed_denoiser(loaded.denoiser, grid, mask, windows, batch)
    record = {'window': windows.size, 'overlap': windows.overlap, 'prior': loaded.sha256}
    return denoise, record


def _prepare(
    mask: Tensor,
    grid: Grid,
    magnitude: Tensor | None,
    noise: Tensor | None,
    calibration: Calibration,
    tolerances: tuple[float, float],
) -> tuple[Mixture, Tensor, float]:
    """Guide by the field, the map to start from [ppm], and the share of the model error."""
    field = calibration.field
    first = tv(field, mask, grid, noise=noise, magnitude=magnitude, calibration=calibration)
    exact, completed = tolerances
    calibration = reweighted(calibration, first.chi, mask)
    guide = Mixture.of(field, mask, calibration, exact=exact, completed=completed)
    return guide, first.chi, calibration.error_share


def proximal(guide: Guide) -> Correct:
    """Correction of Diffusion-QSM: a proximal step from the network's map.

    Parameters
    ----------
    guide
        Takes the step.

    """

    def correct(expect: Expect, base: Tensor, sigma: float, last: Tensor) -> tuple[Tensor, Tensor]:
        found = guide.prox(expect(base), sigma, start=last)
        return found, found

    return correct


def through_network(
    guide: Guide, whiten: Callable[[Tensor, float], Tensor], mask: Tensor
) -> Correct:
    """Correction of DM-QSM: the gradient of the log likelihood goes through the network.

    Parameters
    ----------
    guide
        Its proximal step x agrees with the data and with the network's map.
    whiten
        Applies c Q^-1 at a noise level, Q being the covariance of the network's error: that of x
        less the network's map is c times the gradient of the log likelihood at x.
    mask
        Voxels of the map.

    """

    def correct(expect: Expect, base: Tensor, sigma: float, last: Tensor) -> tuple[Tensor, Tensor]:
        base = base.detach().requires_grad_()
        with torch.enable_grad():
            expected = expect(base)
        clean = expected.detach()
        found = guide.prox(clean, sigma, start=last)
        gradient = mask * whiten(found - clean, sigma)
        move = sigma**2 * mask * torch.autograd.grad(expected, base, gradient)[0]
        farthest = FARTHEST * (found - clean).norm()
        return clean + move * (farthest / move.norm().clamp(min=1e-12)).clamp(max=1), found

    return correct


@torch.no_grad()
def sample(
    denoise: Denoise,
    correct: Correct,
    start: Tensor,
    mask: Tensor,
    levels: Sequence[float],
    *,
    late_steps: int = 0,
    repeats: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Go through falling noise levels by ancestral steps of DDIM (eta = 1).

    The noisy map is ``base`` plus ``rest``, and of the noise ``rest`` the network sees both signs.

    Parameters
    ----------
    denoise
        Clean map [ppm] of a noisy one and its noise level [ppm].
    correct
        Moves the clean map towards the data.
    start
        Map to start from [ppm], zero outside the mask.
    mask
        Voxels of the map.
    levels
        Noise levels [ppm], falling.
    late_steps, repeats
        How many of the last levels before the lowest are repeated, and how often.
    seed
        Seed of the noise.
    progress
        Called with the pass of the network, their number, and the relative change of the map.

    """
    generator = torch.Generator().manual_seed(seed)
    last = len(levels) - 1
    travels = range(last - late_steps, last)
    order = [n for n in range(len(levels)) for _ in range(1 + repeats * (n in travels))]

    def draw(sigma: float) -> Tensor:
        return sigma * torch.randn(mask.shape, generator=generator).to(start)

    base, rest, found, clean = start, draw(levels[0]), start, start
    for count, n in enumerate(order, start=1):
        sigma = levels[n]

        def expect(x: Tensor, sigma: float = sigma, rest: Tensor = rest) -> Tensor:
            return mask * (denoise(x + rest, sigma) + denoise(x - rest, sigma)) / 2

        previous = clean
        clean, found = correct(expect, base, sigma, found)
        if progress is not None:
            change = (clean - previous).norm() / clean.norm().clamp(min=1e-30)
            progress(count, len(order), float(change))
        if count == len(order):
            break
        following = levels[order[count]]
        if following == sigma:
            base, rest = clean, draw(sigma)
        else:
            fresh = following * math.sqrt(1 - (following / sigma) ** 2)
            kept = math.sqrt(following**2 - fresh**2) / sigma
            base, rest = clean + kept * (base - clean), kept * rest + draw(fresh)
    return clean

"""Annealing: few falling noise levels, each with the network and one proximal step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qsmprep.qsm.calibration import Calibration, calibrate
from qsmprep.qsm.diffusion.guidance import Guide, Mixture
from qsmprep.qsm.diffusion.schedules import Denoise, sigma_levels
from qsmprep.qsm.diffusion.weights import load_weights
from qsmprep.qsm.diffusion.windows import windowed_denoiser
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.qsm.inversion.inr import inr
from qsmprep.qsm.inversion.reliability import reweighted
from qsmprep.qsm.inversion.wiener import wiener
from qsmprep.qsm.simulate.anatomy import smooth
from qsmprep.qsm.solvers import Progress

LEVELS, HIGHEST_PPM = 3, 0.005
EXACT_TOLERANCE, COMPLETED_TOLERANCE = 2.0, 1.0
SPREAD_OVER_VOXELS = 2.0
SPREAD = 1.35
"""Brings 68 and 95 % of the errors of simulated heads to within one and two of the spread."""


def anneal(
    denoise: Denoise,
    guide: Guide,
    start: Tensor,
    levels: Sequence[float],
    generator: torch.Generator,
    *,
    paired: bool = True,
    fresh: float = 1.0,
    progress: Progress | None = None,
) -> Tensor:
    """Go through falling noise levels, with the network and one proximal step at each.

    Parameters
    ----------
    denoise
        Denoised map [ppm] of a noisy one and its noise level [ppm].
    guide
        Joins the denoised map with what was measured.
    start
        Map to start from [ppm], zero outside the mask.
    levels
        Noise levels [ppm], falling.
    generator
        Source of the noise.
    paired
        Whether noise that the network can't tell from anatomy is cancelled by that of the other
        sign, so that the result is nearly a mean; otherwise it is nearly a sample.
    fresh
        Standard deviation of the noise that is added, over the level.
    progress
        Called with the level, their number, and the relative change of the map.

    """
    x = start
    for step, sigma in enumerate(levels, start=1):
        # noise hides what the map gets wrong
        noise = fresh * sigma * torch.randn(x.shape, generator=generator).to(x)
        # a clean map is expected in its place
        expected = denoise(x + noise, sigma)
        if paired:
            expected = (expected + denoise(x - noise, sigma)) / 2
        # what was measured says how far to go there
        previous, x = x, guide.prox(expected, sigma, start=x)
        if progress is not None:
            change = (x - previous).norm() / x.norm().clamp(min=1e-30)
            progress(step, len(levels), float(change))
    return x


@torch.no_grad()
def diffusion(
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
    samples: int = 0,
    steps: int | None = None,
    highest_ppm: float | None = None,
    lowest_ppm: float = 0.002,
    error_share: float | None = None,
) -> Estimate:
    r"""Annealed proximal steps between a learned prior and the calibrated likelihood.

    The map of :func:`~qsmprep.qsm.inversion.inr.inr` is taken through a few falling levels of
    noise. At each, noise is added, the network removes it, and the scan corrects the result under
    its own likelihood, the error of the denoised map being taken as
    :func:`~qsmprep.qsm.diffusion.guidance.stiffness` says.

    Where the field has no model error, the step is exact, with maps that are zero outside
    the mask; where it is that of scans in vivo, the field outside the mask is completed by the
    share that the model explains. Between the two, both steps are taken and mixed by the freedom
    of the map outside the mask (:class:`~qsmprep.qsm.calibration.Calibration`).

    A field with such an error does not say which prior is right. So the map is, by the share of
    that error, the mean of three: that of the network, the first one, of total variation, and that
    of the scan's spectrum alone, :func:`~qsmprep.qsm.inversion.wiener.wiener`. Each errs in its own
    way.

    Parameters
    ----------
    field, mask, grid, magnitude, noise, calibration
        See :func:`~qsmprep.qsm.inversion.tv.tv`.
    seed
        Seed of the noise of the levels.
    progress
        Called with the level, the number of levels of all samples, and the change of the map.
    prior
        File of weights; by default those of the package.
    samples
        Posterior samples to draw for the uncertainty, none or at least two. The map is the same
        with and without: the mean of a few samples would be noisier.
    steps, highest_ppm, lowest_ppm
        Number of noise levels, the first and the last [ppm]. By default there are three from 5 ppb
        where the field has no model error, down to one where it is that of scans in vivo, the
        standard deviation that the calibrated posterior gives the map; geometric in between.
    error_share
        See :func:`~qsmprep.qsm.inversion.tv.tv`.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    Zhu et al. 2023, 10.48550/arXiv.2305.08995 (a proximal step a level); Zhang et al. 2025,
    10.1109/TBME.2025.3605587.

    """
    if samples < 0 or samples == 1:
        raise ValueError(f'A spread needs at least 2 samples, not {samples}; 0 leaves it out.')
    loaded = load_weights(prior, field.device)
    calibration = calibration or calibrate(
        field, mask, grid, noise=noise, magnitude=magnitude, error_share=error_share
    )
    field, share = calibration.field, calibration.error_share
    if steps is None:
        steps = round(LEVELS - (LEVELS - 1) * share)
    gaussian = wiener(field, mask, grid, calibration=calibration) if share > 0 else None
    if highest_ppm is None:
        sd = None if gaussian is None else gaussian.sd
        error = HIGHEST_PPM if sd is None else float(sd[mask].median())
        highest_ppm = max(HIGHEST_PPM ** (1 - share) * error**share, lowest_ppm)
    levels = sigma_levels(steps, highest_ppm, lowest_ppm, rho=float('inf')).tolist()
    with torch.enable_grad():
        fit = inr(field, mask, grid, noise=noise, magnitude=magnitude, calibration=calibration)
    start = fit.chi.detach()
    calibration = reweighted(calibration, start, mask)
    denoise = windowed_denoiser(loaded.denoiser, grid, mask)
    total = (1 + samples) * len(levels)

    def annealed(number: int, generator: torch.Generator, *, sample: bool) -> Tensor:
        def advance(step: int, _: int, change: float) -> None:
            if progress is not None:
                progress(number * len(levels) + step, total, change)

        guide = Mixture.of(
            field,
            mask,
            calibration,
            exact=EXACT_TOLERANCE,
            completed=COMPLETED_TOLERANCE,
            generator=generator if sample else None,
        )
        return anneal(denoise, guide, start, levels, generator, paired=not sample, progress=advance)

    chi = annealed(0, torch.Generator().manual_seed(seed), sample=False)
    if gaussian is not None:
        chi = torch.lerp(chi, (chi + start + gaussian.chi) / 3, share)
    chosen = {
        **calibration.record(),
        'steps': steps,
        'highest_ppm': highest_ppm,
        'prior': loaded.sha256,
    }
    if not samples:
        return Estimate(chi, chosen)
    streams = np.random.SeedSequence(seed).generate_state(samples, np.uint64)
    draws = torch.stack(
        [
            annealed(number, torch.Generator().manual_seed(int(stream)), sample=True)
            for number, stream in enumerate(streams, start=1)
        ]
    )
    return Estimate(chi, chosen, SPREAD * local_spread(draws, mask))


def local_spread(draws: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation of samples (N, X, Y, Z), its square averaged over a few voxels."""
    inside = mask.to(draws.dtype)
    variance = smooth(draws.var(0) * inside, SPREAD_OVER_VOXELS)
    return mask * (variance / smooth(inside, SPREAD_OVER_VOXELS).clamp(min=1e-3)).sqrt()

"""Forms and schedules of noise against each other and against Gaussian maps."""

from __future__ import annotations

import math

import pytest
import torch

from qsmprep.qsm.diffusion.schedules import VPSchedule, sigma_levels

SPREAD = 0.04
"""Standard deviation of Gaussian maps [ppm]."""
STEPS = (0, 10, 250, 999)
SCHEDULES = [VPSchedule(), VPSchedule(scale_ppm=0.15)]


def denoise(noisy, sigma):
    """Expectation of white Gaussian maps."""
    ratio = SPREAD**2 / (SPREAD**2 + sigma**2)
    return noisy * ratio.reshape(-1, *[1] * (noisy.ndim - 1))


def images(batch: int = 4, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 1, 4, 5, 6, generator=generator, dtype=torch.float64)


def test_levels_fall_as_in_their_papers():
    logarithmic = sigma_levels(20, 0.15, 0.002, rho=math.inf)
    karras = sigma_levels(18, 80.0, 0.002)
    assert karras.dtype == torch.float64
    assert karras[[0, -1]].tolist() == pytest.approx([80.0, 0.002])
    assert karras[:3].tolist() == pytest.approx([80.0, 57.5860, 40.7856], rel=1e-5)
    ratios = logarithmic[1:] / logarithmic[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(19))
    torch.testing.assert_close(
        sigma_levels(9, 0.2, 0.01, rho=1e7),
        sigma_levels(9, 0.2, 0.01, rho=math.inf),
        rtol=1e-5,
        atol=0,
    )
    assert sigma_levels(1, 0.1, 0.1).tolist() == pytest.approx([0.1])


@pytest.mark.parametrize('levels', [(10, 0.01, 0.1), (10, 0.1, 0.0), (0, 0.1, 0.01)])
def test_levels_that_do_not_fall_are_refused(levels):
    with pytest.raises(ValueError, match='levels of noise that fall'):
        sigma_levels(*levels)


def test_the_schedule_of_the_published_samplers():
    """Ho et al.: alpha_bar falls from 0.9999 to 4.04e-5; in ppm the noise rises to 157."""
    alpha_bar = VPSchedule().alpha_bar(torch.arange(1000))
    assert alpha_bar[0].item() == pytest.approx(1 - 1e-4)
    assert alpha_bar[-1].item() == pytest.approx(4.0358e-5, rel=1e-3)
    assert VPSchedule().sigma_ppm(999).item() == pytest.approx(157.4, abs=0.1)
    torch.testing.assert_close(
        VPSchedule(scale_ppm=0.15).sigma_ppm(torch.arange(1000)),
        0.15 * VPSchedule().sigma_ppm(torch.arange(1000)),
    )


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_the_true_map_gives_back_the_true_noise(schedule):
    chi, eps, steps = SPREAD * images(), images(seed=1), torch.tensor(STEPS)
    x_t = schedule.diffuse(chi, eps, steps)
    torch.testing.assert_close(schedule.epsilon(x_t, chi, steps), eps)
    scaled = x_t * (schedule.scale_ppm / schedule.alpha_bar(steps).sqrt()).reshape(-1, 1, 1, 1, 1)
    sigma = schedule.sigma_ppm(steps).reshape(-1, 1, 1, 1, 1)
    torch.testing.assert_close((scaled - chi) / sigma, eps)


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_scores_are_those_of_gaussian_maps(schedule):
    steps = torch.tensor(STEPS)
    x_t = schedule.diffuse(SPREAD * images(), images(seed=1), steps)
    alpha_bar = schedule.alpha_bar(steps)
    variance = alpha_bar * (SPREAD / schedule.scale_ppm) ** 2 + 1 - alpha_bar
    denoised = schedule.denoised(denoise, x_t, steps)
    deviation = (1 - alpha_bar).sqrt().reshape(-1, 1, 1, 1, 1)
    score = -schedule.epsilon(x_t, denoised, steps) / deviation
    torch.testing.assert_close(score, -x_t / variance.reshape(-1, 1, 1, 1, 1))


@pytest.mark.parametrize('schedule', SCHEDULES)
def test_one_step_and_single_precision_are_enough(schedule):
    x_t = images().float()
    for n, step in enumerate(STEPS):
        steps = torch.tensor(STEPS)
        denoised = schedule.denoised(denoise, x_t, steps)
        alone = schedule.denoised(denoise, x_t[n, 0], step)
        assert alone.dtype == torch.float32
        torch.testing.assert_close(alone, denoised[n, 0])
        torch.testing.assert_close(
            schedule.epsilon(x_t[n, 0], alone, step),
            schedule.epsilon(x_t, denoised, steps)[n, 0],
        )

"""The network: sizes, preconditioning, symmetries and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from qsmprep.qsm.diffusion import denoiser as module
from qsmprep.qsm.diffusion.denoiser import MAX_PARAMETERS, Architecture, Denoiser

SMALL = Architecture(channels=(8, 16), blocks=(1, 1), embedding=32)
ISOTROPIC = torch.ones(3)


def randomised(architecture: Architecture = SMALL, seed: int = 0) -> Denoiser:
    """A network none of whose weights is zero, as if trained."""
    torch.manual_seed(seed)
    denoiser = Denoiser(architecture)
    for weight in denoiser.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.2)
    return denoiser.requires_grad_(False)


def test_the_default_network_keeps_to_its_budget():
    denoiser = Denoiser()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser(torch.zeros(1, 1, 32, 32, 32), torch.tensor([0.03]), ISOTROPIC)
    assert 2e6 < denoiser.parameter_count < 3e6
    assert counter.get_total_flops() / 32**3 < 150e3


def test_a_gradient_by_the_map_keeps_no_features_of_blocks(monkeypatch):
    denoiser, volume = randomised(), torch.randn(1, 1, 16, 24, 16).requires_grad_()

    def gradient_and_kept() -> tuple[torch.Tensor, int]:
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, id):
            found = denoiser(volume, torch.tensor([0.03]), ISOTROPIC)
        found = denoiser(volume, torch.tensor([0.03]), ISOTROPIC)
        return torch.autograd.grad(found.sum(), volume)[0], sum(kept)

    bounded, little = gradient_and_kept()
    monkeypatch.setattr(module, 'checkpoint', lambda block, *given, **_: block(*given))
    whole, much = gradient_and_kept()
    torch.testing.assert_close(bounded, whole)
    assert little < 0.5 * much


def test_no_network_is_too_large():
    with pytest.raises(ValueError, match='at most 8000000'):
        Denoiser(Architecture(channels=(256, 512), blocks=(4, 4)))
    with torch.device('meta'):
        largest = Denoiser(Architecture(channels=(32, 64, 96, 128), blocks=(1, 2, 3, 3)))
    assert largest.parameter_count < MAX_PARAMETERS


@pytest.mark.parametrize(
    'sizes',
    [
        {'channels': (8, 16), 'blocks': (1,)},
        {'channels': (), 'blocks': ()},
        {'channels': (8, 0), 'blocks': (1, 1)},
        {'blocks': (1, 2, 2, 10**9)},
        {'embedding': 1.5},
        {'sigma_data_ppm': 0.0},
        {'sigma_min_ppm': 0.6},
    ],
)
def test_impossible_architectures_are_refused(sizes):
    with pytest.raises(ValueError, match='cannot be built'):
        Architecture(**sizes)


@pytest.mark.parametrize('sigma', [1e-3, 0.03, 0.5, 157.0])
def test_an_untrained_network_is_the_best_linear_filter(sigma):
    noisy = sigma * torch.randn(2, 1, 9, 12, 7, generator=torch.Generator().manual_seed(0))
    denoised = Denoiser(SMALL)(noisy, torch.tensor([sigma]), ISOTROPIC)
    torch.testing.assert_close(denoised, noisy * 0.03**2 / (0.03**2 + sigma**2))


@pytest.mark.parametrize('sigma', [1e-4, 0.002, 0.03, 0.5])
def test_the_correction_is_of_the_size_of_what_can_be_known(sigma):
    """c_out: an error of one of the network is sigma at low noise, the map's spread at high."""
    noisy = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0)) * sigma
    denoised = randomised()(noisy, torch.tensor(sigma), ISOTROPIC)
    correction = (denoised - noisy * 0.03**2 / (0.03**2 + sigma**2)).std()
    assert 0.02 < correction / (1 / sigma**2 + 1 / 0.03**2) ** -0.5 < 20


def test_beyond_the_range_of_training_the_prediction_falls_with_what_can_be_seen():
    denoiser = randomised()
    scaled = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))

    def prediction(sigma: float) -> torch.Tensor:
        deviation = (sigma**2 + 0.03**2) ** 0.5
        noisy = scaled * deviation
        denoised = denoiser(noisy, torch.tensor(sigma), ISOTROPIC)
        return (denoised - noisy * (0.03 / deviation) ** 2) / (sigma * 0.03 / deviation)

    torch.testing.assert_close(prediction(0.5) / 10, prediction(5.0), rtol=1e-2, atol=1e-4)
    assert not torch.allclose(prediction(0.5), prediction(0.25), rtol=0.02)


def test_images_of_a_batch_are_independent():
    denoiser = randomised()
    noisy = 0.1 * torch.randn(3, 1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.004, 0.03, 0.2])
    sizes = torch.tensor([[1.0, 1, 1], [1, 1, 3], [0.5, 2, 1]])
    together = denoiser(noisy, sigma, sizes)
    for n in range(3):
        alone = denoiser(noisy[n : n + 1], sigma[n], sizes[n])
        torch.testing.assert_close(together[n : n + 1], alone, rtol=1e-4, atol=1e-6)


def test_the_network_knows_which_axis_is_long():
    denoiser = randomised()
    noisy = 0.1 * torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    found = [
        denoiser(noisy, torch.tensor(0.03), torch.tensor(size))
        for size in ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (1.0, 3.0, 1.0), (1.0, 1.0, 3.0))
    ]
    for n in range(4):
        assert all((found[n] - other).abs().max() > 1e-4 for other in found[n + 1 :])


def test_any_size_gives_what_zeros_around_it_would():
    denoiser = randomised(Architecture(channels=(8, 16, 16), blocks=(1, 1, 1), embedding=32))
    noisy = 0.1 * torch.randn(1, 1, 13, 16, 9, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(noisy, (0, 3, 0, 0, 0, 3))
    sigma = torch.tensor(0.03)
    found = denoiser(noisy, sigma, ISOTROPIC)
    assert found.shape == noisy.shape
    torch.testing.assert_close(found, denoiser(padded, sigma, ISOTROPIC)[:, :, :13, :, :9])


@pytest.mark.parametrize(
    'architecture', [SMALL, Architecture(channels=(8, 8, 8), blocks=(1, 1, 1), embedding=8)]
)
def test_a_shift_by_the_stride_shifts_the_result(architecture):
    """No statistics over space: equal surroundings within reach give equal results."""
    denoiser, stride, reach = randomised(architecture), architecture.stride, architecture.reach
    length = 2 * reach + 4 * stride
    noisy = 0.1 * torch.randn(1, 1, length, 8, 8, generator=torch.Generator().manual_seed(0))
    found = denoiser(noisy, torch.tensor(0.03), ISOTROPIC)
    shifted = denoiser(noisy[:, :, stride:], torch.tensor(0.03), ISOTROPIC)
    inner = slice(stride + reach, length - reach)
    torch.testing.assert_close(found[:, :, inner], shifted[:, :, reach : length - reach - stride])


def test_nothing_beyond_the_reach_has_a_say():
    denoiser = randomised()
    reach = SMALL.reach
    noisy = torch.zeros(1, 1, 2 * reach + 9, 8, 8, requires_grad=True)
    denoised = denoiser(noisy + 0.01, torch.tensor(0.03), ISOTROPIC)
    denoised[0, 0, reach + 4].sum().backward()
    seen = noisy.grad[0, 0].abs().amax((1, 2)).nonzero().flatten()
    assert 0.5 * reach < (seen - reach - 4).abs().max() <= reach


@pytest.mark.parametrize('tracked', [False, True])
def test_half_precision_and_layout_change_little(tracked):
    denoiser = randomised()
    noisy = 0.1 * torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor(0.03)
    with torch.set_grad_enabled(tracked):
        exact = denoiser(noisy.clone(), sigma, ISOTROPIC)
        with torch.autocast('cpu', torch.bfloat16):
            found = denoiser(noisy, sigma, ISOTROPIC)
        assert found.dtype == torch.float32
        assert (found - exact).std() < 0.02 * (exact - noisy).std()
        plain = denoiser.to(memory_format=torch.contiguous_format)(noisy, sigma, ISOTROPIC)
    torch.testing.assert_close(plain, exact, rtol=1e-4, atol=1e-5)


def test_it_learns_what_gaussian_noise_hides():
    """Two-valued maps: the network comes to beat the best linear filter of independent voxels."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    denoiser = Denoiser(SMALL)
    optimiser = torch.optim.Adam(denoiser.parameters(), 5e-3)
    errors = []
    for _ in range(80):
        coarse = torch.randint(0, 2, (2, 1, 4, 4, 4), generator=generator) * 0.06 - 0.03
        chi = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3).repeat_interleave(4, 4)
        noisy = chi + 0.03 * torch.randn(chi.shape, generator=generator)
        with torch.autocast('cpu', torch.bfloat16):
            denoised = denoiser(noisy, torch.tensor(0.03), ISOTROPIC)
        error = (denoised - chi).square().mean() / 0.03**2
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[0] == pytest.approx(0.5, abs=0.02)
    assert sum(errors[-10:]) / 10 < 0.1

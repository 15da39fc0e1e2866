"""Windows put together again are the volume; a network's seams vanish with enough halo."""

from __future__ import annotations

import pytest
import torch

from qsmprep.qsm.diffusion.denoiser import Architecture, Denoiser
from qsmprep.qsm.diffusion.windows import WHOLE, Windows, windowed_denoiser
from qsmprep.qsm.grid import Grid

DIFFUSION_QSM = Windows(size=64, overlap=16, blending='linear')
DM_QSM = Windows(size=48, overlap=8, blending='uniform')
PUBLISHED = [DIFFUSION_QSM, DM_QSM, Windows(size=48, overlap=0, blending='uniform')]
SHAPE = (70, 112, 49)


def rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('batch', [1, 3, 100])
@pytest.mark.parametrize('windows', [*PUBLISHED, Windows(size=24, overlap=0, halo=5, multiple=8)])
def test_windows_of_a_volume_give_the_volume(windows, batch):
    volume = rand(*SHAPE)
    sizes = []

    def look(cubes):
        sizes.append(tuple(cubes.shape))
        return cubes

    torch.testing.assert_close(windows.apply(look, volume, batch=batch), volume)
    assert len({size[1:] for size in sizes}) == 1
    assert max(size[0] for size in sizes) <= batch


@pytest.mark.parametrize('windows', PUBLISHED)
@pytest.mark.parametrize('shape', [SHAPE, (48, 64, 88), (5, 64, 65)])
def test_weights_add_up_to_one(windows, shape):
    """Each window adds its own weights: the sum over windows is one everywhere."""
    whole = windows.apply(torch.ones_like, torch.zeros(shape))
    torch.testing.assert_close(whole, torch.ones(shape))


def along(windows: Windows, length: int) -> torch.Tensor:
    """Index of a window, as blended along one axis."""
    count = iter(range(100))
    return windows.apply(
        lambda cubes: torch.full_like(cubes, next(count)), torch.zeros(length, 1, 1)
    ).flatten()


def test_linear_blending_is_a_ramp_over_the_overlap():
    blend = along(DIFFUSION_QSM, 112)
    assert blend[:48].tolist() == [0] * 48
    torch.testing.assert_close(blend[48:64], (torch.arange(16) + 0.5) / 16)
    assert blend[64:].tolist() == [1] * 48


def test_uniform_blending_counts_overlaps():
    assert along(DM_QSM, 88).tolist() == [0] * 40 + [0.5] * 8 + [1] * 40
    assert along(PUBLISHED[2], 96).tolist() == [0] * 48 + [1] * 48


def test_the_last_window_is_flush_with_the_edge():
    starts = []
    volume = torch.arange(100.0).reshape(100, 1, 1)
    DM_QSM.apply(lambda cubes: starts.append(cubes[0, 0, 0, 0, 0].item()) or cubes, volume)
    assert starts == [0, 40, 52]


@pytest.mark.parametrize(
    ('length', 'spans'), [(192, [192]), (200, [136] * 2), (256, [160] * 2), (400, [200] * 3)]
)
def test_windows_without_overlap_are_even_and_have_no_halo_at_the_edges(length, spans):
    seen = []
    WHOLE.apply(lambda cubes: seen.append(cubes.shape[2]) or cubes, torch.zeros(length, 1, 1))
    assert seen == spans


@pytest.mark.parametrize('windows', PUBLISHED)
def test_windows_without_brain_are_skipped(windows):
    volume, mask = rand(150, 64, 64), torch.zeros(150, 64, 64)
    mask[100:120, 20:30, 20:30] = 1
    evaluated = []
    full = windows.apply(lambda cubes: cubes**2, volume)
    found = windows.apply(lambda cubes: evaluated.append(len(cubes)) or cubes**2, volume, mask)
    torch.testing.assert_close(found * mask, full * mask)
    count = []
    windows.apply(lambda cubes: count.append(len(cubes)) or cubes, volume)
    assert 0 < sum(evaluated) < sum(count)
    assert not found[:30].any()


@pytest.mark.parametrize(('batch', 'calls'), [(4, 1), (3, 2 * 2)])
def test_gradients_through_several_batches_evaluate_them_again(batch, calls):
    seen = []
    volume = rand(32, 32, 8).requires_grad_()
    windows = Windows(size=16, overlap=0)
    found = windows.apply(lambda cubes: seen.append(1) or cubes.sin(), volume, batch=batch)
    torch.autograd.grad(found.sum(), volume)
    assert len(seen) == calls


@pytest.mark.parametrize('windows', [PUBLISHED[1], Windows(size=16, overlap=0, halo=3, multiple=4)])
def test_gradients_are_those_of_the_whole_volume(windows):
    volume, weight = rand(50, 49, 30).double().requires_grad_(), rand(50, 49, 30).double()
    found = windows.apply(torch.sin, volume, batch=3)
    (gradient,) = torch.autograd.grad((weight * found).sum(), volume)
    torch.testing.assert_close(gradient, weight * volume.cos())


def network(architecture: Architecture) -> Denoiser:
    """A network none of whose weights is zero, as if trained."""
    torch.manual_seed(0)
    denoiser = Denoiser(architecture)
    for weight in denoiser.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    return denoiser.requires_grad_(False)


def test_with_the_network_s_reach_as_halo_there_are_no_seams():
    architecture = Architecture(channels=(8, 16), blocks=(1, 1), embedding=16)
    denoiser, stride = network(architecture), architecture.stride
    volume, sigma, voxel_size = 0.1 * rand(61, 54, 40), torch.tensor(0.03), torch.ones(3)

    def denoise(cubes):
        return denoiser(cubes, sigma, voxel_size)

    whole = denoise(volume[None, None])[0, 0]
    errors = []
    halos = [0, 2, 4, 8, architecture.reach + -architecture.reach % stride]
    for halo in halos:
        tiled = Windows(size=16, overlap=0, halo=halo, multiple=stride).apply(
            denoise, volume, batch=4
        )
        errors.append(((tiled - whole).abs().max() / (whole - volume).std()).item())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.05
    assert errors[-1] < 1e-4


def test_the_gradient_through_the_network_in_windows_is_that_of_the_whole_volume():
    architecture = Architecture(channels=(8, 16), blocks=(1, 1), embedding=16)
    denoiser, stride = network(architecture), architecture.stride
    volume, sigma, voxel_size = 0.1 * rand(60, 32, 24), torch.tensor(0.03), torch.ones(3)
    weight = rand(60, 32, 24) - 0.5

    def gradient(halo: int, size: int = 16) -> torch.Tensor:
        noisy = volume.clone().requires_grad_()
        windows = Windows(size, 0, halo=halo, multiple=stride)
        found = windows.apply(lambda cubes: denoiser(cubes, sigma, voxel_size), noisy, batch=2)
        return torch.autograd.grad(found, noisy, weight)[0]

    whole = gradient(0, size=60)
    errors = [
        ((gradient(halo) - whole).norm() / whole.norm()).item()
        for halo in (0, architecture.reach + -architecture.reach % stride)
    ]
    assert errors[0] > 0.01
    assert errors[1] < 1e-5


def test_the_default_network_listens_mostly_to_its_surroundings():
    """A window of 32 with a halo of 24: the margin beyond which next to nothing is heard."""
    denoiser = network(Architecture())
    volume, sigma, voxel_size = 0.1 * rand(96, 32, 32), torch.tensor(0.03), torch.ones(3)

    def denoise(cubes):
        return denoiser(cubes, sigma, voxel_size)

    whole = denoise(volume[None, None])[0, 0]
    errors = [
        (
            (Windows(32, 0, halo=halo, multiple=8).apply(denoise, volume) - whole).std()
            / (whole - volume).std()
        ).item()
        for halo in (0, 8, 24)
    ]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.02


@pytest.mark.parametrize(
    'wrong',
    [
        {'size': 0},
        {'size': 16, 'overlap': 16},
        {'halo': -1},
        {'multiple': 0},
        {'blending': 'cosine'},
    ],
)
def test_impossible_windows_are_refused(wrong):
    with pytest.raises(ValueError, match='tile nothing|blend'):
        Windows(**wrong)


def test_what_lies_outside_the_mask_is_not_heard():
    denoiser = network(Architecture(channels=(8, 16), blocks=(1, 1), embedding=16))
    volume, mask = 0.1 * rand(24, 20, 16), torch.zeros(24, 20, 16, dtype=torch.bool)
    mask[4:20, 4:16, 2:14] = True
    denoise = windowed_denoiser(denoiser, Grid((24, 20, 16), (1.0, 1.0, 1.0)), mask)
    other = torch.where(mask, volume, 1.0)
    assert torch.equal(denoise(volume, 0.03), denoise(other, 0.03))

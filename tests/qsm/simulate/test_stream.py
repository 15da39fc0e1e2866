"""The training stream: what windows hold, and that they depend on seed and number alone."""

from itertools import islice

import pytest
import torch

from qsmprep.qsm.simulate import stream
from qsmprep.qsm.simulate.stream import (
    Specimen,
    draw_windows,
    make_specimen,
    window_stream,
)


@pytest.fixture(scope='module')
def specimen():
    return make_specimen(None, torch.Generator().manual_seed(0))


def ball(value=0.1, radius_mm=20.0, voxel=0.8, n=96):
    """A specimen that is a homogeneous ball without texture."""
    x = (torch.arange(n) + 0.5) * voxel - n * voxel / 2
    r = (x[:, None, None] ** 2 + x[:, None] ** 2 + x**2).sqrt()
    depth = (radius_mm - r).clamp(-8, 8)
    stack = torch.stack([value * (r < radius_mm), torch.zeros_like(r), depth])
    return Specimen.of(stack, voxel)


def test_a_specimen_holds_susceptibility_texture_and_depth(specimen):
    chi, texture_sd, depth = specimen.levels[0].float()
    assert chi[depth > 3].std() == pytest.approx(0.035, rel=0.15)
    assert (chi[depth < -2] != 0).float().mean() < 1e-4
    assert texture_sd.min() == 0
    assert 0.015 < texture_sd[depth > 3].mean() < 0.023
    assert depth.max() == 8
    assert depth.min() == -8
    assert [level.shape[1] for level in specimen.levels[1:]] == [
        specimen.levels[0].shape[1] // 2**n for n in (1, 2)
    ]


def test_the_volume_of_a_ball_survives_turning_and_resampling():
    """It is eroded by up to 6 mm, cut off where it leaves the window, and stretched by a tenth."""
    shares = []
    for voxel_size in [(1.0, 1.0, 1.0), (2.5, 0.7, 0.7), (3.0, 3.0, 3.0)]:
        generator = torch.Generator().manual_seed(1)
        shape = [int(72 / v) for v in voxel_size]
        shares.append([])
        for _ in range(6):
            chi = draw_windows([ball()], shape, 1, generator, voxel_size).chi
            volume = float((chi > 0.02).sum()) * torch.tensor(voxel_size).prod()
            shares[-1].append(float(volume / (4 / 3 * torch.pi * 20**3)))
    assert shares[1] == pytest.approx(shares[0], rel=0.02)
    assert shares[2] == pytest.approx(shares[0], rel=0.02)
    assert 0.5 < min(shares[0]) < 1 < max(shares[0]) < 1.1**3 * 1.1


def test_windows_are_zero_outside_the_brain_and_vary_in_voxel_size(specimen):
    windows = draw_windows([specimen], (32, 40, 48), 12, torch.Generator().manual_seed(2))
    assert windows.chi.shape == (12, 1, 32, 40, 48)
    assert windows.chi.dtype == torch.float32
    assert torch.isfinite(windows.chi).all()
    assert (windows.chi == 0).float().mean() > 0.05
    assert windows.voxel_size.min() >= 0.4
    assert windows.voxel_size.max() <= 4
    assert 0 < (windows.voxel_size.std(dim=1) > 0).sum() < 12
    assert windows.chi.abs().max() < 4


def test_the_stream_goes_on_where_it_stopped(monkeypatch):
    def specimen_of_a_number(head, generator, device):
        return ball(value=float(torch.rand((), generator=generator)))

    monkeypatch.setattr(stream, 'make_specimen', specimen_of_a_number)
    keywords = {'batches': ((16, 1), (24, 2)), 'seed': 3, 'pool': 2, 'renewal': 2}
    whole = list(islice(window_stream([None], **keywords), 5))
    rest = list(islice(window_stream([None], first=3, **keywords), 2))
    assert whole[0].chi.shape == (1, 1, 16, 16, 16)
    assert whole[1].chi.shape == (2, 1, 24, 24, 24)
    for one, other in zip(whole[3:], rest, strict=True):
        assert torch.equal(one.chi, other.chi)
        assert torch.equal(one.voxel_size, other.voxel_size)
    assert not torch.equal(whole[0].chi, whole[2].chi)

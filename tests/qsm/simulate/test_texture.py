"""Texture of training windows: its variance, its direction, its resolution; depth in a mask."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from qsmprep.qsm.simulate.anatomy import Axes
from qsmprep.qsm.simulate.stream import DEPTH_MM, _distance
from qsmprep.qsm.simulate.susceptibility import correlated_noise
from qsmprep.qsm.simulate.texture import draw_texture, resolve

AXES = Axes((64, 64, 64), (1.0, 1.0, 1.0))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def roughness(volume):
    """Mean squared differences between neighbours along each axis."""
    return torch.stack([volume.diff(dim=axis).square().mean() for axis in range(3)])


def test_noise_is_drawn_out_along_the_axis_that_its_form_makes_long():
    round_form = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    long_form = ((4, 0, 0), (0, 0.5, 0), (0, 0, 0.5))
    same = roughness(correlated_noise(AXES, seeded(0), 3.0, form=round_form))
    drawn_out = roughness(correlated_noise(AXES, seeded(0), 3.0, form=long_form))
    assert same.max() / same.min() < 1.2
    assert drawn_out[0] < 0.5 * drawn_out[1:].min()
    assert drawn_out[1] / drawn_out[2] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize('corner', [0.02, 0.08])
def test_noise_of_any_corner_has_unit_variance(corner):
    draws = [correlated_noise(AXES, seeded(n), 3.2, corner=corner) for n in range(12)]
    assert torch.stack(draws).square().mean() == pytest.approx(1, abs=0.25)


def test_texture_scales_with_its_sd_and_is_reproducible():
    sd, depth = torch.full(AXES.shape, 0.02), torch.full(AXES.shape, 8.0)
    draws = torch.stack([draw_texture(AXES, sd, depth, seeded(n), seeded(n)) for n in range(24)])
    assert torch.isfinite(draws).all()
    # a gain of 0.75 with spread, a mixture of fields of unit variance, some vessels
    assert 0.4 < float(draws.square().mean().sqrt()) / 0.02 < 1.6
    assert torch.equal(draws[3], draw_texture(AXES, sd, depth, seeded(3), seeded(3)))


def test_resolution_takes_power_from_the_corners_of_k_space_and_adds_none():
    white = torch.randn(AXES.shape, generator=seeded(0))
    before = torch.fft.fftn(white).abs()
    mean_shares = []
    for n in range(20):
        share = torch.fft.fftn(resolve(white, AXES, seeded(n))).abs() / before
        assert share.max() < 1 + 1e-3
        assert share[0, 0, 0] == pytest.approx(1, abs=1e-4)
        mean_shares.append(float(share[32, 32, 32]))
    assert min(mean_shares) < 0.1
    assert max(mean_shares) == pytest.approx(1)


def test_distances_are_those_of_an_exact_transform_up_to_their_limit():
    rng = np.random.default_rng(0)
    mask = torch.from_numpy(rng.random((20, 24, 22)) > 0.002)
    expected = distance_transform_edt(mask.numpy()) * 1.5
    found = _distance(mask, 1.5).numpy()
    np.testing.assert_allclose(found, np.minimum(expected, DEPTH_MM), atol=1e-4)

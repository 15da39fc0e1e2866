"""Edge-weighted total variation."""

import pytest
import torch

from qsmprep.qsm.inversion.penalty import (
    edge_weights,
    edges_inside,
    total_variation,
    weights_by_anatomy,
)


def test_total_variation_of_a_step():
    """A face of 12 x 10 voxels, of which a row of 10 is masked, on voxels of 2 mm along it."""
    chi = torch.zeros(8, 12, 10)
    chi[4:] = 0.3
    mask = torch.ones(chi.shape, dtype=torch.bool)
    mask[:, 0] = False
    value, _ = total_variation(chi, edges_inside(mask, (2.0, 1.0, 1.0)), 1e-6)
    assert float(value) == pytest.approx(0.3 * 11 * 10 * 2 ** (1 / 3) / 2, rel=1e-3)


def test_strong_edges_have_no_weight():
    generator = torch.Generator().manual_seed(0)
    chi = 0.01 * torch.rand(20, 20, 20, generator=generator)
    chi[10:] += 1.0
    edges = edges_inside(torch.ones(chi.shape, dtype=torch.bool), (1.0, 1.0, 1.0))
    first, second, _ = edge_weights(chi, edges, 50, 70)
    assert not first[9].any()
    flat = chi.diff(dim=1).abs()
    order = flat.flatten().argsort()
    assert bool((second.flatten()[order[: int(0.49 * len(order))]] == 1).all())
    assert not second.flatten()[order[int(0.71 * len(order)) :]].any()
    with pytest.raises(ValueError, match='percentiles of the edges rise'):
        edge_weights(chi, edges, 70, 50)


def test_boundaries_of_the_magnitude_weigh_little():
    magnitude = 100 + torch.randn(20, 20, 20, generator=torch.Generator().manual_seed(0))
    magnitude[10:] += 20.0
    mask = torch.ones(magnitude.shape, dtype=torch.bool)
    mask[:, 0] = False
    magnitude[5, 5, 5] = 0.0
    for scale in (1.0, 1e-6):
        first, second, _ = weights_by_anatomy(scale * magnitude, mask)
        assert first[9, 1:].max() < 0.01
        assert second[:, 1:].median() == pytest.approx(0.5, abs=0.05)
        assert bool((second[:, 0] == 1).all())
        assert first[4, 5, 5] == first[5, 5, 5] == 1
    assert weights_by_anatomy(torch.ones_like(magnitude), mask) is None
    assert weights_by_anatomy(magnitude, torch.zeros_like(mask)) is None

"""Susceptibility-weighted images of phantoms whose veins, bias and geometry are known."""

import numpy as np
import pytest

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.swi import receive_bias, susceptibility_weighted

GRID = Grid((48, 40, 44), (1.5, 1.5, 2.0))
TIMES = (0.006, 0.012, 0.018)


def brain():
    x = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in GRID.shape], indexing='ij'), -1)
    return (x**2).sum(-1) < 0.8, x


def scan(vein_hz=12.0):
    mask, x = brain()
    field = np.random.default_rng(0).normal(0, 1.0, GRID.shape)
    vein = np.zeros(GRID.shape, dtype=bool)
    vein[24, :, 22] = True
    vein &= mask
    field[vein] = vein_hz
    bias = np.exp(0.6 * x[..., 0] + 0.3 * x[..., 2])
    return 900 * bias, field * mask, mask, vein


def test_paramagnetic_voxels_are_dark_and_diamagnetic_ones_bright():
    for hertz in (12.0, -12.0):
        magnitude, field, mask, vein = scan(hertz)
        result = susceptibility_weighted(magnitude, field, mask, GRID, TIMES)
        tissue = np.median(result.swi[mask & ~vein])
        ratio = np.median(result.swi[vein]) / tissue
        assert (ratio < 0.1) if hertz > 0 else (1.1 < ratio < 1.2)
        assert not result.swi[~mask].any()


def test_the_phase_mask_is_the_published_one():
    magnitude, field, mask, _ = scan()
    result = susceptibility_weighted(magnitude, field, mask, GRID, TIMES)
    scale = 2.5 * np.median(field[mask & (field > 0)])
    expected = (1 + np.tanh(1 - field[mask] / scale)) / 2
    found = (result.swi * receive_bias(magnitude, mask, GRID) / magnitude)[mask]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    other = susceptibility_weighted(magnitude, field, mask, GRID, (0.02,))
    np.testing.assert_allclose(other.swi, result.swi, atol=1e-5)


def test_the_receive_bias_goes_and_veins_do_not_count_for_it():
    magnitude, _, mask, vein = scan()
    without = receive_bias(magnitude, mask, GRID)
    even = (magnitude / without)[mask]
    assert even.std() < 0.35 * magnitude[mask].std() / magnitude[mask].mean()
    assert abs(even.mean() - 1) < 0.03
    magnitude[vein] *= 0.2
    np.testing.assert_allclose(receive_bias(magnitude, mask, GRID)[mask], without[mask], rtol=0.01)


@pytest.mark.parametrize(('b0', 'axis', 'slices'), [((0, 0, 1), 2, 5), ((0.9, 0, 0.1), 0, 5)])
def test_the_projection_is_the_minimum_over_a_slab_across_b0(b0, axis, slices):
    grid = Grid(GRID.shape, GRID.voxel_size, b0)
    magnitude, field, mask, _ = scan()
    result = susceptibility_weighted(magnitude, field, mask, grid, TIMES, slab_mm=9.0)
    assert result.parameters['ProjectedSlices'] == slices
    assert result.parameters['ProjectionAxis'] == 'ijk'[axis]
    centre = (20, 18, 21)
    slab = [slice(c, c + 1) for c in centre]
    slab[axis] = slice(centre[axis] - slices // 2, centre[axis] + slices // 2 + 1)
    assert result.minimum[centre] == result.swi[tuple(slab)].min()
    # what lies outside the brain is no dark vein
    assert result.minimum[mask].min() == result.swi[mask].min() > 0


def test_a_field_without_positive_values_is_refused():
    magnitude, field, mask, _ = scan()
    with pytest.raises(ValueError, match='nowhere above zero'):
        susceptibility_weighted(magnitude, -np.abs(field), mask, GRID, TIMES)

"""Tables of regions against regions and maps whose values are known."""

import math

import numpy as np

from qsmprep.qsm.regions import EROSION_MM, Region, RegionMap, measure_regions


def ball(shape, centre, radius_mm, voxel_size):
    """Voxels of a ball; centre in voxels."""
    axes = np.indices(shape).reshape(3, -1).T
    return (np.linalg.norm((axes - centre) * voxel_size, axis=1) < radius_mm).reshape(shape)


def table(labels, regions, chi, mask, voxel_size=(1, 1, 1), estimated=None):
    """Rows of one map, by label and erosion."""
    maps = [RegionMap('Chimap', 'ppm', chi, mask, 'brain')]
    rows = measure_regions(labels, regions, maps, voxel_size, estimated)
    return {(row['label'], row['erosion_mm']): row for row in rows}


def test_values_volume_and_share_of_a_region():
    rng = np.random.default_rng(0)
    inside = ball((30, 30, 30), (12, 15, 15), 7, (1, 1, 2))
    labels = np.where(inside, 5, 0)
    chi = np.where(inside, rng.normal(0.1, 0.02, inside.shape), -3.0)
    estimated = np.zeros(inside.shape, bool)
    estimated[:12] = True
    rows = table(labels, [Region('pallidum', 'L', (5,))], chi, inside | True, (1, 1, 2), estimated)
    row = rows['5', 0.0]
    assert row['volume_mm3'] == 2 * inside.sum() == 2 * row['voxels']
    assert abs(row['volume_mm3'] / (4 / 3 * math.pi * 7**3) - 1) < 0.05
    assert abs(row['median'] - 0.1) < 0.003
    assert abs(row['percentile_95'] - row['percentile_5'] - 2 * 1.645 * 0.02) < 0.004
    assert row['estimated_percent'] == 100 * estimated[inside].mean()
    assert (row['reference'], row['unit'], row['hemisphere']) == ('brain', 'ppm', 'L')


def test_the_core_of_a_region_leaves_its_mixed_border_out():
    inside = ball((24, 24, 24), (12, 12, 12), 6, (1, 1, 1))
    core = ball((24, 24, 24), (12, 12, 12), 6 - EROSION_MM, (1, 1, 1))
    chi = np.where(core, 0.1, 0.0)
    rows = table(np.where(inside, 1, 0), [Region('a', 'n/a', (1,))], chi, chi > -1)
    assert rows['1', 0.0]['mean'] < 0.07
    assert rows['1', EROSION_MM]['percentile_5'] == 0.1
    assert rows['1', EROSION_MM]['voxels'] > 0.5 * core.sum()


def test_what_the_map_does_not_cover_is_reported():
    inside = ball((20, 20, 20), (10, 10, 10), 5, (1, 1, 1))
    mask = np.zeros(inside.shape, bool)
    mask[:, :, :10] = True
    rows = table(np.where(inside, 3, 0), [Region('a', 'R', (3,))], np.ones(inside.shape), mask)
    share = 100 * (inside & mask).sum() / inside.sum()
    assert rows['3', 0.0]['coverage_percent'] == share
    assert 30 < share < 60
    nothing = table(
        np.where(inside, 3, 0), [Region('a', 'R', (3,))], np.ones(inside.shape), np.zeros_like(mask)
    )
    assert nothing['3', 0.0]['voxels'] == 0
    assert math.isnan(nothing['3', 0.0]['median'])


def test_joined_regions_and_regions_that_are_not_there():
    labels = np.zeros((12, 12, 12), int)
    labels[2:5, 2:5, 2:5], labels[5:8, 2:5, 2:5] = 5, 6
    chi = labels * 0.01
    regions = [Region('globus pallidus', 'L', (5, 6)), Region('other', 'L', (9,))]
    rows = table(labels, regions, chi, labels > -1)
    assert {label for label, _ in rows} == {'5+6'}
    assert np.isclose(rows['5+6', 0.0]['mean'], 0.055)
    assert rows['5+6', EROSION_MM]['voxels'] == 4

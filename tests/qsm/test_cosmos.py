"""COSMOS on analytic phantoms: the error falls far below that of one orientation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from qsmprep.qsm.cosmos import angles_between, condition_number, describe, invert_orientations
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.metrics import nrmse
from qsmprep.qsm.operators import Dipole

TILTED = [(0.0, 0.0, 1.0), (0.5, 0.0, 0.866), (0.0, 0.5, 0.866), (-0.35, -0.35, 0.866)]
NOISE = 0.0005


def turned(scan, b0_directions, noise_ppm=NOISE):
    """Fields of a phantom in several orientations, exact but for noise."""
    generator = torch.Generator().manual_seed(1)
    fields = []
    for b0 in b0_directions:
        dipole = Dipole(replace(scan.grid, b0_direction=b0), padding=2)
        noise = noise_ppm * torch.randn(scan.grid.shape, generator=generator)
        fields.append(((dipole.forward(scan.chi) + noise) * scan.mask).numpy())
    return fields


def error(scan, found):
    return nrmse(found.chi_ppm, scan.chi.numpy(), scan.mask.numpy())


def test_three_orientations_are_far_ahead_of_one(make_scan, coloured, brain_spectrum):
    scan = make_scan(shape=(40, 36, 32))
    # a piecewise constant map comes back from one orientation, a textured one does not
    scan.chi += scan.mask * torch.from_numpy(coloured((40, 36, 32), brain_spectrum, 2))
    mask = scan.mask.numpy()
    fields = turned(scan, TILTED)
    closed = invert_orientations(fields, [mask] * 4, TILTED, scan.grid, iterations=0)
    solved = invert_orientations(fields, [mask] * 4, TILTED, scan.grid)
    single = invert(fields[0], mask, scan.grid, 'tv', noise_ppm=np.full(mask.shape, NOISE))
    assert error(scan, solved) < 0.6 * error(scan, closed)
    assert error(scan, solved) < 0.6 * error(scan, single)
    assert error(scan, solved) < 8
    assert not solved.chi_ppm[~mask].any()
    assert solved.parameters['Orientations'] == 4


def test_noise_maps_count_orientations_by_what_they_know(make_scan):
    scan = make_scan(shape=(40, 36, 32))
    mask = scan.mask.numpy()
    fields = turned(scan, TILTED)
    rng = np.random.default_rng(0)
    noises = [np.full(mask.shape, NOISE) for _ in TILTED]
    bad = np.zeros(mask.shape, dtype=bool)
    bad[:20] = True
    fields[1] = fields[1] + np.where(bad & mask, rng.normal(0, 0.05, mask.shape), 0)
    noises[1] = np.where(bad, 0.05, NOISE)
    blind = invert_orientations(fields, [mask] * 4, TILTED, scan.grid)
    knowing = invert_orientations(fields, [mask] * 4, TILTED, scan.grid, noises_ppm=noises)
    assert error(scan, knowing) < 0.5 * error(scan, blind)


def test_an_orientation_may_miss_a_part(make_scan):
    scan = make_scan(shape=(40, 36, 32))
    mask = scan.mask.numpy()
    fields, masks = turned(scan, TILTED), [mask.copy() for _ in TILTED]
    masks[2][:, :12] = False
    fields[2] = fields[2] * masks[2]
    found = invert_orientations(fields, masks, TILTED, scan.grid)
    assert error(scan, found) < 10


def test_orientations_that_lie_close_are_reported():
    def cone(degrees):
        angle = np.deg2rad(degrees)
        around = np.deg2rad([0, 120, 240])
        tilted = np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around)], -1)
        return [(0, 0, 1), *((x, y, np.cos(angle)) for x, y in tilted)]

    numbers = [condition_number(cone(x)) for x in (2, 5, 10, 20)]
    assert numbers == sorted(numbers, reverse=True)
    assert 'Warnings' not in describe(cone(20), 'k-space')
    (warning,) = describe(cone(3), 'k-space')['Warnings']
    assert 'lie close together' in warning
    np.testing.assert_allclose(max(angles_between(cone(3))), 5.2, atol=0.1)


def test_one_plane_of_three_has_the_condition_number_of_its_closed_form():
    """B0 at 0, 60, 120 degrees: mean D^2 is 1/9 - s^2/3 + 3 s^4/8, s the sine to the normal."""
    plane = [(np.sin(x), 0.0, np.cos(x)) for x in (0, np.pi / 3, 2 * np.pi / 3)]
    expected = np.sqrt((1 / 9 - 1 / 3 + 3 / 8) / (1 / 27))
    assert condition_number(plane) == pytest.approx(expected, rel=1e-3)


def test_what_cannot_be_solved_is_refused(make_scan):
    scan = make_scan(shape=(20, 20, 20))
    mask = scan.mask.numpy()
    field = scan.field.numpy()
    with pytest.raises(ValueError, match='three orientations or more, not 2'):
        invert_orientations([field] * 2, [mask] * 2, TILTED[:2], scan.grid)
    with pytest.raises(ValueError, match='mask of an orientation is empty'):
        invert_orientations([field] * 3, [mask, mask, 0 * mask], TILTED[:3], scan.grid)
    with pytest.raises(ValueError, match='has the shape'):
        invert_orientations([field, field, field[1:]], [mask] * 3, TILTED[:3], scan.grid)

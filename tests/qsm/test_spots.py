"""Dark spots of a magnitude whose sources are known."""

import numpy as np
import pytest

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.spots import dark_spots

GRID = Grid((48, 52, 44), (2.0, 2.0, 2.5))
PLACES = {'calcium': (24, 20, 20), 'blood': (24, 34, 24), 'void': (14, 26, 22)}


@pytest.fixture(scope='module')
def head():
    """Magnitude, susceptibility [ppm] and mask of a head with dark spots of either sign."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID.shape), indexing='ij')
    mask = sum(a**2 for a in axes) < 0.8
    rng = np.random.default_rng(2)
    magnitude = np.where(mask, 1 + 0.3 * axes[0] + rng.normal(0, 0.03, GRID.shape), 0)
    chi = np.where(mask, 0.2 + rng.normal(0, 0.01, GRID.shape), 0)
    for name, ppm in (('calcium', -0.7), ('blood', 0.8), ('void', 0.0)):
        box = tuple(slice(n - 1, n + 2) for n in PLACES[name])
        magnitude[box] *= 0.2
        chi[box] += ppm
    # air beside the brain
    magnitude[22:26, 22:30, 41:][mask[22:26, 22:30, 41:]] = 0.1
    return magnitude, chi, mask


def test_calcium_and_blood_are_distinguished(head):
    magnitude, chi, mask = head
    estimated = np.zeros_like(mask)
    estimated[PLACES['blood']] = True
    spots = dark_spots(magnitude, chi, mask, GRID, estimated)
    found = {tuple(round(x) for x in spot.centre): spot for spot in spots}
    assert set(found) == set(PLACES.values())
    calcium, blood, void = (found[PLACES[name]] for name in PLACES)
    assert (calcium.sign, blood.sign, void.sign) == (-1, 1, 0)
    assert calcium.lowest_ppm == pytest.approx(-0.7, abs=0.05)
    assert blood.highest_ppm == pytest.approx(0.8, abs=0.05)
    assert calcium.volume_mm3 == 27 * 10
    assert blood.estimated_percent == pytest.approx(100 / 27)
    assert spots[0] is blood


def test_a_spot_of_both_signs_is_undetermined(head):
    magnitude, chi, mask = head
    x, y, z = PLACES['calcium']
    both = chi.copy()
    both[x + 1, y, z] = 0.2 + 0.6
    (spot,) = (s for s in dark_spots(magnitude, both, mask, GRID) if round(s.centre[1]) == y)
    assert spot.sign == 0


def test_where_nothing_is_dark_there_are_none(head):
    _, chi, mask = head
    assert dark_spots(np.where(mask, 1.0, 0.0), chi, mask, GRID) == []
    assert dark_spots(np.ones(GRID.shape), chi, np.zeros_like(mask), GRID) == []

"""Uncombined coils of a head whose field and coil phases are known."""

import numpy as np
import pytest

from qsmprep.qsm.coils import coil_difference, combine_coils
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.phase import wrap

GRID = Grid((48, 40, 36), (2.0, 2.0, 2.5))
TIMES = (0.004, 0.009, 0.015)
X, Y, Z = np.meshgrid(*[np.linspace(-1, 1, n) for n in GRID.shape], indexing='ij')
HEAD = X**2 + Y**2 + Z**2 < 0.9
FIELD_HZ = 60 * X - 40 * Y * Z + 80 * np.exp(-((X - 0.3) ** 2 + Y**2 + (Z + 0.5) ** 2) / 0.05)


@pytest.fixture(scope='module')
def coils():
    """Eight coils around the head: sensitivity falls off, phase turns towards each of them."""
    rng = np.random.default_rng(0)
    times = np.array(TIMES)
    found = []
    for number in range(8):
        angle = 2 * np.pi * number / 8
        towards = X * np.cos(angle) + Y * np.sin(angle)
        sensitivity = 40 * np.exp(1.2 * towards + 0.3 * Z * (-1) ** number) * HEAD
        offset = rng.uniform(-np.pi, np.pi) + 1.5 * towards - 0.8 * towards * Z
        phase = offset[..., None] + 2 * np.pi * FIELD_HZ[..., None] * times
        signal = sensitivity[..., None] * np.exp(-times / 0.03 + 1j * phase)
        noise = rng.standard_normal((2, *signal.shape))
        signal = signal + noise[0] + 1j * noise[1]
        found.append((np.abs(signal).astype('f4'), np.angle(signal).astype('f4')))
    return found


def test_coils_combine_to_the_phase_of_the_field_alone(coils):
    difference, weight = coil_difference(coils)
    truth = 2 * np.pi * FIELD_HZ * (TIMES[1] - TIMES[0])
    assert np.sqrt(np.mean(wrap(difference - truth)[HEAD] ** 2)) < 0.03
    turns = np.round((truth - difference) / (2 * np.pi))
    unwrapped = difference + 2 * np.pi * (turns + 3)
    magnitude, phase = combine_coils(coils, unwrapped, weight, TIMES, GRID)
    error = wrap(phase - 2 * np.pi * FIELD_HZ[..., None] * np.array(TIMES))[HEAD]
    # noise of the combined echoes is 1 / magnitude; what smoothing leaves of the offsets is less
    expected = np.sqrt(np.mean(1 / magnitude[HEAD] ** 2))
    assert np.sqrt(np.mean(error**2)) < 1.2 * expected + 0.01
    squares = sum(m.astype('f8') ** 2 for m, _ in coils)
    np.testing.assert_allclose(magnitude, np.sqrt(squares), rtol=1e-5)


def test_a_sum_without_offsets_would_cancel(coils):
    """What MCPC-3D-S is for: coils added as they are have open fringe lines."""
    total = sum(m[..., 2] * np.exp(1j * p[..., 2]) for m, p in coils)
    truth = 2 * np.pi * FIELD_HZ * TIMES[2]
    error = wrap(np.angle(total) - truth)[HEAD]
    assert np.std(error) > 0.5

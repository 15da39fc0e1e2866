"""Registration of simulated heads against the transform that is known, and its doubts."""

import numpy as np
import pytest

from qsmprep.interfaces.brains import Brain
from qsmprep.interfaces.registration import register_rigidly
from qsmprep.qsm.registration import distance_mm
from qsmprep.qsm.simulate import rigid_transform, simulate_head, simulate_t1w


@pytest.fixture(scope='module')
def head():
    """Magnitude and T1-weighted image of one head, and the transform between them."""
    scan = simulate_head(
        voxel_size=(4, 4, 4),
        supersampling=(2, 2, 2),
        b0_direction=(0, 0.2, 0.98),
        echo_times_s=(0.005,),
        seed=1,
    )
    t1w = simulate_t1w(
        voxel_size=(4, 4, 4), position=rigid_transform((8, -5, 9), (10, -6, 12)), seed=1
    )
    moves = t1w.affine @ np.linalg.inv(t1w.head_affine)
    moves = moves @ scan.head_affine @ np.linalg.inv(scan.affine)
    return (
        Brain(scan.magnitude[..., 0], scan.brain, scan.affine),
        Brain(t1w.image, t1w.brain, t1w.affine),
        moves,
    )


def test_rigid_registration_finds_the_known_transform(head, tmp_path):
    moving, fixed, known = head
    found, parameters = register_rigidly(moving, fixed, tmp_path)
    assert distance_mm(np.eye(4), known, moving.points()) > 12
    assert distance_mm(found, known, moving.points()) < 1.0
    assert parameters['RepeatDistance_mm'] < 1.0
    assert parameters['BrainWithin'] > 0.9
    assert parameters['Warnings'] == []


CONTRASTS = {
    'T2-weighted': lambda x, z: 1 / (0.3 + x),
    'inversion recovery': lambda x, z: np.abs(x - 0.7),
    'receive bias': lambda x, z: x * np.exp(0.6 * z),
}
"""What is made of a T1-weighted image, and of its third axis from -1 to 1."""


@pytest.mark.parametrize('contrast', CONTRASTS)
def test_other_contrasts_are_registered_as_well(head, tmp_path, contrast):
    moving, fixed, known = head
    values = fixed.data / np.median(fixed.data[fixed.mask])
    changed = CONTRASTS[contrast](values, np.linspace(-1, 1, fixed.data.shape[2]))
    fixed = Brain(changed, fixed.mask, fixed.affine)
    found, _ = register_rigidly(moving, fixed, tmp_path)
    assert distance_mm(found, known, moving.points()) < 1.0


def test_an_image_of_something_else_is_doubted(head, tmp_path):
    moving, fixed, _ = head
    rng = np.random.default_rng(0)
    half = fixed.mask.copy()
    half[:, : half.shape[1] // 2] = False
    noise = Brain(rng.normal(1, 0.3, fixed.data.shape), half, fixed.affine)
    _, parameters = register_rigidly(moving, noise, tmp_path)
    assert 'doubtful' in parameters['Warnings'][0]

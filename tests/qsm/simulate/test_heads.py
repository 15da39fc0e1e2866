"""Whole simulated heads: anatomy, susceptibility and determinism."""

import numpy as np
import pytest
import torch

from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate import (
    LabelledHead,
    Nuclei,
    Tissue,
    simulate_head,
    simulate_local_field,
)
from qsmprep.qsm.simulate.anatomy import Axes, label_head
from qsmprep.qsm.simulate.nuclei import place_nuclei
from qsmprep.qsm.simulate.susceptibility import TISSUES, correlated_noise


@pytest.fixture(scope='module')
def coarse():
    return simulate_head(
        voxel_size=(4, 4, 4), supersampling=(2, 2, 2), lesions=('haemorrhage',), seed=7
    )


def test_a_seed_decides_everything():
    settings = {'voxel_size': (6, 6, 6), 'supersampling': (2, 2, 2), 'lesions': ('haemorrhage',)}
    first, again, other = (simulate_head(**settings, seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.phase, again.phase)
    np.testing.assert_array_equal(first.chi, again.chi)
    assert np.abs(first.chi - other.chi)[first.brain].max() > 0.1


def test_head_is_of_human_size(coarse):
    volume_ml = coarse.brain.sum() * coarse.grid.voxel_volume_ml
    assert 1100 < volume_ml < 1700
    present = set(np.unique(coarse.labels).tolist())
    assert {Tissue.BONE, Tissue.CORTEX, Tissue.VENTRICLE, Tissue.THALAMUS} <= present
    assert np.isfinite(coarse.magnitude).all()


def test_field_is_that_of_a_shimmed_head(coarse):
    total = coarse.total_field_hz[coarse.brain]
    local = coarse.local_field_hz[coarse.brain]
    assert 8 < total.std() < 80
    assert 0.3 < local.std() < 8


def test_lesions_are_painted(coarse):
    assert coarse.chi[coarse.brain].max() > 0.7
    with pytest.raises(ValueError, match='calcification'):
        simulate_local_field(voxel_size=(8, 8, 8), lesions=('tumour',))


def test_local_field_serves_inversions():
    result = simulate_local_field(voxel_size=(3, 3, 3), b0_direction=(0, 0.6, 0.8), seed=1)
    mask = result.mask
    field = Dipole(result.grid, padding=2.0).forward(torch.from_numpy(result.chi)).numpy()
    np.testing.assert_allclose(result.local_field_ppm[mask], field[mask], atol=1e-6)
    noise = (result.measured_ppm - result.local_field_ppm)[mask] / result.noise_ppm[mask]
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert not result.chi[~mask].any()
    for tissue in (Tissue.PUTAMEN, Tissue.PALLIDUM, Tissue.THALAMUS, Tissue.WHITE_MATTER):
        mean = result.chi[result.labels == int(tissue)].mean()
        slack = 3 * TISSUES[tissue].spread + 0.02
        assert mean == pytest.approx(TISSUES[tissue].chi, abs=slack), tissue.name


def test_texture_has_the_same_density_on_any_grid():
    power = []
    for n, voxel in ((64, 1.0), (32, 2.0)):
        axes = Axes((n, n, n), (voxel,) * 3)
        noise = correlated_noise(axes, torch.Generator().manual_seed(0))
        spectrum = torch.fft.fftn(noise).abs() ** 2 * voxel**3 / n**3
        k = torch.fft.fftfreq(n, voxel)
        length = (k[:, None, None] ** 2 + k[:, None] ** 2 + k**2).sqrt()
        power.append(float(spectrum[(length > 0.08) & (length < 0.2)].mean()))
    assert power[0] == pytest.approx(power[1], rel=0.15)


def block_head():
    """A made-up segmentation of 60 mm: cerebrum, deep grey matter, skull, skin and air."""
    labels = np.zeros((60, 60, 60), dtype=np.int32)
    x, y, z = np.meshgrid(*(np.arange(60) - 29.5,) * 3, indexing='ij')
    r = np.sqrt(x * x + y * y + z * z)
    for label, radius in ((507, 29), (515, 26), (24, 23), (42, 22), (41, 20)):
        labels[r < radius] = label
    labels[(r < 22) & (x < 0) & (r >= 20)] = 3
    labels[(r < 20) & (x < 0)] = 2
    for left, right, place in (
        (11, 50, (5, 8, 6)),
        (12, 51, (10, 2, 0)),
        (13, 52, (6, 0, 0)),
        (26, 58, (4, 8, -2)),
        (28, 60, (3, -5, -6)),
    ):
        for label, side in ((left, -1), (right, 1)):
            near = (x - side * place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2
            labels[near < (12 if label not in (28, 60) else 30)] = label
    affine = np.eye(4)
    affine[:3, 3] = -29.5
    return labels, affine


def test_labels_keep_their_place_and_volume():
    labels, affine = block_head()
    head = LabelledHead(labels, affine)
    axes = Axes((60, 60, 60), (1.0, 1.0, 1.0))
    drawn = label_head(head, axes).numpy()
    for tissue, numbers in ((Tissue.WHITE_MATTER, (2, 41)), (Tissue.PUTAMEN, (12, 51))):
        ours, theirs = drawn == int(tissue), np.isin(labels, numbers)
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.85
    half = label_head(head, axes.finer((2, 2, 2))).numpy()
    assert (half == int(Tissue.CORTEX)).mean() == pytest.approx(
        np.isin(labels, (3, 42)).mean(), rel=0.1
    )


def test_nuclei_follow_the_atlas():
    """An atlas that is the head's own structures, moved and scaled, is brought back."""
    labels, affine = block_head()
    atlas = np.zeros_like(labels)
    for ours, theirs in ((11, 2), (50, 102), (12, 1), (51, 101), (13, 5), (52, 105)):
        atlas[labels == ours] = theirs
    for ours, theirs in ((26, 3), (58, 103), (28, 8), (60, 108)):
        atlas[labels == ours] = theirs
    atlas_affine = np.diag([1.2, 1.1, 1.15, 1.0])
    atlas_affine[:3, 3] = (-30.0, -45.0, -20.0)
    head = LabelledHead(labels, affine, Nuclei(atlas, atlas_affine))
    axes = Axes((60, 60, 60), (1.0, 1.0, 1.0))
    drawn = label_head(head, axes)
    place_nuclei(drawn, head, axes)
    ours, theirs = drawn.numpy() == int(Tissue.RED_NUCLEUS), np.isin(labels, (28, 60))
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.7


def test_heads_that_cannot_be_used():
    labels, affine = block_head()
    with pytest.raises(ValueError, match='as_closest_canonical'):
        LabelledHead(labels, affine[[1, 0, 2, 3]])
    with pytest.raises(ValueError, match='cerebrum'):
        LabelledHead(np.zeros_like(labels), affine)

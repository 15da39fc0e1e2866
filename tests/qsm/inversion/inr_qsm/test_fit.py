"""INR-QSM on a simulated head: better than linear inversions, a function, and reproducible."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.inversion.inr_qsm import fit
from qsmprep.qsm.inversion.inr_qsm.siren import Siren
from qsmprep.qsm.metrics import nrmse, slope
from qsmprep.qsm.simulate import simulate_local_field


@pytest.fixture(scope='module')
def head():
    return simulate_local_field(voxel_size=(4.0, 4.0, 4.0), seed=3, b0_direction=(0.3, 0, 0.95))


def run(head, method='inr-qsm', **given):
    return invert(
        head.measured_ppm, head.mask, head.grid, method, noise_ppm=head.noise_ppm, **given
    )


@pytest.fixture(scope='module')
def found(head):
    return run(head)


def test_network_beats_linear_inversions_and_keeps_contrast(head, found):
    errors = {
        method: nrmse(run(head, method).chi_ppm, head.chi, head.mask)
        for method in ('tkd', 'tikhonov', 'wiener')
    }
    error = nrmse(found.chi_ppm, head.chi, head.mask)
    assert error < 0.95 * min(errors.values())
    assert slope(found.chi_ppm, head.chi, head.mask) > 0.85


@pytest.mark.parametrize('at_once', [1, 2])
def test_networks_side_by_side_are_as_good_as_one(head, found, monkeypatch, at_once):
    monkeypatch.setattr(fit, 'MOST_VOXELS', int(0.6 * head.mask.sum()))
    monkeypatch.setattr(fit, '_groups', lambda networks: [[0], [1]] if at_once == 1 else [[0, 1]])
    divided = run(head, width=128)
    assert found.parameters['networks'] == 1
    assert divided.parameters['networks'] == 2
    errors = [nrmse(i.chi_ppm, head.chi, head.mask) for i in (found, divided)]
    assert errors[1] < 1.1 * errors[0]


def descend(*every, epochs):
    """Fit blocks that hold every so-manieth voxel of a cube, together; their errors (RMS)."""
    voxels, generator = torch.ones(12, 12, 12).nonzero(), torch.Generator()
    places = [voxels[::n] for n in every]
    values = [torch.sin(p.float() @ torch.tensor([0.9, 0.7, 0.5])) for p in places]
    networks = [
        Siren(
            Grid((12, 12, 12), (1, 1, 1)),
            layers=fit.LAYERS,
            width=64,
            frequency=fit.FREQUENCY,
            first_frequency=fit.FIRST_FREQUENCY,
            generator=generator.manual_seed(seed),
        )
        for seed in range(len(every))
    ]
    list(fit._descend(networks, places, values, epochs, fit.HIDDEN_RATE, generator))
    with torch.no_grad():
        found = [n(p.float()) for n, p in zip(networks, places, strict=True)]
    return [float((f - v).square().mean().sqrt()) for f, v in zip(found, values, strict=True)]


def test_small_blocks_beside_a_large_one_are_fitted_as_well_as_alone():
    alone, beside = sum(descend(3, 3, 3, epochs=12)), sum(descend(3, 3, 3, 1, epochs=12)[:3])
    assert alone < 3 * 0.02
    assert beside < 1.5 * alone


def test_a_step_of_many_networks_takes_no_more_operations_than_that_of_one(monkeypatch):
    monkeypatch.setattr(fit, 'LEAST_STEPS', 5)

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    def calls(*every) -> int:
        counts = []
        for epochs in (1, 3):
            with Count() as count:
                descend(*every, epochs=epochs)
            counts.append(count.calls)
        return counts[1] - counts[0]

    assert calls(2, 3, 4, 5) == calls(2) > 100


def test_regularisation_follows_the_noise(head, found, monkeypatch):
    monkeypatch.setattr(fit, 'LEAST_STEPS', 60)
    noisier = invert(
        head.measured_ppm,
        head.mask,
        head.grid,
        'inr-qsm',
        noise_ppm=4 * head.noise_ppm,
        epochs=1,
        width=64,
    )
    ratio = noisier.parameters['regularisation'] / found.parameters['regularisation']
    assert ratio == pytest.approx(16, rel=0.01)


def test_function_is_the_map_at_voxel_centres(head, found):
    centres = [np.arange(n) for n in head.grid.shape]
    values = found.function(centres)
    np.testing.assert_allclose(values[head.mask], found.chi_ppm[head.mask], atol=2e-3)


def test_model_error_leaves_the_map_of_total_variation(head):
    network, convex = (run(head, m, error_share=1.0).chi_ppm for m in ('inr-qsm', 'tv'))
    assert nrmse(network, convex, head.mask) < 25


def test_seed_decides(head, monkeypatch):
    monkeypatch.setattr(fit, 'LEAST_STEPS', 60)
    maps = [run(head, seed=s, epochs=1, width=64).chi_ppm for s in (0, 0, 1)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[2]).max() > 1e-4

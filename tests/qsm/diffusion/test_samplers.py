"""The samplers, with a network that knows the truth and with the shipped one."""

from types import SimpleNamespace

import pytest
import torch

from qsmprep.qsm.diffusion import ancestral, annealing
from qsmprep.qsm.diffusion.ancestral import diffusion_qsm, dm_qsm
from qsmprep.qsm.diffusion.annealing import diffusion
from qsmprep.qsm.diffusion.windows import Windows
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.inversion.tikhonov import tikhonov
from qsmprep.qsm.inversion.tv import tv
from qsmprep.qsm.inversion.wiener import wiener
from qsmprep.qsm.metrics import nrmse
from qsmprep.qsm.simulate import simulate_local_field


class Oracle:
    """A network that has seen the answer."""

    def __init__(self, chi):
        self.chi = chi

    def __call__(self, noisy, sigma, voxel_size):
        return self.chi.expand_as(noisy) + 0 * noisy


def believe(monkeypatch, chi):
    """Put a network that returns a given map in place of the shipped one."""
    prior = SimpleNamespace(denoiser=Oracle(chi), sha256='0' * 64)
    for module in (ancestral, annealing):
        monkeypatch.setattr(module, 'load_weights', lambda path, device: prior)


def simulated(edge_mm):
    """A head with voxels of an edge length, and its field, mask and noise as tensors."""
    head = simulate_local_field(voxel_size=(edge_mm,) * 3, seed=3)
    field, mask, noise = map(torch.from_numpy, (head.measured_ppm, head.mask, head.noise_ppm))
    return head, field.float() * mask, mask, noise.float()


@pytest.fixture
def scan(make_scan):
    return make_scan(shape=(32, 32, 24), noise=1e-4)


@pytest.mark.parametrize(
    ('method', 'settings'),
    [
        (diffusion, {}),
        (diffusion_qsm, {'steps': 4}),
        (diffusion_qsm, {'steps': 8, 'published': True}),
        (dm_qsm, {'steps': 4}),
        (dm_qsm, {'steps': 8, 'published': True}),
    ],
)
def test_what_the_network_knows_reaches_the_map(scan, monkeypatch, method, settings):
    errors = {}
    for name, chi in (('knows', scan.chi), ('does not', torch.zeros_like(scan.chi))):
        believe(monkeypatch, chi)
        estimate = method(scan.field, scan.mask, scan.grid, **settings)
        errors[name] = scan.error(estimate.chi)
        assert estimate.chosen['prior'] == '0' * 64
    assert errors['knows'] < 10
    assert errors['knows'] < 0.4 * errors['does not']


@pytest.mark.parametrize(('window', 'most'), [(None, 1), (16, 4)])
def test_only_small_windows_pass_the_network_together(scan, monkeypatch, window, most):
    believe(monkeypatch, scan.chi)
    seen = []

    def look(noisy, sigma, voxel_size):
        seen.append(len(noisy))
        return 0 * noisy

    monkeypatch.setattr(Oracle, '__call__', lambda self, *given: look(*given))
    monkeypatch.setattr(ancestral, 'WHOLE', Windows(size=16, overlap=0, halo=8, multiple=8))
    diffusion_qsm(scan.field, scan.mask, scan.grid, steps=1, window=window, overlap=8)
    assert len(seen) > 2
    assert max(seen) == most


@pytest.mark.parametrize('as_published', [False, True])
def test_time_travel_repeats_the_last_steps(scan, monkeypatch, as_published):
    believe(monkeypatch, scan.chi)
    calls = []
    diffusion_qsm(
        scan.field, scan.mask, scan.grid, steps=6, late_steps=3, repeats=2, published=as_published,
        progress=lambda count, total, residual: calls.append((count, total)),
    )  # fmt:skip
    assert calls == [(count, 6 + 3 * 2) for count in range(1, 13)]


def test_settings_of_the_papers_are_a_switch_and_recorded(scan):
    field, mask = scan.field.numpy(), scan.mask.numpy()
    given = {'method': 'diffusion-qsm', 'steps': 24, 'late_steps': 0, 'published': True}
    found = invert(field, mask, scan.grid, **given).parameters
    assert (found['published'], found['steps'], found['window']) == (True, 24, 64)
    found = invert(field, mask, scan.grid, 'diffusion-qsm').parameters
    assert (found['published'], found['steps'], found['window']) == (False, 4, 192)


@pytest.mark.parametrize('method', [diffusion_qsm, dm_qsm])
def test_published_samplers_are_ahead_of_the_map_they_start_from_and_of_tikhonov(method):
    head, field, mask, noise = simulated(5.0)
    errors = {
        f.__name__: nrmse(f(field, mask, head.grid, noise=noise).chi.numpy(), head.chi, head.mask)
        for f in (method, tikhonov, tv)
    }
    found = errors.pop(method.__name__)
    assert found < 0.8 * errors['tikhonov']
    assert found < 0.9 * errors['tv']


def test_the_shipped_prior_beats_total_variation_on_a_simulated_head():
    head, field, mask, noise = simulated(3.5)
    errors = [
        nrmse(method(field, mask, head.grid, noise=noise).chi.numpy(), head.chi, head.mask)
        for method in (diffusion, tv)
    ]
    assert errors[0] < 0.97 * errors[1]


@pytest.mark.parametrize(('error_share', 'levels'), [(0.0, 3), (0.5, 2), (1.0, 1)])
def test_model_error_leaves_fewer_passes_of_the_network(scan, monkeypatch, error_share, levels):
    believe(monkeypatch, scan.chi)
    calls = []
    estimate = diffusion(
        scan.field, scan.mask, scan.grid, error_share=error_share,
        progress=lambda count, total, change: calls.append((count, total)),
    )  # fmt:skip
    assert calls == [(count, levels) for count in range(1, levels + 1)]
    assert estimate.chosen['steps'] == levels


def test_where_the_model_errs_the_map_is_the_mean_of_three_priors(scan, monkeypatch):
    network = torch.where(scan.mask, 0.05, 0.0)
    monkeypatch.setattr(annealing, 'anneal', lambda *args, **kwargs: network)

    def inverted(method, error_share):
        return method(scan.field, scan.mask, scan.grid, error_share=error_share)

    torch.testing.assert_close(inverted(diffusion, 0.0).chi, network)
    found, gaussian = inverted(diffusion, 1.0), inverted(wiener, 1.0)
    three = network + inverted(tv, 1.0).chi + gaussian.chi
    torch.testing.assert_close(found.chi, three / 3)
    error = float(gaussian.sd[scan.mask].median())
    assert found.chosen['highest_ppm'] == pytest.approx(max(error, 0.002))


def test_the_spread_follows_the_noise_and_needs_two_samples(scan, make_scan):
    given = {'samples': 2, 'steps': 2, 'seed': 1}
    quiet = diffusion(scan.field, scan.mask, scan.grid, **given)
    noisy = make_scan(shape=(32, 32, 24), noise=5e-3)
    loud = diffusion(noisy.field, noisy.mask, noisy.grid, **given)
    assert not quiet.sd[~scan.mask].any()
    assert quiet.sd[scan.mask].min() > 0
    assert loud.sd[scan.mask].mean() > quiet.sd[scan.mask].mean()
    single = diffusion(scan.field, scan.mask, scan.grid, steps=2, seed=1)
    assert single.sd is None
    torch.testing.assert_close(single.chi, quiet.chi)
    with pytest.raises(ValueError, match='at least 2 samples, not 1'):
        diffusion(scan.field, scan.mask, scan.grid, samples=1)
